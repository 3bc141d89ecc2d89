"""Behaviours that are an HTTP status with its body, in the words real servers use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from llmpool.testing.answers import error_body
from llmpool.testing.exchange import Exchange
from llmpool.testing.reply import Headers, body_reply, json_reply, to_pairs

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def to_seconds(value: float | str | None) -> str | None:
    """Return a header value: numbers in their shortest form, text as it is."""
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else str(value)


@attrs.frozen
class Status:
    """
    Answer any status.

    A mapping as *body* is sent as JSON, a string as plain text, bytes as they are;
    without a body an error in OpenAI's shape is. *headers* given as pairs may name one
    header twice.
    """

    code: int
    body: Mapping[str, Any] | str | bytes | None = None
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=to_pairs)

    def __call__(self, exchange: Exchange) -> None:
        body: object = self.body
        if body is None:
            kind = "server_error" if self.code >= 500 else "invalid_request_error"
            body = error_body(f"Answered {self.code} on purpose.", _TYPES.get(self.code, kind))
        exchange.send(body_reply(body, self.code, self.headers))


@attrs.frozen
class RateLimited:
    """
    Answer a 429 that goes away by waiting.

    *retry_after* is in seconds, or text sent as it is; without it no such header is sent.
    """

    retry_after: float | str | None = None
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=to_pairs)
    code: str = "rate_limit_exceeded"

    def __call__(self, exchange: Exchange) -> None:
        body = error_body("Rate limit reached.", "rate_limit_error", self.code)
        after = to_seconds(self.retry_after)
        delay: Headers = () if after is None else {"Retry-After": after}
        exchange.send(json_reply(body, 429, (*to_pairs(delay), *self.headers)))


@attrs.frozen
class QuotaExhausted:
    """Answer a 429 that waiting does not cure."""

    code: str = "credit_balance_exhausted"

    def __call__(self, exchange: Exchange) -> None:
        body = error_body("You exceeded your current quota.", "insufficient_quota", self.code)
        exchange.send(json_reply(body, 429))


@attrs.frozen
class Overloaded:
    """Answer that the server has too much to do: 503 as OpenAI says it, 529 as Anthropic."""

    retry_after: float | str | None = None
    status: int = 503

    def __call__(self, exchange: Exchange) -> None:
        if self.status == 529:
            failed = {"type": "overloaded_error", "message": "Overloaded"}
            body: dict[str, Any] = {"type": "error", "error": failed}
        else:
            text = "The server is overloaded or not ready yet."
            body = error_body(text, "service_unavailable_error", "server_is_overloaded")
        after = to_seconds(self.retry_after)
        delay: Headers = () if after is None else {"Retry-After": after}
        exchange.send(json_reply(body, self.status, delay))


@attrs.frozen
class Loading:
    """Answer as llama.cpp does while it loads its model."""

    def __call__(self, exchange: Exchange) -> None:
        failed = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
        exchange.send(json_reply({"error": failed}, 503))


@attrs.frozen
class QueueFull:
    """Answer as Ollama does when its queue is full."""

    def __call__(self, exchange: Exchange) -> None:
        text = "server busy, please try again.  maximum pending requests exceeded"
        exchange.send(json_reply({"error": text}, 503))


@attrs.frozen
class BadKey:
    """Answer that the key is wrong, whatever it is."""

    def __call__(self, exchange: Exchange) -> None:
        body = error_body("Incorrect API key provided.", code="invalid_api_key")
        exchange.send(json_reply(body, 401))


@attrs.frozen
class ContextTooLong:
    """Answer that the prompt is longer than the model can read."""

    limit: int = 4096

    def __call__(self, exchange: Exchange) -> None:
        text = f"This model's maximum context length is {self.limit} tokens."
        exchange.send(json_reply(error_body(text, code="context_length_exceeded"), 400))
