"""A local LLM server whose behaviour is switched while it runs."""

from __future__ import annotations

import functools
import os
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType

import attrs

from llmpool._validators import refuse
from llmpool.testing.connection import Connection
from llmpool.testing.crowd import Crowd
from llmpool.testing.exchange import Exchange, Gone
from llmpool.testing.journal import Journal
from llmpool.testing.listener import Listener, Mode
from llmpool.testing.plan import Plan
from llmpool.testing.received import ROUTES, Received
from llmpool.testing.service import Delay, Service
from llmpool.testing.transport import (
    Behaviour,
    BlackHole,
    Ok,
    Refuse,
    act_at_door,
    acts_before_request,
    check_callable,
)

_servers: weakref.WeakSet[LocalServer] = weakref.WeakSet()


class LocalServer:
    """
    An LLM server on loopback, with faults to be switched on and off.

    It speaks the OpenAI format; at ``/v1/messages`` Anthropic's; and at ``/v1beta`` Gemini's.
    Its model echoes the last user prompt (``"echo: hello"``), so that an answer can be
    matched with its question; *reply* computes another text from a :class:`Received`.
    Tokens are words. A prompt that holds "call tool" has one of the request's tools called.

    *latency* (seconds, or a function of the request) goes by before an answer and
    *chunk_delay* between the events of a stream. *api_keys* are the keys it accepts; none
    means any. *strict_model* answers 404 to other models. *tls* is a pair of file names,
    certificate and key. It keeps the last *remember* requests.

    Threads: one for each connection, and one that accepts. Every method may be called
    from any thread. Constructing starts nothing; :meth:`start` or ``with`` does.
    """

    def __init__(
        self,
        name: str = "local",
        *,
        model: str = "tiny",
        api_keys: Iterable[str] = (),
        strict_model: bool = False,
        reply: Callable[[Received], str] | None = None,
        latency: Delay = 0.0,
        chunk_delay: float = 0.0,
        port: int = 0,
        tls: tuple[str, str] | None = None,
        remember: int = 10_000,
    ) -> None:
        self.name = name
        self._service = Service(
            name=name,
            model=model,
            api_keys=api_keys,
            strict_model=strict_model,
            reply=reply,
            latency=latency,
            chunk_delay=chunk_delay,
        )
        self._port = port
        self._context = _make_context(*tls) if tls else None
        self._pid = 0
        self._closed = False
        self._closing = threading.Event()
        self._journal = Journal(remember)
        self._plan = Plan(Ok())
        # One change of behaviour at a time; guards the listener, _pid and _closed. It is held
        # while the port is closed and opened again; no connection's thread ever waits for it
        # unless a behaviour of the user's own changes the behaviour.
        self._switching = threading.Lock()
        self._listener = Listener("127.0.0.1", f"{self._prefix}accept", self._accept)
        self._crowd = Crowd(self._prefix, self._serve)
        # Guards _service.
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<LocalServer {self.name!r} on port {self._listener.address[1] or 'none yet'}>"

    @property
    def _prefix(self) -> str:
        return f"llmpool-testserver-{self.name}-"

    # -- life ----------------------------------------------------------------

    def start(self) -> LocalServer:
        """
        Bind and listen.

        Raises:
            OSError: the port is taken.
            RuntimeError: it was started before.
        """
        with self._switching:
            if self._pid:
                raise RuntimeError(f"{self!r} was started before")
            self._listener.bind(self._port)
            self._listener.open()
            self._pid = os.getpid()
        _servers.add(self)
        return self

    def close(self, timeout: float = 2.0) -> None:
        """
        Stop: release what hangs, end every connection, join every thread.

        A thread that has not stopped within *timeout*, in a behaviour of the user's own,
        is logged by name. In a forked child this does nothing.
        """
        if self._pid != os.getpid():
            return
        with self._switching:
            self._closed = True
            self._listener.close(timeout)
        replaced = self._plan.replace(Refuse(), at_door=True)
        self._crowd.end()  # first, so that nothing released here is still answered
        for setting in replaced:
            setting.released.set()
        self._closing.set()
        self._crowd.join(timeout)

    def __enter__(self) -> LocalServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """
        The port it is bound to; it stays the same while connections are refused.

        Raises:
            RuntimeError: it was not started.
        """
        if not self._pid:
            raise RuntimeError(f"LocalServer {self.name!r} is not started")
        return self._listener.address[1]

    @property
    def url(self) -> str:
        """The base URL for a client, with ``/v1``; an AnthropicProvider takes it too."""
        return f"{self.root}/v1"

    @property
    def root(self) -> str:
        """The URL without a path: an Azure endpoint; for Gemini, ``/v1beta`` goes behind it."""
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.port}"

    # -- behaviour -----------------------------------------------------------

    def behave(self, behaviour: Behaviour, on: str | None = None) -> None:
        """
        Meet requests from now on with *behaviour*, on one route or on all.

        Whatever hung or waited in the behaviour replaced is released at once. Without *on*
        it takes the place of everything set before, by route too. A callable of your own is
        called with an :class:`Exchange`. What concerns the port is in force on return.

        Raises:
            RuntimeError: the server is not running.
            TypeError: *behaviour* is neither.
            ValueError: *on* is no route, or the behaviour concerns connections, which
                have no route.
        """
        check_callable("behaviour", behaviour)
        at_door = acts_before_request(behaviour)
        if on is not None and on not in ROUTES:
            refuse("on", f"one of {', '.join(ROUTES)}, or None", on)
        if on is not None and at_door:
            raise ValueError(f"on: {behaviour!r} concerns connections, which have no route")
        with self._switching:
            if self._closed or self._pid != os.getpid():
                raise RuntimeError(f"{self!r} is not running")
            if on is None:
                replaced = self._plan.replace(behaviour, at_door=at_door)
                self._listener.turn(_listen_as(behaviour))
            else:
                replaced = self._plan.replace_on(on, behaviour)
        if isinstance(behaviour, Refuse):
            self._crowd.end()
        for setting in replaced:
            setting.released.set()
        self._crowd.release(replaced)

    def restore(self) -> None:
        """Go back to normal on every route; a closed port listens again."""
        self.behave(Ok())

    def use_keys(self, *api_keys: str) -> None:
        """Accept these keys from now on and no others; none means any."""
        with self._lock:
            self._service = attrs.evolve(self._service, api_keys=api_keys)

    # -- what has come -------------------------------------------------------

    @property
    def requests(self) -> tuple[Received, ...]:
        """The requests received, oldest first."""
        return self._journal.requests

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return self._journal.connections

    @property
    def in_flight(self) -> int:
        """How many requests are being answered, or hang, at this moment."""
        return self._journal.in_flight

    @property
    def peak(self) -> int:
        """The most requests that were in flight at once."""
        return self._journal.peak

    def hits(self, route: str | None = None) -> int:
        """Count the requests received on a route, or on all."""
        return self._journal.hits(route)

    def wait_for(self, hits: int, timeout: float = 5.0, route: str | None = None) -> bool:
        """Wait until so many requests have been received in all; tell whether they were."""
        return self._journal.wait_hits(hits, timeout, route)

    def wait_for_connections(self, connections: int, timeout: float = 5.0) -> bool:
        """Wait until so many connections were accepted in all; tell whether they were."""
        return self._journal.wait_connections(connections, timeout)

    def wait_until_idle(self, timeout: float = 5.0) -> bool:
        """Wait until no request is in flight; tell whether that came."""
        return self._journal.wait_idle(timeout)

    def forget(self) -> None:
        """Drop the requests received, and count hits, connections and peak anew."""
        self._journal.forget()

    # -- inside --------------------------------------------------------------

    def _accept(self, sock: socket.socket) -> None:
        self._crowd.admit(sock, self._journal.connect())

    def _serve(self, connection: Connection) -> None:
        self._meet_at_door(connection)
        if self._context is not None:
            connection.encrypt(self._context)
        while connection.await_request():
            self._meet_at_door(connection)
            if not self._meet(connection):
                break

    def _meet_at_door(self, connection: Connection) -> None:
        door = self._plan.door
        if door is not None:
            act_at_door(door.behaviour, connection, door)
            raise Gone

    def _meet(self, connection: Connection) -> bool:
        """Serve one request; tell whether the connection lives on."""
        request = connection.read_request()
        serial = self._journal.enter(request)
        done = functools.partial(self._journal.leave, serial)
        setting = self._plan.on(request.route)
        with self._lock:
            service = self._service
        exchange = Exchange(request, connection, setting, service, serial, self._closing, done)
        try:
            setting.behaviour(exchange)
        finally:
            done()
        return exchange.completed

    def _abandon(self) -> None:  # pragma: no cover - runs in a forked child only
        self._listener.abandon()
        self._crowd.abandon()


def _listen_as(behaviour: Behaviour) -> Mode:
    if isinstance(behaviour, Refuse):
        return "refuse"
    return "swallow" if isinstance(behaviour, BlackHole) else "accept"


def _make_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _abandon_in_child() -> None:  # pragma: no cover - runs in a forked child only
    """
    Leave serving to the parent.

    With its copies open the child would keep a port listening, and connections from
    ending, that the parent has closed.
    """
    for server in tuple(_servers):
        server._abandon()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_abandon_in_child)
