"""Answers that are read while they come."""

from __future__ import annotations

import gc
import gzip
import threading
from typing import Any

import pytest
from loopback import CA, CHUNKED, OK, WAIT, Peer, Server, Stopwatch, chunks

from llmpool.providers._http import Deadline, HttpClient, OpenReply, WireFailure

HEADS = {
    "chunked": CHUNKED,
    "counted": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
    "until the close": b"HTTP/1.1 200 OK\r\n\r\n",
}
FRAMES = {
    "chunked": lambda piece: b"%x\r\n%s\r\n" % (len(piece), piece),
    "counted": lambda piece: piece,
    "until the close": lambda piece: piece,
}


def soon() -> Deadline:
    return Deadline.after(10)


@pytest.mark.parametrize("tls", [None, "loopback"])
@pytest.mark.parametrize("how", HEADS)
def test_a_piece_is_given_as_soon_as_it_is_there(how: str, tls: str | None) -> None:
    """No piece waits for the next one to come."""
    seen = threading.Semaphore(0)

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(HEADS[how])
        for piece in (b"one", b"two"):
            peer.send(FRAMES[how](piece))
            assert seen.acquire(timeout=WAIT), "not read before the next was sent"
        if how == "chunked":
            peer.send(b"0\r\n\r\n")

    with Server(serve, tls=tls) as server:
        client = HttpClient(server.url, proxies={}, verify=CA)
        stream = client.open("POST", "/", json={}, deadline=soon())
        assert stream.status == 200
        pieces = []
        while piece := stream.read1():
            pieces.append(piece)
            seen.release()
        assert pieces == [b"one", b"two"]
        assert stream.read1() == b""
        stream.close()


PACKED = gzip.compress(b"onetwo")
COUNTED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n"


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        (HEADS["counted"] + b"onetwo", True),
        (CHUNKED + chunks(b"onetwo"), False),
        (HEADS["until the close"] + b"onetwo", False),
        (COUNTED % len(PACKED) + b"Content-Encoding: gzip\r\n\r\n" + PACKED, False),
        (COUNTED % 9 + b"\r\nonetwo", False),
    ],
    ids=["counted", "chunked", "until the close", "packed", "short"],
)
def test_an_end_that_is_certain(answer: bytes, ended: bool) -> None:
    """It is so of an answer of a known length that is not packed; of all others the next read tells."""

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(answer)

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        with client.open("GET", "/", deadline=soon()) as stream:
            assert not stream.ended
            assert stream.read1() == b"onetwo"
            assert stream.ended is ended


def test_many_chunks_at_once() -> None:
    """They come one by one, and the connection is kept at their end."""
    pieces = [b"data: %d\n\n" % number for number in range(1000)]

    def serve(peer: Peer) -> None:
        while peer.request():
            peer.send(CHUNKED + chunks(*pieces))

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        for _ in range(2):
            with client.open("GET", "/", deadline=soon()) as stream:
                read = list(iter(stream.read1, b""))
            assert read == pieces
        assert server.accepted == 1


def test_the_clock_between_pieces() -> None:
    """The deadline is moved from read to read; when it passes, the stream is over."""

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(CHUNKED + b"3\r\none\r\n")
        peer.drip(b"3\r\ntwo\r\n", 0.02)
        peer.closing.wait(WAIT)

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        stream = client.open("GET", "/", deadline=Deadline.after(60))
        assert stream.read1() == b"one"
        got = b""
        while len(got) < 3:
            stream.deadline.move(60)
            got += stream.read1()
        assert got == b"two"
        stream.deadline = Deadline.after(0.2)
        with Stopwatch() as taken, pytest.raises(WireFailure) as caught:
            stream.read1()
        assert taken.seconds < 20.0
        assert (caught.value.kind, caught.value.sent) == ("timeout", "answered")
        with pytest.raises(WireFailure, match="closed before its end"):
            stream.read1()


def starts_and_waits(ended: threading.Event) -> object:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(CHUNKED + b"3\r\none\r\n")
        assert peer.wait_for_end()
        ended.set()

    return serve


@pytest.mark.parametrize("tls", [None, "loopback"])
@pytest.mark.parametrize("how", ["closed", "left", "forgotten", "forgotten in a ring"])
def test_a_stream_not_read_to_its_end(how: str, tls: str | None) -> None:
    """Its connection is closed, and the server stops generating."""
    ended = threading.Event()
    with Server(starts_and_waits(ended), tls=tls) as server:  # type: ignore[arg-type]
        client = HttpClient(server.url, proxies={}, verify=CA)
        stream: OpenReply | None = client.open("GET", "/", deadline=soon())
        assert stream is not None
        assert stream.read1() == b"one"
        if how == "closed":
            stream.close()
            stream.close()
            with pytest.raises(WireFailure, match="closed before its end"):
                stream.read1()
        elif how == "left":
            with pytest.raises(ZeroDivisionError), stream:
                _ = 1 / 0
        elif how == "forgotten in a ring":
            ring: list[object] = [stream]
            ring.append(ring)
            del ring
        stream = None
        gc.collect()
        assert ended.wait(WAIT)


@pytest.mark.parametrize("tls", [None, "loopback"])
def test_closed_by_another_thread_while_it_is_read(tls: str | None) -> None:
    """The close returns at once, and the read ends."""
    ended = threading.Event()
    with Server(starts_and_waits(ended), tls=tls) as server:  # type: ignore[arg-type]
        client = HttpClient(server.url, proxies={}, verify=CA)
        stream = client.open("GET", "/", deadline=Deadline.after(60))
        stream.read1()
        problems: list[BaseException] = []

        def read() -> None:
            try:
                stream.read1()
            except WireFailure as error:
                problems.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        while not stream._owned.locked():
            pass
        with pytest.raises(RuntimeError, match="two threads read one reply"):
            stream.read1()
        stream.close()
        reader.join(WAIT)
        assert not reader.is_alive()
        assert ended.wait(WAIT)
    assert [str(problem) for problem in problems] == [
        f"127.0.0.1:{server.port}: the answer was closed before its end"
    ]


def test_a_packed_stream_is_closed_while_it_is_read() -> None:
    """The same, through what unpacks it."""
    ended = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
        assert peer.wait_for_end()
        ended.set()

    with Server(serve) as server:
        stream = HttpClient(server.url, proxies={}).open("GET", "/", deadline=Deadline.after(60))
        closer = threading.Thread(target=close_once_read, args=(stream,))
        closer.start()
        with pytest.raises(WireFailure, match="closed before its end"):
            stream.read1()
        closer.join(WAIT)
        assert ended.wait(WAIT)


def close_once_read(stream: OpenReply) -> None:
    while not stream._owned.locked():
        pass
    stream.close()


def test_an_interrupt_while_a_piece_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may follow the piece that was lost with it."""
    ended = threading.Event()
    with Server(starts_and_waits(ended)) as server:  # type: ignore[arg-type]
        stream = HttpClient(server.url, proxies={}).open("GET", "/", deadline=soon())

        def interrupt(*_: object, **__: object) -> bytes:
            raise KeyboardInterrupt

        monkeypatch.setattr(stream._raw, "read1", interrupt)
        with pytest.raises(KeyboardInterrupt):
            stream.read1()
        assert ended.wait(WAIT)
        with pytest.raises(WireFailure, match="closed before its end"):
            stream.read1()


def test_closed_during_a_read_that_succeeds() -> None:
    """What it read is not given out any more: it was closed."""
    ended = threading.Event()
    with Server(starts_and_waits(ended)) as server:  # type: ignore[arg-type]
        stream = HttpClient(server.url, proxies={}).open("GET", "/", deadline=soon())
        read1 = stream._raw.read1

        def closing(*args: Any, **kwargs: Any) -> bytes:
            data = read1(*args, **kwargs)
            stream._closed = True  # as close() does first
            return data

        stream._raw.read1 = closing  # type: ignore[method-assign]
        with pytest.raises(WireFailure, match="closed before its end"):
            stream.read1()
        assert ended.wait(WAIT)


def test_an_empty_body() -> None:
    """The connection is free before anything is read, and a close does not touch it."""

    def serve(peer: Peer) -> None:
        while peer.request():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        first = client.open("GET", "/", deadline=soon())
        second = client.open("GET", "/", deadline=soon())
        first.close()
        assert second.read1() == b""
        client.send("GET", "/", deadline=soon())
        assert server.accepted == 1


def test_a_stream_is_not_asked_for_packed() -> None:
    """A packer on the way would hold events back; who asks for one gets it."""
    accepted: list[str] = []

    def serve(peer: Peer) -> None:
        while (request := peer.request()) is not None:
            accepted.append(request.headers["accept-encoding"])
            peer.send(OK)

    with Server(serve) as server:
        client = HttpClient(server.url, proxies={})
        client.open("GET", "/", deadline=soon()).close()
        client.open("GET", "/", headers={"accept-encoding": "gzip"}, deadline=soon()).close()
    assert accepted == ["identity", "gzip"]


def test_handed_to_another_thread() -> None:
    """A stream may be read elsewhere than where it was opened."""
    ended = threading.Event()
    with Server(starts_and_waits(ended)) as server:  # type: ignore[arg-type]
        stream = HttpClient(server.url, proxies={}).open("GET", "/", deadline=soon())
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.append(stream.read1()))
        reader.start()
        reader.join(WAIT)
        assert read == [b"one"]
        stream.close()
        assert ended.wait(WAIT)
