"""A request in the Anthropic messages format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmpool.messages import CompletionRequest, Message, ToolCall
from llmpool.providers import _asked as asked
from llmpool.providers import _translate

MOST_TOKENS = 4096
"""Of an answer, where the request names no number: this format demands one."""

_CHOICES = {"required": "any"}
_EFFORTS = {"minimal": "low"}
"""What is called otherwise here."""

Block = Mapping[str, Any]


def write_request(
    request: CompletionRequest, model: str | None, max_tokens: int | None = None
) -> dict[str, Any]:
    """
    Write a request; what the user gave beyond the named fields goes along as it is.

    Messages, tools and fields may be in the OpenAI shape or in this format's own, whose fields win.
    *model* and *max_tokens* are for a request that has none.
    """
    further = asked.given(request)
    said = [message for message in request.messages if message.role not in asked.INSTRUCTIONS]
    told = [message for message in request.messages if message.role in asked.INSTRUCTIONS]
    newer = further.pop("max_completion_tokens", None)
    body: dict[str, Any] = {
        "max_tokens": request.max_tokens or newer or max_tokens or MOST_TOKENS,
        "messages": _write_messages(said),
    }
    if told:
        body["system"] = [block for message in told for block in _blocks(message)]
    if request.model or model:
        body["model"] = request.model or model
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.tools:
        body["tools"] = [_write_tool(tool) for tool in request.tools]
    body.update(_translate_fields(further, bool(request.tools)))
    return body


# -- fields ---------------------------------------------------------------------------------------


def _translate_fields(given: dict[str, Any], has_tools: bool) -> dict[str, Any]:
    """Give the further fields under this format's names; those without one are left as they are."""
    written: dict[str, Any] = {}
    given.pop("stream_options", None)  # the counts come in any case
    stop, user = given.pop("stop", None), given.pop("user", None)
    if stop is not None:
        written["stop_sequences"] = asked.stops(stop)
    if user is not None:
        written["metadata"] = {"user_id": user}
    choice, parallel = given.pop("tool_choice", None), given.pop("parallel_tool_calls", None)
    if choice is not None or (parallel is False and has_tools):
        written["tool_choice"] = _write_choice(choice, parallel)
    config = _write_config(given)
    if config:
        written["output_config"] = {**config, **(given.pop("output_config", None) or {})}
    if given.get("reasoning_effort") == "none":
        written["thinking"] = {"type": "disabled"}
        del given["reasoning_effort"]
    return {**written, **given}


def _write_config(given: dict[str, Any]) -> dict[str, Any]:
    """Take from *given* what tells how to answer; a bare ``json_object`` is nothing that can be said."""
    config: dict[str, Any] = {}
    form = given.get("response_format")
    schema = asked.schema_of(form)
    if schema is not None:
        config["format"] = {"type": "json_schema", "schema": schema}
    if schema is not None or asked.kind_of(form) == "text":
        given.pop("response_format", None)
    effort = given.get("reasoning_effort")
    if effort is not None and effort != "none":
        config["effort"] = _EFFORTS.get(given.pop("reasoning_effort"), effort)
    return config


def _write_choice(choice: object, parallel: object) -> object:
    written: object = choice
    name = asked.tool_named(choice)
    if name is not None:
        written = {"type": "tool", "name": name}
    elif choice is None or isinstance(choice, str):
        written = {"type": _CHOICES.get(choice or "", choice or "auto")}
    if parallel is False and isinstance(written, Mapping) and written.get("type") != "none":
        return {**written, "disable_parallel_tool_use": True}
    return written


def _write_tool(tool: Block) -> Block:
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return tool
    written = {
        "name": function.get("name"),
        "description": function.get("description"),
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
        "strict": function.get("strict"),
        **{name: value for name, value in tool.items() if name not in ("type", "function")},
    }
    return {field: value for field, value in written.items() if value is not None}


# -- messages -------------------------------------------------------------------------------------


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
            results.append({**result, "content": _blocks(message), **asked.further(message)})
            continue
        results = None
        content: object = message.content
        if message.tool_calls or not isinstance(content, str):
            content = _with_calls(_blocks(message), message.tool_calls)
        written.append({"role": message.role, "content": content, **asked.further(message)})
    return written


def _blocks(message: Message) -> list[Block]:
    """Give a content as blocks; parts of the OpenAI shape are translated, others stay."""
    return [_block(part) for part in asked.parts_of(message)]


def _block(part: Block) -> Block:
    url, file = asked.image_url(part), asked.file_in(part)
    marks = {name: part[name] for name in ("cache_control",) if name in part}
    if url is not None:
        data = asked.split_data(url)
        source = (
            {"type": "base64", "media_type": data[0], "data": data[1]}
            if data
            else {"type": "url", "url": url}
        )
        return {"type": "image", "source": source, **marks}
    if file is not None:
        kind, text, name = file
        title = {"title": name} if name else {}
        source = {"type": "base64", "media_type": kind, "data": text}
        return {"type": "document", "source": source, **title, **marks}
    return part


def _with_calls(blocks: list[Block], calls: Sequence[ToolCall]) -> list[Block]:
    """Add the calls that are not among the blocks already, as those of an answer sent back are."""
    known = [block.get("id") for block in blocks if block.get("type") == "tool_use"]
    return [*blocks, *(_write_call(call) for call in calls if call.id not in known)]


def _write_call(call: ToolCall) -> Block:
    given = _translate.decode(call.arguments) if call.arguments else {}
    named = given if isinstance(given, Mapping) else {"arguments": call.arguments}
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": named}
