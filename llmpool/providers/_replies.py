"""What a request brings back."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

import attrs
from urllib3.exceptions import HTTPError
from urllib3.response import GzipDecoder, HTTPResponse

from llmpool.providers._connections import Connection
from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import WireFailure
from llmpool.providers._sockets import TimedSocket

_PIECE = 64 * 1024  # most that is read and unpacked at once, so that a bomb stays small
# Before 2.6 urllib3 unpacks all that it has read, up to a thousand times as much.
_PACKED_PIECE = _PIECE if hasattr(GzipDecoder, "has_unconsumed_tail") else 4096
_LOOKS = 256
"""So many reads may be served from what has come already before somebody looks at the clock."""


@attrs.frozen
class Reply:
    """A whole answer; the body is unpacked."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)


def read_some(raw: HTTPResponse, where: str) -> bytes:
    """
    Give what is there of a body, unpacked, waiting for the first byte; empty at its end.

    Raises:
        WireFailure: with ``sent`` "answered".
    """
    try:
        packed = "content-encoding" in raw.headers
        return raw.read1(_PACKED_PIECE if packed else _PIECE, decode_content=True)
    except HTTPError:
        message = f"{where}: the content of the answer cannot be read"
        raise WireFailure("bad-protocol", "answered", message) from None


def read_all(raw: HTTPResponse, most: int, where: str) -> bytes:
    """
    Read a body to its end, which must come before *most* bytes are exceeded.

    Whatever goes wrong, the connection is closed.
    """
    body = bytearray()  # a list of pieces of one byte each would take fifty times as much
    try:
        while len(body) <= most:
            piece = read_some(raw, where)
            if not piece:
                return bytes(body)
            body += piece
    finally:
        abandon(raw)
    raise WireFailure("too-large", "answered", f"{where}: the answer is larger than {most} bytes")


def abandon(raw: HTTPResponse) -> None:
    """Close the connection of an answer, unless it has been read to its end."""
    connection = raw.connection
    if isinstance(connection, Connection):
        connection.abandon()
    raw.close()


class OpenReply:
    """
    An answer whose body is read while it comes.

    Read it to its end or close it; a forgotten one is closed when it is collected.

    Threads: one reads at a time, which may change; :meth:`close` from any, also while
    another reads, whose read then ends with a WireFailure.

    Attributes:
        deadline: When the next read must have ended; move or replace it between reads.
    """

    def __init__(
        self, raw: HTTPResponse, headers: Mapping[str, str], deadline: Deadline, where: str
    ) -> None:
        self.status = raw.status
        self.headers = headers
        self.deadline = deadline
        self._raw = raw
        self._where = where
        self._closed = False
        self._reads = 0
        self._pid = os.getpid()
        # Held by who may touch the body. Nobody waits for it, so a close from a signal handler
        # or a finaliser cannot lock itself out.
        self._owned = threading.Lock()

    def __enter__(self) -> OpenReply:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read1(self) -> bytes:
        """
        Give what is there of the body, unpacked, waiting for the first byte; empty at its end.

        Raises:
            WireFailure: with ``sent`` "answered": ``cut`` when the body ends short or the reply
                was closed, ``timeout``, ``reset``, ``bad-protocol``.
            RuntimeError: Another thread is reading.
        """
        if self._is_closed():
            raise self._closed_failure()
        if not self._owned.acquire(blocking=False):
            raise RuntimeError("two threads read one reply at the same time")
        failure: WireFailure | None = None
        data = b""
        try:
            sock = self._find_socket()
            if sock is not None:
                sock.keep(self.deadline)
            self._look_at_the_clock()
            data = read_some(self._raw, self._where)
        except WireFailure as error:
            failure = error.bare()
        except BaseException:
            self._closed = True  # an interrupt: what was read is lost, so no more may follow
            raise
        finally:
            self._owned.release()
            if self._is_closed():
                self._let_go()
        if self._is_closed():
            failure = self._closed_failure()  # what the read saw was the doing of close()
        if failure is not None:
            self.close()
            raise failure
        return data

    @property
    def ended(self) -> bool:
        """Whether it is certain that nothing more comes; where it is not, a read tells."""
        raw = self._raw
        return raw.closed and "content-encoding" not in raw.headers

    def _look_at_the_clock(self) -> None:
        """Keep to the deadline also where no read has to wait: ten thousand pieces come at once."""
        self._reads += 1
        if self._reads % _LOOKS == 0 and not self.deadline.remaining():
            message = f"{self._where}: the answer did not end in time"
            raise WireFailure("timeout", "answered", message, expired=True)

    def close(self) -> None:
        """Let go of the connection, at once; more than once does no harm."""
        self._closed = True
        sock = self._find_socket()
        reading = not self._let_go()
        if reading and sock is not None and self._pid == os.getpid():
            sock.wake()  # the reader lets go

    def _find_socket(self) -> TimedSocket | None:
        """Give what the answer is coming over: nothing once it is whole."""
        connection = self._raw.connection
        return connection.live if isinstance(connection, Connection) else None

    def _let_go(self) -> bool:
        """Close the body if nobody is reading; it stays owned, for nobody shall read it again."""
        if not self._owned.acquire(blocking=False):
            return False
        abandon(self._raw)
        return True

    def _is_closed(self) -> bool:
        return self._closed

    def _closed_failure(self) -> WireFailure:
        return WireFailure(
            "cut", "answered", f"{self._where}: the answer was closed before its end"
        )
