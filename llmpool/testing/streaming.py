"""Behaviours of streams; a request that wants no stream is answered normally."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from llmpool.testing.exchange import Exchange
from llmpool.testing.reply import event
from llmpool.testing.spoken import Format

_SAID = "The server had an error."
_ERRORS: dict[str, dict[str, Any]] = {
    "openai": {"message": _SAID, "type": "server_error", "code": None},
    "anthropic": {"type": "api_error", "message": _SAID},
    "gemini": {"code": 500, "message": _SAID, "status": "INTERNAL"},
}


@attrs.frozen
class ErrorInStream:
    """
    Send some content chunks and then an error event, under a status of 200.

    *error* is the whole object under ``error``; by itself it is one of the request's format. With
    *role* the role chunk comes first; *metadata* puts an event without choices before everything, as
    Azure does.
    *event_name* names the error event.
    """

    after_chunks: int = 0
    error: Mapping[str, Any] | None = None
    role: bool = True
    metadata: bool = False
    event_name: str | None = None

    def __call__(self, exchange: Exchange) -> None:
        reply = exchange.answer()
        if reply.streamed:
            parts = reply.first_chunks(self.after_chunks)
            parts = parts if self.role else parts[reply.lead :]
            if self.metadata:
                filtered = [{"prompt_index": 0, "content_filter_results": {}}]
                first = {"id": "", "choices": [], "prompt_filter_results": filtered}
                parts = (event(first), *parts)
            reply = attrs.evolve(reply, parts=(*parts, self._event(exchange.request.format)))
        exchange.send(reply)

    def _event(self, format: Format) -> bytes:
        error = dict(_ERRORS[format] if self.error is None else self.error)
        if format == "anthropic":
            return event({"type": "error", "error": error}, self.event_name or "error")
        return event({"error": error}, self.event_name)


@attrs.frozen
class EndEarly:
    """
    End a stream after some content chunks, without its end mark and, unless *finish_reason*
    is set, without a finish reason.

    *by* says how the body ends: by its last chunk, or by the connection's end as in
    HTTP/1.0. Either way HTTP itself reports no fault.
    """

    after_chunks: int = 2
    by: Literal["chunked", "close"] = "chunked"
    finish_reason: bool = False

    def __call__(self, exchange: Exchange) -> None:
        reply = exchange.answer()
        if reply.streamed:
            parts = reply.first_chunks(self.after_chunks)
            if self.finish_reason:
                start = reply.lead + reply.contents
                parts += reply.parts[start : start + reply.finishes]
            reply = attrs.evolve(reply, parts=parts, framing=self.by)
        exchange.send(reply)


@attrs.frozen
class Stall:
    """Send some content chunks of a stream and then nothing more."""

    after_chunks: int = 2

    def __call__(self, exchange: Exchange) -> None:
        reply = exchange.answer()
        if not reply.streamed:
            exchange.send(reply)
            return
        exchange.send_until(reply, self.after_chunks)
        exchange.hang()


@attrs.frozen
class PingsOnly:
    """
    Send comment lines and never an event, after some content chunks or none.

    In the Anthropic format pings are events of their own kind.
    """

    interval: float = 0.05
    after_chunks: int | None = None
    comment: str = "ping"

    def __call__(self, exchange: Exchange) -> None:
        reply = exchange.answer()
        if not reply.streamed:
            exchange.send(reply)
            return
        exchange.send_until(reply, "headers" if self.after_chunks is None else self.after_chunks)
        line = f": {self.comment}\n\n".encode()
        if exchange.request.format == "anthropic":
            line = event({"type": "ping"}, "ping")
        ping = reply.frame(line)
        while not exchange.wait(self.interval):
            exchange.send_bytes(ping)
        exchange.close()
