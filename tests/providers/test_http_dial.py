"""From a host's name to a connection, and what can go wrong on the way."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable

import pytest
from loopback import OK, WAIT, Server, answering

from llmpool.providers import _dns
from llmpool.providers._dns import Resolver
from llmpool.providers._http import Deadline, HttpClient, WireFailure


def soon() -> Deadline:
    return Deadline.after(10)


def fails(url: str) -> WireFailure:
    with pytest.raises(WireFailure) as caught:
        HttpClient(url, proxies={}).send("GET", "/", deadline=soon())
    assert caught.value.sent == "no"
    assert not caught.value.expired
    return caught.value


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def resolve_to(*hosts: str) -> Callable[..., object]:
    """Give a resolver that answers with these addresses."""

    def getaddrinfo(*_: object, **__: object) -> object:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, 0, 0, 0))
            if ":" in host
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0))
            for host in hosts
        ]

    return getaddrinfo


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_closed_port(host: str) -> None:
    """It is a refused connection, by every name of the host."""
    port = closed_port()
    failure = fails(f"http://{host}:{port}")
    assert failure.kind == "refused"
    assert str(failure) == f"{host}:{port}: connection refused"


def test_a_name_that_does_not_exist() -> None:
    """The resolver's word on it is final."""
    failure = fails("http://x.invalid/v1")
    assert (failure.kind, failure.temporary) == ("dns", False)
    assert "x.invalid:80: the name cannot be resolved (Name or service not known)" in str(failure)


@pytest.mark.parametrize(
    ("problem", "temporary", "said"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), True, "Temporary failure"),
        (socket.gaierror(socket.EAI_FAIL), False, "no answer"),
        (UnicodeError("label too long"), False, "not a valid host name"),
        (OSError(errno.EMFILE, "Too many open files"), True, "Too many open files"),
        (OSError("odd"), True, "OSError"),
    ],
)
def test_a_resolver_that_fails(
    problem: Exception, temporary: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is passed on, and whether it may say otherwise soon."""

    def fail(*_: object, **__: object) -> object:
        raise problem

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    failure = fails("http://some.example")
    assert (failure.kind, failure.temporary) == ("dns", temporary)
    assert str(failure) == f"some.example:80: the name cannot be resolved ({said})"


def test_a_resolver_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address is no answer."""
    monkeypatch.setattr(socket, "getaddrinfo", resolve_to())
    assert "(no address)" in str(fails("http://some.example"))


def test_a_name_that_looks_like_a_number() -> None:
    """It is a name all the same."""
    with pytest.raises(WireFailure) as caught:
        Resolver().resolve("127.0.0.1.invalid", 80, soon(), 5.0)
    assert caught.value.kind == "dns"


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["::1", "127.0.0.1"], ["127.0.0.2", "127.0.0.1"]])
def test_a_name_with_several_addresses(hosts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that answers is taken."""
    monkeypatch.setattr(socket, "getaddrinfo", resolve_to(*hosts))
    with Server(answering(OK)) as server:
        client = HttpClient(f"http://some.example:{server.port}", proxies={})
        assert client.send("GET", "/", deadline=soon()).body == b"ok"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, "local"),
        (errno.ENFILE, "local"),
        (errno.ENETUNREACH, "local"),
        (errno.EHOSTUNREACH, "local"),
        (errno.EADDRNOTAVAIL, "local"),
        (errno.ECONNREFUSED, "refused"),
        (errno.ECONNRESET, "reset"),
        (errno.ETIMEDOUT, "connect-timeout"),
    ],
)
@pytest.mark.parametrize("method", ["__init__", "connect"])
def test_what_the_system_says(
    number: int, kind: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own troubles are told from those of the server."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, method, fail)
    failure = fails("http://127.0.0.1:9")
    assert failure.kind == kind
    assert str(failure).startswith("127.0.0.1:9: ")


def test_one_address_out_of_reach_and_one_refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that this machine could reach decides."""
    port = closed_port()
    unreachable = OSError(errno.ENETUNREACH, "Network is unreachable")
    original = socket.socket.connect

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        if address[0] == "::1":
            raise unreachable
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", resolve_to("::1", "127.0.0.1"))
    assert fails(f"http://some.example:{port}").kind == "refused"


def test_an_interrupt_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes through, and the socket is closed."""
    made: list[socket.socket] = []

    def interrupt(self: socket.socket, _: object) -> None:
        made.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(socket.socket, "connect", interrupt)
    with pytest.raises(KeyboardInterrupt):
        HttpClient("http://127.0.0.1:9", proxies={}).send("GET", "/", deadline=soon())
    assert [sock.fileno() for sock in made] == [-1]


def test_a_time_for_connecting_that_is_no_time() -> None:
    """It is over before the first address was tried."""
    with pytest.raises(WireFailure) as caught:
        HttpClient("http://127.0.0.1:9", proxies={}, connect_timeout=1e-9).send(
            "GET", "/", deadline=soon()
        )
    assert (caught.value.kind, caught.value.expired) == ("connect-timeout", False)


class TestLookUps:
    """The helper threads of a resolver."""

    def test_many_calls_for_one_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They share one look-up, and each is given its own port."""
        asked: list[str] = []
        go = threading.Event()

        def getaddrinfo(host: str, *_: object, **__: object) -> object:
            asked.append(host)
            assert go.wait(WAIT)
            return resolve_to("127.0.0.1", "::1")()

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        resolver = Resolver()
        found: dict[int, object] = {}

        def resolve(port: int) -> None:
            found[port] = resolver.resolve("some.example", port, soon(), 10.0)

        threads = [threading.Thread(target=resolve, args=(port,)) for port in (80, 443, 8000)]
        for thread in threads:
            thread.start()
        go.set()
        for thread in threads:
            thread.join(WAIT)
        assert asked in (["some.example"], ["some.example"] * 2, ["some.example"] * 3)
        assert found[443] == [
            (socket.AF_INET, ("127.0.0.1", 443)),
            (socket.AF_INET6, ("::1", 443, 0, 0)),
        ]

    def test_joining_one_under_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No second helper is started."""
        begun = threading.Event()
        go = threading.Event()
        asked: list[str] = []

        def getaddrinfo(host: str, *_: object, **__: object) -> object:
            asked.append(host)
            begun.set()
            assert go.wait(WAIT)
            return resolve_to("127.0.0.1")()

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        resolver = Resolver()
        for _ in range(3):
            with pytest.raises(WireFailure, match="took too long"):
                resolver.resolve("some.example", 80, Deadline.after(0.01), 10.0)
            assert begun.wait(WAIT)
        assert asked == ["some.example"]
        go.set()
        found = resolver.resolve("some.example", 80, soon(), 10.0)
        assert found == [(socket.AF_INET, ("127.0.0.1", 80))]

    @pytest.mark.parametrize("how", ["no more threads", "threads that never run"])
    def test_a_host_without_threads(self, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The name is looked up in the caller's own thread."""

        def start(_: threading.Thread) -> None:
            if how == "no more threads":
                raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
        monkeypatch.setattr(socket, "getaddrinfo", resolve_to("127.0.0.1"))
        assert Resolver().resolve("some.example", 80, soon(), 5.0)

    def test_an_interrupt_while_a_helper_is_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Later calls do not wait for it."""

        def interrupt(_: threading.Thread) -> None:
            raise KeyboardInterrupt

        resolver = Resolver()
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", interrupt)
            with pytest.raises(KeyboardInterrupt):
                resolver.resolve("some.example", 80, soon(), 5.0)
        monkeypatch.setattr(socket, "getaddrinfo", resolve_to("127.0.0.1"))
        assert resolver.resolve("some.example", 80, soon(), 5.0)

    @pytest.mark.parametrize("started", [False, True])
    def test_a_helper_that_died(self, started: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """One call waits for it in vain; the next one starts another."""
        resolver = Resolver()
        dead = _dns._Lookup()
        if started:
            dead.thread = threading.Thread(target=lambda: None)
            dead.thread.start()
            dead.thread.join(WAIT)
        resolver._running["some.example"] = dead
        monkeypatch.setattr(socket, "getaddrinfo", resolve_to("127.0.0.1"))
        with pytest.raises(WireFailure, match="took too long"):
            resolver.resolve("some.example", 80, Deadline.after(0.01), 5.0)
        assert resolver.resolve("some.example", 80, soon(), 5.0)

    def test_a_helper_that_comes_back_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that was given up meanwhile leaves its successor alone."""
        monkeypatch.setattr(socket, "getaddrinfo", resolve_to("127.0.0.1"))
        resolver = Resolver()
        successor = resolver._running["some.example"] = _dns._Lookup()
        late = _dns._Lookup()
        resolver._run("some.example", late)
        assert late.done.is_set()
        assert resolver._running == {"some.example": successor}

    def test_in_a_forked_child(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the parent was looking up is not waited for, and its lock not asked for."""
        resolver = Resolver()
        resolver._running["some.example"] = _dns._Lookup()
        held = threading.Thread(target=resolver._lock.acquire)
        held.start()
        held.join(WAIT)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        monkeypatch.setattr(socket, "getaddrinfo", resolve_to("127.0.0.1"))
        assert resolver.resolve("some.example", 80, soon(), 5.0)
