"""From the wire's failures to the pool's errors."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from llmpool import errors, wire
from llmpool.providers._failure import WireFailure
from llmpool.providers._http import Reply

_T = TypeVar("_T")

_CODES = {"dns": "dns", "local": "network"}
_CONNECTION = frozenset(
    {"refused", "dns", "tls", "connect-timeout", "reset", "cut", "local", "proxy"}
)


def plainly(ask: Callable[[], _T]) -> _T:
    """
    Call *ask*, and put the pool's error in the place of a failure, with nothing chained to it.

    Raises:
        ProviderError: for a WireFailure.
    """
    try:
        return ask()
    except WireFailure as error:
        trouble = failure(error)
    raise trouble


def failure(error: WireFailure) -> errors.ProviderError:
    """Give the pool's error for a request that brought no answer."""
    if error.kind == "timeout" or (error.kind == "connect-timeout" and error.expired):
        return errors.DeadlineExceeded(error.message, sent=error.sent)
    if error.kind == "redirect":
        return errors.ServerFault(
            f"unexpected redirect: {error.message}", status=error.status, sent="answered"
        )
    if error.kind in _CONNECTION:
        code = "descriptors" if "open files" in error.message else _CODES.get(error.kind)
        return errors.ConnectionFailed(
            error.message, code=code, status=error.status, sent=error.sent
        )
    return errors.MalformedResponse(error.message, sent=error.sent)


def answer_error(
    reply: Reply, secrets: tuple[str, ...], private: tuple[str, ...]
) -> errors.ProviderError:
    """Give the pool's error for an answer that is one."""
    return wire.read_error(
        reply.status,
        lower(reply.headers),
        reply.body,
        wall_time=now(),
        secrets=secrets,
        private=private,
    )


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Give the headers with lower-case names."""
    return {name.lower(): value for name, value in headers.items()}


def now() -> float:
    """Give POSIX seconds, for servers that name a date and not their own."""
    return datetime.datetime.now(datetime.timezone.utc).timestamp()


def said_no_json(body: bytes, content_type: str) -> errors.MalformedResponse:
    """Tell what came in the place of JSON, without showing it."""
    if not body.strip():
        return errors.MalformedResponse("an empty answer under HTTP 200")
    kind = "HTML" if body.lstrip()[:1] == b"<" else "no JSON"
    named = wire.one_line(content_type, 60) or "no content type"
    return errors.MalformedResponse(f"{kind} under HTTP 200 ({named})")


def as_mapping(decoded: Any) -> Mapping[str, Any]:
    """Demand a JSON object."""
    if not isinstance(decoded, Mapping):
        raise errors.MalformedResponse(f"a JSON {type(decoded).__name__} and no object")
    return decoded
