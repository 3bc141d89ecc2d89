"""Limits per minute in a pool: who is asked, who waits, and what a server that counts has to refuse."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import pytest
from calling import Stage, on
from stand import Caller, HandClock, Stand, deployment, end

from llmpool import (
    CompletionRequest,
    CompletionResponse,
    Deployment,
    NoHealthyDeployment,
    ProviderPool,
    RateLimited,
    RetryPolicy,
    Usage,
)
from llmpool.messages import EmbeddingResponse, StreamChunk
from llmpool.quota import MINUTE, SLACK
from llmpool.testing import ManualClock, ScriptedProvider

WALL = 40.0
"""Real seconds within which every thread of a test gets where it is going."""
PERIOD = MINUTE + SLACK
PATIENT = RetryPolicy(max_wait=600.0, timeout=3600.0)


class Counting:
    """A server that refuses what is too much in any sixty seconds, cut as they come."""

    def __init__(self, clock: ManualClock, requests: int, tokens: int, takes: int = 0) -> None:
        self.refused = 0
        self.served = 0
        self._clock = clock
        self._requests = requests
        self._tokens = tokens
        self._takes = takes
        self._went: deque[tuple[float, int]] = deque()

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """Answer, or refuse."""
        now = self._clock.now()
        while self._went and self._went[0][0] <= now - 60.0:
            self._went.popleft()
        spent = sum(tokens for _, tokens in self._went)
        if len(self._went) >= self._requests or spent + self._takes > self._tokens:
            self.refused += 1
            raise RateLimited("slow down", status=429)
        self._went.append((now, self._takes))
        self.served += 1
        usage = Usage(prompt_tokens=self._takes, total_tokens=self._takes)
        return CompletionResponse("fine", usage=usage)


@pytest.mark.parametrize("limit", [1, 6, 60])
def test_a_server_that_counts_requests(limit: int) -> None:
    """With its limit told it refuses nothing, and serves nearly all that it would."""
    clock = ManualClock()
    server = Counting(clock, limit, 10**9)
    told = Deployment("eu", server, requests_per_minute=limit)
    pool = ProviderPool([told], health_check=None, retry=PATIENT, clock=clock)

    began = clock.now()
    for _ in range(2 * limit):
        pool.complete("hello")

    assert server.refused == 0
    assert clock.now() - began <= 120.0 / 0.9


def test_a_server_that_counts_tokens() -> None:
    """Nothing is refused, though the estimate knows a tenth of what a call takes."""
    clock = ManualClock()
    server = Counting(clock, 10**9, 60_000, takes=1000)
    told = Deployment("eu", server, tokens_per_minute=60_000)
    pool = ProviderPool([told], health_check=None, retry=PATIENT, clock=clock)

    began = clock.now()
    for _ in range(120):
        pool.complete("x" * 400)

    assert server.refused == 0
    assert clock.now() - began <= 120.0 / 0.9


def test_more_than_one_may_take() -> None:
    """What is too much for one goes elsewhere at once."""
    stage = Stage(on("a", "ok", requests_per_minute=20), on("b", "ok"))

    assert [stage.complete() for _ in range(5)] == ["a", "a", "b", "b", "b"]
    stage.clock.advance(60.0 / 19 + 0.1)
    assert [stage.complete() for _ in range(2)] == ["a", "b"]


def test_the_next_tier() -> None:
    """It is asked while the first has no room."""
    stage = Stage(on("a", "ok", requests_per_minute=1), on("b", "ok", priority=1))

    assert [stage.complete() for _ in range(3)] == ["a", "b", "b"]


def test_a_wait_for_room() -> None:
    """A call waits for the bucket as it waits for a cool-down, within its max_wait."""
    stage = Stage(on("a", "ok", requests_per_minute=10))
    stage.complete()

    stage.complete()
    assert stage.when()[1] == ("a", pytest.approx(PERIOD / 10, abs=0.01))


@pytest.mark.parametrize("options", [{"timeout": 5.0}, {}])
def test_room_that_comes_too_late(options: dict[str, Any]) -> None:
    """The call ends at once, and tells why and when to come back."""
    policy = RetryPolicy(max_wait=10.0 if options else 5.0)
    stage = Stage(on("a", "ok", requests_per_minute=10), retry=policy)
    stage.complete()
    began = stage.clock.now()

    error = stage.fail(**options)

    assert isinstance(error, NoHealthyDeployment)
    assert error.reasons == {
        "a": "healthy: its 10 requests a minute are used up, for 6.1 s",
    }
    assert error.retry_after == pytest.approx(PERIOD / 10, abs=0.01)
    assert stage.clock.now() == began


def test_what_is_told() -> None:
    """explain() says what holds it up and until when; the status shows what is left."""
    stage = Stage(
        on("a", "ok", requests_per_minute=20, tokens_per_minute=1000), on("b", "ok", priority=1)
    )
    pool = stage.pool
    assert pool.explain()["a"].eligible
    assert (pool.health("a").requests_left, pool.health("a").tokens_left) == (2, 100)
    assert (pool.health("b").requests_left, pool.health("b").tokens_left) == (None, None)

    stage.complete(max_tokens=60)
    assert pool.health("a").tokens_left == 100 - 62
    assert pool.health("a").requests_left == 1
    stage.complete(max_tokens=30)

    told = pool.explain()["a"]
    assert not told.eligible
    assert told.why == "healthy: its 20 requests a minute are used up"
    assert told.until == pytest.approx(PERIOD / 19, abs=0.01)
    status = pool.health("a")
    assert status.cooldown_remaining == pytest.approx(PERIOD / 19, abs=0.01)
    assert (status.state, status.healthy) == ("healthy", True)
    stage.clock.advance(60.0)
    assert pool.health("a").cooldown_remaining == 0.0


def test_nobody_has_room_for_so_much() -> None:
    """The reason speaks of the call's own tokens."""
    stage = Stage(on("a", "ok", tokens_per_minute=1000), retry=RetryPolicy(max_wait=0.0))
    stage.complete(max_tokens=60)

    assert stage.pool.explain()["a"].eligible
    error = stage.fail(max_tokens=90)
    assert "its 1000 tokens a minute are used up" in error.reasons["a"]
    assert stage.complete(max_tokens=20) == "a"


def test_a_rate_limit_all_the_same() -> None:
    """A 429 cools it down, whatever the bucket holds."""
    stage = Stage(on("a", "429:30 ok", requests_per_minute=600), on("b", "ok"))

    assert stage.complete() == "b"
    assert stage.pool.health("a").state == "cooling"
    assert "slow down" in stage.pool.explain()["a"].why


@pytest.mark.parametrize(
    ("word", "requests", "tokens"),
    [
        ("ok", 1, 900),  # nothing told: the estimate stands
        ("refused", 2, 1000),  # never sent
        ("429", 1, 1000),
        ("401", 1, 1000),
        ("400", 1, 1000),
        ("500", 1, 900),  # may have done the work
        ("hang", 1, 900),
        ("ignored", 1, 900),
        ("foreign", 1, 900),
    ],
)
def test_what_an_attempt_gives_back(word: str, requests: int, tokens: int) -> None:
    """One that was never sent gives all back, one that was refused its tokens."""
    stand = Stand(deployment("a", requests_per_minute=20, tokens_per_minute=10_000))
    claim = stand.take(tokens=100)
    claim.settle(end(word))

    status = stand.ledger.status()["a"]
    assert (status.requests_left, status.tokens_left) == (requests, tokens)


def test_a_claim_that_comes_to_no_outcome() -> None:
    """What it took stays taken, since it may have been sent."""
    stand = Stand(deployment("a", requests_per_minute=20))
    stand.take().release()

    assert stand.ledger.status()["a"].requests_left == 1


def test_the_true_figure() -> None:
    """The answer's usage takes the estimate's place, when it is settled."""
    usage = Usage(prompt_tokens=30, completion_tokens=20, total_tokens=50)
    answer = ScriptedProvider(CompletionResponse("fine", usage=usage))
    pool = ProviderPool(
        [Deployment("a", answer, tokens_per_minute=10_000)], health_check=None, clock=ManualClock()
    )
    pool.complete("hello", max_tokens=800)

    assert pool.health("a").tokens_left == 950


def test_the_true_figure_of_a_stream() -> None:
    """It is known at the stream's end."""
    usage = Usage(prompt_tokens=30, completion_tokens=20, total_tokens=50)
    answer = ScriptedProvider(["one ", StreamChunk("two", finish_reason="stop", usage=usage)])
    pool = ProviderPool(
        [Deployment("a", answer, tokens_per_minute=10_000)], health_check=None, clock=ManualClock()
    )
    stream = pool.stream("hello", max_tokens=98)
    assert pool.health("a").tokens_left == 900
    assert "".join(chunk.text for chunk in stream) == "one two"

    assert pool.health("a").tokens_left == 950


def test_embeddings() -> None:
    """Their texts are estimated, and set right."""
    usage = Usage(prompt_tokens=4, total_tokens=4)
    answer = ScriptedProvider(EmbeddingResponse([[1.0]]), EmbeddingResponse([[1.0]], usage=usage))
    pool = ProviderPool(
        [Deployment("a", answer, tokens_per_minute=10_000)], health_check=None, clock=ManualClock()
    )
    pool.embed("x" * 400)
    assert pool.health("a").tokens_left == 900
    pool.embed("x" * 400)
    assert pool.health("a").tokens_left == 896


def test_a_function_and_a_lease() -> None:
    """The caller says how many tokens it will take; the answer sets it right."""
    pool = ProviderPool(
        [Deployment("a", ScriptedProvider(), tokens_per_minute=10_000)],
        health_check=None,
        clock=ManualClock(),
    )
    pool.call(lambda lease: "no usage", tokens=100)
    assert pool.health("a").tokens_left == 900
    pool.call(lambda lease: {"usage": {"total_tokens": 10}}, tokens=100)
    assert pool.health("a").tokens_left == 890
    with pool.lease(tokens=100) as lease:
        assert pool.health("a").tokens_left == 790
        lease.count({"usage": {"total_tokens": 40}})
        lease.count("nothing of it")
    assert pool.health("a").tokens_left == 850
    with pytest.raises((TypeError, ValueError), match="tokens: wanted a whole number"):
        pool.call(lambda lease: None, tokens=-1)
    with pytest.raises((TypeError, ValueError), match="tokens: wanted a whole number"):
        pool.lease(tokens=True)


def test_a_users_own_strategy() -> None:
    """It sees only those that have room."""
    seen = []

    class First:
        def pick(self, candidates: Any) -> Any:
            seen.append([candidate.name for candidate in candidates])
            return candidates[0]

    stage = Stage(on("a", "ok", requests_per_minute=1), on("b", "ok"), strategy=First())

    assert [stage.complete() for _ in range(2)] == ["a", "b"]
    assert seen == [["a", "b"], ["b"]]


def test_an_affinity() -> None:
    """A conversation leaves a home that has no room."""
    stage = Stage(*(on(name, "ok", requests_per_minute=1) for name in "ab"))

    assert {stage.complete(affinity_key="chat") for _ in range(2)} == {"a", "b"}


def test_the_last_resort() -> None:
    """An unhealthy one is tried within its limits too."""
    stage = Stage(
        on("a", "500", requests_per_minute=1),
        failure_threshold=1,
        retry=RetryPolicy(max_attempts=1),
    )
    stage.fail()

    assert isinstance(stage.fail(), NoHealthyDeployment)
    assert stage.asked() == ["a"]


# -- in turn --------------------------------------------------------------------------------


def test_those_who_wait() -> None:
    """They are served in the order in which they came."""
    clock = HandClock()
    stand = Stand(deployment("a", requests_per_minute=10), policy=PATIENT, clock=clock)
    stand.take().release()
    callers = []
    for number in range(1, 4):
        callers.append(Caller(stand.claim()))
        clock.until_asleep(number)

    for number, caller in enumerate(callers):
        clock.advance(PERIOD / 10 + 0.01)
        assert caller.answer() == "a"
        clock.until_asleep(2 - number)
        caller.claim.release()


def test_many_threads_at_once() -> None:
    """While the clock stands, exactly as many go as the bucket holds."""
    stand = Stand(deployment("a", requests_per_minute=500, tokens_per_minute=20_000))
    began = threading.Barrier(8)
    went: list[str] = []

    def ask() -> None:
        began.wait(WALL)
        for _ in range(20):
            claim = stand.claim(tokens=50, max_wait=0.0)
            if claim.take() is None:
                claim.settle(end("ok"))
                went.append(claim.deployment.name)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WALL)

    assert len(went) == 40
    status = stand.ledger.status()["a"]
    assert (status.requests_left, status.tokens_left) == (10, 0)


def test_one_that_waits_for_much() -> None:
    """Those who come later and want little do not take what it waits for; others may."""
    clock = HandClock()
    stand = Stand(
        deployment("a", tokens_per_minute=1000), deployment("b"), policy=PATIENT, clock=clock
    )
    a_only = {"avoid": ("b",), "barred": ("b",)}
    stand.take(tokens=60, **a_only).release()
    large = Caller(stand.claim(tokens=90, **a_only))
    clock.until_asleep(1)
    small = Caller(stand.claim(tokens=10, **a_only))
    clock.until_asleep(2)
    assert stand.where(tokens=10, avoid=("a",), barred=("a",)) == "b"

    clock.advance(51.0 * 60 / 901)
    assert large.answer() == "a"
    large.claim.release()
    clock.until_asleep(1)
    clock.advance(1.0)
    assert small.answer() == "a"
    small.claim.release()


def test_one_that_waited_too_long() -> None:
    """Nobody stands behind it any more."""
    clock = HandClock()
    stand = Stand(deployment("a", tokens_per_minute=1000), policy=PATIENT, clock=clock)
    stand.take(tokens=100).release()
    late = Caller(stand.claim(tokens=100, timeout=7.0))
    clock.until_asleep(1)
    stand.ledger._queue[late.claim.token].wish.deadline_at = clock.now()

    assert stand.refusal(tokens=100, max_wait=0.0).why == "nobody"
    clock.advance(0.01)
    clock.advance(0.5)
    late.answer()


# -- quota groups ---------------------------------------------------------------------------


def test_a_group_with_a_limit() -> None:
    """All draw on one bucket, those that state no limit too, in whatever order they came."""
    stage = Stage(
        on("a", "ok", quota_group="team"),
        on("b", "ok", quota_group="team", requests_per_minute=20),
        on("c", "ok", quota_group="team", requests_per_minute=20),
        on("d", "ok", requests_per_minute=20),
        on("e", "ok", quota_group="team"),
        strategy="round_robin",
    )
    asked = [stage.complete() for _ in range(4)]

    assert sorted(asked) == ["a", "b", "d", "d"]
    assert [stage.pool.health(name).requests_left for name in "abcde"] == [0, 0, 0, 0, 0]


def test_a_group_of_two_limits() -> None:
    """One may state the requests and another the tokens."""
    stage = Stage(
        on("a", "ok", quota_group="team", requests_per_minute=20),
        on("b", "ok", quota_group="team", tokens_per_minute=1000),
    )
    status = stage.pool.all_health()

    assert {(each.requests_left, each.tokens_left) for each in status.values()} == {(2, 100)}


def test_a_group_of_two_minds() -> None:
    """Different limits for one quota are refused, at construction and later."""
    first = on("a", "ok", quota_group="team", requests_per_minute=20)
    other = on("b", "ok", quota_group="team", requests_per_minute=30)
    said = "requests_per_minute: wanted one limit for the quota_group 'team', got 20 and 30 for 'b'"
    with pytest.raises(ValueError, match=said):
        Stage(first, other)
    stage = Stage(first)
    with pytest.raises(ValueError, match=said):
        stage.pool.add(other)
    assert [each.name for each in stage.pool.deployments] == ["a"]


def test_one_that_comes_later() -> None:
    """Its limits hold from then on, for its group too; what is in flight is set right where it was taken."""
    stage = Stage(on("a", "ok", quota_group="team"))
    lease = stage.pool.lease(tokens=50)
    with lease:
        late = on("b", "ok", quota_group="team", tokens_per_minute=1000)
        late.provider.name, late.provider.stage = "b", stage
        stage.pool.add(late)
    assert stage.pool.health("a").tokens_left == 100

    assert stage.complete(max_tokens=60) == "a"
    assert stage.pool.health("b").tokens_left == 38


def test_another_limit_that_comes_later() -> None:
    """What was used up of the first stays used up."""
    stage = Stage(on("a", "ok", quota_group="team", requests_per_minute=20))
    stage.complete()
    late = on("b", "ok", quota_group="team", tokens_per_minute=1000)
    stage.pool.add(late)

    status = stage.pool.all_health()
    assert {(each.requests_left, each.tokens_left) for each in status.values()} == {(1, 100)}


def test_a_fork() -> None:
    """A child begins with what was left."""
    stand = Stand(deployment("a", requests_per_minute=20))
    stand.take()
    stand.ledger.reset_after_fork()

    status = stand.ledger.status()["a"]
    assert (status.requests_left, status.requests_in_flight) == (1, 0)
