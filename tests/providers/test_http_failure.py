"""What a failure shows, and what it must not."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import resource
import socket
import traceback
from typing import Any

import pytest
from loopback import CA, OK, Peer, Server, answering

from llmpool.providers._failure import WireFailure
from llmpool.providers._http import Deadline, HttpClient

KEY = "sk-never-shown"


def cut(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")


def silent(peer: Peer) -> None:
    peer.request()
    peer.closing.wait(10)


def redirecting(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")


def open_and_read(client: HttpClient, *args: Any, **kwargs: Any) -> bytes:
    return client.open(*args, **kwargs).read1()


@pytest.mark.parametrize("serve", [cut, silent, redirecting, lambda peer: peer.reset()])
@pytest.mark.parametrize("method", ["send", "open and read"])
def test_a_failure_refers_to_nothing(serve: object, method: str) -> None:
    """No key in its text, its pickle, its chain, or the variables of its traceback's frames."""
    with Server(serve) as server:  # type: ignore[arg-type]
        client = HttpClient(server.url, auth=lambda: {"Authorization": f"Bearer {KEY}"}, proxies={})
        ask = client.send if method == "send" else functools.partial(open_and_read, client)
        with pytest.raises(WireFailure) as caught:
            ask("POST", "/", json={}, deadline=Deadline.after(0.3))
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    assert KEY not in "".join(shown.format())
    assert KEY.encode() not in pickle.dumps(error)
    assert str(error).startswith(f"127.0.0.1:{server.port}: ")
    assert str(error).isprintable()


@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 200 OK\r\nno header\r\n\r\n"])
def test_what_is_logged(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Neither path nor query nor key, at any level."""
    with Server(answering(answer)) as server:
        client = HttpClient(
            f"{server.url}/secret-path?key={KEY}", auth=lambda: {"X-Key": KEY}, proxies={}
        )
        for _ in range(2):
            with contextlib.suppress(WireFailure):
                client.send("POST", "/", json={}, deadline=Deadline.after(10))
    assert KEY not in caplog.text
    assert "secret-path" not in caplog.text


def test_a_failure_over_the_wall_of_a_process() -> None:
    """It comes back from a pickle as it was."""
    error = WireFailure("proxy", "no", "here", temporary=True, expired=True, status=407)
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == vars(error)
    assert str(copy) == "here"
    assert vars(error.bare(sent="maybe")) == {**vars(error), "sent": "maybe"}


@pytest.fixture
def few_descriptors() -> object:
    """Let this process open no more descriptors than it has."""
    gc.collect()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    hoard = [socket.socket() for _ in range(highest + 1 - len(os.listdir("/proc/self/fd")))]
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    while True:
        try:
            hoard.append(socket.socket())
        except OSError:
            break
    yield hoard
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for sock in hoard:
        sock.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's list of descriptors")
def test_no_descriptors_left(few_descriptors: object) -> None:
    """It is a trouble of this machine."""
    client = HttpClient("http://127.0.0.1:9", proxies={})
    with pytest.raises(WireFailure) as caught:
        client.send("GET", "/", deadline=Deadline.after(10))
    assert (caught.value.kind, caught.value.sent) == ("local", "no")
    assert "Too many open files" in str(caught.value)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's list of descriptors")
@pytest.mark.parametrize("tls", [None, "loopback"])
def test_descriptors_after_failures_of_all_kinds(tls: str | None) -> None:
    """None is left open."""
    turns = iter([cut, redirecting, lambda peer: peer.reset(), answering(OK)] * 5)

    def serve(peer: Peer) -> None:
        next(turns)(peer)

    before = descriptors()
    with Server(serve, tls=tls) as server:
        client = HttpClient(server.url, proxies={}, verify=CA)
        failed = 0
        for number in range(20):
            try:
                if number % 2:
                    client.send("GET", "/", deadline=Deadline.after(10))
                else:
                    client.open("GET", "/", deadline=Deadline.after(10))  # and forgotten
            except WireFailure:
                failed += 1
        assert failed
        client.close()
    assert descriptors() <= before
