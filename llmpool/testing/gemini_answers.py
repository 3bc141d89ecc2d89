"""What a well-behaved server of Gemini's own format answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmpool.testing.answers import PIECE, Answer, count_words, embed
from llmpool.testing.reply import Reply, event

_REASONS = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
}


def content_body(answer: Answer) -> dict[str, Any]:
    """Put a chat answer into the body of a ``generateContent``."""
    parts = list(_parts(answer, answer.text or ""))
    candidates = [
        {**_candidate(answer, index, parts), "finishReason": _reason(answer)}
        for index in range(answer.n)
    ]
    return {"candidates": candidates, **_facts(answer)}


def _reason(answer: Answer) -> str:
    return _REASONS.get(answer.finish_reason, answer.finish_reason)


def _parts(answer: Answer, *texts: str) -> Iterator[dict[str, Any]]:
    if answer.tool:
        name, arguments = answer.tool
        yield {"functionCall": {"name": name, "args": json.loads(arguments)}}
        return
    for text in texts:
        if text:
            yield {"text": text}


def _candidate(answer: Answer, index: int, parts: list[dict[str, Any]]) -> dict[str, Any]:
    content = {"role": "model", "parts": parts} if parts else {"role": "model"}
    return {"content": content, "index": index}


def _facts(answer: Answer) -> dict[str, Any]:
    usage = answer.usage
    return {
        "usageMetadata": {
            "promptTokenCount": usage["prompt_tokens"],
            "candidatesTokenCount": usage["completion_tokens"],
            "totalTokenCount": usage["total_tokens"],
        },
        "modelVersion": answer.model,
        "responseId": answer.id,
    }


def content_stream(answer: Answer) -> Reply:
    """Put a chat answer into a stream: its pieces, and at last the reason of its end, without a mark."""
    facts, each = _facts(answer), range(answer.n)
    pieces = _parts(answer, *PIECE.findall(answer.text or ""))
    contents = [
        event({"candidates": [_candidate(answer, index, [part])], **facts})
        for part in pieces
        for index in each
    ]
    finishes = [
        event(
            {
                "candidates": [{**_candidate(answer, index, []), "finishReason": _reason(answer)}],
                **facts,
            }
        )
        for index in each
    ]
    return Reply(
        headers=(("Content-Type", "text/event-stream"),),
        parts=(*contents, *finishes),
        framing="chunked",
        streamed=True,
        contents=len(contents),
        finishes=len(finishes),
    )


def embeddings_body(asked: Mapping[str, Any], *, many: bool) -> dict[str, Any]:
    """Answer an embeddings request, of one text or of many."""
    texts = asked["input"]
    words = sum(map(count_words, texts))
    usage = {"usageMetadata": {"promptTokenCount": words, "totalTokenCount": words}}
    vectors = [{"values": embed(text)} for text in texts]
    return {"embeddings": vectors, **usage} if many else {"embedding": vectors[0], **usage}


def models_body(model: str) -> dict[str, Any]:
    """Answer the model list."""
    methods = ["generateContent", "embedContent", "countTokens"]
    return {"models": [{"name": f"models/{model}", "supportedGenerationMethods": methods}]}
