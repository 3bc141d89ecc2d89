"""Answers in the Anthropic messages format, from decoded JSON to our values; ``raw`` keeps all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmpool.messages import (
    Choice,
    CompletionResponse,
    StreamChunk,
    ToolCall,
    Usage,
)
from llmpool.providers import _translate
from llmpool.providers._openai_shapes import text_or_none

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""The finish reasons under the names they have in the OpenAI format; others stay as they are."""

Block = Mapping[str, Any]


def read_message(answer: Mapping[str, Any]) -> CompletionResponse:
    """
    Read a message; what has no name here stays in ``raw``.

    Raises:
        MalformedResponse: it has no content.
    """
    blocks = answer.get("content")
    if not isinstance(blocks, list) or not all(isinstance(each, Mapping) for each in blocks):
        raise _translate.no_answer("an answer without content")
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    choice = Choice(
        text=_joined(blocks, "text"),
        finish_reason=read_reason(answer.get("stop_reason")),
        tool_calls=tuple(_read_call(block, index) for index, block in enumerate(calls)),
        reasoning=_joined(blocks, "thinking") or None,
        raw=answer,
    )
    return CompletionResponse.from_choices(
        [choice],
        usage=read_usage(answer.get("usage")),
        model=text_or_none(answer.get("model")),
        id=text_or_none(answer.get("id")),
        raw=answer,
    )


def failure_in(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Give nothing: an error of this format is nowhere but under ``error``."""
    return None


def _joined(blocks: Sequence[Block], kind: str) -> str:
    """Give the text of all blocks of a kind, which is also the name of their field."""
    texts = (block.get(kind) for block in blocks if block.get("type") == kind)
    return "".join(text for text in texts if isinstance(text, str))


def _read_call(block: Block, index: int) -> ToolCall:
    return ToolCall(
        id=text_or_none(block.get("id")),
        name=text_or_none(block.get("name")),
        arguments=_written(block.get("input")),
        index=index,
    )


def _written(given: object) -> str:
    """Write the arguments of a call."""
    return json.dumps(given or {}, ensure_ascii=False)


def read_reason(given: object) -> str | None:
    """Give a finish reason under its common name."""
    return _REASONS.get(given, given) if isinstance(given, str) else None


def read_usage(given: object) -> Usage | None:
    """Read the counts of tokens; those read from a cache, or written to it, are of the prompt."""
    if not isinstance(given, Mapping):
        return None
    fields = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    prompt = sum(count for count in map(given.get, fields) if isinstance(count, int))
    said = given.get("output_tokens")
    said = said if isinstance(said, int) else 0
    return Usage(
        prompt_tokens=prompt, completion_tokens=said, total_tokens=prompt + said, raw=given
    )


# -- the stream ---------------------------------------------------------------------------------


class EventReader:
    """
    Reads the events of one stream.

    Its end mark makes it ``whole``, and with that it is ``over``; no server leaves the mark out.
    """

    failure_in = staticmethod(failure_in)
    read_answer = staticmethod(read_message)

    def __init__(self) -> None:
        self.whole = False
        self.over = False
        self._counts: dict[str, Any] = {}  # of the tokens, from both ends of the stream
        self._calls: dict[object, int] = {}  # a block's index -> its place among the tool calls
        self._bare: dict[
            object, object
        ] = {}  # calls whose arguments have not begun: what they began with

    def read(self, payload: Mapping[str, Any]) -> Iterator[StreamChunk]:
        """
        Give the piece in an event; one that carries nothing for a reader is a bare one.

        A ping is none at all: it shows that the line is open, and nothing about who is to answer.
        """
        kind = payload.get("type")
        if kind == "ping":
            return
        if kind == "message_start":
            message = payload.get("message")
            message = message if isinstance(message, Mapping) else {}
            self._count(message.get("usage"))
            yield StreamChunk(
                role=text_or_none(message.get("role")),
                model=text_or_none(message.get("model")),
                id=text_or_none(message.get("id")),
                raw=payload,
            )
        elif kind == "content_block_start":
            yield self._begin(payload)
        elif kind == "content_block_delta":
            yield self._go_on(payload)
        elif kind == "content_block_stop":
            yield self._end(payload)
        elif kind == "message_delta":
            delta = payload.get("delta")
            reason = read_reason(delta.get("stop_reason")) if isinstance(delta, Mapping) else None
            self._count(payload.get("usage"))
            yield StreamChunk(finish_reason=reason, usage=read_usage(self._counts), raw=payload)
        else:
            self.whole = self.over = kind == "message_stop"
            yield StreamChunk(raw=payload)

    def _count(self, usage: object) -> None:
        if isinstance(usage, Mapping):
            self._counts.update({key: count for key, count in usage.items() if count is not None})

    def _begin(self, payload: Mapping[str, Any]) -> StreamChunk:
        block = payload.get("content_block")
        block = block if isinstance(block, Mapping) else {}
        calls: tuple[ToolCall, ...] = ()
        if block.get("type") == "tool_use":
            place = self._calls.setdefault(_place_of(payload), len(self._calls))
            self._bare[_place_of(payload)] = block.get("input")
            name, given = text_or_none(block.get("name")), text_or_none(block.get("id"))
            calls = (ToolCall(id=given, name=name, index=place),)
        return StreamChunk(_joined([block], "text"), tool_calls=calls, raw=payload)

    def _go_on(self, payload: Mapping[str, Any]) -> StreamChunk:
        delta = payload.get("delta")
        delta = delta if isinstance(delta, Mapping) else {}
        piece = text_or_none(delta.get("partial_json"))
        calls: tuple[ToolCall, ...] = ()
        if piece and _place_of(payload) in self._calls:
            self._bare.pop(_place_of(payload), None)
            calls = (ToolCall(arguments=piece, index=self._calls[_place_of(payload)]),)
        return StreamChunk(
            text_or_none(delta.get("text")) or "",
            tool_calls=calls,
            reasoning=text_or_none(delta.get("thinking")),
            raw=payload,
        )

    def _end(self, payload: Mapping[str, Any]) -> StreamChunk:
        """End a block; a call whose arguments did not come in pieces has those it began with."""
        calls: tuple[ToolCall, ...] = ()
        if _place_of(payload) in self._bare:
            given = _written(self._bare[_place_of(payload)])
            calls = (ToolCall(arguments=given, index=self._calls[_place_of(payload)]),)
        return StreamChunk(tool_calls=calls, raw=payload)


def _place_of(payload: Mapping[str, Any]) -> int | None:
    """Give the number of the block that an event belongs to."""
    given = payload.get("index")
    return given if isinstance(given, int) else None
