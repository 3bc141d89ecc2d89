"""
HTTP/1.1 over one socket (RFC 9112), as much of it as a client of JSON services needs.

All reading and sending is done here, so that each single wait is given the time that is left:
that is what makes the deadline a true one. What a peer sends is bounded and checked strictly,
for a connection whose framing is in doubt could hand one request's answer to another.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
from time import monotonic

import attrs

from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import Kind, Sent, WireFailure
from llmpool.providers._headers import Headers

LONGEST_HEAD = 128 * 1024
MOST_FIELDS = 100
LONGEST_WAIT = 1_000_000.0  # seconds; a time-out must fit the system's types
_RECEIVE = 64 * 1024

_HEAD_END = re.compile(rb"\n\r?\n")
_STATUS = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: [^\n]*)?")
_FIELD = re.compile(r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\n]*)$", re.MULTILINE)
_FOLD = re.compile(r"[ \t]*\n[ \t]+")
_LENGTH = re.compile(r"([0-9]{1,18})(?:[ \t]*,[ \t]*\1)*")
_CONTROLS = bytes({*range(32), 127, *range(128, 160)} - {9, 10})
_TO_SPACE = bytes(32 if code in _CONTROLS else code for code in range(256))


@attrs.frozen
class Head:
    """
    Status and header fields of an answer, and how its body is framed.

    Attributes:
        length: Bytes of the body; None when it is chunked or lasts until the peer closes.
        persistent: Whether the connection may be used again after the body.
    """

    status: int
    headers: Headers
    length: int | None
    chunked: bool
    persistent: bool


class Connection:
    """
    One open connection; it belongs to one exchange at a time.

    Threads: none but the one whose exchange it serves; :meth:`wake` from any.
    """

    __slots__ = ("__weakref__", "_pid", "buffer", "idle_since", "sent_all", "sock", "where")

    def __init__(self, sock: socket.socket, where: str) -> None:
        self.sock = sock
        self.where = where
        self.idle_since = 0.0
        self.sent_all = True
        self.buffer = b""
        self._pid = os.getpid()

    def close(self) -> None:
        """
        Close it; more than once does no harm.

        Shut down first, for a child of a fork may hold a copy of the descriptor that would
        keep the peer generating. A child itself only lets go of its copy.
        """
        if self._pid == os.getpid():
            self.wake()
        self.sock.close()

    def wake(self) -> None:
        """End the wait of a thread that reads: it sees the end of the stream."""
        if self.sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                # Not the TLS socket's own method, which takes its state away from the reader.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def is_fresh(self, idle_limit: float) -> bool:
        """Tell whether an idle connection can be expected to take another request."""
        if monotonic() - self.idle_since > idle_limit:
            return False
        try:
            self.sock.settimeout(0.0)
            # Under TLS too a plain look: neither end nor bytes may wait on an idle connection.
            socket.socket.recv(self.sock, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def rest(self) -> None:
        """Note that it is idle from now on."""
        self.idle_since = monotonic()

    def has_leftover(self) -> bool:
        """Tell whether the peer sent more than was asked for."""
        return bool(self.buffer)

    def ask(self, request: bytes, deadline: Deadline) -> Head:
        """
        Send a request and read the head of its answer.

        Interim answers (1xx) are passed over.

        Raises:
            WireFailure: of kind ``reset`` with ``sent`` other than "answered" when the peer
                went away before a byte of an answer.
        """
        sent = self._send(request, deadline)
        while True:
            head = self._read_head(deadline, sent)
            if head.status >= 200:
                return head
            if head.status == 101:
                raise self._failure(
                    "bad-protocol", "answered", "switched to a protocol not asked for"
                )

    def _send(self, request: bytes, deadline: Deadline) -> Sent:
        """
        Send all of it, or as much as the peer takes.

        A peer may answer and close before it has read everything, so a broken connection
        shows itself when the answer is read.
        """
        self.sent_all = False
        sock = self.sock
        rest = memoryview(request)
        while rest:
            sent: Sent = "no" if len(rest) == len(request) else "maybe"
            self._allow(deadline, sent)
            late = False
            try:
                rest = rest[sock.send(rest) :]
            except OSError as error:
                if isinstance(sock, ssl.SSLSocket):
                    sent = "maybe"  # records may have left before the one that could not
                late = is_late(error)
                if not late:
                    return sent
            if late:
                raise self._failure(
                    "timeout", sent, "the request could not be sent in time", expired=True
                )
        self.sent_all = True
        return "maybe"

    def _read_head(self, deadline: Deadline, sent: Sent) -> Head:
        """Read up to the empty line; what stands behind it stays in the buffer."""
        buffer = bytearray(self.buffer)
        searched = 0
        while (end := _HEAD_END.search(buffer, searched)) is None:
            if len(buffer) > LONGEST_HEAD:
                raise self._failure("bad-protocol", "answered", "sent a head that does not end")
            searched = max(0, len(buffer) - 2)
            data = self.receive(deadline, "answered" if buffer else sent)
            if not data:
                if buffer:
                    raise self._failure("cut", "answered", "the answer was cut off in its head")
                raise self._failure("reset", sent, "the connection was closed without an answer")
            buffer += data
        self.buffer = bytes(buffer[end.end() :])
        head = read_head(bytes(buffer[: end.start()]))
        if isinstance(head, str):
            raise self._failure("bad-protocol", "answered", head)
        return head

    def receive(self, deadline: Deadline, sent: Sent = "answered") -> bytes:
        """Wait for bytes within the deadline; none at the peer's end."""
        self._allow(deadline, sent)
        late = False
        try:
            return self.sock.recv(_RECEIVE)
        except OSError as error:
            late = is_late(error)
        if late:
            fact = "no answer in time" if sent != "answered" else "the answer did not end in time"
            raise self._failure("timeout", sent, fact, expired=True)
        raise self._failure("reset", sent, "the connection was reset")

    def _allow(self, deadline: Deadline, sent: Sent) -> None:
        """Give the next wait on the socket the time that is left."""
        left = deadline.remaining()
        if left <= 0.0:
            raise self._failure("timeout", sent, "the time was over", expired=True)
        self.sock.settimeout(left if left < LONGEST_WAIT else LONGEST_WAIT)

    def _failure(self, kind: Kind, sent: Sent, fact: str, expired: bool = False) -> WireFailure:
        return WireFailure(kind, sent, f"{self.where}: {fact}", expired=expired)


def is_late(error: OSError) -> bool:
    """Tell the socket's own time-out from the system's word on a dead peer, which has a number."""
    return isinstance(error, TimeoutError) and error.errno is None


def read_head(block: bytes) -> Head | str:
    """Read status line and fields; where they break the rules, say how."""
    if len(block.translate(None, _CONTROLS)) != len(block) - block.count(b"\r\n"):
        block = block.replace(b"\r\n", b"\n").translate(_TO_SPACE)
    text = block.decode("latin-1").replace("\r\n", "\n")
    first, _, rest = text.partition("\n")
    status_line = _STATUS.fullmatch(first)
    if status_line is None:
        return "the answer is not HTTP/1"
    if "\n " in rest or "\n\t" in rest:
        rest = _FOLD.sub(" ", rest)
    lines = _FIELD.findall(rest)
    if rest and len(lines) != rest.count("\n") + 1:
        return "the answer has a malformed header"
    if len(lines) > MOST_FIELDS:
        return f"the answer has more than {MOST_FIELDS} headers"
    headers = Headers((name, value.strip(" \t")) for name, value in lines)
    return _frame(int(status_line[2]), status_line[1] != "0", headers)


def _frame(status: int, modern: bool, headers: Headers) -> Head | str:
    """Find out how long the body is (RFC 9112 section 6.3)."""
    length: int | None = None
    tokens = headers.get("connection", "").lower()
    persistent = "close" not in tokens and (modern or "keep-alive" in tokens)
    coding = headers.get("transfer-encoding")
    counted = headers.get("content-length")
    if status < 200 or status in (204, 304):
        return Head(status, headers, 0, False, persistent)
    if coding is not None:
        if coding.lower() != "chunked":
            return "the answer has an unknown transfer coding"
        # Both framings at once smell of smuggling: read it, then let the connection go.
        return Head(status, headers, None, True, persistent and counted is None)
    if counted is not None:
        match = _LENGTH.fullmatch(counted)
        if match is None:
            return "the answer has a malformed Content-Length"
        length = int(match[1])
    return Head(status, headers, length, False, persistent and length is not None)
