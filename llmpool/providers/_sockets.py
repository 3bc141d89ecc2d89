"""
Sockets that keep a deadline.

Each single wait is given the time that is left, which is what makes the deadline a true one,
whatever reads from the socket or sends over it. What goes wrong is told as a WireFailure, for
only here is it known how much of a request has left.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from typing import Any

from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import Kind, Sent, WireFailure

LONGEST_WAIT = 1_000_000.0  # seconds; a time-out must fit the system's types


class TimedSocket(socket.socket):
    """
    A socket that serves one exchange at a time.

    Threads: none but the one whose exchange it serves; :meth:`wake` from any.

    Attributes:
        where: The server's name for a message.
        sent: How far the present exchange has come.
        ended: Whether the peer has said that it sends no more.
        broken: Whether the peer did not take the whole request.
        leftover: Whether more came than the answer that was asked for.
    """

    # On the class, for the ssl module makes its sockets without calling __init__.
    where = ""
    sent: Sent = "no"
    ended = False
    broken = False
    leftover = False
    _deadline: Deadline | None = None

    def __del__(self) -> None:
        # Without a word: nobody who lost a stream is to be warned. Not by close(), which fails where an
        # interrupt broke off the making.
        if self.fileno() >= 0:
            socket.close(self.detach())

    def begin(self, deadline: Deadline) -> None:
        """Begin an exchange."""
        self.keep(deadline)
        self.sent = "no"
        self.broken = False

    def keep(self, deadline: Deadline) -> None:
        """Have each wait from now on end at *deadline*, also when that is moved."""
        self._deadline = deadline

    def rest(self) -> None:
        """End the exchange: from here on nobody waits."""
        self._deadline = None

    def unread(self) -> int:
        """Say how many bytes have left the system and not been read here."""
        return 0

    def wake(self) -> None:
        """End the wait of a thread that reads: it sees the end of the stream."""
        if self.fileno() >= 0:
            with contextlib.suppress(OSError):
                # Not the TLS socket's own method, which takes its state away from the reader.
                socket.socket.shutdown(self, socket.SHUT_RDWR)

    def settimeout(self, value: float | None) -> None:
        """Change nothing during an exchange, which has its deadline."""
        if self._deadline is None:
            super().settimeout(value)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """
        Send all of *data*, or as much as the peer takes.

        A peer may answer and close before it has read everything, so a broken connection
        shows itself when the answer is read.
        """
        rest = memoryview(data)
        while rest and not self.broken:
            self._allow()
            try:
                rest = rest[self.send(rest, flags) :]
                self.sent = "maybe"
            except OSError as error:
                if isinstance(self, ssl.SSLSocket):
                    self.sent = "maybe"  # records may have left before the one that could not
                if is_late(error):
                    fact = "the request could not be sent in time"
                    raise self._failure("timeout", fact) from None
                self.broken = True

    def recv_into(self, buffer: Any, nbytes: int | None = 0, flags: int = 0) -> int:
        """Wait for bytes within the deadline; none at the peer's end."""
        if self._deadline is None:
            raise BlockingIOError(errno.EAGAIN, "nobody waits")
        self._allow()
        try:
            count = super().recv_into(buffer)
        except OSError as error:
            if not is_late(error):
                raise self._failure("reset", "the connection was reset") from None
            begun = self.sent == "answered"
            fact = "the answer did not end in time" if begun else "no answer in time"
            raise self._failure("timeout", fact) from None
        if count:
            self.sent = "answered"
        else:
            self.ended = True
        return count

    def _allow(self) -> None:
        """Give the next wait the time that is left."""
        left = self._deadline.remaining() if self._deadline else 0.0
        if left <= 0.0:
            raise self._failure("timeout", "the time was over")
        super().settimeout(min(left, LONGEST_WAIT))

    def _failure(self, kind: Kind, fact: str) -> WireFailure:
        message = f"{self.where}: {fact}"
        return WireFailure(kind, self.sent, message, expired=kind == "timeout")


class TimedTlsSocket(TimedSocket, ssl.SSLSocket):
    """The same under TLS."""

    def unread(self) -> int:
        """Say how many bytes are unpacked already."""
        return self.pending()


def is_late(error: OSError) -> bool:
    """Tell the socket's own time-out from the system's word on a dead peer, which has a number."""
    return isinstance(error, TimeoutError) and error.errno is None
