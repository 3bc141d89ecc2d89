"""Streamed answers, from the events of a server to chunks, in any wire format."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from llmpool import errors
from llmpool.messages import CompletionResponse, StreamChunk
from llmpool.providers import _translate
from llmpool.providers._http import OpenReply, WireFailure
from llmpool.providers._private import Private
from llmpool.providers._sse import SseEvent, SseParser

MOST_BYTES = 512 * 1024 * 1024
"""Of one stream; a long answer with twenty log-probabilities a token has half of it."""
MOST_PARTS = 4096
"""Choices and tool calls of one stream; each that begins takes ten times its bytes."""


class Reader(Protocol):
    """Reads one answer of one wire format: its events as they come, or the whole of it."""

    @property
    def whole(self) -> bool:
        """Whether the stream could end here: something has come, and so has its end mark."""
        ...

    @property
    def over(self) -> bool:
        """Whether nothing more is to come, so that the rest of the body need not be waited for."""
        ...

    def failure_in(self, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Give the error that an event, or an answer, carries in a place of this format's own."""
        ...

    def read(self, payload: Mapping[str, Any]) -> Iterator[StreamChunk]:
        """Give the pieces in an event."""
        ...

    def read_answer(self, answer: Mapping[str, Any]) -> CompletionResponse:
        """Read an answer that came whole."""
        ...


class AnswerStream(Iterator[StreamChunk]):
    """
    The chunks of one answer, in the order in which they come.

    A stream that ends without its end mark and without a finish reason was cut, however clean its end.

    Raises:
        ProviderError: while iterating; of the class that tells what went wrong.
    """

    def __init__(self, reply: OpenReply, private: Private, reader: Reader) -> None:
        self._reply = reply
        self._private = private
        self._reader = reader
        self._parser = SseParser()
        self._ready: deque[StreamChunk] = deque()
        self._trouble: errors.ProviderError | None = None  # comes after what is ready
        self._done = False
        self._size = 0
        self._parts: set[object] = set()
        content_type = reply.headers.get("content-type", "").lower()
        self._is_stream = "json" not in content_type and "html" not in content_type

    def limit(self, seconds: float) -> None:
        """Demand the next chunk within *seconds*."""
        self._reply.deadline.move(seconds)

    def __next__(self) -> StreamChunk:
        while not self._ready:
            if self._trouble is not None:
                raise self._trouble
            if self._done:
                raise StopIteration
            self._fill()
        return self._ready.popleft()

    def _fill(self) -> None:
        if not self._is_stream:
            self._take_whole()
            return
        data = _translate.plainly(self._reply.read1)
        self._size += len(data)
        try:
            events = self._parser.feed(data) if data else self._parser.finish()
        except ValueError:
            events = None
        if events is None or self._size > MOST_BYTES:
            raise _translate.no_answer("the stream, or an event of it, is too large")
        for event in events:
            try:
                self._take(event)
            except errors.ProviderError as error:
                # What came before it in the same read is delivered first.
                self._trouble = error
                return
            if self._done:
                self._drain()
                return
        if not data:
            self._end()

    def _end(self) -> None:
        self._done = True
        if not self._reader.whole:
            raise errors.StreamInterrupted("the stream ended without its end mark", sent="answered")

    def _drain(self) -> None:
        """Read the end of the body, if it is there, so that the connection can serve again."""
        self._reply.deadline.move(0.05)
        try:
            deque(iter(self._reply.read1, b""), maxlen=0)
        except WireFailure:
            pass  # no connection is worth waiting for
        self._reply.close()

    def _take(self, event: SseEvent) -> None:
        if event.data.strip() == "[DONE]":
            self._done = True
            return
        if len(event.data) > _translate.MOST_EVENT_VALUES:
            _translate.check_values(event.data.encode(), _translate.MOST_EVENT_VALUES)
        payload = _translate.decode(event.data)
        if not isinstance(payload, Mapping):
            raise _translate.no_answer("an event of the stream is no JSON object")
        failed = payload if payload.get("error") else self._reader.failure_in(payload)
        if failed is None and event.event == "error":
            failed = payload
        if failed is not None:
            raise _translate.answer_error(200, {}, failed, self._private)
        for chunk in self._reader.read(payload):
            self._ready.append(chunk)
            self._count(chunk)
        self._done = self._reader.over

    def _count(self, chunk: StreamChunk) -> None:
        """Refuse a stream of too many choices or tool calls."""
        self._parts.add(chunk.index)
        for piece in chunk.tool_calls:
            self._parts.add((chunk.index, piece.index, str(piece.id)))
        if len(self._parts) > MOST_PARTS:
            raise _translate.no_answer(f"a stream of more than {MOST_PARTS} choices and tool calls")

    def _take_whole(self) -> None:
        """Read an answer that is no stream: an error, a page, or all of it at once."""
        reply = _translate.plainly(lambda: _translate.read_whole(self._reply))
        self._done = True
        answer = _translate.read_object(reply, self._private)
        failed = self._reader.failure_in(answer)
        if failed is not None:
            raise _translate.answer_error(200, {}, failed, self._private)
        response = self._reader.read_answer(answer)
        for choice in response.choices:
            self._ready.append(
                StreamChunk(
                    choice.text,
                    finish_reason=choice.finish_reason,
                    tool_calls=choice.tool_calls,
                    reasoning=choice.reasoning,
                    refusal=choice.refusal,
                    index=choice.index,
                    logprobs=choice.logprobs,
                    usage=response.usage,
                    model=response.model,
                    id=response.id,
                    raw=answer,
                )
            )

    def close(self) -> None:
        """Let go of the connection, and of what has been read and not been asked for."""
        self._done = True
        self._ready.clear()
        self._trouble = None
        self._reply.close()
