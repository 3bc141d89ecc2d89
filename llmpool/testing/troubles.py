"""Errors in each wire format's own shape and words."""

from __future__ import annotations

from typing import Any

import attrs

from llmpool.testing.answers import error_body
from llmpool.testing.reply import Headers, Reply, json_reply
from llmpool.testing.spoken import Format


@attrs.frozen
class Trouble:
    """An error as the OpenAI format tells it; the other formats tell it by its ``code`` and status."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    headers: Headers = ()
    limit: int = 4096

    def reply(self, format: Format) -> Reply:
        """Give it as an answer."""
        status, body = self.status, error_body(self.message, self.type, self.code)
        if format == "anthropic":
            body = self._as_anthropic()
        elif format == "gemini":
            status, body = self._as_gemini()
        return json_reply(body, status, self.headers)

    def _as_anthropic(self) -> dict[str, Any]:
        kind = _ANTHROPIC_TYPES.get(self.status, "api_error")
        kind = "invalid_request_error" if kind == "api_error" and self.status < 500 else kind
        said = _ANTHROPIC_WORDS.get(self.code or "", self.message)
        return anthropic_error(kind, said.format(above=self.limit + 1, limit=self.limit))

    def _as_gemini(self) -> tuple[int, dict[str, Any]]:
        status, kind, said, details = _GEMINI_ERRORS.get(
            self.code or "",
            (self.status, _GEMINI_STATUSES.get(self.status, "INTERNAL"), self.message, []),
        )
        said = said.format(above=self.limit + 1, limit=self.limit)
        return status, gemini_error(status, kind, said, details)


def anthropic_error(kind: str, message: str) -> dict[str, Any]:
    """Build an error in Anthropic's shape."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def gemini_error(
    status: int, kind: str, message: str, details: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Build an error in Google's shape."""
    error: dict[str, Any] = {"code": status, "message": message, "status": kind}
    return {"error": {**error, "details": details} if details else error}


_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_ANTHROPIC_WORDS = {
    "invalid_api_key": "invalid x-api-key",
    "context_length_exceeded": "prompt is too long: {above} tokens > {limit} maximum",
    "credit_balance_exhausted": "You have reached your specified API usage limits.",
    "rate_limit_exceeded": "This request would exceed your organization's rate limit.",
    "content_filter": "Output blocked by content filtering policy",
}

_GEMINI_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _quota(period: str) -> list[dict[str, Any]]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
        "quotaId": f"GenerateRequestsPer{period}PerProjectPerModel",
    }
    return [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}]


_GEMINI_ERRORS: dict[str, tuple[int, str, str, list[dict[str, Any]]]] = {
    "invalid_api_key": (
        400,
        "INVALID_ARGUMENT",
        "API key not valid. Please pass a valid API key.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }
        ],
    ),
    "context_length_exceeded": (
        400,
        "INVALID_ARGUMENT",
        "The input token count ({above}) exceeds the maximum number of tokens allowed ({limit}).",
        [],
    ),
    "credit_balance_exhausted": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota.",
        _quota("Day"),
    ),
    "rate_limit_exceeded": (
        429,
        "RESOURCE_EXHAUSTED",
        "Resource has been exhausted.",
        _quota("Minute"),
    ),
    "server_is_overloaded": (503, "UNAVAILABLE", "The model is overloaded.", []),
}
