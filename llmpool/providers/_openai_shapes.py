"""The shapes of the OpenAI format, from decoded JSON to our values; ``raw`` keeps all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmpool.messages import Choice, CompletionResponse, EmbeddingResponse, ToolCall, Usage
from llmpool.providers import _translate


def read_completion(answer: Mapping[str, Any]) -> CompletionResponse:
    """
    Read a chat completion; what has no name here stays in ``raw``.

    Raises:
        MalformedResponse: it has no choices.
    """
    given = answer.get("choices")
    if not isinstance(given, list) or not given:
        raise _translate.no_answer("an answer without choices")
    choices = [_choice(raw, index) for index, raw in enumerate(given)]
    return CompletionResponse.from_choices(
        choices,
        usage=read_usage(answer.get("usage")),
        model=text_or_none(answer.get("model")),
        id=text_or_none(answer.get("id")),
        raw=answer,
    )


def failure_in(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give the error that gateways put into a choice when what stands behind them fails halfway."""
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, Mapping):
        return None
    if first.get("error"):
        return {"error": first["error"]}
    if first.get("finish_reason") == "error":
        return {"error": {"message": "the answer's finish reason is an error"}}
    return None


def _choice(raw: object, index: int) -> Choice:
    message = raw.get("message") if isinstance(raw, Mapping) else None
    if not isinstance(raw, Mapping) or not isinstance(message, Mapping):
        raise _translate.no_answer("a choice without a message")
    calls = message.get("tool_calls")
    place = raw.get("index")
    return Choice(
        index=place if isinstance(place, int) else index,
        text=read_text(message.get("content")),
        finish_reason=text_or_none(raw.get("finish_reason")),
        tool_calls=read_calls(calls),
        reasoning=read_reasoning(message),
        refusal=text_or_none(message.get("refusal")),
        logprobs=raw.get("logprobs"),
        raw=raw,
    )


def read_text(content: object) -> str:
    """Give the text of a content, which may be a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(
        part["text"]
        for part in parts
        if isinstance(part, Mapping) and isinstance(part.get("text"), str)
    )


def read_reasoning(message: Mapping[str, Any]) -> str | None:
    """Give what the model thought aloud, under either of the names that servers use."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str):
            return str(message[name])
    return None


def read_calls(given: object) -> tuple[ToolCall, ...]:
    """Read a list of tool calls, whole ones or pieces."""
    calls = given if isinstance(given, list) else []
    return tuple(
        ToolCall.from_dict(call, index)
        for index, call in enumerate(calls)
        if isinstance(call, Mapping)
    )


def read_usage(given: object) -> Usage | None:
    """Read the counts of tokens."""
    if not isinstance(given, Mapping):
        return None
    counts = {
        name: given[name]
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
        if isinstance(given.get(name), int)
    }
    return Usage(**counts, raw=given)


def read_embedding(answer: Mapping[str, Any]) -> EmbeddingResponse:
    """
    Read vectors, in the order of the inputs.

    Raises:
        MalformedResponse: there are none, or they are no numbers.
    """
    data = answer.get("data")
    if not isinstance(data, list) or not all(isinstance(entry, Mapping) for entry in data):
        raise _translate.no_answer("an answer without vectors")
    places = [entry.get("index") for entry in data]
    if sorted(place for place in places if isinstance(place, int)) == list(range(len(data))):
        data = [data[places.index(place)] for place in range(len(data))]
    elif any(place is not None for place in places):
        raise _translate.no_answer("an answer whose vectors have no order")
    try:
        vectors = tuple(tuple(float(x) for x in entry["embedding"]) for entry in data)
    except (KeyError, TypeError, ValueError):
        vectors = ()
    if not vectors or not all(vectors):
        raise _translate.no_answer("an answer without vectors of numbers")
    return EmbeddingResponse(
        vectors,
        usage=read_usage(answer.get("usage")),
        model=text_or_none(answer.get("model")),
        raw=answer,
    )


def text_or_none(value: object) -> str | None:
    """Give a text, and None for anything else."""
    return value if isinstance(value, str) else None
