"""From what a user asks to a request, and from what came of the call to the user's answer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from llmpool._made import made
from llmpool.calls import Call
from llmpool.messages import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    Prompt,
    asked,
)


def request_of(
    given: Prompt | CompletionRequest,
    model: str | None,
    max_tokens: int | None,
    temperature: float | None,
    tools: Sequence[Mapping[str, Any]] | None,
    extra: Mapping[str, Any],
    once: bool,
) -> CompletionRequest:
    """
    Take what a user asks as a request; what is named beside a request replaces its fields.

    Args:
        once: it is not to be repeated.
    """
    if not isinstance(given, CompletionRequest):
        request = asked(given, model, max_tokens, temperature, tools, extra)
        return attrs.evolve(request, once=True) if once else request
    named: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "tools": tools,
        "extra": {**given.extra, **extra} if extra else None,
        "once": True if once else None,
    }
    changed = {field: value for field, value in named.items() if value is not None}
    return attrs.evolve(given, **changed) if changed else given


def filled(done: Call[Any]) -> Any:
    """Give a copy of the answer that tells where it came from and what it took."""
    value = done.value
    kind = type(value)
    # Of somebody's subclass not all may stand in its __dict__.
    whole = kind is CompletionResponse or kind is EmbeddingResponse
    answer = made(kind, value.__dict__.copy()) if whole else copy.copy(value)
    attempts = done.attempts
    facts = answer.__dict__
    facts["deployment"] = attempts[-1].deployment
    facts["latency"] = done.latency
    facts["attempts"] = attempts
    if done.claim.usage is not None:
        prices = done.claim.deployment.prices
        facts["cost"] = None if prices is None else prices.cost(done.claim.usage)
    return answer
