"""Answers of the pool's own, for when no deployment gave one: errors in the shape of the client's API."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from llmpool import errors
from llmpool.forwarding.answers import Answer, own_fields
from llmpool.forwarding.asked import ANTHROPIC

MOST_SAID = 1000
RETRIES_ARE_DONE = ("x-should-retry", "false")
"""The SDKs heed it: what the pool has tried everywhere is not to be tried all over again."""

_STATUSES: tuple[tuple[type[errors.LLMPoolError], int], ...] = (
    (errors.InvalidRequest, 400),
    (errors.AuthenticationFailed, 401),
    (errors.QuotaExhausted, 429),
    (errors.RateLimited, 429),
)
_TYPES = {
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("authentication_error", "authentication_error"),
    404: ("invalid_request_error", "not_found_error"),
    429: ("rate_limit_error", "rate_limit_error"),
    503: ("service_unavailable_error", "api_error"),
}
"""The names of errors in the OpenAI format and in Anthropic's, by status."""


def tell(error: errors.LLMPoolError, wire_format: str, pool: str) -> Answer:
    """Give the answer that an error of the pool's stands for."""
    status = next((number for kind, number in _STATUSES if isinstance(error, kind)), 503)
    if getattr(error, "status", None) == 501:
        status = 501
    code = getattr(error, "code", None)
    if status == 400 and code == "model_not_found":
        status = 404
    headers = [RETRIES_ARE_DONE]
    delay = getattr(error, "retry_after", None)
    if delay is not None:
        headers.append(("retry-after", str(math.ceil(delay))))
    attempts = getattr(error, "attempts", ())
    headers += own_fields(None, len(attempts))
    message = errors.one_line(f"llmpool, {pool}: {say(error, status)}", MOST_SAID)
    return write(status, message, code, headers, wire_format)


def say(error: errors.LLMPoolError, status: int) -> str:
    """Say in one line what the error, whose answer has this status, says in several."""
    if isinstance(error, errors.NoHealthyDeployment):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in error.reasons.items())
        return f"{error.message} ({reasons})"
    if not isinstance(error, errors.ProviderError) or not error.attempts:
        return str(error)
    if status != 503:
        return f"{error.deployment}: {error.message}"
    # Who was asked twice mostly said the same twice.
    tried = dict.fromkeys(f"{attempt.deployment}: {attempt.error}" for attempt in error.attempts)
    return f"no deployment answered ({'; '.join(tried)})"


def write(
    status: int,
    message: str,
    code: str | None,
    headers: list[tuple[str, str]],
    wire_format: str,
) -> Answer:
    """Write an error in the shape of an API."""
    openai, anthropic = _TYPES.get(status, _TYPES[503])
    body: Mapping[str, object]
    if wire_format == ANTHROPIC:
        body = {"type": "error", "error": {"type": anthropic, "message": message}}
    else:
        told = {"message": message, "type": openai, "param": None, "code": code}
        body = {"error": told}
    written = json.dumps(body, ensure_ascii=False).encode()
    return Answer.of_whole(status, [*headers, ("content-type", "application/json")], written)
