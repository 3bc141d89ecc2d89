"""The site served by itself, with nothing but the standard library."""

from __future__ import annotations

import io
import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from llmpool._threads import daemon, start
from llmpool.web import replies
from llmpool.web.site import StatusSite

MOST_VIEWERS = 32
"""So many connections are served at a time; more are closed at once."""
SILENCE = 10.0
"""Seconds that a connection may say nothing."""

_log = logging.getLogger("llmpool.web")

Application = Callable[[dict[str, Any], Callable[..., Any]], list[bytes]]


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches *host*."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


class AloneServer:
    """
    A server of *site* alone, a thread for each connection.

    It answers to addresses, to ``localhost`` and to the host that it was given, and to no other name: a
    page of somebody's else whose name was made to mean this machine cannot read it, nor control.

    Raises:
        OSError: it cannot listen there.
    """

    def __init__(self, site: StatusSite, host: str, port: int) -> None:
        self._server = _Server(host, port)
        self._server.set_app(_answering_to(host, site.wsgi))
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_port}/"

    def serve(self) -> None:
        """Serve until :meth:`stop`, or until an exception such as Ctrl-C."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """Let :meth:`serve` return, in another thread."""
        self._server.shutdown()

    def __enter__(self) -> AloneServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.server_close()


class _Quiet(WSGIRequestHandler):
    timeout = SILENCE

    def get_stderr(self) -> TextIO:
        """Give a place for tracebacks where nobody sees them; what raised is logged."""
        return io.StringIO()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: standard error is the user's terminal."""


class _Server(WSGIServer):
    allow_reuse_address = os.name != "nt"  # there it lets a second server take the port
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._places = threading.BoundedSemaphore(MOST_VIEWERS)
        super().__init__((host, port), _Quiet)

    def server_bind(self) -> None:
        """Bind, and ask no name server what this machine is called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, self.allow_reuse_address)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread of its own, if there is a place left."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            start(daemon("llmpool-status-page", self._serve, request, client_address))
        except RuntimeError:  # no more threads can be started
            self._places.release()
            self.shutdown_request(request)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the viewer has gone
        finally:
            self.shutdown_request(request)
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


def _answering_to(host: str, application: Application) -> Application:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if not _is_own(environ.get("HTTP_HOST", ""), host):
            refusal = replies.of_text(421, "this server does not go by that name")
            start_response("421 Misdirected Request", list(refusal.headers))
            return [refusal.body]
        try:
            return application(environ, start_response)
        except Exception as error:
            # Told here, for the server's own traceback goes nowhere; that a viewer's order never arrives
            # is nothing to tell of.
            level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
            _log.log(level, "answering on the status page raised %s", type(error).__name__)
            raise

    return answer


def _is_own(said: str, host: str) -> bool:
    try:
        name = urlsplit(f"//{said}").hostname
    except ValueError:
        return False
    if name is None:
        return False
    # A name can be made to mean this machine by whoever owns it; an address is what it is.
    return name in ("localhost", host.lower()) or _address(name) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
