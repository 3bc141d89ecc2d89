"""
Behaviours that are an HTTP status with its body, in the words real servers use.

The shape and the words are those of the format that the request is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from llmpool.testing.exchange import Exchange
from llmpool.testing.reply import Headers, body_reply, json_reply, to_pairs
from llmpool.testing.troubles import Trouble, anthropic_error

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
    without a body an error in the shape of the request's format is. *headers* given as pairs may name one
    header twice.
    """

    code: int
    body: Mapping[str, Any] | str | bytes | None = None
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=to_pairs)

    def __call__(self, exchange: Exchange) -> None:
        if self.body is not None:
            exchange.send(body_reply(self.body, self.code, self.headers))
            return
        kind = "server_error" if self.code >= 500 else "invalid_request_error"
        said = f"Answered {self.code} on purpose."
        exchange.fail(Trouble(self.code, said, _TYPES.get(self.code, kind), headers=self.headers))


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
        after = to_seconds(self.retry_after)
        delay: Headers = () if after is None else {"Retry-After": after}
        headers = (*to_pairs(delay), *self.headers)
        said = "Rate limit reached."
        exchange.fail(Trouble(429, said, "rate_limit_error", self.code, headers))


@attrs.frozen
class QuotaExhausted:
    """Answer a 429 that waiting does not cure."""

    code: str = "credit_balance_exhausted"

    def __call__(self, exchange: Exchange) -> None:
        said = "You exceeded your current quota."
        exchange.fail(Trouble(429, said, "insufficient_quota", self.code))


@attrs.frozen
class Overloaded:
    """Answer that the server has too much to do: 503 as OpenAI says it, 529 as Anthropic."""

    retry_after: float | str | None = None
    status: int = 503

    def __call__(self, exchange: Exchange) -> None:
        after = to_seconds(self.retry_after)
        delay: Headers = () if after is None else {"Retry-After": after}
        if self.status == 529:
            body = anthropic_error("overloaded_error", "Overloaded")
            exchange.send(json_reply(body, self.status, delay))
            return
        said = "The server is overloaded or not ready yet."
        kind = "service_unavailable_error"
        exchange.fail(Trouble(self.status, said, kind, "server_is_overloaded", delay))


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
        exchange.fail(Trouble(401, "Incorrect API key provided.", code="invalid_api_key"))


@attrs.frozen
class ContextTooLong:
    """Answer that the prompt is longer than the model can read."""

    limit: int = 4096

    def __call__(self, exchange: Exchange) -> None:
        text = f"This model's maximum context length is {self.limit} tokens."
        code = "context_length_exceeded"
        exchange.fail(Trouble(400, text, code=code, limit=self.limit))
