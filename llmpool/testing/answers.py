"""What a well-behaved OpenAI-compatible server answers."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

import attrs

from llmpool.testing.received import read_content
from llmpool.testing.reply import Reply, event

PIECE = re.compile(r"\s*\S{1,12}|\s+")
_DIMENSIONS = 8


def error_body(
    message: str, type: str = "invalid_request_error", code: str | None = None
) -> dict[str, Any]:
    """Build an error in OpenAI's shape."""
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def count_words(text: str) -> int:
    """Count what this server calls tokens."""
    return len(text.split())


@attrs.frozen
class Answer:
    """One chat answer before it is put into a body or a stream."""

    id: str
    model: str
    created: int
    prompt_tokens: int
    text: str | None
    tool: tuple[str, str] | None = None
    finish_reason: str = "stop"
    n: int = 1

    @property
    def usage(self) -> dict[str, int]:
        """Words of the prompt and of the answers."""
        said = self.tool[1] if self.tool else self.text or ""
        completion = self.n * count_words(said)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }


def answer_chat(body: Mapping[str, Any], *, id: str, model: str, prompt: str, text: str) -> Answer:
    """
    Build the answer to a chat request.

    A request with tools whose prompt holds "call tool" gets a call of the tool that
    ``tool_choice`` or the prompt names, else of the first. A ``response_format`` gets JSON.
    ``max_tokens`` cuts the answer after as many words.
    """
    answer = Answer(
        id=id,
        model=model,
        created=now(),
        prompt_tokens=sum(count_words(read_content(m.get("content"))) for m in body["messages"]),
        text=text,
        n=int(body.get("n") or 1),
    )
    tool = choose_tool(body, prompt)
    if tool is not None:
        arguments = json.dumps(sample(tool.get("parameters") or {}))
        return attrs.evolve(
            answer, text=None, tool=(tool["name"], arguments), finish_reason="tool_calls"
        )
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_object":
        return attrs.evolve(answer, text=json.dumps({"echo": prompt}, ensure_ascii=False))
    if shape.get("type") == "json_schema":
        schema = shape.get("json_schema", {}).get("schema", {})
        return attrs.evolve(answer, text=json.dumps(sample(schema)))
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit and count_words(text) > limit:
        words = re.findall(r"\s*\S+", text)[:limit]
        return attrs.evolve(answer, text="".join(words), finish_reason="length")
    return answer


def now() -> int:
    """Return the wall clock in whole seconds, as the ``created`` field wants it."""
    return int(datetime.now(timezone.utc).timestamp())


def choose_tool(body: Mapping[str, Any], prompt: str) -> dict[str, Any] | None:
    """Return the function to be called, or None when none is asked for."""
    functions = [tool["function"] for tool in body.get("tools") or () if "function" in tool]
    choice = body.get("tool_choice")
    if not functions or choice == "none":
        return None
    if isinstance(choice, dict):
        wanted = choice.get("function", {}).get("name")
        return next((each for each in functions if each["name"] == wanted), None)
    if choice == "required" or "call tool" in prompt.lower():
        named = (each for each in functions if each["name"] in prompt)
        chosen: dict[str, Any] = next(named, functions[0])
        return chosen
    return None


def sample(schema: Mapping[str, Any]) -> Any:
    """Return a small value that fits a JSON schema."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    kind = kind.lower() if isinstance(kind, str) else kind  # Google's are in capitals
    if kind == "object":
        return {name: sample(each) for name, each in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample(schema.get("items", {"type": "string"}))]
    return {"string": "text", "integer": 1, "number": 1.5, "boolean": True}.get(kind)


def completion_body(answer: Answer) -> dict[str, Any]:
    """Put a chat answer into the body of a completion."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool:
        name, arguments = answer.tool
        function = {"name": name, "arguments": arguments}
        message["tool_calls"] = [
            {"id": f"call_{answer.id}", "type": "function", "function": function}
        ]
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            {
                "index": index,
                "message": message,
                "logprobs": None,
                "finish_reason": answer.finish_reason,
            }
            for index in range(answer.n)
        ],
        "usage": answer.usage,
    }


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    """Yield the content of a stream piece by piece."""
    if answer.tool:
        name, arguments = answer.tool
        call = {"index": 0, "id": f"call_{answer.id}", "type": "function"}
        yield {"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]}
        for piece in PIECE.findall(arguments):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    for piece in PIECE.findall(answer.text or ""):
        yield {"content": piece}


def stream_reply(answer: Answer, *, include_usage: bool) -> Reply:
    """
    Put a chat answer into a stream of events.

    Role first, content in pieces, the finish reason, usage where it was asked for
    (with no choices), and ``[DONE]``.
    """

    def chunk(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        body: dict[str, Any] = {
            "id": answer.id,
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model,
            "choices": choices,
        }
        if include_usage:
            body["usage"] = usage
        return event(body)

    def choice(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return chunk([{"index": index, "delta": delta, "finish_reason": finish}])

    each = range(answer.n)
    lead = [choice(index, {"role": "assistant", "content": ""}) for index in each]
    contents = [choice(index, delta) for delta in _deltas(answer) for index in each]
    finishes = [choice(index, {}, answer.finish_reason) for index in each]
    usage = [chunk([], answer.usage)] if include_usage else []
    return Reply(
        headers=(("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")),
        parts=(*lead, *contents, *finishes, *usage, event("[DONE]")),
        framing="chunked",
        streamed=True,
        lead=len(lead),
        contents=len(contents),
        finishes=len(finishes),
    )


def embed(text: str, dimensions: int = _DIMENSIONS) -> list[float]:
    """Return a unit vector that depends on the text alone."""
    seed = b""
    while len(seed) < 2 * dimensions:
        seed += hashlib.sha256(f"{len(seed)}:{text}".encode()).digest()
    numbers = struct.unpack(f"<{dimensions}h", seed[: 2 * dimensions])
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    return [number / length for number in numbers]


def embeddings_body(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Answer an embeddings request: strings or token lists, as numbers or in base64."""
    given = body["input"]
    many = isinstance(given, list) and not (given and isinstance(given[0], int))
    texts = [each if isinstance(each, str) else str(each) for each in (given if many else [given])]
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        vector: list[float] | str = embed(text, int(body.get("dimensions") or _DIMENSIONS))
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    words = sum(map(count_words, texts))
    usage = {"prompt_tokens": words, "total_tokens": words}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def models_body(model: str) -> dict[str, Any]:
    """Answer the model list."""
    entry = {"id": model, "object": "model", "created": now(), "owned_by": "llmpool"}
    return {"object": "list", "data": [entry]}
