"""Behaviours whose answer arrives whole and has the wrong contents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from llmpool.testing.exchange import Exchange
from llmpool.testing.reply import Reply, body_reply, event, json_reply, to_pairs
from llmpool.testing.troubles import Trouble

_PAGE = "<!doctype html><html><head><title>Sign in</title></head><body>Sign in</body></html>"
_EMPTY = {"openai": "choices", "anthropic": "content", "gemini": "candidates"}
_REFUSAL = {
    "error": {
        "message": "The prompt was filtered by the content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
    }
}


@attrs.frozen
class Html:
    """Answer with a page, as captive portals and failing gateways do."""

    status: int = 200
    page: str = _PAGE

    def __call__(self, exchange: Exchange) -> None:
        html = {"Content-Type": "text/html; charset=utf-8"}
        exchange.send(body_reply(self.page, self.status, html))


@attrs.frozen
class WrongBody:
    """Answer with any bytes under any content type."""

    body: bytes = b""
    content_type: str = "application/json"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=to_pairs)

    def __call__(self, exchange: Exchange) -> None:
        reply = Reply(self.status, {"Content-Type": self.content_type}, (self.body,))
        exchange.send(reply.with_headers(self.headers))


@attrs.frozen
class EmptyChoices:
    """Answer in the right shape with nothing in it: no choices, no vectors, no events."""

    def __call__(self, exchange: Exchange) -> None:
        reply, format = exchange.answer(), exchange.request.format
        if reply.streamed:
            done = [event({"object": "chat.completion.chunk", "choices": []}), event("[DONE]")]
            if format == "anthropic":
                done = [reply.parts[0], reply.parts[-1]]
            elif format == "gemini":
                done = [event({"candidates": []})]
            reply = attrs.evolve(reply, parts=done)
        elif exchange.request.route in ("chat", "embeddings") and reply.status == 200:
            field = _EMPTY[format]
            if exchange.request.route == "embeddings":
                field = "embeddings" if format == "gemini" else "data"
            reply = json_reply({**json.loads(reply.parts[0]), field: []})
        exchange.send(reply)


@attrs.frozen
class ErrorBody:
    """Answer an error object under a status of success."""

    error: Mapping[str, Any] = attrs.field(
        factory=lambda: {"message": "Provider returned error", "code": 502}
    )
    status: int = 200

    def __call__(self, exchange: Exchange) -> None:
        exchange.send(json_reply({"error": dict(self.error)}, self.status))


@attrs.frozen
class ContentFilter:
    """
    Answer with a filtered completion: no text, finish reason ``content_filter``.

    With *prompt* the request itself is refused: with a 400 in Azure's words, or as Anthropic or Gemini
    do it.
    """

    prompt: bool = False

    def __call__(self, exchange: Exchange) -> None:
        format = exchange.request.format
        if self.prompt and format == "gemini":
            exchange.send(json_reply({"promptFeedback": {"blockReason": "SAFETY"}}))
        elif self.prompt and format == "anthropic":
            exchange.fail(Trouble(400, "", code="content_filter"))
        elif self.prompt:
            exchange.send(json_reply(_REFUSAL, 400))
        else:
            changes = {"text": None, "tool": None, "finish_reason": "content_filter"}
            exchange.send(exchange.answer(**changes))


@attrs.frozen
class Huge:
    """Answer with *size* bytes: a completion's text, or the body of an error."""

    size: int = 8 * 1024 * 1024
    status: int = 200

    def __call__(self, exchange: Exchange) -> None:
        filling = "x" * self.size
        if self.status == 200:
            exchange.send(exchange.answer(text=filling))
        else:
            exchange.send(body_reply(filling, self.status))
