"""The site served by itself: by which names, to how many, and that nobody can hold it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from viewer import order, pool_of

from llmpool.web import StatusSite, alone
from llmpool.web.alone import AloneServer, is_loopback

WALL = 20.0


@contextlib.contextmanager
def serving(host: str = "127.0.0.1", **options: Any) -> Iterator[AloneServer]:
    """Give a server that serves in a thread of its own."""
    site = StatusSite(pool_of("eu"), **options)
    with AloneServer(site, host, 0) as server, started(server):
        yield server


@contextlib.contextmanager
def started(server: AloneServer) -> Iterator[None]:
    """Have *server* serve in a thread; those who have called before are waiting."""
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(WALL)
    assert not thread.is_alive()


def port_of(server: AloneServer) -> int:
    """Give the port that a server took."""
    return int(server.url.rpartition(":")[2].rstrip("/"))


def ask(
    server: AloneServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Ask by HTTP; give status, headers and body."""
    connection = HTTPConnection("127.0.0.1", port_of(server), timeout=WALL)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, sent)
        reply = connection.getresponse()
        return reply.status, dict(reply.headers), reply.read()
    finally:
        connection.close()


def test_the_whole_way() -> None:
    """The page, the feed, a file and an order come and go over HTTP."""
    with serving(may_control=lambda _: True) as server:
        status, headers, body = ask(server, "/")
        assert (status, body[:15]) == (200, b"<!doctype html>")
        cookie = headers["Set-Cookie"].partition(";")[0]
        status, _, body = ask(server, "/status?history=1")
        assert (status, json.loads(body)["controls"]) == (200, True)
        assert ask(server, "/static/app.js")[0] == 200
        assert ask(server, "/healthz", "HEAD")[0] == 200
        status, _, body = ask(
            server,
            "/control",
            "POST",
            json.dumps(order()).encode(),
            Cookie=cookie,
            X_LLMPool_CSRF=cookie.partition("=")[2],
            Content_Type="application/json",
            Origin=server.url.rstrip("/"),
        )
        assert (status, json.loads(body)) == (200, {"state": "draining"})


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:1", 200),
        ("localhost:8321", 200),
        ("LOCALHOST", 200),
        ("[::1]:8321", 200),
        ("192.0.2.7", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.1", 421),
        ("a@b@127.0.0.1x", 421),
        ("[", 421),
        ("", 421),
    ],
)
def test_the_name_it_is_called_by(said: str, status: int) -> None:
    """An address, localhost or its own; another's name, made to mean this machine, is refused."""
    with serving() as server:
        assert ask(server, "/status", Host=said)[0] == status


def test_a_name_of_its_own() -> None:
    """The host that it was given is one, and is what its URL says."""
    with serving("localhost") as server:
        assert server.url == f"http://localhost:{port_of(server)}/"
        connection = HTTPConnection("localhost", port_of(server), timeout=WALL)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()


def test_an_address_in_brackets() -> None:
    """An address of the sixth version is shown as URLs have it."""
    try:
        with serving("::1") as server:
            assert server.url == f"http://[::1]:{port_of(server)}/"
    except OSError:
        pytest.skip("this machine has no IPv6")


def test_a_request_without_a_host() -> None:
    """It is refused: of HTTP before 1.1."""
    with serving() as server, socket.create_connection(("127.0.0.1", port_of(server))) as sock:
        sock.settimeout(WALL)
        sock.sendall(b"GET /status HTTP/1.0\r\n\r\n")
        assert b" 421 " in sock.recv(100)


def test_more_viewers_than_there_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who say nothing keep their places; the next is sent away, and one that goes makes room."""
    monkeypatch.setattr(alone, "MOST_VIEWERS", 2)
    with serving() as server, contextlib.ExitStack() as opened:
        silent = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port_of(server))))
            for _ in range(3)
        ]
        for sock in silent:
            sock.settimeout(WALL)
        assert silent[2].recv(1) == b""
        silent[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent[0].recv(15) == b"HTTP/1.0 200 OK"
        while silent[0].recv(4096):
            pass
        # Its place is given back just after its end is seen.
        for _ in range(1000):
            with contextlib.suppress(OSError):
                if ask(server, "/healthz")[0] == 200:
                    return
            threading.Event().wait(0.02)
        raise AssertionError("the place was not given back")


def test_a_viewer_who_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed after a while."""
    monkeypatch.setattr(alone._Quiet, "timeout", 0.05)
    with serving() as server, socket.create_connection(("127.0.0.1", port_of(server))) as sock:
        sock.settimeout(WALL)
        assert sock.recv(1) == b""


def test_an_order_that_never_arrives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its viewer waits in vain, and nobody else."""
    monkeypatch.setattr(alone._Quiet, "timeout", 0.05)
    head = b"POST /control HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    site = StatusSite(pool_of("eu"), may_control=lambda _: True)
    with (
        AloneServer(site, "127.0.0.1", 0) as server,
        socket.create_connection(("127.0.0.1", port_of(server))) as sock,
    ):
        sock.settimeout(WALL)
        sock.sendall(head)
        with started(server):
            assert sock.recv(100).startswith(b"HTTP/1.0 500 ")
            monkeypatch.undo()
            assert ask(server, "/healthz")[0] == 200
    assert capsys.readouterr().err == ""


def test_a_mistake_of_our_own(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is a 500, logged by its type; the terminal shows nothing, nor does the viewer see more."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("sk-secret")

    monkeypatch.setattr(StatusSite, "respond", fail)
    with serving() as server:
        status, _, body = ask(server, "/")
    assert status == 500
    assert b"secret" not in body
    assert capsys.readouterr().err == ""
    assert [record.getMessage() for record in caplog.records if record.name == "llmpool.web"] == [
        "answering on the status page raised RuntimeError"
    ]


def test_a_viewer_who_goes(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is told, and the others are served."""
    with serving() as server:
        for _ in range(5):
            sock = socket.create_connection(("127.0.0.1", port_of(server)))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            sock.sendall(b"GET /static/uplot.js HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sock.close()
        assert ask(server, "/healthz")[0] == 200
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", "")


def test_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer is sent away, and the server goes on."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with serving() as server:
        with monkeypatch.context() as patched:
            patched.setattr(alone, "start", refuse)
            with pytest.raises(OSError):
                ask(server, "/healthz")
        assert ask(server, "/healthz")[0] == 200


def test_a_port_that_is_taken() -> None:
    """It is an OSError, and nothing is left open."""
    with serving() as server, pytest.raises(OSError):
        AloneServer(StatusSite(pool_of("eu")), "127.0.0.1", port_of(server))


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.7", False),
        ("fe80::1%eth0", False),
        ("host.example", False),
        ("", False),
    ],
)
def test_whether_only_this_machine_reaches_it(host: str, own: bool) -> None:
    """Loopback addresses and localhost: nothing else is certain."""
    assert is_loopback(host) is own
