"""What observers are told of calls: each attempt once, however a call of whatever kind ends."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from checking import WALL, in_thread, pool_of
from forks import in_child
from witness import PLAIN, STREAMED, Witness

from llmpool import (
    AuthenticationFailed,
    CompletionResponse,
    ConnectionFailed,
    DeadlineExceeded,
    Deployment,
    EmbeddingResponse,
    InvalidRequest,
    NoHealthyDeployment,
    PoolClosed,
    ProviderError,
    ProviderPool,
    RateLimited,
    RetryPolicy,
    ServerFault,
    StreamChunk,
    StreamInterrupted,
    Usage,
    streams,
)
from llmpool.messages import Choice
from llmpool.outcomes import Attempt
from llmpool.testing import ScriptedProvider

PROMPT = "what nobody else may read"
ANSWER = "what nobody else may hear"
USAGE = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)


class WithUrl(ScriptedProvider):
    """A provider that tells where it asks."""

    def __init__(self, *steps: Any, base_url: Any, **options: Any) -> None:
        super().__init__(*steps, **options)
        self.base_url = base_url


def watched(*steps: Any, **options: Any) -> tuple[ProviderPool, Witness]:
    """Make a pool of one deployment that plays *steps*, and its witness."""
    pool = pool_of(ScriptedProvider(*steps, repeat=True), **options)
    witness = Witness()
    pool.observe(witness)
    return pool, witness


def complete(pool: ProviderPool, **options: Any) -> Any:
    return pool.complete(PROMPT, **options)


def read(pool: ProviderPool, **options: Any) -> Any:
    """Ask for a stream, and read it."""
    return list(pool.stream(PROMPT, **options))


def embed(pool: ProviderPool, **options: Any) -> Any:
    return pool.embed(PROMPT, **options)


def call(pool: ProviderPool, **options: Any) -> Any:
    return pool.call(lambda lease: lease.client.complete(None), **options)


def lease(pool: ProviderPool, **options: Any) -> Any:
    """Make an attempt by hand; it is repeated nowhere."""
    options.pop("retry", None)
    with pool.lease(**options) as leased:
        return leased.client.complete(None)


KINDS: dict[str, Callable[..., Any]] = {
    "chat": complete,
    "embeddings": embed,
    "call": call,
    "lease": lease,
}
each_kind = pytest.mark.parametrize("kind", KINDS)

ENDS: dict[str, tuple[Any, str, str]] = {
    "caller": (InvalidRequest(PROMPT, status=400), "caller", "InvalidRequest"),
    "rate_limited": (RateLimited(PROMPT, status=429), "rate_limited", "RateLimited"),
    "config": (AuthenticationFailed(PROMPT, status=401), "config", "AuthenticationFailed"),
    "busy": (ServerFault(PROMPT, status=529), "busy", "ServerFault"),
    "fault": (ServerFault(PROMPT, status=500), "fault", "ServerFault"),
    "refused": (ConnectionFailed(PROMPT, sent="no"), "fault", "ConnectionFailed"),
    "unsupported": (ServerFault(PROMPT, status=501), "unsupported", "ServerFault"),
    "hung": (DeadlineExceeded(PROMPT), "fault", "DeadlineExceeded"),
    "foreign": (TypeError(PROMPT), "ignored", "TypeError"),
    "interrupt": (KeyboardInterrupt(), "ignored", "KeyboardInterrupt"),
    "exit": (SystemExit(PROMPT), "ignored", "SystemExit"),
}
"""How an attempt ends: what is raised, the verdict, and what the call's end names."""


def step_for(kind: str) -> Any:
    """Give an answer of the kind."""
    if kind == "embeddings":
        return EmbeddingResponse([[1.0]], usage=USAGE, model="vectors-1")
    return CompletionResponse(
        ANSWER, usage=USAGE, model="tiny-1", id="answer-1", finish_reason="stop"
    )


# -- every end, of every kind -------------------------------------------------------------------


@each_kind
def test_a_success(kind: str) -> None:
    """Its beginning, one attempt, its end, and that the caller goes on; all in the caller's thread."""
    pool, witness = watched(step_for(kind))
    KINDS[kind](pool, model="m")
    assert witness.names() == PLAIN
    assert set(map(len, map(set, map(witness.threads, PLAIN)))) == {1}
    [(attempt, facts)] = witness.of("attempt_ended")
    assert attempt == Attempt("a", "ok", latency=attempt.latency)
    assert (facts.pool, facts.model, facts.kind, facts.stream) == ("main", "m", kind, False)
    assert (facts.number, facts.deployment, facts.provider) == (1, "a", "ScriptedProvider")
    assert (facts.upstream, facts.first_content) == ("m", None)
    assert facts.usage == (None if kind == "lease" else USAGE)  # in a block nobody counts it
    end = witness.end()
    assert (end.error, end.complete, end.attempts) == (None, True, (attempt,))
    assert (end.usage, end.first_content, end.gaps) == (facts.usage, None, ())
    whole = ("tiny-1", "answer-1", ("stop",))
    named = {"chat": whole, "call": whole, "embeddings": ("vectors-1", None, ())}
    told = (end.response_model, end.response_id, end.finish_reasons)
    assert told == named.get(kind, (None, None, ()))


@each_kind
@pytest.mark.parametrize("end", ENDS)
def test_a_failure(kind: str, end: str) -> None:
    """One attempt with its verdict, and the name of what was raised; no text of it."""
    error, verdict, named = ENDS[end]
    pool, witness = watched(error)
    with pytest.raises(type(error)):
        KINDS[kind](pool, retry=False)
    assert witness.names() == PLAIN
    assert witness.verdicts() == [("a", verdict)]
    [(attempt, _)] = witness.of("attempt_ended")
    judged = isinstance(error, ProviderError)
    assert attempt.error == (named if judged else None)
    assert attempt.status == getattr(error, "status", None)
    assert (witness.end().error, witness.end().complete) == (named, False)
    assert pool.health("a").requests_in_flight == 0


@pytest.mark.parametrize("end", ENDS)
def test_a_stream_that_does_not_begin(end: str) -> None:
    """As with a whole answer."""
    error, verdict, named = ENDS[end]
    pool, witness = watched(error)
    with pytest.raises(type(error)):
        read(pool, retry=False)
    assert witness.names() == PLAIN
    assert witness.verdicts() == [("a", verdict)]
    assert (witness.end().error, witness.end().complete) == (named, False)


def test_a_failover() -> None:
    """Each attempt in its turn, with its number and its latency; one call."""
    pool = ProviderPool(
        [
            Deployment("a", ScriptedProvider(ServerFault("broke", status=503))),
            Deployment(
                "b",
                ScriptedProvider(
                    RateLimited("slow down", status=429, retry_after=7.0, code="too_many")
                ),
            ),
            Deployment("c", ScriptedProvider(step_for("chat"))),
        ],
        strategy="primary",
        health_check=None,
    )
    witness = Witness()
    pool.observe(witness)
    answer = complete(pool)
    assert witness.names() == [
        "call_started",
        *["attempt_started", "attempt_ended"] * 3,
        "call_ended",
        "call_returned",
    ]
    assert witness.verdicts() == [("a", "fault"), ("b", "rate_limited"), ("c", "ok")]
    told = witness.of("attempt_ended")
    assert [facts.number for _, facts in told] == [1, 2, 3]
    assert [attempt.latency for attempt, _ in told] == [each.latency for each in answer.attempts]
    limited = told[1][0]
    assert (limited.status, limited.code, limited.retry_after) == (429, "too_many", 7.0)
    assert len({id(facts.call) for _, facts in told}) == 1
    assert witness.end().attempts == tuple(attempt for attempt, _ in told)
    pool.close()


@each_kind
def test_nobody_to_ask(kind: str) -> None:
    """A call without an attempt is told of too."""
    pool, witness = watched("fine")
    pool.drain("a", timeout=0.0)
    with pytest.raises(NoHealthyDeployment):
        KINDS[kind](pool)
    assert witness.of("attempt_started") == []
    assert witness.end().error == "NoHealthyDeployment"


@each_kind
def test_a_closed_pool(kind: str) -> None:
    """Likewise."""
    pool, witness = watched("fine")
    pool.close()
    with pytest.raises(PoolClosed):
        KINDS[kind](pool)
    assert witness.names() == ["call_started", "call_ended", "call_returned"]
    assert (witness.end().error, witness.end().complete) == ("PoolClosed", False)


def test_a_call_that_makes_no_sense() -> None:
    """It is refused before it begins, and is no call."""
    pool, witness = watched("fine")
    with pytest.raises(ValueError, match="retry"):
        pool.complete(PROMPT, retry="maybe")  # type: ignore[arg-type]
    assert witness.names() == []


def test_an_answer_of_a_kind_of_its_own() -> None:
    """Nothing is read of it."""
    pool, witness = watched("fine")
    pool.call(lambda leased: {"model": ANSWER, "id": ANSWER})
    assert (witness.end().response_model, witness.end().response_id) == (None, None)


def test_an_answer_of_several_choices() -> None:
    """The reasons of all that told one."""
    choices = [
        Choice(index=0, finish_reason="stop"),
        Choice(index=1),
        Choice(finish_reason="length"),
    ]
    pool, witness = watched(CompletionResponse.from_choices(choices))
    complete(pool)
    assert witness.end().finish_reasons == ("stop", "length")


@pytest.mark.parametrize(
    ("base_url", "told"),
    [
        ("https://eu.example/v1", ("eu.example", 443)),
        ("http://[::1]:8080/v1", ("::1", 8080)),
        ("http://eu.example", ("eu.example", 80)),
        ("http://eu.example:port/", (None, None)),
        ("unix:/tmp/socket", (None, None)),
        (["http://eu.example"], (None, None)),
        (None, (None, None)),
    ],
)
def test_where_a_provider_asks(base_url: Any, told: Any) -> None:
    """Host and port of its URL, as far as it has one that can be read."""
    pool = pool_of(WithUrl("fine", base_url=base_url, model="tiny"))
    witness = Witness()
    pool.observe(witness)
    complete(pool)
    [facts] = witness.of("attempt_started")
    assert (facts.address, facts.port, facts.upstream) == (*told, "tiny")


# -- streams ------------------------------------------------------------------------------------

PIECES = [
    StreamChunk("one", model="tiny-1", id="answer-1"),
    StreamChunk(" two"),
    StreamChunk(" three", finish_reason="stop"),
    StreamChunk(usage=USAGE),
]


def test_a_stream() -> None:
    """The caller goes on at the first content; attempt and call end with the last chunk."""
    pool, witness = watched(PIECES)
    stream = pool.stream(PROMPT)
    assert witness.names() == STREAMED[:3]
    list(stream)
    assert witness.names() == STREAMED
    [(attempt, facts)] = witness.of("attempt_ended")
    assert (str(attempt.verdict), facts.stream, facts.usage) == ("ok", True, USAGE)
    assert facts.first_content == 0.0  # on a clock that stands
    end = witness.end()
    assert (end.error, end.complete, end.first_content, end.gaps) == (None, True, 0.0, (0.0,) * 3)
    told = (end.response_model, end.response_id, end.finish_reasons)
    assert told == ("tiny-1", "answer-1", ("stop",))
    stream.close()
    assert witness.names() == STREAMED


def test_the_times_of_a_stream() -> None:
    """First content from the attempt's beginning and from the call's; gaps without the reader's time."""
    pool, witness = watched("never")
    clock: Any = pool._clock

    def source() -> Any:
        clock.advance(2.0)
        yield StreamChunk("one")
        clock.advance(0.5)
        yield StreamChunk("two")

    class Slow:
        def complete(self, request: Any, timeout: float) -> Any:
            raise AssertionError

        def stream(self, request: Any, timeout: float) -> Any:
            return source()

    failing = ScriptedProvider(lambda *_: clock.advance(3.0) or ServerFault("broke", status=503))
    pool.drain("a", timeout=0.0)
    pool.add(Deployment("b", failing))
    pool.add(Deployment("c", Slow(), priority=1))
    for _ in pool.stream(PROMPT, timeout=60.0):
        clock.advance(10.0)
    assert witness.verdicts() == [("b", "fault"), ("c", "ok")]
    (_, first), (attempt, second) = witness.of("attempt_ended")
    assert (first.first_content, second.first_content, attempt.latency) == (None, 2.0, 2.5)
    end = witness.end()
    assert (end.first_content, end.gaps, end.duration) == (5.0, (0.5,), 25.5)


def test_a_stream_without_content() -> None:
    """It has no time of its first content."""
    pool, witness = watched([StreamChunk(finish_reason="stop")])
    read(pool)
    assert witness.end().first_content is None
    assert witness.end().complete is True


@pytest.mark.parametrize(
    ("error", "verdict", "named"),
    [
        (ServerFault(PROMPT, status=500), "fault", "StreamInterrupted"),
        (TypeError(PROMPT), "ignored", "TypeError"),
        (KeyboardInterrupt(), "ignored", "KeyboardInterrupt"),
    ],
)
def test_a_stream_that_breaks_off(error: BaseException, verdict: str, named: str) -> None:
    """It ends there, with what the reader is given."""
    pool, witness = watched(["one", error])
    stream = pool.stream(PROMPT)
    with pytest.raises((StreamInterrupted, type(error))):
        list(stream)
    assert witness.names() == STREAMED
    assert witness.verdicts() == [("a", verdict)]
    assert (witness.end().error, witness.end().complete) == (named, False)


def leave(stream: Any) -> None:
    """Leave a stream by an exception of the reader's."""
    with pytest.raises(KeyError), stream:
        raise KeyError


@pytest.mark.parametrize("way", [lambda stream: stream.close(), leave])
def test_a_stream_that_is_left(way: Any) -> None:
    """Nobody is blamed, and nothing was raised."""
    pool, witness = watched(["one", "two"])
    stream = pool.stream(PROMPT)
    way(stream)
    assert witness.names() == STREAMED
    assert witness.verdicts() == [("a", "ignored")]
    assert (witness.end().error, witness.end().complete) == (None, False)


def test_a_stream_that_is_forgotten() -> None:
    """The next who asks the pool tells of it; not a finaliser."""
    pool, witness = watched(["one", "two"])
    stream = pool.stream(PROMPT)
    del stream
    gc.collect()
    assert witness.names() == STREAMED[:3]
    thread, _ = in_thread(pool.health_status)
    thread.join(WALL)
    assert witness.names() == STREAMED
    assert witness.threads("call_ended") == [thread.name]
    assert witness.verdicts() == [("a", "ignored")]
    assert witness.end().first_content == 0.0


def test_a_stream_that_is_forgotten_before_the_pool_is_closed() -> None:
    """Nobody may come by after that, so closing tells of it."""
    pool, witness = watched(["one", "two"])
    stream = pool.stream(PROMPT)
    del stream
    gc.collect()
    pool.close()
    assert witness.names() == STREAMED


def test_a_stream_that_is_forgotten_after_its_deployment() -> None:
    """The next who asks the pool tells of it, as ever."""
    pool, witness = watched(["one", "two"])
    stream = pool.stream(PROMPT)
    pool.remove("a", timeout=0.0)
    del stream
    gc.collect()
    pool.health_status()
    assert witness.names() == STREAMED


@pytest.mark.parametrize("way", [lambda pool: pool.close(), lambda pool: pool.remove("a", 0.0)])
def test_a_stream_that_outlives_its_deployment(way: Any) -> None:
    """It is told of as every other."""
    pool, witness = watched(["one", "two"])
    stream = pool.stream(PROMPT)
    way(pool)
    list(stream)
    assert witness.names() == STREAMED
    assert witness.verdicts() == [("a", "ok")]


def test_a_very_long_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times are kept up to a number."""
    monkeypatch.setattr(streams, "MOST_GAPS", 3)
    pool, witness = watched(["one"] * 9)
    read(pool)
    assert len(witness.end().gaps) == 3


def test_a_stream_whose_connection_cannot_be_closed() -> None:
    """It is told of all the same."""
    pool, witness = watched(["one", "two"])
    stream = pool.stream(PROMPT)

    class Broken:
        def close(self) -> None:
            raise OSError("broken")

    stream._opened.source = Broken()  # type: ignore[assignment]
    with pytest.raises(OSError, match="broken"):
        stream.close()
    assert witness.names() == STREAMED


def test_a_stream_closed_by_many_threads() -> None:
    """It ends once."""
    pool, witness = watched(["one", "two"])
    stream = pool.stream(PROMPT)
    barrier = threading.Barrier(8)

    def close() -> None:
        barrier.wait(WALL)
        stream.close()

    for thread, _ in [in_thread(close) for _ in range(8)]:
        thread.join(WALL)
        assert not thread.is_alive()
    assert witness.names() == STREAMED


# -- leases -------------------------------------------------------------------------------------


def test_a_lease_that_counts() -> None:
    """The usage that it was told of."""
    pool, witness = watched("fine")
    with pool.lease() as leased:
        leased.count(step_for("chat"))
    assert witness.end().usage == USAGE


def test_a_lease_that_is_never_entered() -> None:
    """It is no call."""
    pool, witness = watched("fine")
    pool.lease()
    assert witness.names() == []


def test_a_lease_that_is_forgotten() -> None:
    """The next who asks the pool tells of its end; that the caller goes on is told by nobody."""
    pool, witness = watched("fine")
    context = pool.lease()
    leased = context.__enter__()
    del context, leased
    gc.collect()
    pool.health_status()
    assert witness.names() == [
        "call_started",
        "attempt_started",
        "attempt_ended",
        "call_ended",
    ]
    assert witness.verdicts() == [("a", "ignored")]


def test_a_lease_entered_twice() -> None:
    """The second time is none."""
    pool, witness = watched("fine")
    context = pool.lease()
    with context:
        pass
    with pytest.raises(RuntimeError), context:
        raise AssertionError
    assert witness.names() == PLAIN


# -- what is not told ---------------------------------------------------------------------------


def test_nothing_that_was_said() -> None:
    """No prompt, no answer and no text of an error is in anything that an observer is given."""
    pool, witness = watched(ServerFault(PROMPT, status=503), step_for("chat"))
    complete(pool)
    pool, other = watched([StreamChunk(ANSWER)])
    read(pool)
    said = repr(witness.seen) + repr(other.seen)
    assert PROMPT not in said
    assert ANSWER not in said
    reached = _reached([witness.seen, other.seen])
    assert not {PROMPT, ANSWER} & {each for each in reached if isinstance(each, str)}
    assert not [each for each in reached if isinstance(each, (Deployment, ProviderPool))]


def _reached(given: Any) -> list[Any]:
    """Give all that can be reached from what observers were given, the machinery of Python apart."""
    found: list[Any] = []
    known: set[int] = set()
    left = [given]
    while left:
        each = left.pop()
        if id(each) in known or isinstance(each, type) or callable(each):
            continue
        known.add(id(each))
        found.append(each)
        left += gc.get_referents(each)
    return found


# -- interrupts ---------------------------------------------------------------------------------

MOMENTS = ("call_started", "attempt_started", "attempt_ended", "call_ended", "call_returned")


class Interrupting:
    """An observer in which Ctrl-C falls, at one moment."""

    def __init__(self, moment: str) -> None:
        setattr(self, moment, self._interrupt)

    def _interrupt(self, *facts: object) -> None:
        raise KeyboardInterrupt


@each_kind
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_in_an_observer(kind: str, moment: str) -> None:
    """It goes on to the caller, who has lost no place; the others are told all the same."""
    pool = pool_of(ScriptedProvider(step_for(kind), repeat=True))
    witness = Witness()
    pool.observe(Interrupting(moment))
    pool.observe(witness)
    with pytest.raises(KeyboardInterrupt):
        KINDS[kind](pool)
    started = [] if moment == "call_started" else ["attempt_started", "attempt_ended"]
    assert witness.names() == ["call_started", *started, "call_ended", "call_returned"]
    assert pool.health("a").requests_in_flight == 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_in_an_observer_of_a_stream(moment: str) -> None:
    """Likewise, wherever the stream is by then."""
    pool = pool_of(ScriptedProvider(["one", "two"], repeat=True))
    witness = Witness()
    pool.observe(Interrupting(moment))
    pool.observe(witness)
    with pytest.raises(KeyboardInterrupt):
        read(pool)
    gc.collect()
    assert pool.health("a").requests_in_flight == 0
    told = witness.names()
    assert sorted(told) == sorted(
        STREAMED if moment != "call_started" else [*STREAMED[:1], *PLAIN[3:]]
    )


def test_an_interrupt_while_a_forgotten_stream_is_told_of() -> None:
    """The next to come tells of the others."""
    pool, witness = watched(["one", "two"])

    class Once:
        def attempt_ended(self, *facts: object) -> None:
            if not hasattr(self, "done"):
                self.done = True
                raise KeyboardInterrupt

    pool.observe(Once())
    streams = [pool.stream(PROMPT) for _ in range(3)]
    del streams
    gc.collect()
    with pytest.raises(KeyboardInterrupt):
        pool.health_status()
    assert len(witness.of("call_ended")) == 1
    pool.health_status()
    assert len(witness.of("call_ended")) == 3


# -- processes ----------------------------------------------------------------------------------


def test_a_stream_carried_into_a_child() -> None:
    """The call is the parent's: the child tells nothing of it, and of its own calls everything."""
    pool, witness = watched(["one", "two"])
    stream = pool.stream(PROMPT)

    def carry_on() -> Any:
        before = len(witness.names())
        stream.close()
        after_it = witness.names()[before:]
        read(pool)
        return after_it, witness.names()[before:]

    assert in_child(carry_on) == ([], STREAMED)
    assert witness.names() == STREAMED[:3]
    list(stream)
    assert witness.names() == STREAMED


def test_a_stream_ended_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a child, which this process only seems to be."""
    pool, witness = watched(["one", "two"])
    stream = pool.stream(PROMPT)
    pid = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: pid)
    stream.close()
    monkeypatch.undo()
    assert witness.names() == STREAMED[:3]


def test_a_function_that_forks() -> None:
    """Its call ends in the parent; in the child, which leaves it too, nobody is told."""
    pool, witness = watched("fine")
    told = pool.call(lambda leased: in_child(witness.names))
    assert told == ["call_started", "attempt_started"]
    assert witness.names() == PLAIN


# -- many at once -------------------------------------------------------------------------------


def test_many_threads() -> None:
    """Each call is told of in its own thread, and nothing is lost."""
    pool, witness = watched("fine", ServerFault("broke", status=503), "fine")
    calls = 25

    def many() -> None:
        for _ in range(calls):
            pool.complete(PROMPT)

    for thread, _ in [in_thread(many) for _ in range(8)]:
        thread.join(WALL)
        assert not thread.is_alive()
    assert len(witness.of("call_ended")) == 8 * calls
    assert len(witness.of("attempt_started")) == len(witness.of("attempt_ended"))
    by_call: dict[int, list[str]] = {}
    for name, facts, thread_name in witness.seen:
        if name == "call_started":
            by_call[id(facts[0])] = [thread_name]
        elif name == "call_returned":
            by_call[id(facts[0])].append(thread_name)
    assert all(first == last for first, last in by_call.values())
    assert sum(end.complete for _, end in witness.of("call_ended")) == 8 * calls


def test_a_retry_in_the_same_place() -> None:
    """Each return is an attempt of its own."""
    pool = ProviderPool(
        [Deployment("a", ScriptedProvider(ServerFault("broke", status=503), "fine"))],
        retry=RetryPolicy(backoff_initial=0.0),
        health_check=None,
    )
    witness = Witness()
    pool.observe(witness)
    complete(pool)
    assert witness.verdicts() == [("a", "fault"), ("a", "ok")]
