"""What a well-behaved server of the Anthropic format answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from llmpool.testing.answers import PIECE, Answer
from llmpool.testing.reply import Reply, event

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def message_body(answer: Answer) -> dict[str, Any]:
    """Put a chat answer into a message."""
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": _content(answer),
        "stop_reason": _REASONS.get(answer.finish_reason, answer.finish_reason),
        "stop_sequence": None,
        "usage": {
            "input_tokens": answer.prompt_tokens,
            "output_tokens": answer.usage["completion_tokens"],
        },
    }


def _content(answer: Answer) -> list[dict[str, Any]]:
    if answer.tool:
        name, arguments = answer.tool
        call = {"type": "tool_use", "id": f"toolu_{answer.id}", "name": name}
        return [{**call, "input": json.loads(arguments)}]
    return [{"type": "text", "text": answer.text}] if answer.text else []


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    if answer.tool:
        for piece in PIECE.findall(answer.tool[1]):
            yield {"type": "input_json_delta", "partial_json": piece}
    else:
        for piece in PIECE.findall(answer.text or ""):
            yield {"type": "text_delta", "text": piece}


def message_stream(answer: Answer) -> Reply:
    """
    Put a chat answer into a stream of events.

    The message's head, a block's, a ping; content in pieces; the ends of block and message.
    """

    def say(kind: str, **fields: Any) -> bytes:
        return event({"type": kind, **fields}, kind)

    whole = message_body(answer)
    (block,) = whole["content"] or [{"type": "text", "text": ""}]
    empty = {**block, **({"input": {}} if answer.tool else {"text": ""})}
    start = {**whole, "content": [], "stop_reason": None}
    start["usage"] = {**whole["usage"], "output_tokens": 1}
    lead = [
        say("message_start", message=start),
        say("content_block_start", index=0, content_block=empty),
        say("ping"),
    ]
    contents = [say("content_block_delta", index=0, delta=delta) for delta in _deltas(answer)]
    ends = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    counts = {"output_tokens": whole["usage"]["output_tokens"]}
    finishes = [
        say("content_block_stop", index=0),
        say("message_delta", delta=ends, usage=counts),
    ]
    return Reply(
        headers=(("Content-Type", "text/event-stream; charset=utf-8"),),
        parts=(*lead, *contents, *finishes, say("message_stop")),
        framing="chunked",
        streamed=True,
        lead=len(lead),
        contents=len(contents),
        finishes=len(finishes),
    )


def models_body(model: str) -> dict[str, Any]:
    """Answer the model list."""
    shown = re.sub(r"[-_]+", " ", model)
    entry = {"type": "model", "id": model, "display_name": shown}
    entry["created_at"] = "2026-01-01T00:00:00Z"
    return {"data": [entry], "has_more": False, "first_id": model, "last_id": model}
