"""The shapes of the OpenAI format, from decoded JSON to our values; ``raw`` keeps all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmpool.messages import (
    Choice,
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    StreamChunk,
    ToolCall,
    Usage,
)
from llmpool.providers import _translate

MOST_CHOICES = 4096
"""Each takes far more memory than the bytes that it can come in."""


def write_request(request: CompletionRequest, model: str | None) -> dict[str, Any]:
    """
    Write a chat request; what the user gave beyond the named fields goes along as it is.

    *model* is the name for a request that has none.
    """
    body: dict[str, Any] = {"messages": [message.to_dict() for message in request.messages]}
    for field, value in (
        ("model", request.model or model),
        ("max_tokens", request.max_tokens),
        ("temperature", request.temperature),
    ):
        if value is not None:
            body[field] = value
    if request.tools:
        body["tools"] = list(request.tools)
    body.update(request.extra)
    return body


def ask_streamed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Give *body* for a streamed answer, with its usage unless the caller says otherwise."""
    streamed = {"stream_options": {"include_usage": True}, **body, "stream": True}
    if streamed["stream_options"] is None:
        del streamed["stream_options"]
    return streamed


def read_completion(answer: Mapping[str, Any]) -> CompletionResponse:
    """
    Read a chat completion; what has no name here stays in ``raw``.

    Raises:
        MalformedResponse: it has no choices.
    """
    given = answer.get("choices")
    if not isinstance(given, list) or not given:
        raise _translate.no_answer("an answer without choices")
    if len(given) > MOST_CHOICES:
        raise _translate.no_answer(f"an answer of more than {MOST_CHOICES} choices")
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


class ChunkReader:
    """Reads the events of one stream, and keeps which of its choices have begun and ended."""

    over = False  # its end mark is none of its events
    failure_in = staticmethod(failure_in)
    read_answer = staticmethod(read_completion)

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    @property
    def whole(self) -> bool:
        """Whether something has come and each choice has had its finish reason."""
        return bool(self._ended) and self._begun <= self._ended

    def read(self, payload: Mapping[str, Any]) -> Iterator[StreamChunk]:
        """
        Give the pieces in an event, one for each choice.

        Raises:
            MalformedResponse: a choice is none.
        """
        facts: dict[str, Any] = {
            "model": text_or_none(payload.get("model")),
            "id": text_or_none(payload.get("id")),
            "raw": payload,
        }
        usage = read_usage(payload.get("usage"))
        choices = payload.get("choices")
        if not isinstance(choices, list) or not choices:
            yield StreamChunk(usage=usage, **facts)  # usage or metadata alone
            return
        for place, choice in enumerate(choices):
            if not isinstance(choice, Mapping):
                raise _translate.no_answer("a choice in the stream is no JSON object")
            delta = choice.get("delta")
            delta = delta if isinstance(delta, Mapping) else {}
            index = choice.get("index")
            index = index if isinstance(index, int) else place
            reason = text_or_none(choice.get("finish_reason"))
            (self._begun if reason is None else self._ended).add(index)
            yield StreamChunk(
                read_text(delta.get("content")),
                finish_reason=reason,
                tool_calls=read_calls(delta.get("tool_calls")),
                reasoning=read_reasoning(delta),
                refusal=text_or_none(delta.get("refusal")),
                audio=delta.get("audio"),
                role=text_or_none(delta.get("role")),
                index=index,
                logprobs=choice.get("logprobs"),
                usage=usage,
                **facts,
            )
            usage = None  # once an event is enough


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
        ordered = dict(zip(places, data, strict=True))
        data = [ordered[place] for place in range(len(data))]
    elif any(place is not None for place in places):
        raise _translate.no_answer("an answer whose vectors have no order")
    try:
        vectors = tuple(tuple(float(x) for x in entry["embedding"]) for entry in data)
    except (KeyError, TypeError, ValueError, OverflowError):
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
