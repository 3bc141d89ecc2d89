"""Where an answer ends, and what happens when it does not end there."""

from __future__ import annotations

import pytest
from loopback import CHUNKED, Peer, Server, chunks, once, reply

from llmpool.providers._http import Deadline, HttpClient, Reply, WireFailure

HEAD = b"HTTP/1.1 200 OK\r\n"

WHOLE = {
    "counted": (reply(b"hello"), b"hello"),
    "counted twice alike": (HEAD + b"Content-Length: 5, 5\r\n\r\nhello", b"hello"),
    "empty": (reply(b""), b""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "no content, in chunks": (
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"",
    ),
    "until the server closes": (HEAD + b"\r\nhello", b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello"),
    "chunks": (CHUNKED + chunks(b"hel", b"lo"), b"hello"),
    "no chunk but the last": (CHUNKED + b"0\r\n\r\n", b""),
    "chunks with extensions": (CHUNKED + b'5;a="b"\r\nhello\r\n00 ;x\r\n\r\n', b"hello"),
    "chunks with a trailer": (CHUNKED + b"5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", b"hello"),
    "chunks and a length": (
        HEAD + b"Content-Length: 99\r\nTransfer-Encoding: Chunked\r\n\r\n" + chunks(b"hello"),
        b"hello",
    ),
    "more than was said": (reply(b"hello") + b"HTTP/1.1 200 OK\r\n", b"hello"),
}

CUT = {
    "in the status line": b"HTTP/1.1 20",
    "in the head": HEAD + b"Content-Le",
    "before the body": HEAD + b"Content-Length: 5\r\n\r\n",
    "in the body": HEAD + b"Content-Length: 5\r\n\r\nhell",
    "before the first chunk": CHUNKED,
    "in a chunk's size": CHUNKED + b"5",
    "in a chunk": CHUNKED + b"5\r\nhell",
    "between chunks": CHUNKED + b"5\r\nhello\r\n",
    "in a chunk beyond reason": CHUNKED + b"f" * 20 + b"\r\nhello",
    "in the trailer": CHUNKED + b"5\r\nhello\r\n0\r\nX-A",
    "in an endless trailer": CHUNKED + b"0\r\n" + b"X-A: 1\r\n" * 1000,
}

BROKEN = {
    "not HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status in words": b"HTTP/1.1 OK\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a header without a colon": HEAD + b"Content-Length 5\r\n\r\nhello",
    "a header without a name": HEAD + b": 5\r\n\r\nhello",
    "a space before the colon": HEAD + b"Content-Length : 5\r\n\r\nhello",
    "a length of words": HEAD + b"Content-Length: five\r\n\r\nhello",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\nhello",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a length beyond reason": HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhello",
    "an unknown transfer coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "a chunk size of words": CHUNKED + b"five\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than said": CHUNKED + b"4\r\nhello\r\n0\r\n\r\n",
    "a chunk line without end": CHUNKED + b"5;" + b"x" * 70_000,
    "a trailer line without end": CHUNKED + b"0\r\nX-A: " + b"x" * 70_000,
    "too many headers": HEAD + b"X-A: 1\r\n" * 101 + b"\r\n",
    "a head without end": HEAD + b"X-A: 1\r\n" * 20_000,
}


def ask(answer: bytes, *, byte_by_byte: bool = False) -> Reply:
    def drip(peer: Peer) -> None:
        peer.request()
        for position in range(len(answer)):
            peer.send(answer[position : position + 1])

    with Server(drip if byte_by_byte else once(answer)) as server:
        client = HttpClient(server.url, proxies={})
        return client.send("GET", "/", deadline=Deadline.after(10))


@pytest.mark.parametrize("byte_by_byte", [False, True])
@pytest.mark.parametrize("how", WHOLE)
def test_a_whole_answer(how: str, byte_by_byte: bool) -> None:
    """Its body is found, however it is framed and however it was cut on the way."""
    answer, body = WHOLE[how]
    assert ask(answer, byte_by_byte=byte_by_byte).body == body


@pytest.mark.parametrize("byte_by_byte", [False, True])
@pytest.mark.parametrize("where", CUT)
def test_an_answer_cut_short(where: str, byte_by_byte: bool) -> None:
    """It is never taken for a whole one."""
    with pytest.raises(WireFailure) as caught:
        ask(CUT[where], byte_by_byte=byte_by_byte)
    assert (caught.value.kind, caught.value.sent) == ("cut", "answered")
    assert "cut off" in str(caught.value)


@pytest.mark.parametrize("how", BROKEN)
def test_an_answer_that_breaks_the_rules(how: str) -> None:
    """It is refused, for its end cannot be known."""
    with pytest.raises(WireFailure) as caught:
        ask(BROKEN[how])
    assert (caught.value.kind, caught.value.sent) == ("bad-protocol", "answered")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 100\r\n\r\n" + b"x" * 100,
        CHUNKED + chunks(b"x" * 60, b"x" * 40),
        HEAD + b"\r\n" + b"x" * 100,
    ],
)
def test_a_body_larger_than_allowed(answer: bytes) -> None:
    """It is given up as soon as it is too large, and one of just the size is not."""
    with Server(once(answer)) as server:
        client = HttpClient(server.url, proxies={})
        reply = client.send("GET", "/", deadline=Deadline.after(10), max_bytes=100)
        assert len(reply.body) == 100
        with pytest.raises(WireFailure) as caught:
            client.send("GET", "/", deadline=Deadline.after(10), max_bytes=99)
    assert (caught.value.kind, caught.value.sent) == ("too-large", "answered")
    assert "larger than 99 bytes" in str(caught.value)
