"""What the vendors' servers really answer, from their documentation and their SDKs, read by our providers."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import llmpool
from llmpool import (
    AnthropicProvider,
    AzureOpenAIProvider,
    CompletionRequest,
    CompletionResponse,
    Deployment,
    GeminiProvider,
    ProviderError,
    ProviderPool,
    ServerFault,
    StreamChunk,
)
from llmpool.testing import Exchange, LocalServer, Reply

DATA = pathlib.Path(__file__).with_name("data")
VENDORS = ("anthropic", "azure", "gemini")
RECORDED = [
    pytest.param(vendor, entry, id=f"{vendor}-{entry['name']}")
    for vendor in VENDORS
    for entry in json.loads((DATA / f"{vendor}-errors.json").read_text("utf-8"))
]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Start a server for all tests here."""
    with LocalServer("eu") as server:
        yield server


def provider(vendor: str, server: LocalServer) -> Any:
    """Give a vendor's provider at the server."""
    if vendor == "anthropic":
        return AnthropicProvider(server.url, api_key="sk-recorded-1", model="claude")
    if vendor == "azure":
        return AzureOpenAIProvider(server.root, api_key="sk-recorded-1", deployment="gpt-4o")
    base = f"{server.root}/v1beta"
    return GeminiProvider(base, api_key="sk-recorded-1", model="gemini-2.5-flash")


@pytest.fixture
def asked(server: LocalServer) -> Iterator[Callable[..., Any]]:
    """Give a function that has the server answer some bytes, and asks a vendor's provider."""
    made: dict[str, Any] = {}

    def ask(vendor: str, reply: Reply, method: str = "complete") -> Any:
        def answer(exchange: Exchange) -> None:
            exchange.send(reply)

        server.behave(answer)
        if vendor not in made:
            made[vendor] = provider(vendor, server)
        return getattr(made[vendor], method)(CompletionRequest("hello"), 20.0)

    yield ask
    for given in made.values():
        given.close()


def recorded(name: str, status: int = 200) -> Reply:
    """Give a recorded body as an answer."""
    kind = "text/event-stream" if name.endswith(".sse") else "application/json"
    return Reply(status, {"Content-Type": kind}, ((DATA / name).read_bytes(),))


def refused(entry: dict[str, Any]) -> Reply:
    """Give a recorded error as an answer."""
    body, kind = entry["body"], "application/json"
    if isinstance(body, str):
        kind = "text/html"
    else:
        body = json.dumps(body)
    headers = {"Content-Type": kind, **entry["headers"]}
    return Reply(entry["status"], headers, (body.encode(),))


@pytest.mark.parametrize(("vendor", "entry"), RECORDED)
def test_an_error(server: LocalServer, vendor: str, entry: dict[str, Any]) -> None:
    """Each has the class and the verdict that its facts demand, in the place of a stream too."""
    server.behave(lambda exchange: exchange.send(refused(entry)))
    given = provider(vendor, server)
    with ProviderPool([Deployment("eu", given)], health_check=None) as pool:
        with pytest.raises(ProviderError) as caught:
            pool.complete("hello", retry=False, timeout=20.0)
        with pytest.raises(type(caught.value)):
            list(given.stream(CompletionRequest("hello"), 20.0))
    error = caught.value
    assert type(error) is getattr(llmpool, entry["kind"]), error
    assert [str(attempt.verdict) for attempt in error.attempts] == [entry["verdict"]]
    assert error.status == (None if entry["status"] == 200 else entry["status"])
    for field in ("code", "retry_after", "request_id"):
        if field in entry:
            assert getattr(error, field) == entry[field]


def test_a_message(asked: Callable[..., CompletionResponse]) -> None:
    """Anthropic's: thinking, text, two calls side by side, and the counts of its cache."""
    answer = asked("anthropic", recorded("anthropic-message.json"))
    assert answer.text == "I look both up."
    assert answer.reasoning == "The user wants the weather in two cities."
    assert answer.finish_reason == "tool_calls"
    assert [(call.id, call.name, json.loads(call.arguments)) for call in answer.tool_calls] == [
        ("toolu_01A09q90qw90lq917835lq9", "get_weather", {"city": "Zürich"}),
        ("toolu_01A09q90qw90lq917835lqA", "get_weather", {"city": "Oslo", "unit": "C"}),
    ]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2114, 87)
    assert (answer.usage.total_tokens, answer.usage.cached_tokens) == (2201, 2000)
    assert answer.usage.reasoning_tokens == 0
    assert answer.model == "claude-sonnet-4-5-20250929"
    assert answer.raw == json.loads((DATA / "anthropic-message.json").read_text("utf-8"))


def test_a_content(asked: Callable[..., CompletionResponse]) -> None:
    """Gemini's: thoughts, text, two calls side by side, one signed, and all its counts."""
    answer = asked("gemini", recorded("gemini-content.json"))
    assert answer.text == "I look both up."
    assert answer.reasoning == "The user wants the weather in two cities."
    assert answer.finish_reason == "tool_calls"
    first, second = answer.tool_calls
    assert (first.id, first.name, json.loads(first.arguments)) == (
        "b3J0aGU-0-0",
        "get_weather",
        {"city": "Zürich"},
    )
    assert first.raw == {
        "extra_content": {"google": {"thought_signature": "CiQBVKhc7uUXhV5cCdgbTQ=="}}
    }
    assert (second.id, second.index, second.raw) == ("fc-2", 1, {})
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2120, 87)
    assert (answer.usage.total_tokens, answer.usage.cached_tokens) == (2207, 2000)
    assert answer.usage.reasoning_tokens == 47
    assert (answer.model, answer.id) == ("gemini-2.5-flash", "b3J0aGU")
    assert answer.raw == json.loads((DATA / "gemini-content.json").read_text("utf-8"))


def test_an_answer_that_was_filtered(asked: Callable[..., CompletionResponse]) -> None:
    """Azure's: a 200 that says so, with its filters' own results."""
    answer = asked("azure", recorded("azure-completion.json"))
    assert (answer.text, answer.finish_reason) == ("Half an ans", "content_filter")
    assert answer.usage is not None
    assert (answer.usage.cached_tokens, answer.usage.reasoning_tokens) == (16, 12)
    assert "error" in answer.raw["choices"][0]["content_filter_results"]


def read(chunks: list[StreamChunk]) -> dict[str, Any]:
    """Put the chunks of one answer together."""
    calls: dict[int, list[Any]] = {}
    for piece in (piece for chunk in chunks for piece in chunk.tool_calls):
        calls.setdefault(piece.index, ["", "", ""])
        found = calls[piece.index]
        calls[piece.index] = [piece.id or found[0], piece.name or found[1], found[2]]
        calls[piece.index][2] += piece.arguments
    return {
        "text": "".join(chunk.text for chunk in chunks),
        "reasoning": "".join(chunk.reasoning or "" for chunk in chunks),
        "reasons": [chunk.finish_reason for chunk in chunks if chunk.finish_reason],
        "calls": [(id, name, json.loads(text)) for id, name, text in calls.values()],
        "usage": [chunk.usage for chunk in chunks if chunk.usage][-1],
        "model": next(chunk.model for chunk in chunks if chunk.model),
    }


def test_the_stream_of_a_message(asked: Callable[..., Any]) -> None:
    """Anthropic's: events of many kinds, pings left out; the counts of both ends are one."""
    chunks = list(asked("anthropic", recorded("anthropic-stream.sse"), "stream"))
    whole = read(chunks)
    assert whole["text"] == "I look both up."
    assert whole["reasoning"] == "The user wants the weather."
    assert whole["reasons"] == ["tool_calls"]
    assert whole["calls"] == [
        ("toolu_01T1x", "get_weather", {"city": "Zürich"}),
        ("toolu_02T2x", "get_time", {}),
    ]
    usage = whole["usage"]
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (2114, 87, 2000)
    assert whole["model"] == "claude-sonnet-4-5-20250929"
    kinds = [chunk.raw["type"] for chunk in chunks]
    assert "ping" not in kinds
    assert (kinds[0], kinds[-1], len(kinds)) == ("message_start", "message_stop", 19)


def test_the_stream_of_a_content(asked: Callable[..., Any]) -> None:
    """Gemini's: each event is an answer of its own kind; the last one has the reason."""
    chunks = list(asked("gemini", recorded("gemini-stream.sse"), "stream"))
    whole = read(chunks)
    assert whole["text"] == "I look both up."
    assert whole["reasoning"] == "The user wants the weather."
    assert whole["reasons"] == ["tool_calls"]
    assert whole["calls"] == [
        ("b3J0aGU-0-0", "get_weather", {"city": "Zürich"}),
        ("b3J0aGU-0-1", "get_time", {}),
    ]
    usage = whole["usage"]
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (2114, 87, 2000)
    assert len(chunks) == 5


def test_the_stream_of_an_azure_answer(asked: Callable[..., Any]) -> None:
    """It begins with what its filters found, and no choice."""
    chunks = list(asked("azure", recorded("azure-stream.sse"), "stream"))
    assert read(chunks)["text"] == "I look both up."
    assert chunks[0].raw["prompt_filter_results"]
    assert not chunks[0].has_content
    assert chunks[-1].usage is not None


@pytest.mark.parametrize(
    ("vendor", "code"), [("anthropic", "overloaded_error"), ("azure", None), ("gemini", None)]
)
def test_an_error_in_a_stream(asked: Callable[..., Any], vendor: str, code: str | None) -> None:
    """It comes under a 200, and is read by its own contents."""
    with pytest.raises(ServerFault) as caught:
        list(asked(vendor, recorded(f"{vendor}-error-stream.sse"), "stream"))
    if code:
        assert caught.value.code == code


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_a_stream_cut_between_two_events(
    asked: Callable[..., Any], vendor: str, framing: Any
) -> None:
    """However cleanly the body ends, an answer without its end was cut; with it, it was not."""
    events = (DATA / f"{vendor}-stream.sse").read_bytes().split(b"\n\n")[:-1]
    headers = {"Content-Type": "text/event-stream"}
    lengths = []
    for kept in range(len(events) + 1):
        part = b"".join(event + b"\n\n" for event in events[:kept])
        reply = Reply(200, headers, (part,) if part else (), framing)
        with contextlib.suppress(llmpool.StreamInterrupted):
            list(asked(vendor, reply, "stream"))
            lengths.append(kept)
    # Azure's reason to end comes before usage and mark; Anthropic's does not do without the mark.
    ends = {"anthropic": 1, "azure": 3, "gemini": 1}[vendor]
    assert lengths == list(range(len(events) + 1 - ends, len(events) + 1))


@pytest.mark.parametrize("vendor", VENDORS)
def test_bytes_cut_anywhere(asked: Callable[..., Any], vendor: str) -> None:
    """However the bytes come, the chunks are the same."""
    whole = (DATA / f"{vendor}-stream.sse").read_bytes()
    headers = {"Content-Type": "text/event-stream"}
    expected = list(asked(vendor, recorded(f"{vendor}-stream.sse"), "stream"))
    for size in (1, 7):
        pieces = tuple(whole[at : at + size] for at in range(0, len(whole), size))
        assert list(asked(vendor, Reply(200, headers, pieces, "chunked"), "stream")) == expected


def test_vectors(server: LocalServer) -> None:
    """Gemini has a page for one text and another for several."""
    gemini = provider("gemini", server)
    server.behave(lambda exchange: exchange.send(recorded("gemini-embedding.json")))
    one = gemini.embed(["a"], "gemini-embedding-001", 20.0)
    assert one.vectors == ((0.013168517, -0.00871, 0.046782),)
    assert (one.model, one.usage) == ("gemini-embedding-001", None)
    assert server.requests[-1].path == "/v1beta/models/gemini-embedding-001:embedContent"
    server.behave(lambda exchange: exchange.send(recorded("gemini-embeddings.json")))
    assert len(gemini.embed(["a", "b"], "gemini-embedding-001", 20.0).vectors) == 2
    assert server.requests[-1].path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert server.requests[-1].json["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "b"}]},
    }
    gemini.close()
