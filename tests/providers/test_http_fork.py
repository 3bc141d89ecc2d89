"""A client that lives through a fork, in both processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from loopback import CA, OK, WAIT, Peer, Server, answering, reply

from llmpool.providers._http import Deadline, HttpClient

FORKING = """
import os, sys
from llmpool.providers._http import Deadline, HttpClient

url, ca, told = sys.argv[1:]
client = HttpClient(url, proxies={}, verify=ca)

def ask(what):
    answer = client.send("POST", "/", body=what, deadline=Deadline.after(10))
    assert answer.body == what, (what, answer.body)

ask(b"before")
stream = client.open("POST", "/stream", body=b"x", deadline=Deadline.after(10))
assert stream.read1() == b"one"
children = []
for number in range(3):
    child = os.fork()
    if not child:
        status = 1
        try:
            if told == "told":
                client.reset_after_fork()
            stream.close()
            for turn in range(10):
                ask(b"child %d %d" % (number, turn))
            client.close()
            status = 0
        finally:
            os._exit(status)
    children.append(child)
for turn in range(10):
    ask(b"parent %d" % turn)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
ask(b"after")
assert stream.read1() == b"two", "a child closed the parent's stream"
print("good")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("told", ["told", "not told"])
@pytest.mark.parametrize("tls", [None, "loopback"])
def test_every_answer_belongs_to_its_question(told: str, tls: str | None) -> None:
    """Child and parent share no connection, and a child disturbs none of the parent's."""

    def echo(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            if request.target == "/stream":
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
                assert asked_after.wait(WAIT)
                peer.send(b"two")
            else:
                if request.body == b"after":
                    asked_after.set()
                peer.send(reply(request.body))

    asked_after = threading.Event()
    with Server(echo, tls=tls) as server:
        done = subprocess.run(
            [sys.executable, "-c", FORKING, server.url, str(CA), told],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        assert done.stdout == "good\n"
        assert server.accepted == 5


def test_the_connections_of_the_parent() -> None:
    """The child closes its copies of the idle ones, and says nothing to the server."""
    with Server(answering(OK)) as server:
        client = HttpClient(server.url, proxies={})
        busy = client.open("GET", "/", deadline=Deadline.after(10))
        client.send("GET", "/", deadline=Deadline.after(10))
        inherited = client._adapter._connections
        assert inherited.pool is not None
        (idle,) = inherited.pool.queue
        client.reset_after_fork()
        assert client._adapter._connections is not inherited
        assert idle.is_closed
        assert client.send("GET", "/", deadline=Deadline.after(10)).body == b"ok"
        busy.close()
        assert server.accepted == 3


def test_a_process_id_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noticed at the next request, for not every fork calls the hooks."""
    with Server(answering(OK)) as server:
        client = HttpClient(server.url, proxies={})
        client.send("GET", "/", deadline=Deadline.after(10))
        monkeypatch.setattr(os, "getpid", lambda: -1)
        for _ in range(2):
            client.send("GET", "/", deadline=Deadline.after(10))
        assert server.accepted == 2


def test_a_stream_of_the_parent_in_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing it there neither wakes a reader nor ends the connection, only closes the copy."""
    with Server(answering(OK)) as server:
        stream = HttpClient(server.url, proxies={}).open("GET", "/", deadline=Deadline.after(10))
        woken: list[object] = []
        connection: Any = stream._raw.connection
        connection.live.wake = lambda: woken.append(stream)
        assert stream._owned.acquire(blocking=False)  # a thread of the parent reads
        with monkeypatch.context() as patched:
            patched.setattr(os, "getpid", lambda: -1)
            stream.close()
        assert woken == []
        stream.close()
        assert woken == [stream]


def test_a_stream_closed_in_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the child's copy of the connection is closed: the parent's is not shut down."""
    with Server(answering(OK)) as server:
        stream = HttpClient(server.url, proxies={}).open("GET", "/", deadline=Deadline.after(10))
        connection: Any = stream._raw.connection
        parents = socket.socket(fileno=os.dup(connection.sock.fileno()))
        monkeypatch.setattr(os, "getpid", lambda: -1)
        stream.close()
        assert connection.is_closed
        with parents:
            parents.settimeout(WAIT)
            parents.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert parents.recv(65536) == OK


def test_an_answer_that_ends_in_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is not kept there: the parent has it too."""
    with Server(answering(OK)) as server:
        client = HttpClient(server.url, proxies={})
        stream = client.open("GET", "/", deadline=Deadline.after(10))
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert stream.read1() == b"ok"
        kept = client._adapter._connections.pool
        assert kept is not None
        assert not kept.queue
