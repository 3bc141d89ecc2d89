"""What a request asks for, in the OpenAI shape, whatever the wire format it came in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Format = Literal["openai", "anthropic", "gemini"]

_GEMINI_ROUTES = {
    "generateContent": "chat",
    "streamGenerateContent": "chat",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
}


def name_method(path: str) -> str:
    """Give what stands behind the colon of a Gemini path; empty in any other."""
    method = path.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return method if method in _GEMINI_ROUTES else ""


def name_gemini_route(path: str) -> str | None:
    """Tell which of the server's routes a Gemini path means."""
    return _GEMINI_ROUTES.get(name_method(path))


def name_format(path: str, headers: Mapping[str, str]) -> Format:
    """Tell in which format a request is; where the path is that of two, the headers decide."""
    if name_method(path) or path.startswith("/v1beta") or "x-goog-api-key" in headers:
        return "gemini"
    if path.rstrip("/").endswith("/messages") or "anthropic-version" in headers:
        return "anthropic"
    return "openai"


def as_openai(format: Format, path: str, body: Any) -> Any:
    """
    Give the body of a request in the OpenAI shape.

    Raises:
        AttributeError, LookupError, TypeError, ValueError: it is none of its format.
    """
    if format == "anthropic":
        return _from_anthropic(body)
    if format == "gemini":
        return _from_gemini(path, body)
    return body


def _from_anthropic(body: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    for message in body["messages"]:
        content = message["content"]
        kinds = {block.get("type") for block in content} if isinstance(content, list) else set()
        role = "tool" if kinds == {"tool_result"} else message["role"]
        messages.append({"role": role, "content": content})
    asked = {name: body[name] for name in ("model", "stream") if name in body}
    asked["max_tokens"] = body["max_tokens"]  # demanded by this format
    asked["messages"] = messages
    asked["tools"] = [
        {"type": "function", "function": {**tool, "parameters": tool.get("input_schema")}}
        for tool in body.get("tools") or ()
    ]
    choice = body.get("tool_choice") or {}
    asked["tool_choice"] = _name_choice(choice.get("type"), choice.get("name"))
    shape = (body.get("output_config") or {}).get("format") or {}
    if shape.get("type") == "json_schema":
        asked["response_format"] = {"type": "json_schema", "json_schema": shape}
    return asked


def _name_choice(kind: object, name: object) -> object:
    if name:
        return {"type": "function", "function": {"name": name}}
    return {"any": "required", "ANY": "required", "NONE": "none"}.get(str(kind), kind)


def _from_gemini(path: str, body: Any) -> dict[str, Any]:
    method = name_method(path)
    model = path.rpartition(":")[0].partition("/models/")[2]
    if _GEMINI_ROUTES[method] == "embeddings":
        given = body["requests"] if method == "batchEmbedContents" else [body]
        return {"model": model, "input": [_text(each["content"]) for each in given]}
    messages = [{"role": _role(each), "content": each["parts"]} for each in body["contents"]]
    if body.get("systemInstruction"):
        told = body["systemInstruction"]["parts"]
        messages.insert(0, {"role": "system", "content": told})
    settings = body.get("generationConfig") or {}
    asked = {
        "model": model,
        "messages": messages,
        "stream": method == "streamGenerateContent",
        "max_tokens": settings.get("maxOutputTokens"),
        "n": settings.get("candidateCount"),
        "tools": [
            {"type": "function", "function": {**each, "parameters": _parameters(each)}}
            for tool in body.get("tools") or ()
            for each in tool.get("functionDeclarations") or ()
        ],
    }
    choice = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    named = (choice.get("allowedFunctionNames") or [None])[0]
    asked["tool_choice"] = _name_choice(choice.get("mode"), named)
    schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
    if settings.get("responseMimeType") == "application/json":
        asked["response_format"] = {
            "type": "json_schema" if schema else "json_object",
            "json_schema": {"schema": schema},
        }
    return asked


def _role(content: Mapping[str, Any]) -> str:
    if any("functionResponse" in part for part in content["parts"]):
        return "tool"
    return "assistant" if content.get("role") == "model" else "user"


def _parameters(function: Mapping[str, Any]) -> Any:
    return function.get("parametersJsonSchema") or function.get("parameters")


def _text(content: Mapping[str, Any]) -> str:
    return " ".join(part["text"] for part in content["parts"])
