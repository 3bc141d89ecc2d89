"""Tokens: how many a request will take, before anybody counted, and how many an answer says it took."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmpool.messages import CompletionRequest, Usage

CHARACTERS = 4
"""In a token of English text, as OpenAI's help page on counting tokens says; other scripts have fewer,
and the answer's own figure takes the estimate's place."""

_ASKED_FOR = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_INPUT = ("prompt_tokens", "input_tokens", "prompt_token_count", "promptTokenCount", "inputTokens")
_OUTPUT = (
    "completion_tokens",
    "output_tokens",
    "candidates_token_count",
    "candidatesTokenCount",
    "outputTokens",
)
_THOUGHT = ("thoughts_token_count", "thoughtsTokenCount")  # Gemini's, beside its output
_TOTAL = ("total_tokens", "total_token_count", "totalTokenCount", "totalTokens")
# Anthropic counts these beside its input_tokens, everybody else within theirs.
_BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens")
_CACHED = (
    "cache_read_input_tokens",
    "prompt_cache_hit_tokens",
    "cached_content_token_count",
    "cachedContentTokenCount",
)
_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_IN_DETAILS = ("cached_tokens", "cache_read")
_PLACES = ("usage", "usage_metadata", "usageMetadata")


def estimate(request: CompletionRequest) -> int:
    """Give the tokens that *request* will take: its texts and tools, and all that it lets be answered."""
    given = texts(request.texts())
    if request.tools is not None:
        given += texts(map(str, request.tools))
    most = request.max_tokens
    for name in _ASKED_FOR if most is None else ():
        most = most or _count(request.extra, (name,))
    return given + (most or 0)


def texts(given: Iterable[str]) -> int:
    """Give the tokens that texts will take."""
    return math.ceil(sum(map(len, given)) / CHARACTERS)


def counted(given: object) -> Usage | None:
    """Give a usage that can be added up; None for one that is none."""
    if type(given) is Usage:
        fields = (given.prompt_tokens, given.completion_tokens, given.total_tokens)
        if all(type(field) is int and field >= 0 for field in fields):
            return given
    return None


def read_usage(answer: object) -> Usage | None:
    """
    Read what an answer of any client's says of its tokens, by its shape; None where it says nothing.

    ``usage`` or ``usage_metadata``, as a field or a key, under the names of OpenAI's two APIs,
    Anthropic's, Gemini's, Bedrock's and LangChain's.
    """
    # The object is another's, and reading it may run anything.
    with contextlib.suppress(Exception):
        for place in _PLACES:
            usage = _field(answer, place)
            if usage is not None:
                return counted(usage) or _read(usage)
    return None


def _read(usage: object) -> Usage | None:
    given = _count(usage, _INPUT)
    said = _count(usage, _OUTPUT)
    total = _count(usage, _TOTAL)
    if given is None and said is None and total is None:
        return None
    thought = _count(usage, _THOUGHT)
    if thought is not None:
        said = (said or 0) + thought
    beside = [_count(usage, (name,)) for name in _BESIDE]
    if _count(usage, _INPUT[:1]) is None and total is None:
        given = (given or 0) + sum(count or 0 for count in beside)
    whole = (given or 0) + (said or 0) if total is None else total
    cached = _count(usage, _CACHED)
    for name in _DETAILS:
        cached = _count(_field(usage, name), _IN_DETAILS) if cached is None else cached
    return Usage(
        prompt_tokens=given or 0,
        completion_tokens=said or 0,
        total_tokens=whole,
        raw={} if cached is None else {"cache_read_input_tokens": cached},
    )


def _field(given: Any, name: str) -> Any:
    return given.get(name) if isinstance(given, Mapping) else getattr(given, name, None)


def _count(given: object, names: Sequence[str]) -> int | None:
    for name in names:
        count = _field(given, name)
        if type(count) is int and count >= 0:
            return count
    return None
