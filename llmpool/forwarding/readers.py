"""How the answers of each page are read: what is content, what is an error, what is the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llmpool.forwarding.asked import ANTHROPIC, OPENAI, Asked
from llmpool.messages import CompletionResponse, StreamChunk
from llmpool.providers import _translate
from llmpool.providers._anthropic_shapes import EventReader
from llmpool.providers._openai_shapes import ChunkReader, failure_in, read_usage, text_or_none
from llmpool.providers._stream import Reader


class TextReader:
    """Reads the older completions, whose choices have a text and no message."""

    over = False
    failure_in = staticmethod(failure_in)

    def __init__(self) -> None:
        self._chunks = ChunkReader()

    @property
    def whole(self) -> bool:
        """Whether each choice has had its finish reason."""
        return self._chunks.whole

    def read(self, payload: Mapping[str, Any]) -> Iterator[StreamChunk]:
        """Give the pieces in an event."""
        yield from self._chunks.read(payload)
        choices = payload.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            yield StreamChunk(text_or_none(choice.get("text")) or "")

    def read_answer(self, answer: Mapping[str, Any]) -> CompletionResponse:
        """Demand choices."""
        return _demand("choices", answer)


class VectorReader:
    """Reads embeddings, which may be packed in a way that is the client's to read."""

    whole = over = False
    failure_in = staticmethod(failure_in)

    def read(self, payload: Mapping[str, Any]) -> Iterator[StreamChunk]:
        """Give nothing: they do not come in pieces."""
        yield StreamChunk(raw=payload)

    def read_answer(self, answer: Mapping[str, Any]) -> CompletionResponse:
        """Demand vectors."""
        return _demand("data", answer)


class ResponsesReader:
    """Reads the Responses API, whose events say by their type what they are."""

    def __init__(self) -> None:
        self.whole = False

    @property
    def over(self) -> bool:
        """Whether the last event has come."""
        return self.whole

    def failure_in(self, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Give what failed: in an event of that type, or in the answer that it carries."""
        if payload.get("type") == "error":
            return {"error": payload}
        inner = payload.get("response", payload)
        if isinstance(inner, Mapping) and inner.get("status") == "failed":
            return {"error": inner.get("error") or {"message": "the response failed"}}
        return None

    def read(self, payload: Mapping[str, Any]) -> Iterator[StreamChunk]:
        """Give a piece with content for each event that adds to the answer."""
        kind = str(payload.get("type"))
        inner = payload.get("response")
        usage = inner.get("usage") if isinstance(inner, Mapping) else None
        self.whole = kind in ("response.completed", "response.incomplete")
        content = payload.get("delta") if kind.endswith(".delta") else None
        yield StreamChunk(
            audio=content,
            finish_reason="stop" if self.whole else None,
            usage=read_usage(_counts(usage)),
        )

    def read_answer(self, answer: Mapping[str, Any]) -> CompletionResponse:
        """Demand a response object."""
        if answer.get("object") != "response":
            raise _translate.no_answer("an answer that is no response object")
        return CompletionResponse(usage=read_usage(_counts(answer.get("usage"))))


def _demand(field: str, answer: Mapping[str, Any]) -> CompletionResponse:
    if not isinstance(answer.get(field), list) or not answer[field]:
        raise _translate.no_answer(f"an answer without {field}")
    return CompletionResponse(usage=read_usage(answer.get("usage")))


def _counts(usage: object) -> Mapping[str, Any] | None:
    """Give counts of tokens under the names that they have elsewhere."""
    if not isinstance(usage, Mapping):
        return None
    names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
    return {**usage, **{ours: usage.get(theirs) for ours, theirs in names.items()}}


_READERS: dict[tuple[str, str], Callable[[], Reader]] = {
    (OPENAI, "/chat/completions"): ChunkReader,
    (OPENAI, "/completions"): TextReader,
    (OPENAI, "/embeddings"): VectorReader,
    (OPENAI, "/responses"): ResponsesReader,
    (ANTHROPIC, "/messages"): EventReader,
}
_MAIN = frozenset({"/chat/completions", "/completions", "/messages"})
_SILENT = frozenset({"/responses"})


def reader_of(asked: Asked) -> Reader | None:
    """Give what reads the answer, if the page is known."""
    make = _READERS.get((asked.wire_format, asked.path.rstrip("/")))
    return make() if make is not None and asked.method == "POST" else None


def is_main(asked: Asked) -> bool:
    """Tell whether the page is the one that a deployment is there for, so that it must not be missing."""
    return asked.path.rstrip("/") in _MAIN


def is_silent(asked: Asked) -> bool:
    """Tell whether a good answer may say nothing for minutes between two events."""
    return asked.path.rstrip("/") in _SILENT
