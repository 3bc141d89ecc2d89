"""A server that wishes harm: each byte it sends is a test's own, and all that it is told is kept."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from llmpool import Deployment, OpenAIProvider, ProviderPool

KEY = "sk-security-h3Qz81LmWv0PxT7d"
PROMPT = "the name of the patient is Ragnhild Østerbø"
WALL = 40.0
"""Real seconds after which what a test waits for counts as never coming."""
TIMEOUT = 0.2
"""Seconds that a call is given where its server would go on for ever."""

Act = Callable[["Visit"], None]


class Visit:
    """One request that came, and the connection to answer it over."""

    def __init__(self, sock: socket.socket, head: str, body: bytes) -> None:
        self._sock = sock
        self.head = head
        self.body = body
        self.target = head.split(" ", 2)[1]
        lines = (line.partition(":") for line in head.split("\r\n")[1:])
        self.headers = {name.lower(): value.strip() for name, _, value in lines}

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self._sock.sendall(data)

    def flood(self, data: bytes) -> None:
        """Send *data* over and over, until the other side has had enough."""
        while True:
            self._sock.sendall(data)


class Hostile:
    """
    Answers every request by *act*; a connection ends with it, unless it is told to stay.

    Threads: the lock guards ``_socks`` and ``_threads``; ``visits`` is appended to by all.
    """

    def __init__(self, act: Act, *, stays: bool = False) -> None:
        self._act = act
        self._stays = stays
        self._lock = threading.Lock()
        self._socks: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.visits: list[Visit] = []
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.where = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.where}/v1"
        self._accepting = threading.Thread(target=self._accept, name="hostile", daemon=True)

    def __enter__(self) -> Hostile:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(WALL)
        with self._lock:
            socks, threads = list(self._socks), list(self._threads)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(WALL)
            assert not thread.is_alive(), "the test's own server hangs"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(
                target=self._serve, args=(sock,), name="hostile-peer", daemon=True
            )
            with self._lock:
                self._socks.append(sock)
                self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        # The client breaks off most of these; that is no error of the server's.
        with sock, contextlib.suppress(OSError):
            for visit in _requests(sock):
                self.visits.append(visit)
                self._act(visit)
                if not self._stays:
                    return


def _requests(sock: socket.socket) -> Iterator[Visit]:
    """Read the requests of a connection."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        length = next(
            (
                int(line.partition(":")[2])
                for line in text.split("\r\n")
                if line.lower().startswith("content-length:")
            ),
            0,
        )
        while len(data) < length:
            more = sock.recv(65536)
            if not more:
                return
            data += more
        yield Visit(sock, text, data[:length])
        data = data[length:]


# -- answers ------------------------------------------------------------------------------------


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Write an answer with a length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def said(facts: Any, *headers: str, status: str = "200 OK") -> bytes:
    """Write an answer of JSON."""
    return answer(
        json.dumps(facts).encode(), "Content-Type: application/json", *headers, status=status
    )


GOOD = {
    "id": "c1",
    "model": "tiny",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}],
    "data": [{"index": 0, "embedding": [0.5, 0.25]}],
}
"""Good for a completion and for an embedding."""
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(facts: Any) -> bytes:
    """Write an event of a stream."""
    return b"data: " + json.dumps(facts).encode() + b"\n\n"


def sends(data: bytes) -> Act:
    """Answer so."""
    return lambda visit: visit.send(data)


# -- pools --------------------------------------------------------------------------------------


def provider(url: str, **options: Any) -> OpenAIProvider:
    """Give the provider of a server, with a key."""
    options.setdefault("api_key", KEY)
    options.setdefault("model", "tiny")
    return OpenAIProvider(url, **options)


def pool_of(url: str, **options: Any) -> ProviderPool:
    """Give a pool of one deployment, without a checker."""
    return ProviderPool([Deployment("eu", provider(url, **options))], health_check=None)


@contextlib.contextmanager
def facing(act: Act) -> Iterator[ProviderPool]:
    """Give a pool whose one server answers by *act*."""
    with Hostile(act) as server, pool_of(server.url) as pool:
        yield pool


def complete(pool: ProviderPool, timeout: float = WALL) -> Any:
    """Ask for an answer."""
    return pool.complete(PROMPT, timeout=timeout, retry=False)


def stream(pool: ProviderPool, timeout: float = WALL) -> Any:
    """Ask for an answer as it comes, and read it to its end."""
    with pool.stream(PROMPT, timeout=timeout, retry=False) as chunks:
        for _ in chunks:
            pass
        return chunks.response


def embed(pool: ProviderPool, timeout: float = WALL) -> Any:
    """Ask for a vector."""
    return pool.embed([PROMPT], timeout=timeout, retry=False)


def ping(pool: ProviderPool, timeout: float = WALL) -> Any:
    """Ask whether it is there."""
    with pool.lease(timeout=timeout) as lease:
        return lease.client.ping(lease.remaining)


WAYS: dict[str, Callable[..., Any]] = {
    "complete": complete,
    "stream": stream,
    "embed": embed,
    "ping": ping,
}
