"""What a request in the OpenAI shape asks for, read for the formats that say it in other words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmpool.messages import CompletionRequest, Message

INSTRUCTIONS = frozenset({"system", "developer"})
"""Roles of messages that other formats keep apart from the conversation."""

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[\w.+-]+)*;base64,(.*)", re.S)
_ECHOED = frozenset(
    {"annotations", "audio", "function_call", "reasoning", "reasoning_content", "refusal"}
)
"""Fields of an OpenAI answer's message, which people send back as it came; no other format has them."""

Part = Mapping[str, Any]


def given(request: CompletionRequest) -> dict[str, Any]:
    """Give the further fields of a request that say something."""
    return {name: value for name, value in request.extra.items() if value is not None}


def parts_of(message: Message) -> list[Part]:
    """Give a message's content in parts; none where it is empty."""
    content = message.content
    if not content and isinstance(message.extra.get("refusal"), str):
        content = str(message.extra["refusal"])
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [_plain(part) for part in content or ()]


def _plain(part: Part) -> Part:
    if part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "text", "text": part["refusal"]}
    return part


def further(message: Message) -> dict[str, Any]:
    """Give a message's further fields, without those that only the OpenAI format has."""
    return {name: value for name, value in message.extra.items() if name not in _ECHOED}


def split_data(url: str) -> tuple[str, str] | None:
    """Give the media type and the base64 text of a data URL; None for any other."""
    match = _DATA_URL.fullmatch(url)
    return (match[1], match[2]) if match else None


def image_url(part: Part) -> str | None:
    """Give the URL of an image part."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    return url if part.get("type") == "image_url" and isinstance(url, str) else None


def file_in(part: Part) -> tuple[str, str, str | None] | None:
    """Give media type, base64 text and name of a part that is a file."""
    file = part.get("file")
    if part.get("type") != "file" or not isinstance(file, Mapping):
        return None
    found = split_data(str(file.get("file_data")))
    name = file.get("filename")
    return (*found, name if isinstance(name, str) else None) if found else None


def stops(given: object) -> object:
    """Give what ends an answer, as a list."""
    return [given] if isinstance(given, str) else given


def schema_of(response_format: object) -> object | None:
    """Give the JSON schema that an answer is to follow."""
    if isinstance(response_format, Mapping) and response_format.get("type") == "json_schema":
        named = response_format.get("json_schema")
        return named.get("schema") if isinstance(named, Mapping) else None
    return None


def kind_of(given: object) -> object | None:
    """Give the ``type`` of an object."""
    return given.get("type") if isinstance(given, Mapping) else None


def tool_named(choice: object) -> str | None:
    """Give the name of the one function that must be called."""
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None
