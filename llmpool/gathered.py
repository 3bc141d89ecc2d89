"""The pieces of a streamed answer, put together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from llmpool import spending
from llmpool.messages import Choice, CompletionResponse, StreamChunk, ToolCall, Usage


class Gathered:
    """Chunks put together again, choice by choice."""

    def __init__(self) -> None:
        self._choices: dict[int, _Pieces] = {}
        self._usage: Usage | None = None
        self._model: str | None = None
        self._id: str | None = None

    def add(self, chunk: StreamChunk) -> None:
        """Take in one chunk."""
        self._usage = chunk.usage or self._usage
        self._model = chunk.model or self._model
        self._id = chunk.id or self._id
        choice = self._choices.get(chunk.index)
        if choice is None:
            choice = self._choices[chunk.index] = _Pieces()
        choice.add(chunk)

    def text(self, index: int) -> str:
        """Give the text so far of one choice."""
        choice = self._choices.get(index)
        return "".join(choice.text) if choice else ""

    @property
    def usage(self) -> Usage | None:
        """The tokens, once they were told, if they can be added up."""
        return None if self._usage is None else spending.counted(self._usage)

    def facts(self) -> tuple[str | None, str | None, list[str | None]]:
        """Give the model, the name of the answer, and the finish reasons."""
        choices = (self._choices[index] for index in sorted(self._choices))
        return self._model, self._id, [choice.finish_reason for choice in choices]

    def response(self, **facts: Any) -> CompletionResponse:
        """Give all of it as one answer."""
        choices = [self._choices[index].whole(index) for index in sorted(self._choices)]
        return CompletionResponse.from_choices(
            choices or [Choice()], usage=self._usage, model=self._model, id=self._id, **facts
        )


class _Pieces:
    """What has come of one choice."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._logprobs: list[Any] = []
        self.finish_reason: str | None = None
        self._calls: dict[int, list[tuple[ToolCall, list[str]]]] = {}

    def add(self, chunk: StreamChunk) -> None:
        """Take in one chunk."""
        self.text.append(chunk.text)
        self._reasoning.append(chunk.reasoning or "")
        self._refusal.append(chunk.refusal or "")
        self.finish_reason = chunk.finish_reason or self.finish_reason
        if chunk.logprobs:
            self._logprobs.append(chunk.logprobs)
        for piece in chunk.tool_calls:
            self._add_call(piece)

    def _add_call(self, piece: ToolCall) -> None:
        """Join a piece to the last call of its index; another id is another call, whatever its index."""
        calls = self._calls.setdefault(piece.index, [])
        if calls:
            call, arguments = calls[-1]
            if not (call.id and piece.id and call.id != piece.id):
                arguments.append(piece.arguments)
                if (piece.id and not call.id) or (piece.name and not call.name):
                    named = attrs.evolve(call, id=call.id or piece.id, name=call.name or piece.name)
                    calls[-1] = named, arguments
                return
        calls.append((piece, [piece.arguments]))

    def whole(self, index: int) -> Choice:
        """Give it as one choice."""
        return Choice(
            index=index,
            text="".join(self.text),
            finish_reason=self.finish_reason,
            tool_calls=tuple(
                attrs.evolve(call, arguments="".join(arguments))
                for place in sorted(self._calls)
                for call, arguments in self._calls[place]
            ),
            reasoning="".join(self._reasoning) or None,
            refusal="".join(self._refusal) or None,
            logprobs=_joined(self._logprobs),
        )


def _joined(pieces: list[Any]) -> Any:
    """Put the log-probabilities of a stream's pieces into the shape that a whole answer has."""
    if not all(isinstance(piece, Mapping) for piece in pieces):
        return pieces
    whole: dict[str, Any] = {}
    for piece in pieces:
        for field, value in piece.items():
            known = whole.get(field)
            if isinstance(known, list) and isinstance(value, list):
                known.extend(value)
            elif value or field not in whole:
                whole[field] = list(value) if isinstance(value, list) else value
    return whole or None
