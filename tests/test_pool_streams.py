"""Streams through the pool: what is held, what commits, and how every end gives the place back."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from checking import WALL, in_thread, pool_of

from llmpool import (
    CompletionStream,
    Deployment,
    ProviderPool,
    StreamChunk,
    StreamInterrupted,
    ToolCall,
    Usage,
    Verdict,
)
from llmpool.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    MalformedResponse,
    ServerFault,
)
from llmpool.streams import HELD_BYTES, HELD_EVENTS
from llmpool.testing import ScriptedProvider

ROLE = StreamChunk(role="assistant")
STOP = StreamChunk(finish_reason="stop")
FAULT = ServerFault("oh no", status=500)
BUSY = ServerFault("too much", status=529, code="overloaded_error")


class Source:
    """A stream's pieces, with a note of the time-outs it was given and of its closing."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = iter(pieces)
        self.limits: list[float] = []
        self.closed = 0

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Any:
        piece = next(self._pieces)
        if callable(piece):
            piece = piece()
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def limit(self, seconds: float) -> None:
        self.limits.append(seconds)

    def close(self) -> None:
        self.closed += 1


class Streaming:
    """A provider that streams such sources, one for each call."""

    def __init__(self, *streams: Any) -> None:
        self.sources = [Source(pieces) for pieces in streams]
        self._left = list(self.sources)

    def complete(self, request: Any, timeout: float) -> Any:
        raise AssertionError("wanted as a stream")

    def stream(self, request: Any, timeout: float) -> Source:
        return self._left.pop(0)


def streaming(*pieces: Any, spare: Any = None, **settings: Any) -> tuple[ProviderPool, Source]:
    """Make a pool whose first deployment streams *pieces*, and whose second is asked after it."""
    provider = Streaming(pieces)
    others = [] if spare is None else [Deployment("spare", Streaming(spare), priority=1)]
    return pool_of(Deployment("a", provider), *others, **settings), provider.sources[0]


def read(stream: CompletionStream) -> str:
    return "".join(chunk.text for chunk in stream)


def in_flight(pool: ProviderPool) -> int:
    return pool.health("a").requests_in_flight


def advance(pool: ProviderPool, seconds: float) -> None:
    pool._clock.advance(seconds)  # type: ignore[attr-defined]


# -- a stream that goes well ----------------------------------------------------------------------


def test_a_whole_stream() -> None:
    """Every chunk comes, the answer is gathered, and the place is given back at its end."""
    pool, source = streaming(
        ROLE,
        StreamChunk("Hel", model="tiny", id="7"),
        "lo",
        StreamChunk(reasoning="hm"),
        STOP,
        StreamChunk(usage=Usage(total_tokens=3)),
    )
    stream = pool.stream("hello")
    assert iter(stream) is stream
    assert in_flight(pool) == 1
    assert repr(stream) == "<CompletionStream from 'a', open>"
    assert next(stream) is ROLE
    assert next(stream).text == "Hel"
    assert stream.text == "Hel"
    assert read(stream) == "lo"
    assert repr(stream) == "<CompletionStream from 'a', ended>"
    assert list(stream) == []
    answer = stream.response
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("Hello", "hm", "stop")
    assert (answer.model, answer.id, answer.deployment) == ("tiny", "7", "a")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3
    assert [attempt.verdict for attempt in answer.attempts] == [Verdict.OK]
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_requests == 1


def test_a_stream_of_several_choices_and_tool_calls() -> None:
    """They are put together each for itself."""
    pool, _ = streaming(
        StreamChunk("a"),
        StreamChunk("b", index=1, logprobs=[1]),
        StreamChunk(tool_calls=[ToolCall(id="c", name="f", arguments='{"x"')]),
        StreamChunk(tool_calls=[ToolCall(arguments=": 1}"), ToolCall(name="g", index=1)]),
        StreamChunk(refusal="no", index=1),
        STOP,
    )
    stream = pool.stream("hello")
    list(stream)
    first, second = stream.response.choices
    assert (first.text, first.finish_reason) == ("a", "stop")
    assert [(call.name, call.arguments) for call in first.tool_calls] == [
        ("f", '{"x": 1}'),
        ("g", ""),
    ]
    assert (second.text, second.refusal, second.logprobs) == ("b", "no", [[1]])


def test_a_stream_as_a_context() -> None:
    """Leaving the block closes it, early or not."""
    pool, source = streaming("a", "b", STOP)
    with pool.stream("hello") as stream:
        assert next(stream).text == "a"
        assert stream.response.text == "a"
    assert (in_flight(pool), source.closed) == (0, 1)
    with pytest.raises(StopIteration):
        next(stream)


def test_a_stream_that_says_nothing() -> None:
    """With its finish reason it is an answer; gathered it is an empty one."""
    pool, _ = streaming(ROLE, STOP)
    stream = pool.stream("hello")
    assert stream.response.text == ""
    assert list(stream) == [ROLE, STOP]
    assert stream.response.finish_reason == "stop"


# -- before its first content ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        [FAULT],
        [ROLE, FAULT],
        [ROLE, StreamChunk(model="tiny"), BUSY],
        [ROLE, ConnectionFailed("reset")],
        [],
        [ROLE],
        [ROLE, TimeoutError("too slow")],
    ],
)
def test_a_stream_that_fails_before_its_content(pieces: list[Any]) -> None:
    """It is failed over unseen: the reader gets the other's chunks alone."""
    pool, source = streaming(*pieces, spare=[ROLE, "fine", STOP])
    stream = pool.stream("hello")
    assert stream.deployment == "spare"
    assert list(stream) == [ROLE, StreamChunk("fine"), STOP]
    attempts = stream.response.attempts
    assert [attempt.deployment for attempt in attempts] == ["a", "spare"]
    assert attempts[1].verdict is Verdict.OK
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_errors == 1


def test_a_stream_that_fails_to_open() -> None:
    """It is failed over like any call."""
    pool = pool_of(ScriptedProvider(FAULT), Deployment("b", ScriptedProvider("fine"), priority=1))
    assert read(pool.stream("hello")) == "fine"


def test_a_stream_refused_for_the_request() -> None:
    """It is the caller's, and nobody else is asked."""
    spare = ScriptedProvider()
    refusing = ScriptedProvider(InvalidRequest("too odd", status=400))
    pool = pool_of(refusing, Deployment("spare", spare, priority=1))
    with pytest.raises(InvalidRequest):
        pool.stream("hello")
    assert pool.health("a").state == "healthy"
    assert spare.calls == ()


@pytest.mark.parametrize(
    "content",
    [
        StreamChunk("text"),
        StreamChunk(refusal="no"),
        StreamChunk(reasoning="hm"),
        StreamChunk(audio={"data": ""}),
        StreamChunk(tool_calls=[ToolCall(name="f")]),
    ],
)
def test_what_commits(content: StreamChunk) -> None:
    """After any content an error is the reader's, and is never switched."""
    pool, _ = streaming(ROLE, content, FAULT, spare=["never", STOP])
    stream = pool.stream("hello")
    assert [next(stream), next(stream)] == [ROLE, content]
    with pytest.raises(StreamInterrupted):
        next(stream)


def test_very_many_events_without_content() -> None:
    """So many commit, and no more are held."""
    pool, source = streaming(*[ROLE] * (HELD_EVENTS + 1), FAULT)
    stream = pool.stream("hello")
    assert len([next(stream) for _ in range(HELD_EVENTS + 1)]) == HELD_EVENTS + 1
    with pytest.raises(StreamInterrupted):
        next(stream)
    assert source.closed == 1


def test_very_large_events_without_content() -> None:
    """So many bytes commit."""
    large = StreamChunk(raw={"data": "x" * HELD_BYTES})
    pool, _ = streaming(large, FAULT)
    stream = pool.stream("hello")
    assert next(stream) is large
    with pytest.raises(StreamInterrupted):
        next(stream)


def test_pieces_that_are_none() -> None:
    """What a provider of the user's may not yield passes through as the user's own mistake."""
    pool, source = streaming(42)
    with pytest.raises(TypeError, match=r"stream: wanted StreamChunk or str .* got a int"):
        pool.stream("hello")
    assert (in_flight(pool), source.closed) == (0, 1)
    pool, source = streaming("a", 42)
    stream = pool.stream("hello")
    assert next(stream).text == "a"
    with pytest.raises(TypeError):
        next(stream)
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_errors == 0


def test_a_reader_interrupted_before_the_content() -> None:
    """The place comes back, and nobody is blamed."""
    pool, source = streaming(ROLE, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        pool.stream("hello")
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_requests == 0


# -- after it -------------------------------------------------------------------------------------


def test_a_stream_that_breaks_off() -> None:
    """The error has what was delivered, and every attempt; it is booked and never switched."""
    pool, source = streaming("Hel", "lo", FAULT, spare=["never", STOP])
    stream = pool.stream("hello")
    with pytest.raises(StreamInterrupted) as caught:
        read(stream)
    error = caught.value
    assert error.partial == "Hello"
    assert "Hello" not in str(error)
    assert (error.status, error.deployment) == (500, "a")
    assert [attempt.deployment for attempt in error.attempts] == ["a"]
    assert error.__context__ is None
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_errors == 1
    assert list(stream) == []


def test_an_overloaded_error_in_a_stream() -> None:
    """Its own body says what it is: a rush, no fault."""
    pool, _ = streaming("a", BUSY)
    with pytest.raises(StreamInterrupted) as caught:
        read(pool.stream("hello"))
    assert caught.value.attempts[0].verdict is Verdict.BUSY
    assert pool.health("a").state == "cooling"


def test_failed_over_and_then_broken_off() -> None:
    """Both attempts are told."""
    pool, _ = streaming(FAULT, spare=["a", ConnectionFailed("reset")])
    with pytest.raises(StreamInterrupted) as caught:
        read(pool.stream("hello"))
    assert [attempt.deployment for attempt in caught.value.attempts] == ["a", "spare"]


# -- clocks -----------------------------------------------------------------------------------------


def test_the_clock_of_the_first_content() -> None:
    """Role chunks do not stop it; then the next deployment is asked."""
    pool, source = streaming(
        ROLE, lambda: advance(pool, 2.0) or ROLE, ROLE, "late", spare=["fine", STOP]
    )
    stream = pool.stream("hello", first_content_timeout=1.5)
    assert read(stream) == "fine"
    assert source.limits[0] == 1.5
    assert len(source.limits) == 2


def test_the_clock_between_events() -> None:
    """It bounds each step; a slow reader is not the deployment's fault."""
    pool, source = streaming("a", "b", STOP)
    stream = pool.stream("hello", gap_timeout=5.0)
    for _ in stream:
        advance(pool, 30.0)
    assert source.limits[1:] == [5.0] * 3
    assert pool.health("a").total_errors == 0


def test_no_clock_between_events() -> None:
    """Then the call's own time bounds each step."""
    pool, source = streaming("a", "b", STOP)
    stream = pool.stream("hello", gap_timeout=None, timeout=60.0)
    advance(pool, 10.0)
    read(stream)
    assert source.limits == [60.0, 50.0, 50.0, 50.0]


def test_a_stall() -> None:
    """A gap that is too long is a fault of the deployment's."""
    pool, _ = streaming("a", DeadlineExceeded("nothing came for 5 s"))
    with pytest.raises(StreamInterrupted, match="nothing came for 5 s"):
        read(pool.stream("hello", gap_timeout=5.0))
    assert pool.health("a").total_errors == 1


def test_the_calls_own_time_is_over() -> None:
    """An answer that was coming is cut off; nobody is blamed for that."""
    pool, source = streaming("a", "b", "c", STOP)
    stream = pool.stream("hello", timeout=10.0)
    next(stream)
    advance(pool, 11.0)
    with pytest.raises(StreamInterrupted) as caught:
        read(stream)
    assert caught.value.attempts[0].verdict is Verdict.IGNORED
    assert pool.health("a").total_errors == 0
    assert (in_flight(pool), source.closed) == (0, 1)


def test_a_source_without_limits() -> None:
    """It need not have any."""
    pool = pool_of(ScriptedProvider("one two"))
    assert read(pool.stream("hello")) == "one two"


def test_no_time_limit_at_all() -> None:
    """Then no source is given one."""
    from llmpool import RetryPolicy

    provider = Streaming(["a", STOP])
    pool = ProviderPool(
        [Deployment("a", provider)], retry=RetryPolicy(timeout=None), health_check=None
    )
    assert read(pool.stream("hello", gap_timeout=None)) == "a"
    assert provider.sources[0].limits == []


# -- readers ------------------------------------------------------------------------------------------


def test_a_reader_who_breaks_off() -> None:
    """Closing gives the place back and blames nobody, as often as one likes."""
    pool, source = streaming("a", "b", STOP)
    stream = pool.stream("hello")
    for _ in stream:
        break
    stream.close()
    stream.close()
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_errors == 0
    assert stream.text == "a"


def test_a_reader_who_raises() -> None:
    """The error is the reader's own."""
    pool, source = streaming("a", "b", STOP)
    stream = pool.stream("hello")
    assert next(stream).text == "a"
    with pytest.raises(ZeroDivisionError), stream:
        raise ZeroDivisionError
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_errors == 0


def test_a_reader_who_is_interrupted() -> None:
    """In the middle of a read the place comes back too."""
    pool, source = streaming("a", KeyboardInterrupt())
    stream = pool.stream("hello")
    with pytest.raises(KeyboardInterrupt):
        read(stream)
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_errors == 0


def test_a_stream_that_is_forgotten() -> None:
    """Its place comes back with the next that happens in the pool."""
    pool, source = streaming("a", "b", STOP)
    next(pool.stream("hello"))
    gc.collect()
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_errors == 0


def test_a_stream_forgotten_in_a_cycle_while_the_ledger_is_busy() -> None:
    """The collector may run under the ledger's lock: nothing waits for itself."""
    pool, source = streaming("a", "b", STOP)
    cycle: list[Any] = [pool.stream("hello")]
    cycle.append(cycle)
    del cycle

    def collect_under_the_lock() -> int:
        with pool._ledger._lock:
            return gc.collect()

    thread, found = in_thread(collect_under_the_lock)
    thread.join(WALL)
    assert found
    assert source.closed == 1
    assert in_flight(pool) == 0


def test_a_stream_handed_to_another_thread() -> None:
    """It is read there, and all is counted as here."""
    pool, source = streaming("a", "b", "c", STOP)
    handed: queue.SimpleQueue[CompletionStream] = queue.SimpleQueue()
    thread, found = in_thread(lambda: read(handed.get(timeout=WALL)))
    stream = pool.stream("hello")
    assert next(stream).text == "a"
    handed.put(stream)
    thread.join(WALL)
    assert found == ["bc"]
    assert stream.text == "abc"
    assert (in_flight(pool), source.closed) == (0, 1)
    assert pool.health("a").total_requests == 1


def test_a_stream_outlives_its_pool() -> None:
    """Closing the pool leaves it be."""
    pool, _ = streaming("a", "b", STOP)
    stream = pool.stream("hello")
    pool.close()
    assert read(stream) == "ab"
    pool, _ = streaming("a", "b", STOP)
    stream = pool.stream("hello")
    del pool
    gc.collect()
    assert read(stream) == "ab"


def test_a_generator_as_source() -> None:
    """It is closed too, so that its finally runs."""
    ended = threading.Event()

    class Generating(ScriptedProvider):
        def stream(self, request: Any, timeout: float | None = None) -> Iterator[Any]:
            try:
                yield "a"
                yield "b"
            finally:
                ended.set()

    pool = pool_of(Generating())
    with pool.stream("hello") as stream:
        assert next(stream).text == "a"
    assert ended.is_set()


def test_a_stream_nobody_can_give() -> None:
    """An end without content or finish reason is no answer."""
    pool, _ = streaming(ROLE)
    with pytest.raises(MalformedResponse, match="ended before any content"):
        pool.stream("hello", retry=False)
