"""Each phase of a request ends when its time is over, however a peer stretches it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from loopback import CA, CHUNKED, OK, WAIT, Peer, Server, Stopwatch, answering, chunks

from llmpool.providers._http import Deadline, HttpClient, WireFailure

SHORT = 0.3
"""Seconds given; the peers below would take minutes. Asserted is only that it was not minutes."""


def expires(client: HttpClient, *, body: bytes | None = None) -> WireFailure:
    with Stopwatch() as taken, pytest.raises(WireFailure) as caught:
        client.send("POST", "/", body=body, deadline=Deadline.after(SHORT))
    assert taken.seconds < 20.0
    assert caught.value.expired
    return caught.value


def silent(peer: Peer) -> None:
    """Take the request and say nothing."""
    peer.request()
    peer.closing.wait(WAIT)


def deaf(peer: Peer) -> None:
    """Not even take the request."""
    peer.closing.wait(WAIT)


def drips_its_head(peer: Peer) -> None:
    peer.request()
    peer.drip(b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 1000, 0.05)


def drips_interim_answers(peer: Peer) -> None:
    peer.request()
    peer.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.001)


def drips_its_body(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    peer.drip(b"x" * 10_000, 0.05)


def drips_its_chunks(peer: Peer) -> None:
    peer.request()
    peer.send(CHUNKED)
    peer.drip(chunks(*[b"x"] * 1000), 0.05)


def drips_a_body_that_ends_with_the_connection(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    peer.drip(b"x" * 10_000, 0.05)


@pytest.mark.parametrize(
    ("serve", "sent"),
    [
        (silent, "maybe"),
        (drips_its_head, "answered"),
        (drips_interim_answers, "answered"),
        (drips_its_body, "answered"),
        (drips_its_chunks, "answered"),
        (drips_a_body_that_ends_with_the_connection, "answered"),
    ],
)
@pytest.mark.parametrize("tls", [None, "loopback"])
def test_a_peer_that_takes_its_time(serve: object, sent: str, tls: str | None) -> None:
    """A byte now and then buys it nothing, in clear or under TLS."""
    with Server(serve, tls=tls) as server:  # type: ignore[arg-type]
        failure = expires(HttpClient(server.url, proxies={}, verify=str(CA)))
    assert failure.kind == "timeout"
    assert failure.sent in (sent, "maybe")


@pytest.mark.parametrize("tls", [None, "loopback"])
def test_a_peer_that_does_not_read(tls: str | None) -> None:
    """Sending ends in time too."""
    with Server(deaf, tls=tls) as server:
        client = HttpClient(server.url, proxies={}, verify=str(CA))
        failure = expires(client, body=bytes(30_000_000))
    assert (failure.kind, failure.sent) == ("timeout", "maybe")
    assert "could not be sent in time" in str(failure)


def test_a_used_connection_has_the_new_deadline() -> None:
    """A short deadline on a connection that served under a long one, and the reverse."""

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(OK)
        peer.request()
        if peer.number == 2:
            peer.closing.wait(SHORT * 2)
            peer.send(OK)
        else:
            peer.closing.wait(WAIT)

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        client.send("GET", "/", deadline=Deadline.after(60))
        assert expires(client).kind == "timeout"
        client.send("GET", "/", deadline=Deadline.after(SHORT * 10))
        assert client.send("GET", "/", deadline=Deadline.after(60)).body == b"ok"
        assert server.accepted == 2


def test_a_tls_handshake_that_stalls() -> None:
    """Nothing was sent yet, and the connection is let go."""
    gone = threading.Event()

    def serve(peer: Peer) -> None:
        if peer.wait_for_end():
            gone.set()

    with Server(serve) as server:
        client = HttpClient(server.url.replace("http", "https"), proxies={}, verify=str(CA))
        failure = expires(client)
        assert gone.wait(WAIT)
    assert (failure.kind, failure.sent) == ("connect-timeout", "no")
    assert "TLS handshake" in str(failure)


def test_a_tls_handshake_over_its_own_limit() -> None:
    """It is cut off by the time for connecting, long before the request's own."""
    with Server(deaf) as server:
        client = HttpClient(
            server.url.replace("http", "https"), proxies={}, verify=str(CA), connect_timeout=SHORT
        )
        with Stopwatch() as taken, pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=Deadline.after(60))
    assert taken.seconds < 30.0
    assert caught.value.kind == "connect-timeout"
    assert not caught.value.expired


@pytest.fixture
def black_hole() -> Iterator[int]:
    """Give a port on which connections are neither taken nor refused: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(20):
            one = socket.socket()
            one.settimeout(0.2)
            waiting.append(one)
            try:
                one.connect(listener.getsockname())
            except TimeoutError:
                break
        else:
            pytest.skip("this system's listen queue does not fill up")
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()


def test_a_black_hole(black_hole: int) -> None:
    """A connection attempt without an answer ends at the deadline."""
    failure = expires(HttpClient(f"http://127.0.0.1:{black_hole}", proxies={}))
    assert (failure.kind, failure.sent) == ("connect-timeout", "no")


def test_a_black_hole_before_a_server(black_hole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first address that never answers leaves time for the second."""
    with Server(answering(OK)) as server:
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        # The second address has nothing on that port, so the first one's failure decides.
        client = HttpClient(f"http://two.example:{black_hole}", proxies={}, connect_timeout=SHORT)
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=Deadline.after(60))
        assert caught.value.kind == "connect-timeout"
        assert not caught.value.expired
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses[::-1])
        client = HttpClient(f"http://two.example:{server.port}", proxies={})
        assert client.send("GET", "/", deadline=Deadline.after(60)).body == b"ok"


def test_a_resolver_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls end in time, share one helper thread, and other hosts are served meanwhile."""
    answers = threading.Event()

    def hang(*_: object, **__: object) -> object:
        answers.wait(WAIT)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        client = HttpClient("http://hang.example", proxies={})
        for _ in range(3):
            failure = expires(client)
            assert (failure.kind, failure.sent, failure.temporary) == ("dns", "no", True)
            assert "look-up took too long" in str(failure)
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("llmpool-dns-hang.example") == 1
        with Server(answering(OK)) as server:
            other = HttpClient(server.url.replace("127.0.0.1", "localhost"), proxies={})
            assert other.send("GET", "/", deadline=Deadline.after(60)).body == b"ok"
    finally:
        answers.set()


def test_a_deadline_that_has_passed() -> None:
    """Nothing is connected to, nothing sent."""
    with Server(answering(OK)) as server:
        client = HttpClient(server.url, proxies={})
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=Deadline.after(0))
        assert caught.value.sent == "no"
        assert caught.value.expired
        assert server.accepted == 0
        client.send("GET", "/", deadline=Deadline.after(60))
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=Deadline.after(-1))
        assert (caught.value.kind, caught.value.sent) == ("timeout", "no")


def test_a_deadline_longer_than_a_socket_can_wait() -> None:
    """It is as good as none."""
    with Server(answering(OK)) as server:
        client = HttpClient(server.url, proxies={})
        for _ in range(2):
            assert client.send("GET", "/", deadline=Deadline.after(1e12)).body == b"ok"


def test_what_a_deadline_says() -> None:
    """Seconds, never negative; and it can be moved."""
    deadline = Deadline.after(100)
    assert 99 < deadline.remaining() <= 100
    deadline.move(-5)
    assert deadline.remaining() == 0.0
    assert repr(deadline) == "<Deadline in 0.000 s>"
