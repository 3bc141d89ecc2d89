"""Connections that are used again, and those that must not be."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from loopback import CHUNKED, OK, WAIT, Peer, Server, answering, chunks, once, reply

from llmpool.providers import _connections
from llmpool.providers._deadline import Deadline
from llmpool.providers._http import HttpClient, WireFailure
from llmpool.providers._route import find_route
from llmpool.providers._sockets import TimedSocket


def soon() -> Deadline:
    return Deadline.after(10)


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        CHUNKED + chunks(b"ok"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok",
        reply(b"slow down", status="429 Too Many"),
    ],
)
def test_an_answer_read_to_its_end(answer: bytes) -> None:
    """Its connection serves the next request."""
    with Server(answering(answer)) as server:
        client = HttpClient(server.url, proxies={})
        for _ in range(3):
            client.send("POST", "/", json={}, deadline=soon())
        assert server.accepted == 1


def test_a_connection_that_was_closed_meanwhile() -> None:
    """It is not opened by http.client's own means: in clear, and without a deadline."""
    with Server(answering(OK)) as server:
        connection = _connections.Connection(find_route(server.url, {}, True), 1.0)
        with pytest.raises(http.client.NotConnected):
            connection.request("POST", "/", headers={"Authorization": "Bearer k"})
        assert server.accepted == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks(b"ok"),
        OK + b"x",
        CHUNKED + chunks(b"ok") + b"HTTP/1.1 200 OK\r\n",
    ],
)
def test_a_connection_in_doubt(answer: bytes) -> None:
    """One that is to close, or on which more came than was asked for, is used once only."""
    with Server(answering(answer)) as server:
        client = HttpClient(server.url, proxies={})
        for _ in range(2):
            assert client.send("GET", "/", deadline=soon()).body == b"ok"
        assert server.accepted == 2


def test_a_word_out_of_turn_on_an_idle_connection() -> None:
    """What a server sends unasked is never taken for the answer to a later request."""
    spoken = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        if peer.number == 1:
            peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            spoken.set()
            assert peer.wait_for_end()

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        client.send("GET", "/", deadline=soon())
        assert spoken.wait(WAIT)
        assert client.send("GET", "/", deadline=soon()).status == 200


def closes_when_asked_again(peer: Peer) -> None:
    """Answer the first request of a connection; take the second one and close."""
    peer.request()
    peer.send(OK)
    if peer.number == 1:
        peer.request()


def resets_when_asked_again(peer: Peer) -> None:
    closes_when_asked_again(peer)
    if peer.number == 1:
        peer.reset()


@pytest.mark.parametrize("serve", [closes_when_asked_again, resets_when_asked_again])
def test_a_stale_connection(serve: object) -> None:
    """One that breaks before a byte of the answer is replaced, and nobody notices."""
    with Server(serve) as server:  # type: ignore[arg-type]
        client = HttpClient(server.url, proxies={})
        for _ in range(2):
            assert client.send("POST", "/", json={}, deadline=soon()).body == b"ok"
        assert server.accepted == 2


def test_a_request_that_must_go_out_once() -> None:
    """It is not repeated on a stale connection either."""
    with Server(closes_when_asked_again) as server:
        client = HttpClient(server.url, proxies={})
        client.send("GET", "/", deadline=soon())
        with pytest.raises(WireFailure) as caught:
            client.send("POST", "/", json={}, deadline=soon(), once=True)
        assert (caught.value.kind, caught.value.sent) == ("reset", "maybe")
        assert server.accepted == 1


def test_all_idle_connections_stale_after_a_restart() -> None:
    """Those that the server has closed are thrown away unused, all of them."""
    together = threading.Barrier(5)

    def serve(peer: Peer) -> None:
        peer.request()
        if peer.number <= 4:
            together.wait(WAIT)
        peer.send(OK)

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        with ThreadPoolExecutor(4) as threads:
            asked = [threads.submit(client.send, "GET", "/", deadline=soon()) for _ in range(4)]
            together.wait(WAIT)
            assert [one.result(WAIT).body for one in asked] == [b"ok"] * 4
        assert client.send("GET", "/", deadline=soon()).body == b"ok"
        assert server.accepted == 5


def test_a_stale_connection_to_a_server_that_is_gone() -> None:
    """The repeated request is refused, but the first one may have been acted on."""

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.request()
        server.refuse()

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        client.send("GET", "/", deadline=soon())
        with pytest.raises(WireFailure) as caught:
            client.send("POST", "/", json={}, deadline=soon())
    assert (caught.value.kind, caught.value.sent) == ("refused", "maybe")
    assert "connection refused" in str(caught.value)


@pytest.mark.parametrize("reset", [False, True])
def test_a_fresh_connection_that_breaks(reset: bool) -> None:
    """It is a failure, and the request is not sent twice."""

    def serve(peer: Peer) -> None:
        peer.request()
        if reset:
            peer.reset()

    with Server(serve) as server:
        with pytest.raises(WireFailure) as caught:
            HttpClient(server.url, proxies={}).send("POST", "/", json={}, deadline=soon())
        assert server.accepted == 1
    assert (caught.value.kind, caught.value.sent) == ("reset", "maybe")


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"])
def test_a_used_connection_that_breaks_after_the_answer_began(begun: bytes) -> None:
    """The request is not sent twice."""

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.request()
        peer.send(begun)

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        client.send("GET", "/", deadline=soon())
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=soon())
        assert server.accepted == 1
    assert (caught.value.kind, caught.value.sent) == ("cut", "answered")


def test_a_reset_in_the_body() -> None:
    """It is told from an orderly close."""
    read = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        assert read.wait(WAIT)
        peer.reset()

    with Server(serve) as server:
        stream = HttpClient(server.url, proxies={}).open("GET", "/", deadline=soon())
        assert stream.read1() == b"he"
        read.set()
        with pytest.raises(WireFailure) as caught:
            stream.read1()
    assert (caught.value.kind, caught.value.sent) == ("reset", "answered")


def test_an_answer_before_all_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses a large request is heard, and the connection not kept."""
    ours, theirs = timed_pair()
    theirs.sendall(OK)
    theirs.shutdown(socket.SHUT_RD)
    monkeypatch.setattr(_connections, "dial", lambda *_: ours)
    client = HttpClient("http://127.0.0.1:9", proxies={})
    assert client.send("POST", "/", body=bytes(5_000_000), deadline=soon()).body == b"ok"
    assert ours.fileno() == -1
    theirs.close()


def test_a_connection_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a byte left: what was asked is certain not to have been done."""
    ours, theirs = timed_pair()
    theirs.close()
    monkeypatch.setattr(_connections, "dial", lambda *_: ours)
    with pytest.raises(WireFailure) as caught:
        HttpClient("http://127.0.0.1:9", proxies={}).send("POST", "/", json={}, deadline=soon())
    assert (caught.value.kind, caught.value.sent) == ("reset", "no")
    assert ours.fileno() == -1


def timed_pair() -> tuple[TimedSocket, socket.socket]:
    ours, theirs = socket.socketpair()
    return TimedSocket(fileno=ours.detach()), theirs


def test_64_threads() -> None:
    """After the first round no connection is opened any more."""
    with Server(answering(OK)) as server, ThreadPoolExecutor(64) as threads:
        client = HttpClient(server.url, proxies={})
        together = threading.Barrier(64)

        def ask_often() -> None:
            for _ in range(5):
                together.wait(WAIT)
                assert client.send("GET", "/", deadline=Deadline.after(30)).body == b"ok"

        def all_ask() -> None:
            for one in [threads.submit(ask_often) for _ in range(64)]:
                one.result(60)

        all_ask()
        warm = server.accepted
        assert warm <= 64
        all_ask()
        assert server.accepted <= 64


def test_more_connections_than_are_kept() -> None:
    """They are closed after use."""
    together = threading.Barrier(4)
    ended = threading.Semaphore(0)

    def serve(peer: Peer) -> None:
        peer.request()
        together.wait(WAIT)
        peer.send(OK)
        assert peer.wait_for_end()
        ended.release()

    with Server(serve) as server, ThreadPoolExecutor(4) as threads:
        client = HttpClient(server.url, proxies={}, max_connections=1)
        for one in [threads.submit(client.send, "GET", "/", deadline=soon()) for _ in range(4)]:
            one.result(WAIT)
        for _ in range(3):
            assert ended.acquire(timeout=WAIT)
        client.close()
        assert ended.acquire(timeout=WAIT)


def test_a_client_that_was_closed() -> None:
    """It still sends, and keeps no connection."""
    with Server(answering(OK)) as server:
        client = HttpClient(server.url, proxies={})
        client.close()
        for _ in range(2):
            assert client.send("GET", "/", deadline=soon()).body == b"ok"
        assert server.accepted == 2


def test_closed_while_a_connection_is_in_use() -> None:
    """It is closed when its answer has been read."""
    ended = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        assert peer.wait_for_end()
        ended.set()

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        stream = client.open("GET", "/", deadline=soon())
        client.close()
        assert stream.read1() == b"ok"
        assert ended.wait(WAIT)


def test_a_connection_idle_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not used again, for something on the way may have forgotten it."""
    monkeypatch.setattr(_connections, "IDLE_LIMIT", -1.0)
    with Server(answering(OK)) as server:
        client = HttpClient(server.url, proxies={})
        for _ in range(2):
            client.send("GET", "/", deadline=soon())
        assert server.accepted == 2


def test_an_interrupt_while_waiting_for_the_answer() -> None:
    """It goes through, and the connection with half an answer on it is closed."""
    ended = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        if peer.number == 1:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
            os.kill(os.getpid(), signal.SIGINT)
            assert peer.wait_for_end()
            ended.set()
        else:
            peer.send(OK)

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        with pytest.raises(KeyboardInterrupt):
            client.send("GET", "/", deadline=soon())
        assert ended.wait(WAIT)
        assert client.send("GET", "/", deadline=soon()).body == b"ok"


@pytest.mark.parametrize("bad", ["redirect", "407", "br"])
def test_an_answer_that_is_refused_by_its_head(bad: str) -> None:
    """Its connection is closed unless the answer was whole."""
    ended = threading.Event()
    head = {
        "redirect": "HTTP/1.1 302 Found",
        "407": "HTTP/1.1 407 Proxy Authentication Required",
        "br": "HTTP/1.1 200 OK\r\nContent-Encoding: br",
    }[bad]

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(f"{head}\r\nContent-Length: 50\r\n\r\n".encode())
        assert peer.wait_for_end()
        ended.set()

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        with pytest.raises(WireFailure):
            client.open("GET", "/", deadline=soon())
        assert ended.wait(WAIT)


def test_the_answer_of_one_is_never_given_to_another() -> None:
    """Each thread gets the answer to its own question, whatever breaks in between."""

    def echo(peer: Peer) -> None:
        for turn in range(7):
            request = peer.request()
            if request is None:
                return
            if turn == 5:
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + request.body)
                return  # cut off
            peer.send(reply(request.body))

    with Server(echo) as server, ThreadPoolExecutor(8) as threads:
        client = HttpClient(server.url, proxies={})

        def ask(number: int) -> bool:
            body = b"%d" % number
            try:
                return client.send("POST", "/", body=body, deadline=soon()).body == body
            except WireFailure as error:
                return error.kind == "cut"

        assert all(threads.map(ask, range(400)))


def test_once_is_not_needed_twice() -> None:
    """A connection closed in good order after an answer is noticed before the next request."""
    with Server(once(OK)) as server:
        client = HttpClient(server.url, proxies={})
        for _ in range(3):
            assert client.send("GET", "/", deadline=soon(), once=False).body == b"ok"
        assert server.accepted == 3
