"""The local server's own life: start, counting, closing, forks, running out of things."""

from __future__ import annotations

import errno
import http.client
import logging
import os
import pathlib
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asking import ask, chat, connect, send

from llmpool.testing import BlackHole, Hang, LocalServer, Refuse, Reset, Slow
from llmpool.testing.connection import Connection
from llmpool.testing.listener import Listener

TLS = pathlib.Path(__file__).parents[1] / "data" / "tls"


def test_before_the_start() -> None:
    """Constructing starts nothing: no port, no thread."""
    threads = threading.active_count()
    server = LocalServer("eu")
    assert threading.active_count() == threads
    assert repr(server) == "<LocalServer 'eu' on port none yet>"
    with pytest.raises(RuntimeError, match="'eu' is not started"):
        _ = server.url
    with pytest.raises(RuntimeError, match="is not running"):
        server.restore()
    server.close()


def test_started_by_hand() -> None:
    """It serves until it is closed, which may be said twice, and starts once."""
    server = LocalServer("eu").start()
    assert server.url == f"http://127.0.0.1:{server.port}/v1"
    assert str(server.port) in repr(server)
    with pytest.raises(RuntimeError, match="started before"):
        server.start()
    assert ask(server).status == 200
    server.close()
    server.close()
    with pytest.raises(RuntimeError, match="is not running"):
        server.behave(Hang())
    with pytest.raises(ConnectionRefusedError):
        ask(server)


def test_a_port_that_is_taken(server: LocalServer) -> None:
    """Starting on it fails, and closing what did not start is harmless."""
    other = LocalServer(port=server.port)
    with pytest.raises(OSError, match="in use"):
        other.start()
    other.close()


def test_a_port_of_ones_choice() -> None:
    """A server can come back on the port it had."""
    with LocalServer() as first:
        port = first.port
        ask(first)
    with LocalServer(port=port) as second:
        assert second.port == port
        assert ask(second).status == 200


def test_threads_have_names(server: LocalServer) -> None:
    """Each says whose it is, and none is left after closing."""
    line = connect(server)
    ask(line)
    names = {thread.name for thread in threading.enumerate()}
    assert {"llmpool-testserver-eu-accept", "llmpool-testserver-eu-1"} <= names
    server.close()
    line.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("llmpool-testserver")]


@pytest.mark.parametrize("behaviour", [Hang(), Hang("accept"), Hang("body"), Slow(3600), Refuse()])
def test_closing_while_something_goes_on(behaviour: Any) -> None:
    """It ends at once, whatever hangs."""
    with LocalServer() as server:
        line = connect(server)
        ask(line)
        with ThreadPoolExecutor(4) as clients:
            server.behave(behaviour)
            pending = [clients.submit(ask, server) for _ in range(4)]
            if not isinstance(behaviour, Refuse):
                assert server.wait_for_connections(5)
            server.close()
            ends = [each.exception(10) for each in pending]
            assert all(isinstance(end, (OSError, http.client.HTTPException)) for end in ends)
        line.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("llmpool-testserver")]


def test_closing_from_within() -> None:
    """A behaviour may close its own server."""
    server = LocalServer().start()

    def close(exchange: Any) -> None:
        server.close()

    server.behave(close)
    with pytest.raises(OSError):
        ask(server)
    for thread in threading.enumerate():
        if thread.name == "llmpool-testserver-local-1":
            thread.join(5)
            assert not thread.is_alive()


def test_a_behaviour_that_will_not_end(caplog: pytest.LogCaptureFixture) -> None:
    """Closing does not wait for it longer than told, and names its thread."""
    caplog.set_level(logging.WARNING, "llmpool.testing")
    end = threading.Event()
    server = LocalServer("stuck").start()
    server.behave(lambda exchange: end.wait(10) and None)
    with send(server):
        assert server.wait_for(1)
        server.close(timeout=0.05)
    assert caplog.messages == ["llmpool-testserver-stuck-1 did not stop within 0.05 s"]
    end.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_behaviour_that_raises(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is shown as any thread's is, the connection ends, the server lives on."""
    seen: list[Any] = []
    shown = threading.Event()

    def show(args: Any) -> None:
        seen.append(args.exc_type)
        shown.set()

    def fail(exchange: Any) -> None:
        raise AssertionError("wrong request")

    monkeypatch.setattr(threading, "excepthook", show)
    server.behave(fail)
    with pytest.raises(OSError):
        ask(server)
    assert shown.wait(5)
    assert seen == [AssertionError]
    server.restore()
    assert ask(server).status == 200


def test_counting(server: LocalServer) -> None:
    """Hits by route, connections, and what is in flight are counted, and can be forgotten."""
    ask(server)
    ask(server, path="/v1/models", method="GET")
    assert (server.hits(), server.hits("chat"), server.hits("embeddings")) == (2, 1, 0)
    assert server.wait_until_idle()
    assert (server.connections, server.in_flight, server.peak) == (2, 0, 1)
    server.forget()
    assert (server.hits(), server.connections, server.peak, server.requests) == (0, 0, 0, ())
    assert not server.wait_for(1, timeout=0.01)
    assert not server.wait_for_connections(1, timeout=0.01)
    server.behave(Hang())
    with send(server):
        assert server.wait_for(1, route="chat")
        assert not server.wait_until_idle(timeout=0.01)
        assert server.in_flight == 1


def test_only_so_many_requests_are_kept() -> None:
    """The oldest go; the hits stay counted."""
    with LocalServer(remember=2) as server:
        for number in range(3):
            ask(server, chat(str(number)))
        assert [request.prompt for request in server.requests] == ["1", "2"]
        assert server.hits() == 3


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork(server: LocalServer) -> None:
    """The child's copies keep no port listening, no connection open, and serve nobody."""
    line = connect(server)
    ask(line)
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - runs in a child that ends without a word
        server.close()
        os.read(told, 1)
        os._exit(0)
    try:
        assert ask(line).status == 200
        server.behave(Refuse())
        assert line.sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            ask(server)
        server.restore()
        assert ask(server).status == 200
    finally:
        os.write(tell, b".")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        line.close()
        os.close(told)
        os.close(tell)


def test_no_more_threads_to_be_had(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed, and the next one is served."""
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OSError):
        ask(server)
    monkeypatch.setattr(threading.Thread, "start", start)
    assert ask(server).status == 200


def test_no_more_descriptors_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepting is tried again, with a pause, until there are some."""
    accepted = threading.Event()
    failures = [errno.EMFILE, errno.EMFILE]
    accept = socket.socket.accept

    def fail_first(self: socket.socket) -> Any:
        if failures:
            raise OSError(failures.pop(), "Too many open files")
        return accept(self)

    def take(sock: socket.socket) -> None:
        sock.close()
        accepted.set()

    monkeypatch.setattr(socket.socket, "accept", fail_first)
    listener = Listener("127.0.0.1", "llmpool-testserver-x-accept", take)
    listener.bind(0)
    listener.open()
    try:
        with socket.create_connection(listener.address, 10):
            assert accepted.wait(10)
    finally:
        listener.close()
    assert failures == []


def test_swallowing_while_it_is_refused(server: LocalServer) -> None:
    """One fault of the port follows upon the other."""
    server.behave(Refuse())
    server.behave(BlackHole())
    with pytest.raises(TimeoutError):
        ask(server, timeout=0.05)
    server.behave(Refuse())
    with pytest.raises(ConnectionRefusedError):
        ask(server)


def trusting() -> ssl.SSLContext:
    """Make a context that trusts the tests' own authority."""
    return ssl.create_default_context(cafile=str(TLS / "ca.pem"))


@pytest.fixture
def secure() -> Iterator[LocalServer]:
    """Give a server that speaks TLS."""
    certificate = str(TLS / "loopback.pem")
    with LocalServer("tls", tls=(certificate, certificate)) as server:
        yield server


def secure_line(server: LocalServer, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    """Make a connection that is kept."""
    return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=context)


def test_tls(secure: LocalServer) -> None:
    """It is real TLS: trusted, kept, streamed; its faults are real under it too."""
    assert secure.url.startswith("https://127.0.0.1:")
    line = secure_line(secure, trusting())
    assert ask(line).text == "echo: hello you"
    assert ask(line, chat(stream=True)).events[-1] == "[DONE]"
    secure.behave(Reset("body"))
    # Python's ssl shows a reset as an end without goodbye.
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        ask(line)
    line.close()
    secure.behave(Hang())
    line = secure_line(secure, trusting())
    with ThreadPoolExecutor(1) as client:
        pending = client.submit(ask, line)
        assert secure.wait_for(4)
        secure.restore()
        assert isinstance(pending.exception(10), OSError)
    line.close()


def test_tls_that_is_not_trusted(secure: LocalServer) -> None:
    """The client refuses, and the server serves the next one."""
    line = secure_line(secure, ssl.create_default_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(line)
    line.close()
    line = secure_line(secure, trusting())
    assert ask(line).status == 200
    line.close()
    assert secure.hits() == 1


@pytest.mark.parametrize("behaviour", [Hang("accept"), BlackHole()])
def test_a_handshake_that_hangs(secure: LocalServer, behaviour: Any) -> None:
    """Nothing comes back; the fault lies before the first byte of TLS."""
    secure.behave(behaviour)
    line = http.client.HTTPSConnection("127.0.0.1", secure.port, timeout=0.05, context=trusting())
    with pytest.raises(TimeoutError):
        ask(line)
    line.close()


def test_an_end_between_two_sockets() -> None:
    """A connection ended while TLS takes its socket over ends all the same."""
    certificate = str(TLS / "loopback.pem")
    ours, theirs = socket.socketpair()
    line = Connection(1, theirs)

    class Meddler:
        def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:
            wrapped = context.wrap_socket(sock, **options)
            line.kick()
            return wrapped

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ours, pytest.raises(OSError):
        line.encrypt(Meddler())  # type: ignore[arg-type]
    line.finish()


def test_a_client_that_never_shakes_hands(secure: LocalServer) -> None:
    """Closing ends its connection as any other."""
    with socket.create_connection(("127.0.0.1", secure.port), 10) as sock:
        assert secure.wait_for_connections(1)
        secure.close()
        assert sock.recv(1) == b""
