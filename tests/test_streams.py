"""Streams: held until their first content, watched by three clocks, put together again, released."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from llmpool import (
    CompletionStream,
    DeadlineExceeded,
    Deployment,
    HealthCheckConfig,
    MalformedResponse,
    ProviderPool,
    RateLimited,
    ServerFault,
    StreamChunk,
    StreamInterrupted,
    ToolCall,
    Usage,
)
from llmpool.gathered import Gathered
from llmpool.streams import HELD_BYTES, HELD_EVENTS
from llmpool.testing import ManualClock, ScriptedProvider


class Source:
    """A stream whose pieces are laid down: chunks, texts, errors to raise, functions to call first."""

    def __init__(self, *pieces: Any) -> None:
        self._pieces = list(pieces)
        self.limits: list[float] = []
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while self._pieces:
            piece = self._pieces.pop(0)
            if isinstance(piece, BaseException):
                raise piece
            if not callable(piece):
                return piece
            piece()
        raise StopIteration

    def limit(self, seconds: float) -> None:
        """Note the seconds."""
        self.limits.append(seconds)

    def close(self) -> None:
        """Count it."""
        self.closed += 1


class Provider:
    """Streams one source after another."""

    def __init__(self, *sources: Any) -> None:
        self._sources = list(sources)
        self.timeouts: list[float] = []

    def complete(self, request: Any, timeout: float) -> Any:
        """Refuse to be asked."""
        raise AssertionError("unscripted call")

    def stream(self, request: Any, timeout: float) -> Any:
        """Give the next."""
        self.timeouts.append(timeout)
        return self._sources.pop(0)


@pytest.fixture
def clock() -> ManualClock:
    """Give the time."""
    return ManualClock()


def pool(clock: ManualClock, *providers: Any, timeout: float | None = None) -> ProviderPool:
    """Give a pool that asks the first provider first."""
    return ProviderPool(
        [
            Deployment(name, provider, timeout=timeout)
            for name, provider in zip(("eu", "us"), providers, strict=False)
        ],
        strategy="primary",
        health_check=HealthCheckConfig(enabled=False),
        clock=clock,
    )


def opened(clock: ManualClock, *pieces: Any, **options: Any) -> tuple[CompletionStream, Source]:
    """Open a stream over these pieces."""
    source = Source(*pieces)
    return pool(clock, Provider(source)).stream("hello", **options), source


STOP = StreamChunk(finish_reason="stop")


# -- up to the first content ------------------------------------------------------------------


def test_first_content_opens_a_stream(clock: ManualClock) -> None:
    """It is read up to there and no further; what came before it is delivered too."""
    read: list[str] = []
    role = StreamChunk(role="assistant")
    stream, source = opened(clock, role, "a", lambda: read.append("more"), "b", STOP)
    assert read == []
    assert [chunk.text for chunk in stream] == ["", "a", "b", ""]
    assert stream.text == stream.response.text == "ab"
    assert source.closed == 1


@pytest.mark.parametrize(
    "content",
    [
        {"text": "a"},
        {"reasoning": "a"},
        {"refusal": "a"},
        {"audio": {"data": ""}},
        {"tool_calls": (ToolCall(index=0),)},
    ],
)
def test_what_counts_as_content(clock: ManualClock, content: dict[str, Any]) -> None:
    """Text, reasoning, refusal, audio and a piece of a tool call: behind it nothing is failed over."""
    us = Provider()
    made = pool(clock, Provider(Source(StreamChunk(**content), ServerFault("broken"))), us)
    stream = made.stream("hello")
    with pytest.raises(StreamInterrupted):
        list(stream)


@pytest.mark.parametrize(
    "chunk", [StreamChunk(role="assistant"), StreamChunk(usage=Usage()), StreamChunk(raw={"a": 1})]
)
def test_what_does_not(clock: ManualClock, chunk: StreamChunk) -> None:
    """Role, usage and metadata: an error behind them goes elsewhere, unseen."""
    eu, us = Source(chunk, ServerFault("broken")), Source("fine", STOP)
    stream = pool(clock, Provider(eu), Provider(us)).stream("hello")
    assert [chunk.text for chunk in stream] == ["fine", ""]
    assert [str(attempt.verdict) for attempt in stream.response.attempts] == ["fault", "ok"]
    assert (stream.deployment, eu.closed, us.closed) == ("us", 1, 1)


def test_first_contents_that_are_held_too_long(clock: ManualClock) -> None:
    """After so many events, or so many bytes, a stream counts as begun."""
    empty = [StreamChunk(role="assistant")] * HELD_EVENTS
    stream, _ = opened(clock, *empty, ServerFault("broken"))
    with pytest.raises(StreamInterrupted):
        list(stream)
    large = [StreamChunk(raw={"filling": "x" * (HELD_BYTES // 2)})] * 2
    stream, _ = opened(clock, *large, ServerFault("broken"))
    with pytest.raises(StreamInterrupted):
        list(stream)


def test_stream_without_content(clock: ManualClock) -> None:
    """With a finish reason it is an answer; without one it is none."""
    stream, _ = opened(clock, StreamChunk(role="assistant"), STOP)
    assert [chunk.finish_reason for chunk in stream] == [None, "stop"]
    made = pool(clock, Provider(Source(StreamChunk(role="assistant"))))
    with pytest.raises(MalformedResponse, match="before any content"):
        made.stream("hello", retry=False)
    made = pool(clock, Provider(Source()))
    with pytest.raises(MalformedResponse, match="before any content"):
        made.stream("hello", retry=False)


def test_chunk_that_is_none(clock: ManualClock) -> None:
    """A provider that gives anything else has a bug, which is shown as it is and counts for nothing."""
    source = Source(7)
    made = pool(clock, Provider(source))
    with pytest.raises(TypeError, match="wanted StreamChunk or str from the provider, got a int"):
        made.stream("hello")
    assert (made.health("eu").total_requests, source.closed) == (0, 1)
    stream, source = opened(clock, "a", 7)
    with pytest.raises(TypeError, match="wanted StreamChunk"):
        list(stream)
    assert source.closed == 1
    assert list(stream) == []


def test_source_that_can_only_be_iterated(clock: ManualClock) -> None:
    """Neither limit nor close is needed of a provider's stream."""
    scripted = ScriptedProvider(["a", "b", STOP])
    stream = pool(clock, scripted).stream("hello")
    assert "".join(chunk.text for chunk in stream) == "ab"
    stream = pool(clock, Provider(iter(["a", "b"]))).stream("hello")
    stream.close()


# -- clocks -----------------------------------------------------------------------------------


def test_clocks(clock: ManualClock) -> None:
    """The shortest of those that run is set before each step; a slow reader stops them all but one."""
    source = Source(StreamChunk(role="assistant"), "a", lambda: clock.advance(4.0), "b", STOP)
    made = pool(clock, Provider(source))
    stream = made.stream("hello", timeout=60.0, first_content_timeout=20.0, gap_timeout=10.0)
    assert source.limits == [20.0, 10.0]
    next(stream), next(stream)
    clock.advance(30.0)  # the reader's
    next(stream)
    assert source.limits[2:] == [10.0]
    clock.advance(20.0)
    next(stream)
    assert source.limits[3:] == [pytest.approx(6.0)]
    assert next(stream, None) is None
    assert stream.response.latency == pytest.approx(4.0)


def test_clocks_that_are_off(clock: ManualClock) -> None:
    """The call's own always runs; without any, none is set."""
    source = Source("a", STOP)
    made = pool(clock, Provider(source))
    list(made.stream("hello", timeout=60.0, gap_timeout=None))
    assert source.limits == [60.0] * 3
    endless = Source("a", STOP)
    limitless = ProviderPool(
        [Deployment("eu", Provider(endless))],
        health_check=None,
        clock=clock,
        retry=attrs.evolve(made._retry, timeout=None),
    )
    list(limitless.stream("hello", gap_timeout=None))
    assert endless.limits == []


def test_time_that_is_over_before_a_step(clock: ManualClock) -> None:
    """No step is begun; what is left is the caller's to see, and nobody is blamed."""
    stream, source = opened(clock, "a", "b", STOP, timeout=60.0)
    next(stream)
    clock.advance(60.0)
    with pytest.raises(StreamInterrupted, match="the stream's time is over") as caught:
        next(stream)
    assert [str(attempt.verdict) for attempt in caught.value.attempts] == ["ignored"]
    assert (caught.value.partial, source.closed) == ("a", 1)


def test_clock_of_the_first_content(clock: ManualClock) -> None:
    """It runs from the claim to the first content, whatever comes in between."""

    def late() -> None:
        clock.advance(6.0)

    role = StreamChunk(role="assistant")
    eu, us = Source(late, role, late, role, "a"), Source("fine", STOP)
    made = pool(clock, Provider(eu), Provider(us))
    stream = made.stream("hello", first_content_timeout=10.0)
    assert stream.deployment == "us"
    assert eu.limits == [10.0, 4.0]
    list(stream)


def test_time_of_an_attempt(clock: ManualClock) -> None:
    """It bounds the way to the first content, and not the whole stream."""
    source = Source("a", lambda: clock.advance(30.0), "b", STOP)
    made = pool(clock, Provider(source), timeout=5.0)
    stream = made.stream("hello", timeout=600.0)
    assert source.limits == [5.0]
    assert [chunk.text for chunk in stream] == ["a", "b", ""]


# -- ends -------------------------------------------------------------------------------------


def test_stream_that_breaks_off(clock: ManualClock) -> None:
    """What came is told by the error, along with what its cause knew, and every attempt."""
    cause = RateLimited("slow down", status=429, code="slow", retry_after=7.0, request_id="r-1")
    made = pool(clock, Provider(Source(ServerFault("no"))), Provider(Source("a", cause)))
    stream = made.stream("hello")
    with pytest.raises(StreamInterrupted) as caught:
        list(stream)
    error = caught.value
    assert str(error).splitlines()[0] == "us: the stream broke off: slow down (after 2 attempts)"
    assert (error.partial, error.status, error.code) == ("a", 429, "slow")
    assert (error.retry_after, error.request_id, error.sent) == (7.0, "r-1", "answered")
    assert [(a.deployment, str(a.verdict)) for a in error.attempts] == [
        ("eu", "fault"),
        ("us", "rate_limited"),
    ]
    assert made.health("us").state == "cooling"
    assert list(stream) == []


def test_error_of_the_callers_own_in_a_step(clock: ManualClock) -> None:
    """It passes through as it is, and nobody is blamed."""
    stream, source = opened(clock, "a", LookupError("mine"))
    with pytest.raises(LookupError, match="mine"):
        list(stream)
    assert source.closed == 1


def test_interrupt_in_a_step(clock: ManualClock) -> None:
    """The place is given back, and the interrupt goes on."""
    source = Source("a", KeyboardInterrupt())
    made = pool(clock, Provider(source))
    stream = made.stream("hello")
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    status = made.health("eu")
    assert (status.requests_in_flight, status.total_errors, source.closed) == (0, 0, 1)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError, LookupError])
def test_interrupt_at_the_end(kind: type[BaseException], clock: ManualClock) -> None:
    """What a signal handler raises while the end is booked goes on too; the answer is there, and no blame."""
    source = Source("a", STOP)
    made = pool(clock, Provider(source))
    stream = made.stream("hello")

    def close() -> None:
        raise kind("the handler's")

    source.close = close  # type: ignore[method-assign]
    with pytest.raises(kind, match="the handler's"):
        list(stream)
    status = made.health("eu")
    assert (status.requests_in_flight, status.total_errors, status.total_requests) == (0, 0, 1)
    assert (list(stream), stream.response.text) == ([], "a")


def test_interrupt_before_the_first_content(clock: ManualClock) -> None:
    """The same there."""
    source = Source(KeyboardInterrupt())
    made = pool(clock, Provider(source))
    with pytest.raises(KeyboardInterrupt):
        made.stream("hello")
    assert (made.health("eu").requests_in_flight, source.closed) == (0, 1)


def test_time_out_of_a_stream_after_content(clock: ManualClock) -> None:
    """Before the call's deadline it is the deployment's fault."""
    stream, _ = opened(clock, "a", DeadlineExceeded("late"))
    with pytest.raises(StreamInterrupted) as caught:
        list(stream)
    assert str(caught.value.attempts[0].verdict) == "fault"


def test_stream_in_a_block(clock: ManualClock) -> None:
    """Leaving the block closes it; once is enough."""
    stream, source = opened(clock, "a", "b", STOP)
    with stream as same:
        assert same is iter(stream) is stream
        assert repr(stream) == "<CompletionStream from 'eu', open>"
        next(stream)
    assert repr(stream) == "<CompletionStream from 'eu', ended>"
    stream.close()
    assert (list(stream), source.closed) == ([], 1)
    assert stream.response.text == "a"


def test_stream_closed_during_a_step(clock: ManualClock) -> None:
    """Its reader comes to the end, whatever the step broke off with; nobody is blamed."""
    holder: list[CompletionStream] = []
    source = Source("a", lambda: holder[0].close(), ServerFault("closed by its reader"))
    made = pool(clock, Provider(source))
    holder.append(made.stream("hello"))
    assert [chunk.text for chunk in holder[0]] == ["a"]
    assert made.health("eu").total_errors == 0


def test_forgotten_stream(clock: ManualClock) -> None:
    """Its connection is let go of, and its place given back; one that was not yet made has neither."""
    source = Source("a", "b", STOP)
    made = pool(clock, Provider(source))
    made.stream("hello")
    assert source.closed == 1
    assert made.health("eu").requests_in_flight == 0
    unmade = CompletionStream.__new__(CompletionStream)
    del unmade  # an interrupt can end a stream's making; a warning here would fail the test


def test_stream_read_by_two_threads_in_turn(clock: ManualClock) -> None:
    """One reader at a time, in any thread."""
    stream, _ = opened(clock, "a", "b", STOP)
    first = next(stream).text
    rest: list[str] = []
    thread = threading.Thread(target=lambda: rest.extend(chunk.text for chunk in stream))
    thread.start()
    thread.join(5.0)
    assert [first, *rest] == ["a", "b", ""]


# -- put together -----------------------------------------------------------------------------


def gathered(*chunks: StreamChunk) -> Any:
    """Give the answer that chunks make."""
    whole = Gathered()
    for chunk in chunks:
        whole.add(chunk)
    return whole.response(deployment="eu")


def test_nothing_put_together() -> None:
    """An answer of nothing has one empty choice."""
    answer = gathered()
    assert (answer.text, len(answer.choices), answer.deployment) == ("", 1, "eu")
    assert Gathered().text(0) == ""


def test_text_reasoning_and_refusal_put_together() -> None:
    """Each by itself; a later fact replaces an earlier one, an absent one does not."""
    answer = gathered(
        StreamChunk(role="assistant", id="c-1", model="tiny"),
        StreamChunk(reasoning="be"),
        StreamChunk(reasoning="cause"),
        StreamChunk("a", refusal="n"),
        StreamChunk("b", refusal="o", finish_reason="stop"),
        StreamChunk(usage=Usage(total_tokens=3)),
        StreamChunk(),
    )
    assert (answer.text, answer.reasoning, answer.refusal) == ("ab", "because", "no")
    assert (answer.finish_reason, answer.id, answer.model) == ("stop", "c-1", "tiny")
    assert answer.usage.total_tokens == 3
    assert answer.logprobs is None


def test_several_choices_put_together() -> None:
    """By their index, whatever the order of coming."""
    answer = gathered(StreamChunk("c", index=2), StreamChunk("a"), StreamChunk("d", index=2))
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "a"), (2, "cd")]


def test_tool_calls_put_together() -> None:
    """Arguments are joined by index; id and name are taken from whichever piece has them."""
    answer = gathered(
        StreamChunk(tool_calls=(ToolCall(id="b", index=1),)),
        StreamChunk(tool_calls=(ToolCall(id="a", name="f", index=0),)),
        StreamChunk(tool_calls=(ToolCall(arguments='{"x"'), ToolCall(name="g", index=1))),
        StreamChunk(
            tool_calls=(ToolCall(id="a", arguments=": 1}"), ToolCall(arguments="{}", index=1))
        ),
        StreamChunk(tool_calls=(ToolCall(arguments="{}", index=2),)),
        StreamChunk(tool_calls=(ToolCall(id="c", index=2),)),
    )
    assert answer.tool_calls == (
        ToolCall(id="a", name="f", arguments='{"x": 1}', index=0),
        ToolCall(id="b", name="g", arguments="{}", index=1),
        ToolCall(id="c", arguments="{}", index=2),
    )


def test_tool_calls_that_share_an_index() -> None:
    """Some servers give all of them the same; another id is another call."""
    answer = gathered(
        StreamChunk(tool_calls=(ToolCall(id="a", name="f", arguments="{}"),)),
        StreamChunk(tool_calls=(ToolCall(id="b", name="f", arguments='{"x"'),)),
        StreamChunk(tool_calls=(ToolCall(arguments=": 1}"),)),
    )
    assert [(call.id, call.arguments) for call in answer.tool_calls] == [
        ("a", "{}"),
        ("b", '{"x": 1}'),
    ]


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (
            [{"content": [1], "refusal": None}, {"content": [2, 3]}],
            {"content": [1, 2, 3], "refusal": None},
        ),
        ([{"content": [1]}, {"content": None, "refusal": [2]}], {"content": [1], "refusal": [2]}),
        ([{"content": None}, {"content": [1]}, {"content": "x"}], {"content": "x"}),
        ([[1], [2]], [[1], [2]]),
    ],
)
def test_log_probabilities_put_together(pieces: list[Any], whole: Any) -> None:
    """In the shape that a whole answer has, where it is known; what came is not changed."""
    before = repr(pieces)
    assert gathered(*(StreamChunk(logprobs=piece) for piece in pieces)).logprobs == whole
    assert repr(pieces) == before
