"""The listening side: it accepts, refuses, or lets connection attempts vanish."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from typing import Literal

_BACKLOG = 512
_STUFFING = 16

Mode = Literal["accept", "refuse", "swallow"]


class Listener:
    """
    One port on loopback that can be closed and opened again.

    While it refuses, the port stays bound without listening: nobody else can take it,
    and a client cannot connect to itself by drawing it as its own port.

    Threads: its methods are called by one thread at a time, which the server sees to;
    the accepting thread is started and joined here.
    """

    def __init__(self, host: str, name: str, accepted: Callable[[socket.socket], None]) -> None:
        self.address: tuple[str, int] = (host, 0)
        self._name = name
        self._accepted = accepted
        self._sock: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._wakers: tuple[socket.socket, socket.socket] | None = None
        self._stopping = threading.Event()
        self._stuffing: list[socket.socket] = []
        self._mode: Mode = "refuse"

    def bind(self, port: int) -> None:
        """Take the port without listening on it: whoever connects is refused."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.address[0], port))
        except OSError:
            sock.close()
            raise
        self._sock = sock
        self.address = sock.getsockname()

    def turn(self, mode: Mode) -> None:
        """Accept, refuse, or swallow; nothing changes where it does so already."""
        if mode == self._mode:
            return
        if self._mode != "refuse":
            self.close()
            self.bind(self.address[1])
        if mode == "accept":
            self.open()
        elif mode == "swallow":
            self._swallow()
        self._mode = mode

    def open(self) -> None:
        """Listen, and accept in a thread of its own."""
        assert self._sock is not None
        self._sock.listen(_BACKLOG)
        self._sock.setblocking(False)
        self._wakers = socket.socketpair()
        self._stopping = threading.Event()
        arguments = (self._sock, self._wakers[0], self._stopping, self._accepted)
        self._thread = threading.Thread(
            target=_accept, args=arguments, name=self._name, daemon=True
        )
        self._thread.start()
        self._mode = "accept"

    def _swallow(self) -> None:
        """Listen with a queue of one place, take that place, and accept nobody."""
        assert self._sock is not None
        self._sock.listen(0)
        full = False
        while not full and len(self._stuffing) < _STUFFING:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.settimeout(0.1)
            self._stuffing.append(sock)
            full = sock.connect_ex(self.address) != 0

    def close(self, timeout: float = 2.0) -> None:
        """
        Stop accepting and give up the port.

        Shut down before it is closed: else the copy of a child that was forked a moment
        ago would go on listening.
        """
        if self._thread is not None and self._wakers is not None:
            self._stopping.set()
            self._wakers[1].send(b".")
            self._thread.join(timeout)
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it was not listening, or the system knows no such thing
        self.abandon()
        self._thread = None

    def abandon(self) -> None:
        """Close every descriptor."""
        for sock in (self._sock, *(self._wakers or ()), *self._stuffing):
            if sock is not None:
                sock.close()
        self._sock = self._wakers = None
        self._stuffing = []


def _accept(
    listening: socket.socket,
    waker: socket.socket,
    stopping: threading.Event,
    accepted: Callable[[socket.socket], None],
) -> None:
    """Hand over each connection until woken."""
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        selector.register(waker, selectors.EVENT_READ)
        while True:
            selector.select()
            if stopping.is_set():
                return
            try:
                sock, _ = listening.accept()
            except OSError:  # the client gave up meanwhile, or no descriptor is left
                stopping.wait(0.02)
                continue
            sock.setblocking(True)
            accepted(sock)
