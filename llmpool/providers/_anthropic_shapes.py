"""The shapes of the Anthropic messages format, from our values to decoded JSON and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmpool.messages import (
    Choice,
    CompletionRequest,
    CompletionResponse,
    Message,
    StreamChunk,
    ToolCall,
    Usage,
)
from llmpool.providers import _translate
from llmpool.providers._openai_shapes import text_or_none

MOST_TOKENS = 4096
"""Of an answer, where the request names no number: this format demands one."""

_INSTRUCTIONS = frozenset({"system", "developer"})
_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""The finish reasons under the names they have in the OpenAI format; others stay as they are."""
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", re.S)

Block = Mapping[str, Any]


# -- the request --------------------------------------------------------------------------------


def write_request(request: CompletionRequest, model: str | None) -> dict[str, Any]:
    """
    Write a request; what the user gave beyond the named fields goes along as it is.

    Messages and tools may be in the OpenAI shape or in this format's own. *model* is the name for a
    request that has none.
    """
    body: dict[str, Any] = {"max_tokens": request.max_tokens or MOST_TOKENS}
    said = [message for message in request.messages if message.role not in _INSTRUCTIONS]
    told = [message for message in request.messages if message.role in _INSTRUCTIONS]
    body["messages"] = _write_messages(said)
    if told:
        body["system"] = [block for message in told for block in _blocks(message.content)]
    if request.model or model:
        body["model"] = request.model or model
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.tools:
        body["tools"] = [_write_tool(tool) for tool in request.tools]
    body.update(request.extra)
    return body


def _write_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Write a conversation; the results of tools that were called together are one message."""
    written: list[dict[str, Any]] = []
    results: list[Block] | None = None
    for message in messages:
        if message.role == "tool":
            if results is None:
                results = []
                written.append({"role": "user", "content": results})
            result = {"type": "tool_result", "tool_use_id": message.tool_call_id}
            results.append({**result, "content": _blocks(message.content), **message.extra})
            continue
        results = None
        content: object = message.content
        if message.tool_calls or not isinstance(content, str):
            content = [*_blocks(message.content), *map(_write_call, message.tool_calls)]
        written.append({"role": message.role, "content": content, **message.extra})
    return written


def _blocks(content: object) -> list[Block]:
    """Give a content as blocks; parts of the OpenAI shape are translated, others stay."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    parts = content if isinstance(content, Sequence) else ()
    return [_block(part) for part in parts]


def _block(part: Block) -> Block:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    if part.get("type") != "image_url" or not isinstance(url, str):
        return part
    match = _DATA_URL.fullmatch(url)
    source = (
        {"type": "base64", "media_type": match[1], "data": match[2]}
        if match
        else {"type": "url", "url": url}
    )
    return {"type": "image", "source": source}


def _write_call(call: ToolCall) -> Block:
    given = _translate.decode(call.arguments) if call.arguments else {}
    named = given if isinstance(given, Mapping) else {"arguments": call.arguments}
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": named}


def _write_tool(tool: Block) -> Block:
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return tool
    written = {
        "name": function.get("name"),
        "description": function.get("description"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    return {field: value for field, value in written.items() if value is not None}


# -- the answer ---------------------------------------------------------------------------------


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


def _joined(blocks: Sequence[Block], kind: str) -> str:
    """Give the text of all blocks of a kind, which is also the name of their field."""
    texts = (block.get(kind) for block in blocks if block.get("type") == kind)
    return "".join(text for text in texts if isinstance(text, str))


def _read_call(block: Block, index: int) -> ToolCall:
    return ToolCall(
        id=text_or_none(block.get("id")),
        name=text_or_none(block.get("name")),
        arguments=json.dumps(block.get("input") or {}, ensure_ascii=False),
        index=index,
    )


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
    """Reads the events of one stream; ``whole`` tells whether its end mark has come."""

    def __init__(self) -> None:
        self.whole = False
        self._counts: dict[str, Any] = {}  # of the tokens, from both ends of the stream
        self._calls: dict[object, int] = {}  # a block's index -> its place among the tool calls
        self._bare: set[object] = set()  # blocks of calls whose arguments have not begun

    def read(self, payload: Mapping[str, Any]) -> Iterator[StreamChunk]:
        """Give the piece in an event; one that carries nothing for a reader is a bare one."""
        kind = payload.get("type")
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
            self.whole = self.whole or reason is not None
            yield StreamChunk(finish_reason=reason, usage=read_usage(self._counts), raw=payload)
        else:
            self.whole = self.whole or kind == "message_stop"
            yield StreamChunk(raw=payload)

    def _count(self, usage: object) -> None:
        if isinstance(usage, Mapping):
            self._counts.update({key: count for key, count in usage.items() if count is not None})

    def _begin(self, payload: Mapping[str, Any]) -> StreamChunk:
        block = payload.get("content_block")
        block = block if isinstance(block, Mapping) else {}
        calls: tuple[ToolCall, ...] = ()
        if block.get("type") == "tool_use":
            place = self._calls.setdefault(payload.get("index"), len(self._calls))
            self._bare.add(payload.get("index"))
            name, given = text_or_none(block.get("name")), text_or_none(block.get("id"))
            calls = (ToolCall(id=given, name=name, index=place),)
        return StreamChunk(_joined([block], "text"), tool_calls=calls, raw=payload)

    def _go_on(self, payload: Mapping[str, Any]) -> StreamChunk:
        delta = payload.get("delta")
        delta = delta if isinstance(delta, Mapping) else {}
        piece = text_or_none(delta.get("partial_json"))
        calls: tuple[ToolCall, ...] = ()
        if piece and payload.get("index") in self._calls:
            self._bare.discard(payload.get("index"))
            calls = (ToolCall(arguments=piece, index=self._calls[payload.get("index")]),)
        return StreamChunk(
            text_or_none(delta.get("text")) or "",
            tool_calls=calls,
            reasoning=text_or_none(delta.get("thinking")),
            raw=payload,
        )

    def _end(self, payload: Mapping[str, Any]) -> StreamChunk:
        """End a block; a call without arguments has an empty object, as in an answer that is whole."""
        calls: tuple[ToolCall, ...] = ()
        if payload.get("index") in self._bare:
            calls = (ToolCall(arguments="{}", index=self._calls[payload.get("index")]),)
        return StreamChunk(tool_calls=calls, raw=payload)
