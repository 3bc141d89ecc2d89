"""The errors of known clients, read by their names and fields: none of these libraries is imported."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from llmpool import errors, wire
from llmpool import outcomes as out
from llmpool.outcomes import Outcome, Verdict
from llmpool.providers._private import keys_in, texts_in

_ROOTS = {"httpx2": "httpx"}  # the same names under another roof
_DEEPEST = 8
"""So many errors behind an error are looked at."""


@attrs.frozen
class _Kind:
    """What an error without an answer stands for, and whether its request can have been processed."""

    error: type[errors.ProviderError]
    sent: str


_WITHOUT_ANSWER: tuple[tuple[type[errors.ProviderError], str, str], ...] = (
    (
        errors.DeadlineExceeded,
        "no",
        """httpx.ConnectTimeout httpx.PoolTimeout requests.ConnectTimeout
        urllib3.ConnectTimeoutError urllib3.EmptyPoolError botocore.ConnectTimeoutError""",
    ),
    (
        errors.DeadlineExceeded,
        "maybe",
        """openai.APITimeoutError anthropic.APITimeoutError httpx.TimeoutException
        requests.Timeout urllib3.TimeoutError botocore.ReadTimeoutError""",
    ),
    (
        errors.ConnectionFailed,
        "no",
        """httpx.ConnectError httpx.InvalidURL httpx.LocalProtocolError httpx.ProxyError
        httpx.UnsupportedProtocol requests.InvalidHeader requests.InvalidSchema
        requests.InvalidURL requests.MissingSchema requests.ProxyError requests.URLRequired
        urllib3.LocationValueError urllib3.NewConnectionError urllib3.ProxyError
        botocore.ConnectionError""",
    ),
    (
        errors.ConnectionFailed,
        "maybe",
        """openai.APIConnectionError anthropic.APIConnectionError httpx.TransportError
        requests.RequestException urllib3.HTTPError botocore.HTTPClientError
        botocore.SSLError""",
    ),
    (
        errors.ConnectionFailed,
        "answered",
        """requests.ChunkedEncodingError urllib3.IncompleteRead urllib3.InvalidChunkLength
        botocore.IncompleteReadError botocore.ResponseStreamingError""",
    ),
    (
        errors.MalformedResponse,
        "answered",
        """openai.APIResponseValidationError anthropic.APIResponseValidationError
        httpx.DecodingError requests.ContentDecodingError urllib3.DecodeError""",
    ),
    (
        errors.ServerFault,
        "answered",
        """httpx.TooManyRedirects requests.RetryError requests.TooManyRedirects
        urllib3.InvalidHeader urllib3.ResponseError""",
    ),
    (
        errors.AuthenticationFailed,
        "no",
        """anthropic.CredentialsError botocore.CredentialRetrievalError
        botocore.NoAuthTokenError botocore.NoCredentialsError botocore.PartialCredentialsError
        botocore.SSOError botocore.TokenRetrievalError""",
    ),
)
_KINDS = {
    name: _Kind(error, sent) for error, sent, names in _WITHOUT_ANSWER for name in names.split()
}
_OWN = frozenset(
    {
        "requests.InvalidJSONError",
        "requests.StreamConsumedError",
        "requests.UnrewindableBodyError",
        "urllib3.BodyNotHttplibCompatible",
        "urllib3.ClosedPoolError",
        "urllib3.TimeoutStateError",
        "urllib3.UnrewindableBodyError",
    }
)
"""What the code that uses a client did wrong; in requests these are OSErrors all the same."""


_BEFORE_SENDING = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)


def judge(
    error: Exception, *, passed_model: bool = False, is_fair: Callable[[], bool] | None = None
) -> Outcome:
    """
    Read an exception that ended an attempt, a known client's too.

    Args:
        passed_model: the model's name is the caller's own, passed through as it came.
        is_fair: asked of a time-out only: whether the time given was long enough to blame it on
            the deployment.
    """
    told: Exception | None = read_client_error(error)
    if told is None:
        if any(name in _OWN for name in _names(error)):
            return Outcome(Verdict.IGNORED, foreign=True)
        told = error
    fair = is_fair is None or not isinstance(told, TimeoutError) or is_fair()
    return out.classify(told, passed_model=passed_model, fair=fair)


def read_client_error(error: BaseException) -> errors.ProviderError | None:
    """
    Give the pool's error for one of openai, anthropic, httpx, requests, urllib3 or botocore.

    It holds nothing of the client's own, whose request has the key and the prompt. None for every
    other exception, those that say what the calling code did wrong among them.
    """
    try:
        return _read(error)
    except Exception:  # noqa: BLE001 - the fields of such an object may be properties that raise
        return None


def _read(error: BaseException) -> errors.ProviderError | None:
    if isinstance(error, json.JSONDecodeError):
        return out.classify(error).error
    for name in _names(error):
        if name in _OWN:
            return None
        if name in _KINDS:
            return _without_answer(error, name)
        read = _ANSWERS.get(name)
        answer = read(error) if read is not None else None
        if answer is not None:
            return _with_answer(error, answer)
    return None


def _names(error: BaseException) -> Iterator[str]:
    """Give the names of an error's classes, each as ``library.Class``, the most telling first."""
    for kind in type(error).__mro__:
        root = str(kind.__module__).partition(".")[0]
        yield f"{_ROOTS.get(root, root)}.{kind.__name__}"


# -- without an answer --------------------------------------------------------------------------


def _without_answer(error: BaseException, name: str) -> errors.ProviderError:
    """
    Read an error that wraps what went wrong, and that what went wrong below it.

    The innermost known one tells the class; each may tell whether the request went out.
    """
    kinds = [_KINDS[name]]
    said = [next(_names(error))]
    code = None
    for link in _behind(error):
        known = next((each for each in _names(link) if each in _KINDS), None)
        if known is not None:
            kinds.append(_KINDS[known])
            said[1:] = [next(_names(link))]
        elif isinstance(link, OSError):
            told = out.classify(link).error
            if isinstance(told, errors.ConnectionFailed):
                said[1:] = [told.message]
                # A certificate will be no other a moment later; a handshake's end may be.
                code = "tls" if isinstance(link, ssl.SSLCertVerificationError) else told.code
            if isinstance(link, _BEFORE_SENDING):
                kinds.append(_Kind(kinds[-1].error, "no"))
            break
    kind = kinds[-1].error
    sent = {each.sent for each in kinds}
    return kind(
        ": ".join(said),
        code=code if kind is errors.ConnectionFailed else None,
        sent=next((word for word in ("answered", "no") if word in sent), "maybe"),
    )


def _behind(error: BaseException) -> Iterator[BaseException]:
    """
    Give the errors that an error wraps, from the outside in.

    Not by ``__context__``, where an earlier error of the calling code may stand.
    """
    for _ in range(_DEEPEST):
        kept = getattr(error, "kwargs", None)
        given = (
            error.__cause__,
            getattr(error, "reason", None),
            *error.args[:2],
            kept.get("error") if isinstance(kept, Mapping) else None,
        )
        inner = next((link for link in given if isinstance(link, BaseException)), None)
        if inner is None:
            return
        error = inner
        yield error


# -- with an answer -----------------------------------------------------------------------------


@attrs.frozen
class _Answer:
    """What a client kept of an answer that was an error."""

    status: int
    headers: Mapping[str, str]
    body: object


def _with_answer(error: BaseException, answer: _Answer) -> errors.ProviderError:
    secrets, private = _private(error)
    return wire.read_error(
        answer.status,
        answer.headers,
        answer.body,
        wall_time=datetime.datetime.now(datetime.timezone.utc).timestamp(),
        secrets=secrets,
        private=private,
    )


def _of_sdk(error: Any) -> _Answer:
    """Read an error of the OpenAI or the Anthropic SDK; in a stream it has no status, or 200."""
    given = getattr(error, "status_code", None)
    status = given if isinstance(given, int) else 200
    headers = _lower(getattr(getattr(error, "response", None), "headers", None))
    request_id = getattr(error, "request_id", None)
    if isinstance(request_id, str):
        headers.setdefault("x-request-id", request_id)
    body = error.body
    if body is None and status < 300:
        body = {"message": str(error)}
    return _Answer(status, headers, body)


def _of_response(error: Any) -> _Answer | None:
    """Read what ``raise_for_status()`` raises in httpx and in requests."""
    response = error.response
    if response is None:
        return None
    # Not by its property: that of requests reads from the network what has not been read yet.
    body = vars(response).get("_content")
    status = response.status_code
    return _Answer(status, _lower(response.headers), body if isinstance(body, bytes) else None)


def _of_aws(error: Any) -> _Answer:
    """Read an error of an AWS service."""
    found = error.response.get("Error") or {}
    facts = error.response.get("ResponseMetadata") or {}
    headers = _lower(facts.get("HTTPHeaders"))
    if isinstance(facts.get("RequestId"), str):
        headers.setdefault("x-request-id", facts["RequestId"])
    body = {"code": found.get("Code"), "message": found.get("Message")}
    return _Answer(facts.get("HTTPStatusCode") or 200, headers, body)


def _of_aws_stream(error: Any) -> _Answer:
    """Read an event of a stream that is an error; whatever it is, its status says 400."""
    return attrs.evolve(_of_aws(error), status=200)


_ANSWERS: dict[str, Callable[[Any], _Answer | None]] = {
    "openai.APIError": _of_sdk,
    "anthropic.APIError": _of_sdk,
    "httpx.HTTPStatusError": _of_response,
    "requests.HTTPError": _of_response,
    "botocore.EventStreamError": _of_aws_stream,
    "botocore.ClientError": _of_aws,
}


def _lower(headers: Any) -> dict[str, str]:
    if headers is None:
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _private(error: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the keys and the texts in the request of an error, which its answer may repeat."""
    request = _field(error, "request") or _field(_field(error, "response"), "request")
    headers = _field(request, "headers")
    secrets = keys_in(_lower(headers), str(_field(request, "url") or ""))
    body = _field(request, "content") or _field(request, "body")
    try:
        asked = json.loads(body) if isinstance(body, (bytes, str)) else None
    except (ValueError, RecursionError):
        asked = None
    return secrets, texts_in(asked) if isinstance(asked, Mapping) else ()


def _field(holder: object, name: str) -> Any:
    """Give a field, None where there is none; a request's may be a property that refuses."""
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - httpx raises RuntimeErrors of its own
        return None
