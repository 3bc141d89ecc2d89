"""The errors of known clients, played by doubles of the same names; the real ones stand in tests/clients."""

from __future__ import annotations

import gc
import json
import logging
import pickle
import socket
import ssl
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from checking import pool_of

from llmpool import Custom, Deployment, Probe, Verdict, checks, clients, errors, own_retries
from llmpool.clients import judge, read_client_error
from llmpool.testing import ScriptedProvider

KEY = "sk-in-a-header-0123456789"
PROMPT = "a prompt of the user's that nobody else is to read"


class Request:
    """What a client keeps of the request: the key and the prompt."""

    url = f"https://eu.example/v1?key={KEY}"

    def __init__(self, **changes: Any) -> None:
        self.headers = {"Authorization": f"Bearer {KEY}"}
        self.content = json.dumps({"messages": [{"role": "user", "content": PROMPT}]}).encode()
        self.__dict__.update(changes)


class Response:
    """What a client keeps of the answer; ``content`` would ask the network."""

    def __init__(self, status: int = 200, body: object = None, **headers: str) -> None:
        self.status_code = status
        self.headers = {name.replace("_", "-").title(): text for name, text in headers.items()}
        self.request = Request()
        if body is not None:
            self._content = body if isinstance(body, bytes) else json.dumps(body).encode()

    @property
    def content(self) -> bytes:
        """Refuse to be asked."""
        raise AssertionError("this would read from the network")


def named(name: str, *bases: type, module: str = "_exceptions") -> Any:
    """Make a class of a library's: ``openai.APIError``."""
    root, _, word = name.partition(".")
    return type(word, bases or (Exception,), {"__module__": f"{root}.{module}"})


def made(name: str, *bases: type, args: tuple[Any, ...] = (), **fields: Any) -> Any:
    """Make an error of a library's, with fields."""
    error = named(name, *bases)(*args)
    error.__dict__.update(fields)
    return error


def behind(error: Any, *links: BaseException) -> Any:
    """Chain errors, each caused by the next."""
    link = error
    for cause in links:
        link.__cause__ = cause
        link = cause
    return error


def read(error: BaseException) -> errors.ProviderError:
    """Read an error that is a known client's."""
    found = read_client_error(error)
    assert found is not None
    return found


# -- the SDKs -----------------------------------------------------------------------------------

API = {root: named(f"{root}.APIError") for root in ("openai", "anthropic")}
STATUS = {root: named(f"{root}.APIStatusError", API[root]) for root in API}
CONNECTION = {root: named(f"{root}.APIConnectionError", API[root]) for root in API}

QUOTA = {"message": "no money", "type": "insufficient_quota", "code": "credit_balance_exhausted"}
LONG = {"message": "too long", "code": "context_length_exceeded"}
OVER = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def of_sdk(root: str, status: int | None, body: Any, **headers: str) -> Any:
    """Make an error of an SDK's with an answer."""
    kind = STATUS[root] if status is not None else API[root]
    error = named(f"{root}.SomeError", kind)("said by the SDK")
    error.body = body
    error.request = Request()
    if status is not None:
        error.status_code = status
        error.response = Response(status, **headers)
        error.request_id = error.response.headers.get("X-Request-Id")
    return error


@pytest.mark.parametrize(
    ("root", "status", "body", "kind", "code", "verdict"),
    [
        ("openai", 400, LONG, errors.ContextLengthExceeded, LONG["code"], Verdict.CALLER),
        ("openai", 401, {"code": "invalid_api_key"}, errors.AuthenticationFailed, None, "config"),
        ("openai", 429, QUOTA, errors.QuotaExhausted, QUOTA["code"], Verdict.CONFIG),
        ("openai", 429, {"code": "slow_down"}, errors.RateLimited, "slow_down", "rate_limited"),
        ("openai", 500, None, errors.ServerFault, None, Verdict.FAULT),
        ("openai", 502, "<html>oh", errors.ServerFault, None, Verdict.FAULT),
        ("openai", 503, {"code": "server_is_overloaded"}, errors.ServerFault, None, "busy"),
        ("openai", None, {"code": "rate_limit_exceeded"}, errors.RateLimited, None, "rate_limited"),
        ("openai", None, {"message": "oh", "type": "server_error"}, errors.ServerFault, None, "fault"),
        ("openai", None, None, errors.ServerFault, None, Verdict.FAULT),
        ("anthropic", 529, OVER, errors.ServerFault, "overloaded_error", Verdict.BUSY),
        ("anthropic", 200, OVER, errors.ServerFault, "overloaded_error", Verdict.BUSY),
        ("anthropic", 402, {"error": {"type": "billing_error"}}, errors.QuotaExhausted, None, "config"),
        ("anthropic", 413, None, errors.ContextLengthExceeded, None, Verdict.CALLER),
    ],
)  # fmt: skip
def test_an_answer_that_an_sdk_raises(
    root: str, status: int | None, body: Any, kind: type, code: str | None, verdict: str
) -> None:
    """Its code in the body counts first, then its status; in a stream, where none is, the body."""
    error = of_sdk(root, status, body)
    found = read(error)
    assert type(found) is kind
    assert found.sent == "answered"
    assert found.status == (status if status != 200 else None)
    if code is not None:
        assert found.code == code
    assert judge(error).verdict == verdict


def test_what_the_headers_of_an_sdk_error_say() -> None:
    """The server's delay and its name for the request are kept, however the names are written."""
    body = {"code": "rate_limit_exceeded"}
    found = read(of_sdk("openai", 429, body, retry_after_ms="1500", x_request_id="req-7"))
    assert (found.retry_after, found.request_id) == (1.5, "req-7")
    late = of_sdk("anthropic", 429, body, retry_after="Mon, 01 Jan 2035 00:00:09 GMT")
    late.response.headers["Date"] = "Mon, 01 Jan 2035 00:00:00 GMT"
    assert read(late).retry_after == 9.0
    bare = of_sdk("anthropic", 500, None)
    bare.response = None
    bare.request_id = "req-8"
    assert read(bare).request_id == "req-8"


def test_an_error_in_a_stream_without_a_body() -> None:
    """What the SDK says of it is read in the server's place."""
    error = of_sdk("openai", None, None)
    error.args = ("The server is overloaded",)
    assert judge(error).verdict is Verdict.BUSY


@pytest.mark.parametrize("root", ["openai", "anthropic"])
def test_an_answer_of_the_wrong_shape(root: str) -> None:
    """An SDK that checks its answers raises what is a fault of the server's."""
    error = made(f"{root}.APIResponseValidationError", STATUS[root], status_code=200, body="<html>")
    assert type(read(error)) is errors.MalformedResponse
    assert judge(error).verdict is Verdict.FAULT


# -- errors without an answer -------------------------------------------------------------------

HTTPX = {
    root: {
        "HTTPError": named(f"{root}.HTTPError"),
        **{
            word: named(f"{root}.{word}", named(f"{root}.TransportError"))
            for word in ("ConnectError", "ReadError", "RemoteProtocolError", "ProxyError")
        },
        **{
            word: named(f"{root}.{word}", named(f"{root}.TimeoutException"))
            for word in ("ConnectTimeout", "ReadTimeout", "WriteTimeout", "PoolTimeout")
        },
    }
    for root in ("httpx", "httpx2")
}


@pytest.mark.parametrize("root", ["httpx", "httpx2"])
@pytest.mark.parametrize(
    ("word", "kind", "sent"),
    [
        ("ConnectError", errors.ConnectionFailed, "no"),
        ("ProxyError", errors.ConnectionFailed, "no"),
        ("ReadError", errors.ConnectionFailed, "maybe"),
        ("RemoteProtocolError", errors.ConnectionFailed, "maybe"),
        ("ConnectTimeout", errors.DeadlineExceeded, "no"),
        ("PoolTimeout", errors.DeadlineExceeded, "no"),
        ("ReadTimeout", errors.DeadlineExceeded, "maybe"),
        ("WriteTimeout", errors.DeadlineExceeded, "maybe"),
    ],
)
def test_a_transport_error(root: str, word: str, kind: type, sent: str) -> None:
    """By itself and inside an SDK's: what it is, and whether the request can have been processed."""
    error = HTTPX[root][word](f"to https://eu.example with {KEY}")
    wrapped = behind(CONNECTION["openai"]("Connection error."), HTTPX[root][word]("inside"))
    for found in (read(error), read(wrapped)):
        assert type(found) is kind
        assert found.sent == sent
        assert word in found.message
        assert KEY not in found.message


def test_the_time_out_of_an_sdk() -> None:
    """Without a cause it may have been processed; before the connection was there it was not."""
    timeout = named("openai.APITimeoutError", CONNECTION["openai"])
    assert (type(read(timeout())), read(timeout()).sent) == (errors.DeadlineExceeded, "maybe")
    early = behind(timeout(), HTTPX["httpx2"]["ConnectTimeout"](), TimeoutError("timed out"))
    assert (type(read(early)), read(early).sent) == (errors.DeadlineExceeded, "no")
    assert read(early).message == "openai.APITimeoutError: httpx.ConnectTimeout"


GAI = socket.gaierror(socket.EAI_NONAME, f"no such name in {KEY}")
CERTIFICATE = ssl.SSLCertVerificationError(1, f"no such issuer, {KEY}")


@pytest.mark.parametrize(
    ("cause", "sent", "code", "said"),
    [
        (ConnectionRefusedError(111, "refused"), "no", None, "(ECONNREFUSED)"),
        (ConnectionResetError(104, "reset"), "maybe", None, "(ECONNRESET)"),
        (GAI, "no", "dns", "gaierror"),
        (CERTIFICATE, "no", "tls", "SSLCertVerificationError"),
        (OSError(24, "too many"), "maybe", "descriptors", "(EMFILE)"),
        (TimeoutError("late"), "maybe", None, "APIConnectionError"),
        (ValueError(KEY), "maybe", None, "APIConnectionError"),
    ],
)
def test_what_lies_below(cause: Exception, sent: str, code: str | None, said: str) -> None:
    """The system's error tells the reason; of its words none is shown."""
    found = read(behind(CONNECTION["anthropic"]("oh"), cause))
    assert (type(found), found.sent, found.code) == (errors.ConnectionFailed, sent, code)
    assert found.message.endswith(said)
    assert KEY not in str(found)


def test_errors_that_cause_each_other() -> None:
    """A ring of them is read to its end."""
    one, two = CONNECTION["openai"]("a"), CONNECTION["openai"]("b")
    one.__cause__, two.__cause__ = two, one
    assert type(read(one)) is errors.ConnectionFailed


def test_an_earlier_error_of_the_calling_code() -> None:
    """What was being handled when it was raised is no part of it."""
    late = HTTPX["httpx"]["ReadTimeout"]()
    late.__context__ = HTTPX["httpx"]["ConnectError"]()
    assert read(late).sent == "maybe"


# -- requests and urllib3 -----------------------------------------------------------------------

SOMETHING = named("requests.RequestException", OSError)
U3 = named("urllib3.HTTPError")
NEW = named("urllib3.NewConnectionError", named("urllib3.ConnectTimeoutError", U3))
READ = named("urllib3.ReadTimeoutError", named("urllib3.TimeoutError", U3))
PROTOCOL = named("urllib3.ProtocolError", U3)
SSL = named("urllib3.SSLError", U3)


def gave_up(reason: BaseException) -> Any:
    """Make the error in which urllib3 wraps its last one."""
    return made("urllib3.MaxRetryError", U3, args=("pool", KEY), reason=reason)


@pytest.mark.parametrize(
    ("error", "kind", "sent", "code"),
    [
        (made("requests.Timeout", SOMETHING), errors.DeadlineExceeded, "maybe", None),
        (made("requests.ConnectTimeout", SOMETHING), errors.DeadlineExceeded, "no", None),
        (made("requests.ConnectionError", SOMETHING), errors.ConnectionFailed, "maybe", None),
        (made("requests.ConnectionError", SOMETHING, args=(gave_up(behind(NEW(), GAI)),)),
         errors.ConnectionFailed, "no", "dns"),
        (made("requests.ConnectionError", SOMETHING, args=(PROTOCOL("oh", ConnectionResetError(104, "")),)),
         errors.ConnectionFailed, "maybe", None),
        (made("requests.ConnectionError", SOMETHING, args=(READ("slow"),)),
         errors.DeadlineExceeded, "maybe", None),
        (made("requests.SSLError", SOMETHING, args=(gave_up(SSL(CERTIFICATE)),)),
         errors.ConnectionFailed, "no", "tls"),
        (made("requests.ChunkedEncodingError", SOMETHING,
              args=(PROTOCOL("oh", ConnectionResetError(104, "")),)),
         errors.ConnectionFailed, "answered", None),
        (made("requests.ContentDecodingError", SOMETHING), errors.MalformedResponse, "answered", None),
        (made("requests.TooManyRedirects", SOMETHING), errors.ServerFault, "answered", None),
        (made("requests.MissingSchema", SOMETHING, ValueError), errors.ConnectionFailed, "no", None),
        (made("requests.HTTPError", SOMETHING, response=None), errors.ConnectionFailed, "maybe", None),
        (NEW(), errors.ConnectionFailed, "no", None),
        (READ(), errors.DeadlineExceeded, "maybe", None),
        (PROTOCOL(), errors.ConnectionFailed, "maybe", None),
        (gave_up(made("urllib3.ResponseError", U3)), errors.ServerFault, "answered", None),
        (made("urllib3.IncompleteRead", U3), errors.ConnectionFailed, "answered", None),
        (made("urllib3.DecodeError", U3), errors.MalformedResponse, "answered", None),
    ],
)  # fmt: skip
def test_an_error_of_requests_or_urllib3(
    error: Any, kind: type, sent: str, code: str | None
) -> None:
    """What is wrapped tells more than the wrapping; the URL, which may hold a key, is not shown."""
    found = read(error)
    assert (type(found), found.sent, found.code) == (kind, sent, code)
    assert KEY not in str(found)


@pytest.mark.parametrize("root", ["requests", "httpx", "httpx2"])
def test_a_status_that_was_raised(root: str) -> None:
    """The body is read as far as it has come, and never from the network."""
    name = f"{root}.HTTPError" if root == "requests" else f"{root}.HTTPStatusError"
    limited = Response(429, {"error": QUOTA}, retry_after="3", x_request_id="req-9")
    found = read(made(name, response=limited, request=limited.request))
    assert type(found) is errors.QuotaExhausted
    assert (found.status, found.retry_after, found.request_id) == (429, 3.0, "req-9")
    unread = Response(503)
    unread._content = False  # type: ignore[assignment]  # as requests marks it
    assert str(read(made(name, response=unread))) == "HTTP 503"
    assert str(read(made(name, response=Response(503)))) == "HTTP 503"


def test_an_answer_that_is_no_json() -> None:
    """The bare error of the standard library, and that of requests, which is an OSError too."""
    bare = json.JSONDecodeError("Expecting value", f"<html>{PROMPT}", 0)
    kind = named(
        "requests.JSONDecodeError",
        named("requests.InvalidJSONError", SOMETHING),
        json.JSONDecodeError,
    )
    mixed = kind.__new__(kind)
    for error in (bare, mixed):
        assert type(read(error)) is errors.MalformedResponse
        assert str(read(error)) == "the answer is not JSON"
        assert judge(error).verdict is Verdict.FAULT


# -- botocore -----------------------------------------------------------------------------------


def of_aws(name: str, code: str, status: int | None, said: str = "oh") -> Any:
    """Make an error of an AWS service; the service's own class stands below it."""
    kind = named(f"botocore.{name}")
    if name != "ClientError":
        kind = named(f"botocore.{name}", named("botocore.ClientError"))
    facts: dict[str, Any] = {"RequestId": "req-aws", "HTTPHeaders": {"Retry-After": "4"}}
    if status is not None:
        facts["HTTPStatusCode"] = status
    error = kind(f"An error occurred ({code})")
    error.response = {"Error": {"Code": code, "Message": said}, "ResponseMetadata": facts}
    return error


@pytest.mark.parametrize(
    ("error", "kind", "verdict"),
    [
        (of_aws("ClientError", "ThrottlingException", 429), errors.RateLimited, "rate_limited"),
        (of_aws("ClientError", "ServiceQuotaExceededException", 400), errors.QuotaExhausted, "config"),
        (of_aws("ClientError", "AccessDeniedException", 403), errors.AuthenticationFailed, "config"),
        (of_aws("ClientError", "ExpiredTokenException", 400), errors.AuthenticationFailed, "config"),
        (of_aws("ClientError", "ResourceNotFoundException", 404), errors.InvalidRequest, "config"),
        (of_aws("ClientError", "ValidationException", 400), errors.InvalidRequest, "caller"),
        (of_aws("ClientError", "ValidationException", 400, "Input is too long for requested model."),
         errors.ContextLengthExceeded, "caller"),
        (of_aws("ClientError", "ValidationException", 400, "The provided model identifier is invalid."),
         errors.InvalidRequest, "config"),
        (of_aws("ClientError", "ModelNotReadyException", 429), errors.ServerFault, "busy"),
        (of_aws("ClientError", "ServiceUnavailableException", 503), errors.ServerFault, "busy"),
        (of_aws("ClientError", "ModelErrorException", 424), errors.ServerFault, "fault"),
        (of_aws("EventStreamError", "throttlingException", 400), errors.RateLimited, "rate_limited"),
        (of_aws("EventStreamError", "validationException", 400), errors.InvalidRequest, "caller"),
        (of_aws("EventStreamError", "modelStreamErrorException", 400), errors.ServerFault, "busy"),
    ],
)  # fmt: skip
def test_an_error_of_an_aws_service(error: Any, kind: type, verdict: str) -> None:
    """By the service's own code; an event in a stream says 400 of itself whatever it is."""
    found = read(error)
    assert (type(found), found.request_id, found.retry_after) == (kind, "req-aws", 4.0)
    assert judge(error).verdict == verdict


def test_an_aws_error_that_says_nothing() -> None:
    """It is the service's fault."""
    bare = made("botocore.ClientError", response={})
    assert str(read(bare)) == "an error under HTTP 200"
    assert judge(bare).verdict is Verdict.FAULT


@pytest.mark.parametrize(
    ("word", "kind", "sent"),
    [
        ("EndpointConnectionError", errors.ConnectionFailed, "no"),
        ("ConnectTimeoutError", errors.DeadlineExceeded, "no"),
        ("ReadTimeoutError", errors.DeadlineExceeded, "maybe"),
        ("ConnectionClosedError", errors.ConnectionFailed, "maybe"),
        ("SSLError", errors.ConnectionFailed, "maybe"),
        ("ResponseStreamingError", errors.ConnectionFailed, "answered"),
        ("NoCredentialsError", errors.AuthenticationFailed, "no"),
    ],
)
def test_an_error_of_botocore(word: str, kind: type, sent: str) -> None:
    """Those without an answer, as far as botocore knows how far they came."""
    above = {
        "EndpointConnectionError": "ConnectionError",
        "ConnectionClosedError": "HTTPClientError",
    }
    base = named(f"botocore.{above.get(word, 'BotoCoreError')}")
    found = read(made(f"botocore.{word}", base, kwargs={"endpoint_url": KEY}))
    assert (type(found), found.sent) == (kind, sent)


def test_what_botocore_wraps() -> None:
    """It keeps the error below among its arguments."""
    base = named("botocore.ConnectionError")
    wrapped = made("botocore.EndpointConnectionError", base, kwargs={"error": behind(NEW(), GAI)})
    assert (read(wrapped).sent, read(wrapped).code) == ("no", "dns")


# -- what is none of these ----------------------------------------------------------------------


class Odd(Exception):
    """An error none of whose fields can be had."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


Odd.__module__ = "openai"
Odd.__name__ = "APIError"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("own"),
        TimeoutError("a plain one"),
        ConnectionResetError(104, "a plain one"),
        errors.RateLimited("the pool's own", status=429),
        KeyboardInterrupt(),
        named("myapp.APIStatusError")("of another's library"),
        named("openai.OpenAIError")("the api_key option must be set"),
        named("openai.LengthFinishReasonError")("the answer was too long to be read"),
        named("httpx.StreamConsumed", RuntimeError)("read twice"),
        named("botocore.ParamValidationError")("a wrong argument"),
        made("openai.APIStatusError", API["openai"], status_code=500),  # no body
        made("requests.HTTPError", SOMETHING, response=object()),
        made("botocore.ClientError", response=None),
    ],
)
def test_what_is_no_client_error(error: BaseException) -> None:
    """It is None, and so is one of theirs whose fields are not what they should be."""
    assert read_client_error(error) is None


def test_an_error_that_shows_nothing_of_itself() -> None:
    """It is none that is known."""
    assert read_client_error(Odd()) is None


@pytest.mark.parametrize(
    "name", ["requests.InvalidJSONError", "requests.StreamConsumedError", "urllib3.ClosedPoolError"]
)
def test_a_mistake_of_the_calling_code(name: str) -> None:
    """It is nobody's fault, though requests makes it an OSError."""
    error = made(name, SOMETHING if name.startswith("requests") else U3)
    assert read_client_error(error) is None
    assert judge(error).foreign


def test_a_class_of_the_users_below_a_known_one() -> None:
    """It is read as what it stands on."""
    mine = type("Mine", (CONNECTION["openai"],), {"__module__": "myapp.errors"})
    assert type(read(mine("oh"))) is errors.ConnectionFailed


def test_a_module_without_a_name() -> None:
    """A class may have any module, also none."""
    odd = type("APIError", (Exception,), {"__module__": None})
    assert read_client_error(odd()) is None


# -- keys and prompts ---------------------------------------------------------------------------


def echoing(request: Any) -> Any:
    """Make an error whose server repeats what it was sent."""
    error = of_sdk("openai", 400, {"message": f"cannot take {PROMPT!r} with {KEY[3:]}"})
    error.request = request
    error.response.request = None
    return error


@pytest.mark.parametrize("field", ["content", "body"])
def test_an_answer_that_repeats_the_request(field: str) -> None:
    """Key and prompt are taken out, for the error holds the request that they stand in."""
    asked = Request()
    if field == "body":
        asked = Request(content=None, body=asked.content.decode())
    found = read(echoing(asked))
    assert KEY[3:] not in str(found)
    assert PROMPT not in str(found)
    assert "cannot take" in str(found)
    found = read(made("requests.HTTPError", response=Response(400, {"message": f"no {PROMPT}"})))
    assert str(found) == "HTTP 400: no [prompt]"


class Unread:
    """A request that was streamed: httpx refuses to show its content."""

    url = None
    headers = None

    @property
    def content(self) -> bytes:
        """Refuse, as httpx does."""
        raise RuntimeError("Attempted to access streaming request content")


@pytest.mark.parametrize("body", [b"\x89PNG", "not json", b"[1, 2]", b"[" * 100_000])
def test_a_request_that_cannot_be_read(body: object) -> None:
    """The error is read all the same."""
    assert type(read(echoing(Request(content=body)))) is errors.InvalidRequest
    assert type(read(echoing(Unread()))) is errors.InvalidRequest


def test_nothing_of_the_clients_error_is_kept() -> None:
    """Once it has been read, nobody holds it, and the pool's error can be pickled."""
    error = of_sdk("openai", 500, {"message": "oh"})
    gone = weakref.ref(error)
    found = read(error)
    assert (found.__cause__, found.__context__, found.__traceback__) == (None, None, None)
    del error
    gc.collect()
    assert gone() is None
    assert str(pickle.loads(pickle.dumps(found))) == str(found)


# -- in the pool --------------------------------------------------------------------------------


def limited() -> Any:
    """Make an SDK's error with a key and a prompt in it."""
    body = {"code": "rate_limit_exceeded", "message": f"slow down, {PROMPT}"}
    return of_sdk("openai", 429, body, retry_after="7")


def raising(make: Callable[[], BaseException]) -> Callable[[Any], Any]:
    """Give a function of a lease that raises."""

    def fail(lease: Any) -> Any:
        raise make()

    return fail


def test_a_call_that_ends_with_a_clients_error() -> None:
    """The pool's own class is raised, with every attempt, and nothing of the client's hangs on it."""
    pool = pool_of("a", "b")
    with pytest.raises(errors.RateLimited) as caught:
        pool.call(raising(limited), timeout=5.0)
    assert caught.value.retry_after == 7.0
    assert [attempt.deployment for attempt in caught.value.attempts] == ["a", "b"]
    assert caught.value.__context__ is None
    shown = "".join(traceback.format_exception(caught.value))
    assert PROMPT not in shown
    assert KEY not in shown
    assert pool.health("a").state == "cooling"


def test_a_call_that_goes_elsewhere() -> None:
    """A client that fails is left for another."""
    pool = pool_of("a", "b")

    def ask(lease: Any) -> str:
        if lease.deployment == "a":
            raise behind(CONNECTION["openai"]("oh"), ConnectionRefusedError(111, "refused"))
        return str(lease.deployment)

    pool.drain("b")
    pool.resume("b")
    assert {pool.call(ask) for _ in range(4)} == {"b"}
    assert pool.health("a").total_errors >= 1


def test_a_time_too_short_to_be_fair() -> None:
    """A client's time-out under a short deadline is no fault of the deployment's."""
    pool = pool_of("a")
    with pytest.raises(errors.DeadlineExceeded):
        pool.call(raising(named("openai.APITimeoutError", CONNECTION["openai"])), timeout=0.2)
    assert pool.health("a").total_errors == 0
    with pytest.raises(errors.DeadlineExceeded):
        pool.call(raising(named("openai.APITimeoutError", CONNECTION["openai"])), retry=False)
    assert pool.health("a").total_errors == 1


def test_a_mistake_in_the_function_of_a_call() -> None:
    """It passes through as it is, uncounted."""
    pool = pool_of("a")
    own = made("requests.InvalidJSONError", SOMETHING)
    with pytest.raises(OSError) as caught:
        pool.call(raising(lambda: own))
    assert caught.value is own
    assert pool.health("a").total_requests == 0


def test_a_clients_error_in_a_lease() -> None:
    """It goes on as it is, and is booked as what it says."""
    pool = pool_of("a")
    error = limited()
    with pytest.raises(STATUS["openai"]) as caught, pool.lease():
        raise error
    assert caught.value is error
    assert pool.health("a").state == "cooling"
    late = pool_of("a")
    with pytest.raises(API["openai"]), late.lease(timeout=0.2):
        raise named("openai.APITimeoutError", CONNECTION["openai"])
    assert late.health("a").total_errors == 0


def test_a_clients_error_from_a_provider_of_the_users() -> None:
    """Raised by ``complete`` or in the middle of a stream, it is the pool's that is seen."""
    pool = pool_of(ScriptedProvider(limited(), repeat=True))
    with pytest.raises(errors.RateLimited):
        pool.complete("hello", timeout=5.0, retry=False)
    pool = pool_of(ScriptedProvider(["one", of_sdk("openai", None, QUOTA)]))
    stream = pool.stream("hello")
    with pytest.raises(errors.StreamInterrupted) as caught:
        list(stream)
    assert (caught.value.code, caught.value.partial) == (QUOTA["code"], "one")
    assert pool.health("a").state == "disabled"


# -- in a check ---------------------------------------------------------------------------------


def told(check: Any, provider: Any) -> tuple[str, str | None]:
    """Run a check; give its verdict and what it says."""
    outcome, said, _ = checks.run(check, Deployment("a", provider), 5.0)
    return str(outcome.verdict), said


def test_a_check_of_a_provider_that_raises_a_clients_error() -> None:
    """A ping and a probe judge it as a call does; what is shown holds no key."""
    refused = of_sdk("openai", 401, {"code": "invalid_api_key", "message": f"not {KEY}"})
    said = "HTTP 401: invalid_api_key: not [key]"
    assert told(checks.Ping(), ScriptedProvider(ping_steps=[refused])) == ("config", said)
    assert told(Probe(), ScriptedProvider(refused)) == ("config", said)
    missing = of_sdk("openai", 404, None)
    assert told(checks.Ping(), ScriptedProvider(ping_steps=[missing]))[0] == "ok"


def test_a_check_of_the_users_own_that_raises_a_clients_error() -> None:
    """It has failed, whatever the error would mean in a call."""

    def ask(deployment: Deployment) -> bool:
        raise limited()

    verdict, said = told(Custom(ask), ScriptedProvider())
    assert verdict == "fault"
    assert said == "HTTP 429: rate_limit_exceeded: slow down, [prompt]"


# -- clients that retry by themselves -----------------------------------------------------------


class SDKClient:
    """A client that may ask again by itself."""

    def __init__(self, max_retries: Any) -> None:
        self.max_retries = max_retries

    def __eq__(self, other: object) -> bool:
        raise AssertionError("nobody is to compare it")

    __hash__ = None  # type: ignore[assignment]


class Slotted:
    """A client that cannot be referred to weakly."""

    __slots__ = ()
    max_retries = 2


class Refuses:
    """A client whose property raises."""

    @property
    def max_retries(self) -> int:
        """Refuse to tell."""
        raise RuntimeError("not configured")


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give what llmpool.clients has warned of."""
    wanted = ("llmpool.clients", logging.WARNING)
    return [it.getMessage() for it in caplog.records if (it.name, it.levelno) == wanted]


def test_a_client_that_retries_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """It is warned about once, however often it is met, and another one like it once more."""
    one, two = SDKClient(2), SDKClient(5)
    for client in (one, one, two, one, two):
        own_retries.notice(client)
    first, second = warnings_in(caplog)
    assert first.startswith("the client test_clients.SDKClient retries by itself (max_retries=2):")
    assert "(max_retries=5)" in second


@pytest.mark.parametrize("times", [0, -1, True, "2", None, 2.0])
def test_a_client_that_does_not(times: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of it, nor of one whose field means something else."""
    own_retries.notice(SDKClient(times))
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("client", [object(), None, Refuses(), Slotted()])
def test_a_client_that_cannot_be_asked(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It never raises; where it could not tell once from twice it says nothing."""
    own_retries.notice(client)
    assert warnings_in(caplog) == []


def test_two_threads_that_notice_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """The second does not wait for the first; the next to come says it."""
    client = SDKClient(2)
    with own_retries._lock:
        own_retries.notice(client)
    assert warnings_in(caplog) == []
    own_retries.notice(client)
    assert len(warnings_in(caplog)) == 1


def test_a_lease_of_a_client_that_retries(caplog: pytest.LogCaptureFixture) -> None:
    """``pool.call`` and ``pool.lease`` notice the client that they hand out."""
    provider: Any = ScriptedProvider()
    provider.client = SDKClient(2)
    pool = pool_of(provider)
    pool.call(lambda lease: None)
    with pool.lease():
        pass
    assert len(warnings_in(caplog)) == 1


def test_every_name_stands_in_one_table() -> None:
    """No class is both an answer, an error without one, and a mistake of the caller's."""
    tables = (clients._KINDS, clients._ANSWERS, clients._OWN)
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))
