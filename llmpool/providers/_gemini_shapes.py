"""Answers in Gemini's own format, from decoded JSON to our values; ``raw`` keeps all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmpool.messages import (
    Choice,
    CompletionResponse,
    EmbeddingResponse,
    StreamChunk,
    ToolCall,
    Usage,
)
from llmpool.providers import _translate
from llmpool.providers._openai_shapes import text_or_none

_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
_FILTERED = (
    "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY "
    "IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION"
)
_REASONS.update(dict.fromkeys(_FILTERED.split(), "content_filter"))
"""The finish reasons under the names they have in the OpenAI format; others stay as they are."""

Facts = Mapping[str, Any]


def failure_in(answer: Facts) -> Facts | None:
    """Give the error that a blocked prompt is: a 200 without candidates that names its reason."""
    feedback = answer.get("promptFeedback")
    reason = feedback.get("blockReason") if isinstance(feedback, Mapping) else None
    if not reason or answer.get("candidates"):
        return None
    return {"error": {"code": "content_filter", "message": f"the prompt was blocked: {reason}"}}


def read_answer(answer: Facts) -> CompletionResponse:
    """
    Read an answer; what has no name here stays in ``raw``.

    Raises:
        MalformedResponse: it has no candidates.
    """
    pieces = list(EventReader().read(answer))
    given = _candidates(answer)
    if not given:
        raise _translate.no_answer("an answer without candidates")
    choices = [
        Choice(
            index=piece.index,
            text=piece.text,
            finish_reason=piece.finish_reason,
            tool_calls=piece.tool_calls,
            reasoning=piece.reasoning,
            logprobs=piece.logprobs,
            raw=raw,
        )
        for piece, raw in zip(pieces, given, strict=True)
    ]
    return CompletionResponse.from_choices(
        choices,
        usage=read_usage(answer.get("usageMetadata")),
        model=text_or_none(answer.get("modelVersion")),
        id=text_or_none(answer.get("responseId")),
        raw=answer,
    )


def _candidates(answer: Facts) -> Sequence[Facts]:
    given = answer.get("candidates")
    found = given if isinstance(given, list) else []
    if not all(isinstance(each, Mapping) for each in found):
        raise _translate.no_answer("a candidate that is no JSON object")
    return found


def read_usage(given: object) -> Usage | None:
    """Read the counts of tokens; those of thinking are of the answer, those of tools' pages of the prompt."""
    if not isinstance(given, Mapping):
        return None
    prompt = _sum(given, "promptTokenCount", "toolUsePromptTokenCount")
    said = _sum(given, "candidatesTokenCount", "thoughtsTokenCount")
    total = given.get("totalTokenCount")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=said,
        total_tokens=total if isinstance(total, int) else prompt + said,
        raw=given,
    )


def _sum(given: Facts, *names: str) -> int:
    return sum(count for count in map(given.get, names) if isinstance(count, int))


class EventReader:
    """Reads the events of one stream, and keeps which of its candidates have begun and ended."""

    over = False  # the body's end is its end
    failure_in = staticmethod(failure_in)
    read_answer = staticmethod(read_answer)

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._ended: set[int] = set()
        self._calls: dict[int, int] = {}  # how many calls each candidate has asked for

    @property
    def whole(self) -> bool:
        """Whether something has come and each candidate has had its finish reason."""
        return bool(self._ended) and self._begun <= self._ended

    def read(self, payload: Facts) -> Iterator[StreamChunk]:
        """
        Give the pieces in an event, one for each candidate.

        Raises:
            MalformedResponse: a candidate is none.
        """
        facts: dict[str, Any] = {
            "model": text_or_none(payload.get("modelVersion")),
            "id": text_or_none(payload.get("responseId")),
            "raw": payload,
        }
        usage = read_usage(payload.get("usageMetadata"))
        candidates = _candidates(payload)
        if not candidates:
            yield StreamChunk(usage=usage, **facts)
        for place, candidate in enumerate(candidates):
            index = candidate.get("index")
            index = index if isinstance(index, int) else place
            content = candidate.get("content")
            content = content if isinstance(content, Mapping) else {}
            parts = content.get("parts")
            parts = parts if isinstance(parts, list) else []
            parts = [part for part in parts if isinstance(part, Mapping)]
            calls = self._read_calls(parts, index, facts["id"])
            yield StreamChunk(
                _joined(parts, thought=False),
                tool_calls=calls,
                finish_reason=self._read_reason(candidate, index),
                reasoning=_joined(parts, thought=True) or None,
                index=index,
                logprobs=candidate.get("logprobsResult"),
                usage=usage,
                **facts,
            )
            usage = None  # once an event is enough

    def _read_reason(self, candidate: Facts, index: int) -> str | None:
        given = text_or_none(candidate.get("finishReason"))
        (self._begun if given is None else self._ended).add(index)
        if given == "STOP" and self._calls.get(index):
            return "tool_calls"
        return _REASONS.get(given, given) if given else None

    def _read_calls(
        self, parts: Sequence[Facts], index: int, id: str | None
    ) -> tuple[ToolCall, ...]:
        calls = []
        for part in parts:
            function = part.get("functionCall")
            if isinstance(function, Mapping):
                place = self._calls.get(index, 0)
                self._calls[index] = place + 1
                calls.append(_read_call(part, function, place, f"{id or 'call'}-{index}-{place}"))
        return tuple(calls)


def _read_call(part: Facts, function: Facts, place: int, id: str) -> ToolCall:
    """Read a call; its signature goes where Google's OpenAI-compatible face has it."""
    signature = part.get("thoughtSignature")
    signed = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
    return ToolCall(
        id=text_or_none(function.get("id")) or id,
        name=text_or_none(function.get("name")),
        arguments=json.dumps(function.get("args") or {}, ensure_ascii=False),
        index=place,
        raw=signed,
    )


def _joined(parts: Sequence[Facts], *, thought: bool) -> str:
    """Give the text of all parts that are thoughts, or of all that are none."""
    found = (part.get("text") for part in parts if bool(part.get("thought")) is thought)
    return "".join(text for text in found if isinstance(text, str))


def read_embeddings(answer: Facts) -> EmbeddingResponse:
    """
    Read vectors, in the order of the texts.

    Raises:
        MalformedResponse: there are none, or they are no numbers.
    """
    given = answer.get("embeddings")
    entries: list[Any] = given if isinstance(given, list) else [answer.get("embedding")]
    try:
        vectors = tuple(tuple(float(x) for x in entry["values"]) for entry in entries)
    except (KeyError, TypeError, ValueError, OverflowError):
        vectors = ()
    if not vectors or not all(vectors):
        raise _translate.no_answer("an answer without vectors of numbers")
    return EmbeddingResponse(vectors, usage=read_usage(answer.get("usageMetadata")), raw=answer)
