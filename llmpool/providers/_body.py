"""The body of an answer: where it ends, what it is packed in, how large it may be."""

from __future__ import annotations

import re
from typing import Protocol

from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import Kind, WireFailure
from llmpool.providers._h1 import Connection, Head

_LONGEST_CHUNK_LINE = 4096
_LONGEST_TRAILER = 64 * 1024
_FIRST_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_NEXT_CHUNK = re.compile(rb"\r?\n" + _FIRST_CHUNK.pattern)
_TRAILER = re.compile(rb"(?:[^\r\n][^\n]*\n)*\r?\n")


class Body(Protocol):
    """Something that brings the bytes of an answer as they come."""

    def read1(self, deadline: Deadline) -> bytes:
        """Give what is there, waiting for the first byte of it; empty at the end."""
        ...

    def close(self) -> None:
        """Let go of it, wherever it stands; more than once does no harm."""
        ...

    def wake(self) -> None:
        """End the wait of a thread that reads."""
        ...


class Release(Protocol):
    """What becomes of a connection whose answer has been read to its end."""

    def __call__(self, connection: Connection) -> None: ...


class WireBody:
    """
    A body as it comes over a connection.

    At its end the connection is released for the next request, if it may be used again;
    in every other case it is closed.
    """

    def __init__(self, connection: Connection, head: Head, release: Release) -> None:
        self._connection: Connection | None = connection
        self._where = connection.where
        self._release = release
        self._persistent = head.persistent
        self._chunked = head.chunked
        # Bytes to come of the body, or of the present chunk; None until the peer closes.
        self._left = 0 if head.chunked else head.length
        self._next_line = _FIRST_CHUNK
        self._in_trailer = False
        self._whole = False
        if self._left == 0 and not self._chunked:
            self._finish(connection)

    def close(self) -> None:
        """Close the connection, unless the body has been read to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def wake(self) -> None:
        """End the wait of a thread that reads."""
        connection = self._connection
        if connection is not None:
            connection.wake()

    def read1(self, deadline: Deadline) -> bytes:
        """
        Give what is there, waiting for the first byte of it; empty at the end.

        Raises:
            WireFailure: with ``sent`` "answered"; the connection is closed then.
        """
        connection = self._connection
        if connection is None:
            if self._whole:
                return b""
            raise self._failure("cut", "the answer was closed before its end")
        try:
            if self._chunked:
                return self._read_chunks(connection, deadline)
            return self._read_plain(connection, deadline)
        except BaseException:
            self.close()
            raise

    def _read_plain(self, connection: Connection, deadline: Deadline) -> bytes:
        data = connection.buffer or connection.receive(deadline)
        connection.buffer = b""
        left = self._left
        if left is None:
            if not data:
                self._finish(connection)
            return data
        if not data:
            raise self._failure("cut", f"the answer was cut off, {left} bytes short")
        if len(data) > left:
            connection.buffer = data[left:]
            data = data[:left]
        self._left = left - len(data)
        if not self._left:
            self._finish(connection)
        return data

    def _read_chunks(self, connection: Connection, deadline: Deadline) -> bytes:
        """Give what the chunks that are there hold, in one piece."""
        pieces: list[bytes] = []
        while True:
            position = self._walk(connection.buffer, pieces)
            connection.buffer = connection.buffer[position:]
            if self._whole:
                self._finish(connection)
            if self._whole or pieces:
                return b"".join(pieces)
            more = connection.receive(deadline)
            if not more:
                raise self._failure("cut", "the answer was cut off, without its last chunk")
            connection.buffer += more

    def _walk(self, buffer: bytes, pieces: list[bytes]) -> int:
        """Take the data out of complete and begun chunks; say where the unread rest starts."""
        position = 0
        while True:
            if self._in_trailer:
                end = _TRAILER.match(buffer, position)
                if end is not None:
                    position = end.end()
                    self._whole = True
                elif len(buffer) - position > _LONGEST_TRAILER:
                    raise self._failure(
                        "bad-protocol", "the answer has a trailer that does not end"
                    )
                return position
            if not self._left:
                line = self._next_line.match(buffer, position)
                if line is None:
                    self._check_line(buffer, position)
                    return position
                position = line.end()
                self._left = int(line[1], 16)
                self._next_line = _NEXT_CHUNK
                self._in_trailer = not self._left
                continue
            data = buffer[position : position + self._left]
            if not data:
                return position
            pieces.append(data)
            position += len(data)
            self._left -= len(data)

    def _check_line(self, buffer: bytes, position: int) -> None:
        """Refuse a chunk's size line that is whole, or too long, and still makes no sense."""
        ends = 1 if self._next_line is _FIRST_CHUNK else 2
        whole = buffer.count(b"\n", position) >= ends
        if whole or len(buffer) - position > _LONGEST_CHUNK_LINE:
            raise self._failure("bad-protocol", "the answer has a malformed chunk")

    def _finish(self, connection: Connection) -> None:
        """Let the connection go: to the next request where it may be used again."""
        self._connection = None
        self._whole = True
        if self._persistent and connection.sent_all and not connection.buffer:
            self._release(connection)
        else:
            connection.close()

    def _failure(self, kind: Kind, fact: str) -> WireFailure:
        return WireFailure(kind, "answered", f"{self._where}: {fact}")
