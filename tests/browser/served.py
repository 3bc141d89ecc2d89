"""A WSGI application on loopback, one thread for each request, that can be stopped and started again."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

Application = Callable[..., Iterable[bytes]]


class Served:
    """
    An application mounted at a path, as a host mounts it; elsewhere there is nothing.

    Its address stays the same when it is stopped and started again.
    """

    def __init__(self, application: Application, mount: str = "/llmpool") -> None:
        self._application = application
        self._mount = mount
        self._port = 0
        self._server: _Server | None = None
        self._answered = threading.Condition()
        # Guarded by it: what was answered, method, path and status.
        self._answers: list[tuple[str, str, int]] = []

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def origin(self) -> str:
        """Where it is served, without a path."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"{self.origin}{self._mount}/"

    def start(self) -> None:
        """Listen and serve."""
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections, end those there are, and wait for the threads."""
        if self._server is not None:
            self._server.shutdown()
            self._server.end_connections()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def note(self, method: str, path: str, status: int) -> None:
        """Remember an answer."""
        with self._answered:
            self._answers.append((method, path, status))
            self._answered.notify_all()

    def answers(self, method: str = "GET", path: str = "status") -> list[int]:
        """Give the statuses of what was answered on a path below the mount, the query aside."""
        wanted = f"{self._mount}/{path}"
        with self._answered:
            return [
                status
                for verb, page, status in self._answers
                if verb == method and page.partition("?")[0] == wanted
            ]

    def wait_for_more(self, number: int, timeout: float) -> bool:
        """Wait until so many more feeds were given than until now; tell whether it came to that."""
        with self._answered:
            wanted = len(self.answers()) + number
            return self._answered.wait_for(lambda: len(self.answers()) >= wanted, timeout)

    def answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer what is below the mount."""
        path = environ["PATH_INFO"]
        if path != self._mount and not path.startswith(f"{self._mount}/"):
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = self._mount, path[len(self._mount) :]
        return self._application(environ, start_response)


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    def __init__(self, address: tuple[str, int], served: Served) -> None:
        self.served = served
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()  # guarded by it
        super().__init__(address, _Handler)
        self.set_app(served.answer)

    def server_bind(self) -> None:
        # WSGIServer would look up the name of this machine.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        # A browser opens some before it has anything to ask.
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # ended meanwhile

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the browser went away in the middle of an answer."""


class _Handler(WSGIRequestHandler):
    server: _Server

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.server.served.note(self.command, self.path, int(code))

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""
