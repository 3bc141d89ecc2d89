"""Bodies that come packed."""

from __future__ import annotations

import gzip
import zlib

import pytest
from loopback import CHUNKED, Server, answering, chunks, once, reply

from llmpool.providers._http import Deadline, HttpClient, WireFailure

TEXT = b'{"text": "' + b"wort " * 2000 + b'"}'


def bare_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "gzip by its old name": ("X-GZip", gzip.compress(TEXT)),
    "gzip of two members": ("gzip", gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:])),
    "gzip with rubbish behind it": ("gzip", gzip.compress(TEXT) + b"rubbish"),
    "gzip with padding": ("gzip", gzip.compress(TEXT) + b"\0" * 20),
    "deflate in zlib's format": ("deflate", zlib.compress(TEXT)),
    "deflate with padding": ("deflate", zlib.compress(TEXT) + b"\0xyz"),
    "bare deflate": ("deflate", bare_deflate(TEXT)),
    "identity": ("identity", TEXT),
}


@pytest.mark.parametrize("piece", [None, 1, 100])
@pytest.mark.parametrize("how", PACKED)
def test_a_packed_body(how: str, piece: int | None) -> None:
    """It is unpacked, whole or in pieces, and its connection is kept."""
    coding, packed = PACKED[how]
    if piece is None:
        answer = reply(packed, f"Content-Encoding: {coding}")
    else:
        pieces = [packed[start : start + piece] for start in range(0, len(packed), piece)]
        head = CHUNKED.replace(b"\r\n\r\n", f"\r\nContent-Encoding: {coding}\r\n\r\n".encode())
        answer = head + chunks(*pieces)
    with Server(answering(answer)) as server:
        client = HttpClient(server.url, proxies={})
        assert client.send("GET", "/", deadline=Deadline.after(10)).body == TEXT
        with client.open("GET", "/", deadline=Deadline.after(10)) as stream:
            assert b"".join(iter(stream.read1, b"")) == TEXT
        assert server.accepted == 1


@pytest.mark.parametrize(
    ("coding", "packed", "kind"),
    [
        ("gzip", b"no gzip at all", "bad-protocol"),
        ("deflate", b"\x78\x9cno deflate at all", "bad-protocol"),
        ("br", b"x", "bad-protocol"),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT)), "bad-protocol"),
    ],
)
def test_a_packed_body_that_cannot_be_unpacked(coding: str, packed: bytes, kind: str) -> None:
    """It is no answer."""
    with (
        Server(once(reply(packed, f"Content-Encoding: {coding}"))) as server,
        pytest.raises(WireFailure) as caught,
    ):
        HttpClient(server.url, proxies={}).send("GET", "/", deadline=Deadline.after(10))
    assert (caught.value.kind, caught.value.sent) == (kind, "answered")


@pytest.mark.parametrize(
    ("coding", "bomb"),
    [("gzip", gzip.compress(bytes(30_000_000))), ("deflate", zlib.compress(bytes(30_000_000)))],
)
def test_a_bomb(coding: str, bomb: bytes) -> None:
    """It is defused a piece at a time: the limit counts unpacked bytes."""
    with Server(answering(reply(bomb, f"Content-Encoding: {coding}"))) as server:
        client = HttpClient(server.url, proxies={})
        with pytest.raises(WireFailure, match="larger than 1000000 bytes") as caught:
            client.send("GET", "/", deadline=Deadline.after(10), max_bytes=1_000_000)
        assert caught.value.kind == "too-large"
        with client.open("GET", "/", deadline=Deadline.after(10)) as stream:
            assert max(map(len, iter(stream.read1, b""))) <= 256 * 1024
