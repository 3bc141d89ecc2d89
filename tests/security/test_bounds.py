"""A hostile server holds neither a thread beyond its deadline nor more memory than is good."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hostile import (
    CHUNKED,
    GOOD,
    STREAM,
    TIMEOUT,
    WALL,
    WAYS,
    Act,
    Hostile,
    answer,
    complete,
    event,
    facing,
    provider,
    said,
    sends,
    stream,
)

from llmpool import DeadlineExceeded, MalformedResponse, ProviderError, RateLimited
from llmpool.providers import _openai_shapes, _stream, _translate
from llmpool.providers._headers import Headers

SMALL = 1 << 20
"""The limit of a body in these tests, so that what exceeds it is quickly sent."""
MOST_HELD = 24 * SMALL
"""Bytes that a call may take for an answer of SMALL: its pieces, its whole, what is decoded."""

BEGIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an answer be no larger than SMALL."""
    monkeypatch.setattr(_translate, "MOST_BYTES", SMALL)
    monkeypatch.setattr(_stream, "MOST_BYTES", SMALL)


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Give what tells how much Python has held at most."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def first(data: bytes, over_and_over: bytes) -> Act:
    """Send *data* and then something without end."""

    def act(visit: Any) -> None:
        visit.send(data)
        visit.flood(over_and_over)

    return act


ENDLESS: dict[str, Act] = {
    "interim answers": first(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
    "interim answers with headers": first(b"", b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" * 500),
    "status line": first(b"HTTP/1.1 200 ", b"O" * 65536),
    "header": first(BEGIN + b"X-A: ", b"a" * 65536),
    "headers": first(BEGIN, b"X-A: b\r\n" * 5000),
    "lines of one header": first(BEGIN + b"X-A: b\r\n", b"  folded\r\n" * 5000),
    "body until the close": first(BEGIN + b"\r\n", b"1" * 65536),
    "chunks": first(CHUNKED, b"4\r\naaaa\r\n" * 5000),
    "chunks of one byte": first(CHUNKED, b"1\r\na\r\n" * 5000),
    "chunk extension": first(CHUNKED + b"1;", b"a" * 65536),
    "chunk extensions": first(CHUNKED, b"1;" + b"a" * 60000 + b"\r\na\r\n"),
    "chunk size": first(CHUNKED, b"0" * 65536),
    "chunk of a giant's size": first(CHUNKED + b"fffffffffffffff\r\n", b"a" * 65536),
    "chunk of a size below zero": first(CHUNKED + b"-5\r\n", b"a" * 65536),
    "trailers": first(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: b\r\n" * 5000),
    "packed body": first(
        BEGIN + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b""), gzip.compress(bytes(60000))
    ),
    "packed body of nothing": first(
        BEGIN + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b""), gzip.compress(b"") * 500
    ),
    "event": first(STREAM + b"data: ", b"a" * 65536),
    "empty events": first(STREAM, b"\n\n" * 30000),
    "comments": first(STREAM, b": ping\n\n" * 5000),
    "events without data": first(STREAM, b"id: 1\nretry: 5\n\n" * 5000),
    "events without content": first(STREAM, event({"choices": []}) * 1000),
    "content": first(STREAM, event({"choices": [{"delta": {"content": "a"}}]}) * 1000),
}


@pytest.mark.parametrize("way", ["complete", "stream"])
@pytest.mark.parametrize("act", ENDLESS.values(), ids=ENDLESS)
def test_what_has_no_end(act: Act, way: str, peak: Callable[[], int]) -> None:
    """It ends by its size or at the deadline of the call, in one error, and has taken little."""
    with facing(act) as pool:
        began = time.monotonic()
        with pytest.raises(ProviderError):
            WAYS[way](pool, TIMEOUT)
        assert time.monotonic() - began < WALL / 2
    assert peak() < MOST_HELD


def dripping(data: bytes, again: bytes) -> Act:
    """Send *data*, and then a few bytes whenever the other side might lose patience."""

    def act(visit: Any) -> None:
        visit.send(data)
        while True:
            visit.send(again)
            time.sleep(0.05)

    return act


DRIPS: dict[str, Act] = {
    "status line": dripping(b"HTTP/1.1 200 ", b"O"),
    "header": dripping(BEGIN + b"X-A: ", b"a"),
    "interim answers": dripping(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "chunk extension": dripping(CHUNKED + b"1;", b"a"),
    "trailers": dripping(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: b\r\n"),
    "body": dripping(BEGIN + b"\r\n", b" "),
    "comments": dripping(STREAM, b": ping\n\n"),
    "packed body": dripping(BEGIN + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"")),
}


@pytest.mark.parametrize("way", ["complete", "stream"])
@pytest.mark.parametrize("act", DRIPS.values(), ids=DRIPS)
def test_what_comes_by_drops(act: Act, way: str) -> None:
    """The deadline of the call holds for all of it, however many reads it takes."""
    with facing(act) as pool:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            WAYS[way](pool, TIMEOUT)
        assert time.monotonic() - began < WALL / 2


BOMB = bytes(64 * SMALL)
BOMBS = {
    "gzip": gzip.compress(BOMB),
    "x-gzip": gzip.compress(BOMB),
    "deflate": zlib.compress(BOMB),
    "Deflate": zlib.compress(BOMB)[2:-4],
}
del BOMB


@pytest.mark.parametrize("way", ["complete", "stream", "embed"])
@pytest.mark.parametrize("status", ["200 OK", "500 No"])
@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb(coding: str, status: str, way: str, peak: Callable[[], int]) -> None:
    """A body that unpacks to sixty-four times the limit is left when it exceeds it."""
    kind = "text/event-stream" if way == "stream" else "application/json"
    packed = answer(
        BOMBS[coding], f"Content-Encoding: {coding}", f"Content-Type: {kind}", status=status
    )
    with (
        facing(sends(packed)) as pool,
        pytest.raises(ProviderError),
    ):
        WAYS[way](pool)
    assert peak() < MOST_HELD


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "gzip, gzip", ",".join(["gzip"] * 9000), "gzip,"]
)
@pytest.mark.parametrize("body", [b"", b"x"])
@pytest.mark.parametrize("way", ["complete", "stream"])
def test_a_packing_not_asked_for(
    coding: str, body: bytes, way: str, peak: Callable[[], int]
) -> None:
    """It is refused by its name: nothing is unpacked, and no unpacker made for any layer of it."""
    packed = answer(body, f"Content-Encoding: {coding}")
    why = "packed more than once" if "," in coding else "coding not asked for"
    with (
        facing(sends(packed)) as pool,
        pytest.raises(MalformedResponse, match=why),
    ):
        WAYS[way](pool)
    assert peak() < MOST_HELD


# -- what grows when it is decoded ----------------------------------------------------------------


@pytest.mark.parametrize(
    "piece",
    [b"[]", b"{}", b'{"message":{}}', b"1e9", b'{"a":1,"b":2}', b"[[],[],[]]", b'"a":1'],
)
def test_hardly_more_than_brackets(
    piece: bytes, monkeypatch: pytest.MonkeyPatch, peak: Callable[[], int]
) -> None:
    """It is refused before it is decoded, whole or in an event."""
    monkeypatch.setattr(_translate, "MOST_VALUES", 50_000)
    monkeypatch.setattr(_translate, "MOST_EVENT_VALUES", 50_000)
    many = b",".join([piece] * (SMALL // (2 * len(piece)))).join(
        (b"{", b"}") if piece.startswith(b'"') else (b'{"choices":[', b"]}")
    )
    for way, data in (
        (complete, answer(many, "Content-Type: application/json")),
        (stream, STREAM + b"data: " + many + b"\n\n"),
    ):
        with (
            facing(sends(data)) as pool,
            pytest.raises(MalformedResponse, match="JSON of more than 50000 values"),
        ):
            way(pool)
    assert peak() < MOST_HELD


def test_values_within_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large text is no matter of its brackets."""
    monkeypatch.setattr(_translate, "MOST_VALUES", 1000)
    monkeypatch.setattr(_translate, "MOST_EVENT_VALUES", 1000)
    text = "a" * 5000
    whole = {**GOOD, "choices": [{"message": {"content": text}}]}
    with facing(sends(said(whole))) as pool:
        assert complete(pool).text == text
    events = event({"choices": [{"delta": {"content": text}}]}) + b"data: [DONE]\n\n"
    with facing(sends(STREAM + events)) as pool:
        assert stream(pool).text == text


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("status", ["200 OK", "500 No"])
def test_depth_without_measure(opening: bytes, status: str) -> None:
    """It is no JSON; the interpreter's stack is not at stake."""
    deep = opening * 100_000
    for way in ("complete", "embed"):
        data = answer(deep, "Content-Type: application/json", status=status)
        with facing(sends(data)) as pool, pytest.raises(ProviderError):
            WAYS[way](pool)
    if status == "200 OK":
        with (
            facing(sends(STREAM + b"data: " + deep + b"\n\n")) as pool,
            pytest.raises(MalformedResponse, match="no JSON object"),
        ):
            stream(pool)


def test_choices_without_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes far more memory than its bytes: more than any answer has are none."""
    monkeypatch.setattr(_openai_shapes, "MOST_CHOICES", 20)
    for count in (20, 21):
        choices = [{"message": {"content": "a"}}] * count
        with facing(sends(said({"choices": choices}))) as pool:
            if count == 20:
                assert len(complete(pool).choices) == 20
                continue
            with pytest.raises(MalformedResponse, match="more than 20 choices"):
                complete(pool)


@pytest.mark.parametrize(
    "delta",
    [
        lambda number: {"index": number, "delta": {"content": "a"}},
        lambda number: {"delta": {"tool_calls": [{"index": number}]}},
        lambda number: {"delta": {"tool_calls": [{"index": 0, "id": f"call-{number}"}]}},
        lambda number: {"delta": {"tool_calls": [{"index": 0, "id": {"a": number}}]}},
    ],
    ids=["choices", "tool calls", "names of a tool call", "names that are none"],
)
@pytest.mark.parametrize("in_one_event", [True, False])
def test_parts_of_a_stream_without_measure(
    delta: Callable[[int], Any], in_one_event: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of what a stream begins."""
    monkeypatch.setattr(_stream, "MOST_PARTS", 20)
    choices = [delta(number) for number in range(30)]
    events = [choices] if in_one_event else [[choice] for choice in choices]
    data = STREAM + b"".join(event({"choices": each}) for each in events)
    with (
        facing(sends(data)) as pool,
        pytest.raises(ProviderError, match="more than 20 choices and tool calls"),
    ):
        stream(pool)


# -- what is short to send and long to read --------------------------------------------------------

LONG = 60_000
SLOW_HEADERS = {
    "blanks within": "a" + " " * LONG + "b",
    "tabs within": "a" + "\t" * LONG + "b",
    "blanks and controls": " \x01" * (LONG // 2),
    "digits": "1" * LONG + "x",
    "digits and a point": "1" * (LONG // 2) + "." + "1" * (LONG // 2) + "x",
    "exponent": "1e" + "1" * LONG,
    "commas": "1," * (LONG // 2),
    "lengths": ("1" + " " * 1000 + ",") * 60,
    "a date": "Mon, " * (LONG // 5),
}


@pytest.mark.parametrize("value", SLOW_HEADERS.values(), ids=SLOW_HEADERS)
def test_a_header_that_is_long_to_read(value: str) -> None:
    """The time that reading it takes grows with its length, not with the square of it."""
    lines = [
        f"{name}: {value}"
        for name in ("Retry-After", "Retry-After-Ms", "Date", "Content-Type", "X-Request-Id", "X-A")
    ]
    with facing(sends(said({"error": {"message": "no"}}, *lines, status="429 No"))) as pool:
        began = time.monotonic()
        with pytest.raises(RateLimited) as caught:
            complete(pool)
        assert time.monotonic() - began < WALL / 2
    assert caught.value.retry_after is None


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Content-Encoding"])
@pytest.mark.parametrize("value", SLOW_HEADERS.values(), ids=SLOW_HEADERS)
def test_a_framing_that_is_long_to_read(value: str, name: str) -> None:
    """The same where it decides how the answer is read."""
    data = f"HTTP/1.1 200 OK\r\n{name}: {value}\r\n\r\n{{}}".encode("latin-1")
    with facing(sends(data)) as pool:
        began = time.monotonic()
        with pytest.raises(ProviderError):
            complete(pool)
        assert time.monotonic() - began < WALL / 2


@pytest.mark.parametrize(
    "error",
    [
        {"details": [{"retryDelay": "1" * 500_000 + "x"}]},
        {"details": [{"retryDelay": "1" * 250_000 + "." + "1" * 250_000}]},
        {"message": "exceed" * 80_000},
        {"message": "sk-" * 200_000},
        {"message": "\\" * 500_000},
        {"message": "\\u005c" * 80_000},
        {"message": " " * 500_000 + "x"},
        {"code": "a" * 500_000, "type": "1" * 500_000},
        {"message": '{"error":' * 50_000},
        {"details": [{"violations": [{"quotaId": "x"}]}] * 10_000},
    ],
    ids=[
        "delay",
        "delay with a point",
        "words of a spending limit",
        "keys",
        "backslashes",
        "escaped escapes",
        "blanks",
        "code",
        "nested errors",
        "details",
    ],
)
def test_an_error_that_is_long_to_read(error: Any) -> None:
    """The same of what a body says."""
    with (
        facing(sends(said({"error": error}, status="429 No"))) as pool,
    ):
        began = time.monotonic()
        with pytest.raises(ProviderError) as caught:
            complete(pool)
        assert time.monotonic() - began < WALL / 2
    assert len(str(caught.value)) < 1000


def test_vectors_in_reverse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of them are put in order at once."""
    monkeypatch.setattr(_translate, "MOST_BYTES", 8 * SMALL)
    count = 20_000
    data = [{"index": place, "embedding": [1]} for place in reversed(range(count))]
    body = json.dumps({"data": data}).encode()
    with Hostile(sends(answer(body))) as server:
        asked = provider(server.url)
        began = time.monotonic()
        assert len(asked.embed(["a"], None, WALL).vectors) == count
        asked.close()
        assert time.monotonic() - began < WALL / 2


def test_headers_in_plain() -> None:
    """Control characters and the blanks around them become one space."""
    read = Headers.read([("A", " one \r\n\t two\x00\x1b[0m \x01"), ("B", "\n"), ("C", "a  b")])
    assert dict(read) == {"A": "one two [0m", "B": "", "C": "a  b"}
