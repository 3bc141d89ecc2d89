"""A request in Gemini's own format."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from llmpool.messages import CompletionRequest, Message, ToolCall
from llmpool.providers import _asked as asked
from llmpool.providers import _translate

_SETTINGS = {
    "max_completion_tokens": "maxOutputTokens",
    "top_p": "topP",
    "top_k": "topK",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""Tokens of thinking for an effort, as Google's OpenAI-compatible face has them."""
_LEVELS = {"none": "minimal", "xhigh": "high"}
_OLDER = ("gemini-1", "gemini-2")
"""Models that think by a budget and demand no signatures."""
_UNSIGNED = "skip_thought_signature_validator"
"""What Google wants in the place of a signature of calls that no Gemini model has made."""

Part = Mapping[str, Any]


def write_request(request: CompletionRequest, model: str) -> dict[str, Any]:
    """
    Write a request; what the user gave beyond the named fields goes along as it is.

    Messages, tools and fields may be in the OpenAI shape or in this format's own, whose fields win.
    """
    further = asked.given(request)
    further.pop("stream_options", None)  # the counts come in any case
    said = [message for message in request.messages if message.role not in asked.INSTRUCTIONS]
    told = [message for message in request.messages if message.role in asked.INSTRUCTIONS]
    body: dict[str, Any] = {"contents": _write_contents(said, signed=not _is_older(model))}
    if told:
        body["systemInstruction"] = {"parts": [part for each in told for part in _parts(each)]}
    if request.tools:
        body["tools"] = _write_tools(request.tools)
    choice = further.pop("tool_choice", None)
    if choice is not None:
        body["toolConfig"] = _write_choice(choice)
    if further.get("parallel_tool_calls") is True:
        del further["parallel_tool_calls"]  # it is so in any case
    settings = {**_write_settings(request, further, model), **_own_settings(further)}
    if settings:
        body["generationConfig"] = settings
    body.update(further)
    return body


def _is_older(model: str) -> bool:
    return model.rpartition("/")[2].startswith(_OLDER)


# -- fields ---------------------------------------------------------------------------------------


def _write_settings(
    request: CompletionRequest, further: dict[str, Any], model: str
) -> dict[str, Any]:
    """Take from *further* what tells how to answer, under this format's names."""
    named = {name: further.pop(ours) for ours, name in _SETTINGS.items() if ours in further}
    stop = further.pop("stop", None)
    named["stopSequences"] = asked.stops(stop)
    named["temperature"] = request.temperature
    if request.max_tokens is not None:
        named["maxOutputTokens"] = request.max_tokens
    form = further.get("response_format")
    schema, kind = asked.schema_of(form), asked.kind_of(form)
    if schema is not None or kind == "json_object":
        named["responseMimeType"] = "application/json"
        named["responseJsonSchema"] = schema
    if schema is not None or kind in ("json_object", "text"):
        further.pop("response_format", None)
    effort = further.pop("reasoning_effort", None)
    if effort is not None:
        named["thinkingConfig"] = _think(effort, model)
    return {name: value for name, value in named.items() if value is not None}


def _own_settings(further: dict[str, Any]) -> Mapping[str, Any]:
    given = further.get("generationConfig")
    if not isinstance(given, Mapping):
        return {}
    del further["generationConfig"]
    return given


def _think(effort: object, model: str) -> dict[str, Any]:
    if _is_older(model) and effort in _BUDGETS:
        return {"thinkingBudget": _BUDGETS[str(effort)]}
    return {"thinkingLevel": _LEVELS.get(str(effort), effort)}


def _write_choice(choice: object) -> dict[str, Any]:
    name = asked.tool_named(choice)
    if name is not None:
        return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [name]}}
    return {"functionCallingConfig": {"mode": _MODES.get(str(choice), choice)}}


def _write_tools(tools: Sequence[Part]) -> list[Part]:
    """Put the functions together as one tool; tools in this format's own shape stay."""
    written = [dict(tool) for tool in tools if not isinstance(tool.get("function"), Mapping)]
    functions = [
        {
            field: value
            for field, value in (
                ("name", tool["function"].get("name")),
                ("description", tool["function"].get("description")),
                ("parametersJsonSchema", tool["function"].get("parameters")),
            )
            if value is not None
        }
        for tool in tools
        if isinstance(tool.get("function"), Mapping)
    ]
    return [{"functionDeclarations": functions}, *written] if functions else [*written]


# -- messages -------------------------------------------------------------------------------------


def _write_contents(messages: Sequence[Message], *, signed: bool) -> list[dict[str, Any]]:
    """Write a conversation; the results of tools that were called together are one content."""
    written: list[dict[str, Any]] = []
    names: dict[str | None, str | None] = {}  # of functions, by the ids of their calls
    results: list[Part] | None = None
    for message in messages:
        if message.role == "tool":
            if results is None:
                results = []
                written.append({"role": "user", "parts": results})
            results.append(_write_result(message, names.get(message.tool_call_id)))
            continue
        results = None
        names.update({call.id: call.name for call in message.tool_calls})
        role = "model" if message.role == "assistant" else message.role
        own = message.extra.get("parts")
        parts = own if isinstance(own, Sequence) else _parts(message)
        calls = _write_calls(message.tool_calls, signed=signed)
        if any(isinstance(part, Mapping) and "functionCall" in part for part in parts):
            calls = ()  # an answer sent back as it came has them already
        written.append({"role": role, "parts": [*parts, *calls] or [{"text": ""}]})
    return written


def _write_result(message: Message, called: str | None) -> Part:
    texts = [str(part["text"]) for part in _parts(message) if "text" in part]
    result = _translate.decode("".join(texts))
    response = result if isinstance(result, Mapping) else {"output": "".join(texts)}
    answered: dict[str, Any] = {"name": message.name or called, "response": response}
    if message.tool_call_id is not None:
        answered["id"] = message.tool_call_id
    others = [part for part in _parts(message) if "text" not in part]
    if others:
        answered["parts"] = others
    return {"functionResponse": answered}


def _write_calls(calls: Sequence[ToolCall], *, signed: bool) -> Sequence[Part]:
    """Write calls with the signatures they came with; the first must have one."""
    written: list[dict[str, Any]] = []
    for call in calls:
        given = _translate.decode(call.arguments) if call.arguments else {}
        named = given if isinstance(given, Mapping) else {"arguments": call.arguments}
        function = {"name": call.name, "args": named}
        if call.id is not None:
            function["id"] = call.id
        part: dict[str, Any] = {"functionCall": function}
        signature = signature_of(call)
        if signature is not None:
            part["thoughtSignature"] = signature
        written.append(part)
    if signed and written and not any("thoughtSignature" in part for part in written):
        written[0]["thoughtSignature"] = _UNSIGNED
    return written


def signature_of(call: ToolCall) -> object | None:
    """Give the signature in a call, in the place where Google's OpenAI-compatible face has it."""
    found: object = call.raw
    for name in ("extra_content", "google", "thought_signature"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _parts(message: Message) -> list[Part]:
    """Give a content in this format's parts; what is in none of the OpenAI shapes stays."""
    return [_part(part) for part in asked.parts_of(message)]


def _part(part: Part) -> Part:
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return {"text": part["text"]}
    url, file, audio = asked.image_url(part), asked.file_in(part), part.get("input_audio")
    if url is not None:
        return _link(url)
    if file is not None:
        return {"inlineData": {"mimeType": file[0], "data": file[1]}}
    if kind == "input_audio" and isinstance(audio, Mapping):
        named = f"audio/{audio.get('format', 'wav')}"
        return {"inlineData": {"mimeType": named, "data": audio.get("data")}}
    return part


def _link(url: str) -> Part:
    data = asked.split_data(url)
    if data is not None:
        return {"inlineData": {"mimeType": data[0], "data": data[1]}}
    kind = mimetypes.guess_type(urlsplit(url).path)[0]
    return {"fileData": {"fileUri": url, **({"mimeType": kind} if kind else {})}}
