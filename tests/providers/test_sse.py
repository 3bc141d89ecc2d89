"""Event streams, byte by byte."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmpool.providers._sse import SseEvent, SseParser


def parse(*pieces: bytes) -> list[SseEvent]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def feed_all(parser: SseParser, pieces: list[bytes]) -> None:
    for piece in pieces:
        parser.feed(piece)


def data(*texts: str) -> list[SseEvent]:
    return [SseEvent("message", text) for text in texts]


STREAMS: dict[str, tuple[bytes, list[SseEvent]]] = {
    "one event": (b'data: {"a": 1}\n\n', data('{"a": 1}')),
    "two events": (b"data: 1\n\ndata: 2\n\n", data("1", "2")),
    "no space": (b"data:1\n\n", data("1")),
    "one space of two": (b"data:  1\n\n", data(" 1")),
    "CRLF": (b"data: 1\r\n\r\ndata: 2\r\n\r\n", data("1", "2")),
    "CR": (b"data: 1\r\rdata: 2\r\r", data("1", "2")),
    "line ends of all kinds": (b"data: 1\r\ndata: 2\rdata: 3\n\r\n", data("1\n2\n3")),
    "several lines": (b"data: 1\ndata\ndata: 3\n\n", data("1\n\n3")),
    "an empty datum": (b"data\n\ndata:\n\n", data("", "")),
    "a named event": (b"event: ping\ndata: {}\n\n", [SseEvent("ping", "{}")]),
    "a name that comes last": (b"data: {}\nevent: ping\n\n", [SseEvent("ping", "{}")]),
    "a name without data": (b"event: ping\n\ndata: 1\n\n", data("1")),
    "comments": (b": one\n\n:\ndata: 1\n: two\n\n:\n\n", data("1")),
    "empty lines": (b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n", data("1", "2")),
    "a byte order mark": (b"\xef\xbb\xbfdata: 1\n\n", data("1")),
    "a second byte order mark": (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", data("2")),
    "line ends of Unicode": (
        "data: a\u2028b\u0085c\x0b\x0cd\n\n".encode(),
        data("a\u2028b\u0085c\x0b\x0cd"),
    ),
    "characters of several bytes": ("data: 🦜ü\n\n".encode(), data("🦜ü")),
    "bytes that are no character": (b"data: \xff\n\n", data("�")),
    "unknown fields": (b"data: 1\nfoo: bar\nbaz\n\n", data("1")),
    "ids": (
        b"id: 7\ndata: 1\n\ndata: 2\n\nid\ndata: 3\n\nid: a\0b\ndata: 4\n\n",
        [SseEvent("message", *rest) for rest in (("1", "7"), ("2", "7"), ("3", ""), ("4", ""))],
    ),
    "an id without data": (b"id: 7\n\ndata: 1\n\n", [SseEvent("message", "1", "7")]),
    "a time to wait": (b"retry: 250\ndata: 1\n\n", [SseEvent("message", "1", "", 250)]),
    "times that are none": (
        b"retry: -1\nretry: 1.5\nretry\nretry: \xd9\xa1\ndata: 1\n\n",
        data("1"),
    ),
    "an event without its empty line": (b"data: 1\n\ndata: 2\n", data("1")),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("what", STREAMS)
def test_a_stream(what: str) -> None:
    """It is read as the standard says, in one piece or byte by byte."""
    stream, events = STREAMS[what]
    assert parse(stream) == events
    assert parse(*(stream[place : place + 1] for place in range(len(stream)))) == events


@given(
    st.lists(st.sampled_from([stream for stream, _ in STREAMS.values()]), max_size=6),
    st.lists(st.integers(0, 300), max_size=12),
)
def test_a_stream_cut_anywhere(streams: list[bytes], cuts: list[int]) -> None:
    """The events do not depend on where the bytes were cut."""
    stream = b"".join(streams)
    places = [0, *sorted(place for place in cuts if place < len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    assert parse(*pieces) == parse(stream)


def test_an_event_is_given_at_once() -> None:
    """A line end of CR is one, whether or not a LF follows."""
    parser = SseParser()
    assert parser.feed(b"data: 1\r") == []
    assert parser.feed(b"\r") == data("1")
    assert parser.feed(b"\ndata: 2\r\n") == []
    assert parser.feed(b"") == []
    assert parser.feed(b"\r\n") == data("2")


def test_comments_alone() -> None:
    """They are no event, and hold none up."""
    parser = SseParser()
    assert parser.feed(b": ping\n\n: ping\n: ping\n\n") == []
    assert parser.feed(b"data: 1\n\n") == data("1")


def test_the_end_of_a_stream() -> None:
    """An event whose last empty line was left out counts; a line without end does not."""
    parser = SseParser()
    parser.feed(b"data: 1\n\ndata: [DONE]\n")
    assert parser.finish() == data("[DONE]")
    assert parser.finish() == []
    parser.feed(b"data: half")
    assert parser.finish() == []


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 100 + b"\n\n"],
        [b"data: " + b"x" * 100],
        [b"data: 1\n\ndata: " + b"x" * 100],
        [b"data: "] + [b"x"] * 100,
        [b"data: x\n"] * 20,
        [b": ping\n"] * 20,
    ],
)
def test_an_event_without_measure(pieces: list[bytes]) -> None:
    """It is refused as soon as it is too large, however it comes."""
    parser = SseParser(max_bytes=100)
    with pytest.raises(ValueError, match="larger than 100 bytes"):
        feed_all(parser, pieces)


def test_many_events_within_measure() -> None:
    """The measure is that of one event."""
    assert len(SseParser(max_bytes=100).feed(b"data: 1\n\n" * 1000)) == 1000
