"""A server on loopback whose every byte a test decides."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable

TLS = pathlib.Path(__file__).parents[1] / "data" / "tls"
CA = TLS / "ca.pem"
WAIT = 30.0
"""Seconds after which anything that a test waits for counts as never coming."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, number: int, closing: threading.Event) -> None:
        self.sock = sock
        self.number = number
        self.closing = closing
        self.buffer = b""

    def request(self) -> Request | None:
        """Read one request; None when the client has closed."""
        while b"\r\n\r\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.buffer += data
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        request = Request(head.decode("latin-1"))
        while len(rest) < request.length:
            data = self.sock.recv(65536)
            if not data:
                return None
            rest += data
        request.body, self.buffer = rest[: request.length], rest[request.length :]
        return request

    def send(self, data: bytes) -> None:
        """Send all of *data* at once."""
        self.sock.sendall(data)

    def drip(self, data: bytes, pause: float) -> None:
        """Send *data* byte by byte, until the client has had enough."""
        for position in range(len(data)):
            if self.closing.wait(pause):
                return
            self.sock.sendall(data[position : position + 1])

    def reset(self) -> None:
        """Break the connection with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_for_end(self) -> bool:
        """Wait until the client has closed; tell whether it has."""
        self.sock.settimeout(WAIT)
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


class Request:
    """One request as it came."""

    def __init__(self, head: str) -> None:
        self.head = head
        first, *lines = head.split("\r\n")
        self.method, self.target, self.version = first.split(" ")
        self.names = [line.partition(":")[0] for line in lines]
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        self.length = int(self.headers.get("content-length", 0))
        self.body = b""


Serve = Callable[[Peer], None]


class Server:
    """Runs *serve* for each connection, in a thread of its own."""

    def __init__(self, serve: Serve, *, tls: str | None = None, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.host = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{self.host}:{self.port}"
        self.accepted = 0
        self.requests: list[Request] = []
        self.problems: list[BaseException] = []
        self._serve = serve
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(TLS / f"{tls}.pem")
        self._closing = threading.Event()
        self._peers: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="server", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and raise what went wrong in a connection's thread."""
        self._closing.set()
        self.refuse()
        for sock in self._peers:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(WAIT)
            assert not thread.is_alive(), "the test's own server hangs"
        if self.problems:
            raise self.problems[0]

    def refuse(self) -> None:
        """Accept no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._peers.append(sock)
            thread = threading.Thread(
                target=self._run, args=(sock, self.accepted), name="server-peer", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket, number: int) -> None:
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._peers.append(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._serve(Peer(sock, number, self._closing))
        except OSError:
            pass  # the client closed, or the test is over
        except BaseException as problem:
            self.problems.append(problem)
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def answering(*answers: bytes, requests: list[Request] | None = None) -> Serve:
    """Answer each request of a connection with the next of *answers*, the last for ever."""

    def serve(peer: Peer) -> None:
        turn = 0
        while (request := peer.request()) is not None:
            if requests is not None:
                requests.append(request)
            peer.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return serve


def once(answer: bytes) -> Serve:
    """Answer one request and close."""

    def serve(peer: Peer) -> None:
        if peer.request() is not None:
            peer.send(answer)

    return serve


def reply(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Write an answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunks(*pieces: bytes) -> bytes:
    """Write a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Stopwatch:
    """Says how long a block took; for upper bounds of whole seconds only."""

    def __enter__(self) -> Stopwatch:
        self._start = time.monotonic()
        self.seconds = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._start
