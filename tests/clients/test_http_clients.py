"""httpx, httpx2, requests, urllib3 and botocore over a server that fails in every way."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from real_clients import PROMPT, library, raised

from llmpool import errors
from llmpool.clients import judge, read_client_error
from llmpool.testing import (
    Cut,
    Hang,
    Html,
    LocalServer,
    RateLimited,
    Redirect,
    Refuse,
    Reset,
    Status,
)

TLS = pathlib.Path(__file__).parents[1] / "data" / "tls"
KEY = "key-in-the-url-0123456789"
"""Not of the shape that the tests look for in logs: these libraries log the addresses they ask."""
BODY = {"model": "tiny", "messages": [{"role": "user", "content": PROMPT}]}
HEADERS = {"Authorization": f"Bearer {KEY}"}
SECONDS = 0.5

Ask = Callable[[str], Any]


def by_httpx(name: str) -> Ask:
    """Ask by httpx, of either name."""

    def ask(url: str) -> Any:
        module = library(name)
        with module.Client(timeout=SECONDS, headers=HEADERS, follow_redirects=True) as client:
            reply = client.post(url, json=BODY)
        reply.raise_for_status()
        return reply.json()

    return ask


def by_requests(url: str) -> Any:
    """Ask by requests."""
    requests = library("requests")
    with requests.Session() as session:
        reply = session.post(url, json=BODY, headers=HEADERS, timeout=SECONDS)
    reply.raise_for_status()
    return reply.json()


def by_urllib3(url: str) -> Any:
    """Ask by urllib3, which raises for no status by itself."""
    urllib3 = library("urllib3")
    retry = urllib3.Retry(total=1, status_forcelist=[429, 502], allowed_methods=None)
    with urllib3.PoolManager(retries=retry, timeout=SECONDS) as manager:
        return manager.request("POST", url, json=BODY, headers=HEADERS).json()


ASKS = {
    "httpx": by_httpx("httpx"),
    "httpx2": by_httpx("httpx2"),
    "requests": by_requests,
    "urllib3": by_urllib3,
}
each_client = pytest.mark.parametrize(
    "client", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ASKS]
)


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """A server that takes any key."""
    with LocalServer("eu") as server:
        yield server


def url_of(server: LocalServer) -> str:
    """Give an address with a key in it."""
    return f"{server.url}/chat/completions?key={KEY}"


@each_client
@pytest.mark.parametrize(
    ("behaviour", "kind", "sent"),
    [
        (Html(), errors.MalformedResponse, {"answered"}),
        (Redirect("/v1/chat/completions", 307), errors.ServerFault, {"answered"}),
        (Refuse(), errors.ConnectionFailed, {"no"}),
        (Reset(), errors.ConnectionFailed, {"maybe"}),
        (Cut(), errors.ConnectionFailed, {"maybe", "answered"}),
        (Hang(), errors.DeadlineExceeded, {"maybe"}),
        (Hang("body"), errors.DeadlineExceeded, {"maybe"}),
    ],
    ids=lambda given: type(given).__name__ if callable(given) else None,
)
def test_what_a_client_raises(
    eu: LocalServer, client: str, behaviour: Any, kind: type, sent: set[str]
) -> None:
    """It is read alike, whoever asked; the key in the address is not shown."""
    eu.behave(behaviour)
    error = raised(lambda: ASKS[client](url_of(eu)))
    found = read_client_error(error)
    assert type(found) is kind
    assert found.sent in sent
    assert judge(error).verdict == "fault"
    assert KEY not in str(found)


@each_client
def test_a_status(eu: LocalServer, client: str) -> None:
    """It is read with what the server says beside it; urllib3 keeps none of it."""
    eu.behave(RateLimited(retry_after=None if client == "urllib3" else 7))
    found = read_client_error(raised(lambda: ASKS[client](url_of(eu))))
    if client == "urllib3":
        assert type(found) is errors.ServerFault
        return
    assert type(found) is errors.RateLimited
    assert (found.retry_after, found.code) == (7.0, "rate_limit_exceeded")
    said = {"error": {"message": f"cannot take {PROMPT!r} with {KEY}"}}
    eu.behave(Status(400, said))
    found = read_client_error(raised(lambda: ASKS[client](url_of(eu))))
    assert str(found) == "HTTP 400: cannot take '[prompt]' with [key]"


@pytest.mark.needs("requests")
def test_a_status_of_an_answer_that_has_not_been_read(eu: LocalServer) -> None:
    """Of a streamed one the status alone is read: nothing is fetched for an error's sake."""
    requests = library("requests")
    eu.behave(Hang("headers"))
    with requests.Session() as session:
        reply = session.post(url_of(eu), json=BODY, headers=HEADERS, timeout=SECONDS, stream=True)
        reply.status_code = 503
        found = read_client_error(raised(reply.raise_for_status))
        reply.close()
    assert str(found) == "HTTP 503"


@each_client
def test_a_name_that_does_not_resolve(client: str) -> None:
    """It is told apart from a server that refuses."""
    found = read_client_error(raised(lambda: ASKS[client]("http://nowhere.invalid/v1")))
    assert found is not None
    assert (type(found), found.code, found.sent) == (errors.ConnectionFailed, "dns", "no")


@each_client
def test_a_certificate_that_nobody_trusts(client: str) -> None:
    """It is told apart from a connection that broke."""
    pem = str(TLS / "selfsigned.pem")
    with LocalServer("tls", tls=(pem, pem)) as server:
        found = read_client_error(raised(lambda: ASKS[client](url_of(server))))
    assert found is not None
    assert (type(found), found.code, found.sent) == (errors.ConnectionFailed, "tls", "no")


@each_client
def test_an_address_that_is_none(client: str) -> None:
    """Nothing was sent."""
    found = read_client_error(raised(lambda: ASKS[client]("nonsense://eu.example")))
    assert found is not None
    assert (type(found), found.sent) == (errors.ConnectionFailed, "no")


# -- botocore -----------------------------------------------------------------------------------


@pytest.fixture
def bedrock(eu: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of Bedrock's, at the first server."""
    botocore_session = library("botocore.session")
    config = library("botocore.config")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = botocore_session.Session().create_client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=eu.url[: -len("/v1")],
        aws_access_key_id="an-id",
        aws_secret_access_key=KEY,
        config=config.Config(
            retries={"total_max_attempts": 1}, read_timeout=SECONDS, connect_timeout=SECONDS
        ),
    )
    yield client
    client.close()


def converse(client: Any) -> Any:
    """Ask Bedrock."""
    return client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": PROMPT}]}])


def aws(kind: str, status: int, said: str = "oh") -> Status:
    """Answer an error as Bedrock does."""
    return Status(status, {"message": said}, {"x-amzn-ErrorType": kind, "x-amzn-RequestId": "r-7"})


@pytest.mark.needs("botocore")
@pytest.mark.parametrize(
    ("behaviour", "kind", "verdict"),
    [
        (aws("ThrottlingException", 429), errors.RateLimited, "rate_limited"),
        (aws("ServiceQuotaExceededException", 400), errors.QuotaExhausted, "config"),
        (aws("AccessDeniedException", 403), errors.AuthenticationFailed, "config"),
        (aws("ResourceNotFoundException", 404), errors.InvalidRequest, "config"),
        (aws("ValidationException", 400), errors.InvalidRequest, "caller"),
        (aws("ValidationException", 400, "Input is too long for requested model."),
         errors.ContextLengthExceeded, "caller"),
        (aws("ModelNotReadyException", 429), errors.ServerFault, "busy"),
        (aws("ServiceUnavailableException", 503), errors.ServerFault, "busy"),
        (aws("InternalServerException", 500), errors.ServerFault, "fault"),
        (Refuse(), errors.ConnectionFailed, "fault"),
        (Reset(), errors.ConnectionFailed, "fault"),
        (Hang(), errors.DeadlineExceeded, "fault"),
    ],
    ids=lambda given: type(given).__name__ if callable(given) else None,
)  # fmt: skip
def test_what_botocore_raises(
    eu: LocalServer, bedrock: Any, behaviour: Any, kind: type, verdict: str
) -> None:
    """It is read by the service's own code, and by what botocore knows of the connection."""
    eu.behave(behaviour)
    error = raised(lambda: converse(bedrock))
    found = read_client_error(error)
    assert type(found) is kind
    assert judge(error).verdict == verdict
    assert found.request_id == ("r-7" if found.status else None)


@pytest.mark.needs("botocore")
def test_a_mistake_in_the_arguments(bedrock: Any) -> None:
    """It is the caller's own."""
    error = raised(lambda: bedrock.converse(modelId=7))
    assert read_client_error(error) is None
    assert judge(error).foreign
