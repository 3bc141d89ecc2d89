"""Streams in the OpenAI format, from their bytes to chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from llmpool import (
    CompletionRequest,
    DeadlineExceeded,
    MalformedResponse,
    OpenAIProvider,
    ProviderError,
    RateLimited,
    ServerFault,
    StreamChunk,
    StreamInterrupted,
    ToolCall,
)
from llmpool.providers import _stream
from llmpool.testing import Exchange, LocalServer, PingsOnly, Reply

EVENTS = {"Content-Type": "text/event-stream"}


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Start a server."""
    with LocalServer("eu") as server:
        yield server


def provider(server: LocalServer) -> OpenAIProvider:
    """Give a provider for it."""
    return OpenAIProvider(server.url, api_key="sk-streams-1")


def stream(server: LocalServer, *parts: bytes, **reply: Any) -> Iterator[StreamChunk]:
    """Open a stream whose body is these bytes."""
    given = {"headers": EVENTS, "framing": "chunked", **reply}
    server.behave(lambda exchange: exchange.send(Reply(parts=parts, **given)))
    return provider(server).stream(CompletionRequest("hello"), 5.0)


def event(*choices: Any, **fields: Any) -> bytes:
    """Write an event with these choices."""
    return b"data: %s\n\n" % json.dumps({"choices": choices, **fields}).encode()


def delta(index: int = 0, reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """Write a choice of an event."""
    return {"index": index, "delta": fields, "finish_reason": reason}


DONE = b"data: [DONE]\n\n"


def test_chunks(server: LocalServer) -> None:
    """Each event is a chunk: role, text, reasoning, refusal, audio, log-probabilities, reason, usage."""
    parts = [
        event(delta(role="assistant", content=""), id="c-1", model="tiny"),
        event(delta(reasoning_content="hm")),
        event({**delta(content="He"), "logprobs": {"content": [1]}}),
        event(delta(refusal="no")),
        event(delta(audio={"data": "AA=="})),
        event(delta(content=[{"type": "text", "text": "y"}])),
        event(delta(reason="stop"), usage={"completion_tokens": 1}),
        event(usage={"completion_tokens": 2}),
        DONE,
    ]
    chunks = list(stream(server, *parts))
    assert chunks[0] == StreamChunk(role="assistant", id="c-1", model="tiny")
    assert chunks[0].raw["id"] == "c-1"
    assert chunks[1].reasoning == "hm"
    assert (chunks[2].text, chunks[2].logprobs) == ("He", {"content": [1]})
    assert chunks[3].refusal == "no"
    assert chunks[4].audio == {"data": "AA=="}
    assert chunks[5].text == "y"
    assert (chunks[6].finish_reason, chunks[7].finish_reason) == ("stop", None)
    assert [c.usage.completion_tokens for c in chunks if c.usage] == [1, 2]
    assert len(chunks) == 8


def test_bytes_cut_anywhere(server: LocalServer) -> None:
    """However the bytes come, the chunks are the same."""
    whole = event(delta(content="Grüße"), note="世界") + event(delta(reason="stop")) + DONE
    chunks = list(stream(server, *(whole[at : at + 1] for at in range(len(whole)))))
    assert [chunk.text for chunk in chunks] == ["Grüße", ""]


def test_pieces_of_tool_calls(server: LocalServer) -> None:
    """They are pieces still; their index tells which belong together."""
    first = {"index": 1, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = {"index": 1, "function": {"arguments": '{"x"'}}
    chunks = list(
        stream(server, event(delta(tool_calls=[first])), event(delta(tool_calls=[more])), DONE)
    )
    assert [chunk.tool_calls for chunk in chunks] == [
        (ToolCall(id="a", name="f", index=1),),
        (ToolCall(arguments='{"x"', index=1),),
    ]


def test_several_choices(server: LocalServer) -> None:
    """Each piece carries its choice's index; the usage of an event is told once."""
    both = [delta(1, content="b"), {"delta": {"content": "c"}}, delta(0, content="a")]
    chunks = list(stream(server, event(*both, usage={"total_tokens": 3}), DONE))
    assert [(chunk.index, chunk.text) for chunk in chunks] == [(1, "b"), (1, "c"), (0, "a")]
    assert [chunk.usage is not None for chunk in chunks] == [True, False, False]


def test_delta_that_is_none(server: LocalServer) -> None:
    """Some servers send none with the last event."""
    chunks = list(stream(server, event({"delta": None, "finish_reason": "stop"})))
    assert chunks[0].finish_reason == "stop"


# -- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        [event(delta(content="a")), DONE],
        [event(delta(content="a", reason="stop"))],
        [event(delta(0, "stop")), event(delta(1, "length"))],
        [event(delta(0, "stop")), event(delta(0)), event(delta(0, "stop"))],
        [event(delta(0, "stop")), event(delta(0))],
        [event(delta(0, "stop")), b": no end of a line"],
        [event(delta(0)), event(delta(0, "stop")).rstrip(b"\n") + b"\n"],
        [DONE],
        [DONE, b"data: {never read"],
        [event(), DONE],
    ],
)
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_end_that_is_one(server: LocalServer, parts: list[bytes], framing: Any) -> None:
    """An end mark is one, or a finish reason for each choice that has begun."""
    chunks = stream(server, *parts, framing=framing)
    list(chunks)
    assert list(chunks) == []


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b": ping\n\n"],
        [event()],
        [event(delta(content="a"))],
        [event(delta(0, content="a")), event(delta(1, content="b")), event(delta(0, "stop"))],
        [b"data: [DONE]"],
    ],
)
def test_end_that_is_none(server: LocalServer, parts: list[bytes]) -> None:
    """However cleanly the body ends, the answer was cut."""
    chunks = stream(server, *parts)
    with pytest.raises(StreamInterrupted, match="without its end mark") as caught:
        list(chunks)
    assert caught.value.sent == "answered"
    assert list(chunks) == []


def test_connection_after_a_whole_stream(server: LocalServer) -> None:
    """It serves again, also where the server is slow to say that the body has ended."""
    made = provider(server)
    for _ in range(2):
        list(made.stream(CompletionRequest("hello"), 5.0))
    assert server.connections == 1

    def linger(exchange: Exchange) -> None:
        exchange.send_until(
            Reply(headers=EVENTS, parts=(DONE,), framing="chunked", streamed=True), 0
        )
        exchange.send_bytes(b"%x\r\n%s\r\n" % (len(DONE), DONE))
        exchange.hang()

    server.behave(linger)
    assert list(provider(server).stream(CompletionRequest("hello"), 5.0)) == []
    assert server.wait_until_idle()


# -- what is no chunk -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (b"data: no JSON\n\n", "no JSON object"),
        (b"data: []\n\n", "no JSON object"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "no JSON object"),
        (event("text"), "a choice in the stream is no JSON object"),
        (event(delta(content="x"), None), "a choice in the stream is no JSON object"),
    ],
)
def test_event_that_is_none(server: LocalServer, part: bytes, words: str) -> None:
    """What came before it is delivered, then it is an error, again at each further reading."""
    chunks = stream(server, event(delta(content="a")) + part + DONE)
    assert next(chunks).text == "a"
    with pytest.raises(MalformedResponse, match=words):
        list(chunks)
    with pytest.raises(MalformedResponse, match=words):
        next(chunks)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (b'data: {"error": {"message": "x", "code": 429}}\n\n', RateLimited),
        (b'event: error\ndata: {"message": "x"}\n\n', ServerFault),
        (event({"error": {"code": 429, "message": "x"}, "delta": {}}), RateLimited),
        (event(delta(reason="error")), ServerFault),
    ],
)
def test_error_event(server: LocalServer, part: bytes, kind: type[ProviderError]) -> None:
    """It is told by its own contents, wherever the server puts them."""
    with pytest.raises(kind):
        list(stream(server, part))


def test_event_that_never_ends(server: LocalServer) -> None:
    """It is given up at four megabytes."""
    with pytest.raises(MalformedResponse, match="too large"):
        list(stream(server, b"data: ", *[b"x" * (1 << 20)] * 5))


def test_stream_that_never_ends(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up too, at a size that no honest one has."""
    monkeypatch.setattr(_stream, "MOST_BYTES", 10_000)
    with pytest.raises(MalformedResponse, match="too large"):
        list(stream(server, *[event(delta(content="x" * 100))] * 200))


def test_limit(server: LocalServer) -> None:
    """Each chunk has the seconds that were set for it, and pings gain nothing."""
    server.behave(PingsOnly(0.01, after_chunks=1))
    chunks = provider(server).stream(CompletionRequest("hello"), 5.0)
    chunks.limit(5.0)
    next(chunks)
    next(chunks)
    chunks.limit(0.1)
    with pytest.raises(DeadlineExceeded) as caught:
        next(chunks)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_closed_stream(server: LocalServer) -> None:
    """It gives nothing more, and its connection is let go of."""
    server.behave(PingsOnly(0.01, after_chunks=1))
    chunks = provider(server).stream(CompletionRequest("hello"), 5.0)
    next(chunks)
    chunks.close()
    assert list(chunks) == []
    assert server.wait_until_idle()


# -- no stream at all -------------------------------------------------------------------------


def test_whole_answer_in_the_place_of_a_stream(server: LocalServer) -> None:
    """Some servers cannot stream: the whole comes as one chunk for each choice."""
    message = {
        "content": "all of it",
        "reasoning": "hm",
        "refusal": None,
        "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
    }
    body = {
        "id": "c-1",
        "model": "tiny",
        "choices": [
            {"index": 0, "message": message, "finish_reason": "stop"},
            {"index": 1, "message": {"content": "b" * (2 << 20)}, "finish_reason": "stop"},
        ],
        "usage": {"total_tokens": 3},
    }
    raw = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    first, second = stream(server, raw, headers=headers, framing="length")
    assert (first.text, first.reasoning, first.finish_reason) == ("all of it", "hm", "stop")
    assert first.tool_calls[0].name == "f"
    assert (first.id, first.model, first.raw["id"]) == ("c-1", "tiny", "c-1")
    assert first.usage is not None
    assert first.usage.total_tokens == 3
    assert (second.index, len(second.text)) == (1, 2 << 20)


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("application/json", b'{"error": {"code": 429, "message": "x"}}', RateLimited),
        ("application/json", b'{"choices": [{"finish_reason": "error"}]}', ServerFault),
        ("application/json; charset=utf-8", b"", MalformedResponse),
        ("text/html", b"<html>", MalformedResponse),
        ("application/json", b'{"choices": []}', MalformedResponse),
    ],
)
def test_no_answer_in_the_place_of_a_stream(
    server: LocalServer, kind: str, body: bytes, error: type[ProviderError]
) -> None:
    """It is the error that it would be without a stream."""
    chunks = stream(server, body, headers={"Content-Type": kind}, framing="length")
    with pytest.raises(error):
        list(chunks)
    assert list(chunks) == []
