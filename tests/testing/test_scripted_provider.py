"""The provider that answers by a script."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llmpool.errors import ConnectionFailed, RateLimited, ServerFault
from llmpool.messages import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    StreamChunk,
    Usage,
)
from llmpool.testing import ScriptedProvider

HELLO = CompletionRequest("hello")


def test_answers_in_turn() -> None:
    """A text becomes an answer, an answer stays itself, an error is raised."""
    given = CompletionResponse("two", finish_reason="stop")
    provider = ScriptedProvider("one", given, RateLimited("slow down"), ServerFault)
    assert provider.complete(HELLO, 5.0).text == "one"
    assert provider.complete(HELLO) is given
    with pytest.raises(RateLimited, match="slow down"):
        provider.complete(HELLO)
    with pytest.raises(ServerFault):
        provider.complete(HELLO)
    assert [call.timeout for call in provider.calls] == [5.0, None, None, None]
    assert {call.method for call in provider.calls} == {"complete"}
    assert provider.calls[0].request is HELLO
    assert "hello" not in repr(provider.calls)


def test_beyond_the_script() -> None:
    """A call that nobody foresaw is an error of the test."""
    provider = ScriptedProvider("one", name="eu")
    provider.complete(HELLO)
    with pytest.raises(AssertionError, match="eu: unscripted call"):
        provider.complete(HELLO)


def test_repeated() -> None:
    """The last step meets all further calls; without any step there is nothing to repeat."""
    provider = ScriptedProvider("one", "two", repeat=True)
    assert [provider.complete(HELLO).text for _ in range(4)] == ["one", "two", "two", "two"]
    with pytest.raises(AssertionError, match="unscripted"):
        ScriptedProvider(repeat=True).complete(HELLO)


def test_steps_that_decide() -> None:
    """A function sees request and timeout; what it returns is a step's answer, errors too."""

    def echo(request: CompletionRequest, timeout: float) -> str:
        return f"{request.messages[0].content} in {timeout}"

    provider = ScriptedProvider(echo, lambda request, timeout: ConnectionFailed("gone"))
    assert provider.complete(HELLO, 2.0).text == "hello in 2.0"
    with pytest.raises(ConnectionFailed):
        provider.complete(HELLO)


def test_a_stream_of_a_text() -> None:
    """It comes word by word, the finish reason and the usage last."""
    usage = Usage(total_tokens=7)
    provider = ScriptedProvider("one two", CompletionResponse("x", usage=usage))
    chunks = list(provider.stream(HELLO))
    assert [chunk.text for chunk in chunks] == ["one", " two", ""]
    assert chunks[-1].finish_reason == "stop"
    assert list(provider.stream(HELLO))[-1].usage is usage


def test_a_stream_laid_down_piece_by_piece() -> None:
    """Texts, chunks, and an error where it breaks off."""
    end = StreamChunk(finish_reason="stop")
    provider = ScriptedProvider(["a", end], ("b", ConnectionFailed("cut")))
    assert list(provider.stream(HELLO)) == [StreamChunk("a"), end]
    pieces = provider.stream(HELLO)
    assert next(pieces).text == "b"
    with pytest.raises(ConnectionFailed):
        next(pieces)


def test_a_stream_that_fails_to_open() -> None:
    """The error comes with the call, not with the first piece."""
    with pytest.raises(ServerFault):
        ScriptedProvider(ServerFault("no")).stream(HELLO)


def test_embeddings() -> None:
    """A list of vectors or a whole answer."""
    whole = EmbeddingResponse([[3.0]])
    provider = ScriptedProvider([[1.0, 2.0]], whole)
    assert provider.embed(["a"]).vectors == ((1.0, 2.0),)
    assert provider.embed(["a"], "tiny", 2.0) is whole
    assert [(c.request, c.model, c.timeout) for c in provider.calls] == [
        (["a"], None, None),
        (["a"], "tiny", 2.0),
    ]


def test_pings() -> None:
    """They succeed without a script, follow one of their own, and are no calls."""
    assert ScriptedProvider().ping(1.0) is None
    provider = ScriptedProvider(ping_steps=[True, ConnectionFailed("down")])
    assert provider.ping() is True
    with pytest.raises(ConnectionFailed):
        provider.ping(1.0)
    with pytest.raises(AssertionError, match="unscripted"):
        provider.ping()
    assert provider.calls == ()
    assert [ping.timeout for ping in provider.pings] == [None, 1.0, None]


def test_a_gate() -> None:
    """It holds calls until it opens, and pings never."""
    gate = threading.Event()
    provider = ScriptedProvider("late", repeat=True, gate=gate)
    with ThreadPoolExecutor(3) as callers:
        pending = [callers.submit(provider.complete, HELLO, 0.01) for _ in range(3)]
        assert provider.wait_for(3)
        provider.ping()
        assert not any(each.done() for each in pending)
        gate.set()
        assert [each.result(10).text for each in pending] == ["late"] * 3
    assert provider.peak == 3


def test_a_gate_that_nobody_opens() -> None:
    """The call ends after all, as an error of the test."""
    provider = ScriptedProvider("late", gate=threading.Event(), patience=0.01)
    with pytest.raises(AssertionError, match="the gate was not opened"):
        provider.complete(HELLO)


def test_waiting_for_calls() -> None:
    """It tells whether they have come."""
    provider = ScriptedProvider("one")
    assert not provider.wait_for(1, timeout=0.01)
    provider.complete(HELLO)
    assert provider.wait_for(1)


def test_what_it_is_called() -> None:
    """It has a name, perhaps a model, and counts how often it was closed."""
    provider = ScriptedProvider(name="eu", model="tiny")
    provider.close()
    assert (provider.name, provider.model, provider.closed) == ("eu", "tiny", 1)
    assert repr(provider) == "<ScriptedProvider 'eu'>"


def test_many_threads_share_a_script() -> None:
    """Each step is played once."""
    steps: list[Any] = [str(number) for number in range(200)]
    provider = ScriptedProvider(*steps)
    with ThreadPoolExecutor(8) as callers:
        texts = list(callers.map(lambda _: provider.complete(HELLO).text, steps))
    assert sorted(texts) == sorted(steps)
