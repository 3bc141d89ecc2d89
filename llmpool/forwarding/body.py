"""The body of an answer as it comes: bytes, and what is known of them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping

import attrs

from llmpool import errors
from llmpool.messages import StreamChunk, Usage
from llmpool.providers import _translate
from llmpool.providers._forward import Passed
from llmpool.providers._http import WireFailure
from llmpool.providers._sse import MOST_BYTES, SseEvent, SseParser
from llmpool.providers._stream import Reader

_BETWEEN_EVENTS = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")
_DRAIN = 0.05
"""Seconds in which what follows the end mark must come, if the connection is to serve again."""


@attrs.frozen
class Piece(StreamChunk):
    """Bytes of a stream: in ``raw`` as they came, and whether there is content in them."""

    content: bool = attrs.field(default=True, kw_only=True)

    @property
    def has_content(self) -> bool:
        """Whether a reader is given something by it."""
        return self.content


class Body(Iterator[StreamChunk]):
    """
    The pieces of a body, each up to the end of an event.

    With a reader it is known what they are: an error is raised, and so is an end without the end
    mark. Without one any bytes are content, and any end is good.

    Args:
        by_name: clients of this format know an error by its event's name, and not by what it says.

    Raises:
        ProviderError: while iterating; of the class that tells what went wrong.
    """

    def __init__(self, passed: Passed, reader: Reader | None, *, by_name: bool = False) -> None:
        self._reply = passed.reply
        self._private = passed.private
        self._reader = reader
        self._by_name = by_name
        self._parser = SseParser()
        self._ready: deque[StreamChunk] = deque()
        self._trouble: errors.ProviderError | None = None  # comes after what is ready
        self._kept = b""  # comments, and the start of an event; they go along with what follows
        self._last_words = b""
        self._ended = False
        self._over = False  # the end mark has been read

    @property
    def done(self) -> bool:
        """Whether the end mark has come, and all before it was given out."""
        return self._ended and not self._ready and self._trouble is None

    def limit(self, seconds: float) -> None:
        """Demand the next piece within *seconds*."""
        self._reply.deadline.move(seconds)

    def take_last_words(self) -> bytes:
        """Give, once, the bytes of the event that said what went wrong."""
        told, self._last_words = self._last_words, b""
        return told

    def __next__(self) -> StreamChunk:
        while not self._ready:
            if self._trouble is not None:
                raise self._trouble
            if self._ended:
                raise StopIteration
            self._fill()
        return self._ready.popleft()

    def _fill(self) -> None:
        data = _translate.plainly(self._reply.read1)
        if self._reader is None:
            self._ended = not data
            if data:
                self._ready.append(Piece(raw=data))
            return
        try:
            self._read(data, self._reader)
        except errors.ProviderError as error:
            self._trouble = error  # what came before it in the same read is given out first
            return
        if self._over:
            self._drain()
            self._ended = True

    def _read(self, data: bytes, reader: Reader) -> None:
        for part in _BETWEEN_EVENTS.split(data):
            self._take(part, self._parse(part), reader)
        if data:
            return
        self._take(b"", self._parser.finish(), reader)
        if self._kept:
            self._give(False, None)
        self._ended = True
        if not (self._over or reader.whole):
            raise errors.StreamInterrupted("the stream ended without its end mark", sent="answered")

    def _parse(self, part: bytes) -> list[SseEvent]:
        try:
            return self._parser.feed(part)
        except ValueError:
            raise _translate.no_answer("an event of the stream is too large") from None

    def _take(self, part: bytes, events: list[SseEvent], reader: Reader) -> None:
        content = False
        usage: Usage | None = None
        for event in events:
            if event.data.strip() == "[DONE]":
                self._over = True
                continue
            payload = self._judged(event, part, reader)
            for chunk in reader.read(payload):
                content = content or chunk.has_content
                usage = chunk.usage or usage
            self._over = self._over or reader.over
        self._kept += part
        if events:
            self._give(content, usage)
        elif len(self._kept) > MOST_BYTES:
            raise _translate.no_answer("too much came that is no event")

    def _judged(self, event: SseEvent, part: bytes, reader: Reader) -> Mapping[str, object]:
        """Give what an event says, unless it is an error."""
        payload = _translate.decode(event.data)
        if not isinstance(payload, Mapping):
            raise _translate.no_answer("an event of the stream is no JSON object")
        failed = payload if payload.get("error") else reader.failure_in(payload)
        named = event.event == "error"
        # One that the client would not know for an error is no good end of its stream.
        plain = named if self._by_name else failed is not None
        if failed is not None or named:
            self._last_words = self._kept + part if plain else b""
            raise _translate.answer_error(200, {}, failed or payload, self._private)
        return payload

    def _give(self, content: bool, usage: Usage | None) -> None:
        reader = self._reader
        assert reader is not None
        reason = "stop" if reader.whole else None
        self._ready.append(
            Piece(raw=self._kept, content=content, usage=usage, finish_reason=reason)
        )
        self._kept = b""

    def _drain(self) -> None:
        """Read the end of the body, if it is there, so that the connection can serve again."""
        self._reply.deadline.move(_DRAIN)
        rest: list[bytes] = []
        try:
            rest += iter(self._reply.read1, b"")
        except WireFailure:
            pass  # no connection is worth waiting for
        self._reply.close()
        last = self._ready.pop()  # with the end mark in it, or after it
        self._ready.append(attrs.evolve(last, raw=b"".join((last.raw, *rest))))

    def close(self) -> None:
        """Let go of the connection, and of what has been read and not been asked for."""
        self._ended = True
        self._ready.clear()
        self._trouble = None
        self._kept = b""
        self._reply.close()


def joined(pieces: list[StreamChunk]) -> list[StreamChunk]:
    """Give pieces as one."""
    usage = [piece.usage for piece in pieces if piece.usage is not None]
    data = b"".join(piece.raw for piece in pieces)
    return [Piece(raw=data, usage=usage[-1] if usage else None)]
