"""From the wire's failures to the pool's errors."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from llmpool import errors, wire
from llmpool.providers._failure import WireFailure
from llmpool.providers._http import MOST_BYTES, Deadline, OpenReply, Reply
from llmpool.providers._private import Private

_T = TypeVar("_T")

MOST_ERROR_BYTES = 1 << 20
MOST_VALUES = 8_000_000
"""Signs of structure in an answer: decoded, ``[],[],…`` takes twenty-five times its bytes."""
MOST_EVENT_VALUES = 500_000
"""The same of one event of a stream."""
ERROR_PATIENCE = 2.0
"""Seconds for the body of an error, whose status has come and tells the most."""

_CODES = {"dns": "dns", "local": "network", "tls": "tls"}
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
    try:
        raise trouble
    finally:
        # It holds this frame; held by it, all its callers' would wait for the garbage collector.
        del trouble


def failure(error: WireFailure) -> errors.ProviderError:
    """Give the pool's error for a request that brought no answer."""
    error = error.bare()
    code = _code(error)
    if error.kind == "timeout" or error.expired:
        return errors.DeadlineExceeded(error.message, code=code, sent=error.sent)
    if error.kind == "redirect":
        return errors.ServerFault(
            f"unexpected redirect: {error.message}", status=error.status, sent="answered"
        )
    if error.kind in _CONNECTION:
        return errors.ConnectionFailed(
            error.message, code=code, status=error.status, sent=error.sent
        )
    return errors.MalformedResponse(error.message, sent=error.sent)


def _code(error: WireFailure) -> str | None:
    if error.kind == "local" and "open files" in error.message:
        return "descriptors"
    if error.kind == "tls" and "handshake" in error.message:
        return None  # unlike a certificate it may be another with the next connection
    return _CODES.get(error.kind)


def is_good(status: int) -> bool:
    """Tell whether a status is one of success."""
    return 200 <= status <= 299


def read_whole(reply: OpenReply) -> Reply:
    """
    Read the rest of an answer, bounded; of an error as much as comes soon.

    An error whose body is giant, drips or breaks off still has a status, which tells the most.

    Raises:
        WireFailure: the body of a good answer broke off, or is too large.
    """
    good = is_good(reply.status)
    most = MOST_BYTES if good else MOST_ERROR_BYTES
    if not good:
        reply.deadline = Deadline.after(min(reply.deadline.remaining(), ERROR_PATIENCE))
    body = bytearray()  # a list of pieces of one byte each would take fifty times as much
    try:
        while len(body) <= most and (piece := reply.read1()):
            body += piece
            if reply.ended:
                break
    except WireFailure:
        if good:
            raise
    finally:
        reply.close()
    if good and len(body) > most:
        raise WireFailure("too-large", "answered", f"the answer is larger than {most} bytes")
    return Reply(reply.status, reply.headers, bytes(body))


def answer_error(
    status: int, headers: Mapping[str, str], body: object, private: Private
) -> errors.ProviderError:
    """Give the pool's error for an answer, or an event of a stream, that is one."""
    return wire.read_error(
        status,
        lower(headers),
        body,
        wall_time=datetime.datetime.now(datetime.timezone.utc).timestamp(),
        secrets=private.secrets(),
        private=private.texts(),
    )


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Give the headers with lower-case names."""
    return {name.lower(): value for name, value in headers.items()}


def read_object(reply: Reply, private: Private) -> Mapping[str, Any]:
    """
    Give the JSON object that a good answer is.

    Raises:
        ProviderError: it is none, or an error.
    """
    check_values(reply.body, MOST_VALUES)
    decoded = decode(reply.body)
    if decoded is None:
        raise said_no_json(reply, private)
    if not isinstance(decoded, Mapping):
        raise no_answer(f"a JSON {type(decoded).__name__} and no object")
    if decoded.get("error"):
        raise answer_error(reply.status, reply.headers, decoded, private)
    return decoded


def check_values(text: bytes, most: int) -> None:
    """
    Refuse JSON that is hardly more than brackets, before it is decoded.

    Raises:
        MalformedResponse: decoded it would take far more memory than any answer of its size.
    """
    # A colon counts twice, for what stands in a mapping takes that much more.
    if len(text) > most and sum(map(text.count, (b"[", b"{", b",", b":", b":"))) > most:
        raise no_answer(f"JSON of more than {most} values")


def decode(text: str | bytes) -> Any:
    """Give what JSON says; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def no_answer(reason: str) -> errors.MalformedResponse:
    """Give the error for an answer that came and is none."""
    return errors.MalformedResponse(reason, sent="answered")


def said_no_json(reply: Reply, private: Private) -> errors.MalformedResponse:
    """Tell what came in the place of JSON, without showing it."""
    start = reply.body.lstrip()[:1]
    if not start:
        return no_answer("an empty answer under HTTP 200")
    kind = "HTML" if start == b"<" else "no JSON"
    said = reply.headers.get("content-type", "")[:60]
    named = wire.scrub(said, private.secrets(), private.texts()) or "no content type"
    return no_answer(f"{kind} under HTTP 200 ({named})")
