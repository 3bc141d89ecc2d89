"""Streamed answers in the OpenAI format."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from llmpool import errors
from llmpool.messages import StreamChunk
from llmpool.providers import _openai_shapes as shapes
from llmpool.providers import _translate
from llmpool.providers._http import OpenReply, WireFailure
from llmpool.providers._private import Private
from llmpool.providers._sse import SseEvent, SseParser

MOST_BYTES = 512 * 1024 * 1024
"""Of one stream; a long answer with twenty log-probabilities a token has half of it."""


class OpenAIStream(Iterator[StreamChunk]):
    """
    The chunks of one answer, in the order in which they come.

    A stream that ends without ``[DONE]`` and without a finish reason was cut, however clean its end.

    Raises:
        ProviderError: while iterating; of the class that tells what went wrong.
    """

    def __init__(self, reply: OpenReply, private: Private) -> None:
        self._reply = reply
        self._private = private
        self._parser = SseParser()
        self._ready: deque[StreamChunk] = deque()
        self._trouble: errors.ProviderError | None = None  # comes after what is ready
        self._done = False
        self._size = 0
        self._reader = shapes.ChunkReader()
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
        payload = _translate.decode(event.data)
        if not isinstance(payload, Mapping):
            raise _translate.no_answer("an event of the stream is no JSON object")
        failed = payload if payload.get("error") else shapes.failure_in(payload)
        if failed is None and event.event == "error":
            failed = payload
        if failed is not None:
            raise _translate.answer_error(200, {}, failed, self._private)
        self._ready.extend(self._reader.read(payload))

    def _take_whole(self) -> None:
        """Read an answer that is no stream: an error, a page, or all of it at once."""
        reply = _translate.plainly(lambda: _translate.read_whole(self._reply))
        self._done = True
        answer = _translate.read_object(reply, self._private)
        failed = shapes.failure_in(answer)
        if failed is not None:
            raise _translate.answer_error(200, {}, failed, self._private)
        response = shapes.read_completion(answer)
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
