"""One accepted connection: its socket, the requests read from it, and its end."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import sys
import threading
import time

from llmpool.testing.exchange import Gone
from llmpool.testing.plan import Setting
from llmpool.testing.received import Received

_LIMIT = 256 * 1024 * 1024


class Connection:
    """
    One accepted socket.

    Threads: one thread reads and writes. ``release`` and ``kick`` may be called by any
    other; the lock keeps them from touching a descriptor that was closed meanwhile, and
    guards ``_sock``, ``_ended``, ``_closed`` and ``_held_by``. Nothing under it can block.
    """

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.keeps_alive = True
        self._lock = threading.Lock()
        self._sock = sock
        self._ended = False
        self._closed = False
        self._held_by: Setting | None = None
        self._buffer = bytearray()
        self._nth = 0

    def begin(self) -> None:
        """Have every piece sent at once, none held back until the one before is acknowledged."""
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Shake hands; the handshake can be interrupted by ``kick``."""
        wrapped = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._sock = wrapped
            if self._ended:  # between the two lines above, which no shutdown reaches
                self._shut()
        wrapped.do_handshake()

    def await_request(self) -> bool:
        """Wait for the first byte of the next request; False when the client has gone."""
        return bool(self._buffer) or self._fill()

    def read_request(self) -> Received:
        """
        Read one request: by its length or in chunks.

        Raises:
            Gone: the client went away in the middle, or what it sent is not HTTP.
        """
        method, target, version, headers = self._read_head()
        if headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            if headers.get("transfer-encoding", "").lower() == "chunked":
                body = self._read_chunks()
            else:
                body = self._take(int(headers.get("content-length", "0")))
        except ValueError:
            raise Gone from None
        wish = headers.get("connection", "").lower()
        self.keeps_alive = wish == "keep-alive" if version == "HTTP/1.0" else wish != "close"
        self._nth += 1
        return Received(
            method=method,
            target=target,
            version=version,
            headers=headers,
            body=body,
            connection=self.number,
            nth=self._nth,
            at=time.monotonic(),
        )

    def _read_head(self) -> tuple[str, str, str, dict[str, str]]:
        lines = self._take_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3:
            raise Gone
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return words[0], words[1], words[2], headers

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self._take_until(b"\r\n").split(b";")[0], 16):
            body += self._take(size)
            self._take_until(b"\r\n")
        while self._take_until(b"\r\n"):
            pass  # a trailer
        return body

    def _take_until(self, mark: bytes) -> bytes:
        start = 0
        while (end := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark))
            if not self._fill():
                raise Gone
        taken = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return taken

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= _LIMIT:
            raise Gone
        while len(self._buffer) < size:
            if not self._fill():
                raise Gone
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> bool:
        data = self._sock.recv(65536)
        self._buffer += data
        return bool(data)

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self._sock.sendall(data)

    def hold(self, setting: Setting) -> None:
        """
        Read and write nothing until *setting* is released or the client has gone.

        A descriptor of a client long gone would otherwise stay open until the end of
        the test. What the client sends meanwhile fills its buffers, as with a server
        that truly hangs.
        """
        with self._lock:
            if setting.released.is_set():
                return
            self._held_by = setting
        if sys.platform == "linux":
            poll = select.poll()
            poll.register(self._sock, select.POLLRDHUP)
            poll.poll()
        else:  # pragma: no cover - other systems cannot wait for the client's end alone
            setting.released.wait()

    def release(self, settings: frozenset[Setting]) -> None:
        """End the wait of a thread that is held by one of *settings*."""
        with self._lock:
            if self._held_by in settings:
                self._shut()

    def kick(self) -> None:
        """End the connection from outside: a blocked read or write returns at once."""
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        """Called under the lock. Not ``SSLSocket.shutdown``, which drops the TLS state."""
        self._ended = True
        if not self._closed:
            try:
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            except OSError:
                pass

    def reset(self) -> None:
        """Close so that the client sees a reset instead of an end."""
        linger = struct.pack("ii", 1, 0)
        with self._lock:
            self._closed = True
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._sock.close()

    def finish(self) -> None:
        """Close in order; a copy of the descriptor in a forked child does not delay the end."""
        with self._lock:
            self._shut()
            self._closed = True
            self._sock.close()

    def abandon(self) -> None:  # pragma: no cover - runs in a forked child only
        """Close the descriptor alone, in a forked child whose parent goes on serving."""
        self._sock.close()
