"""How a call goes on: whom it asks next and when, how often, how long, and for what it waits."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from calling import Asked, Gate, Stage, on
from checking import WALL, in_thread
from stand import HandClock

from llmpool import Deployment, ProviderPool, RetryPolicy
from llmpool.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    NoHealthyDeployment,
    RateLimited,
    ServerFault,
)

# -- whom next ------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["refused", "reset", "500", "429:5", "529:5", "401", "html"])
def test_going_elsewhere(word: str) -> None:
    """An untried deployment is asked at once, without a pause."""
    stage = Stage(a=word, b="ok")

    assert stage.complete() == "b"
    assert stage.when() == [("a", 0.0), ("b", 0.0)]


def test_refused_connections() -> None:
    """Each call goes elsewhere at once; after three in a row the deployment is asked no more."""
    stage = Stage(a="refused", b="ok")

    assert [stage.complete() for _ in range(4)] == ["b"] * 4

    assert stage.asked() == ["a", "b"] * 3 + ["b"]
    assert stage.states() == {"a": "unhealthy", "b": "healthy"}


def test_returning_to_the_same() -> None:
    """Only after a pause, which doubles: full jitter from nothing up to it."""
    stage = Stage(a="500 500 ok")

    assert stage.complete() == "a"

    assert stage.when() == [("a", 0.0), ("a", 0.5), ("a", 1.5)]
    assert stage.rng.drawn == [(0.0, 0.5), (0.0, 1.0)]


def test_returning_after_everybody_was_asked() -> None:
    """First those that were not asked, whatever their tier, then back with a pause."""
    stage = Stage(on("a", "500 ok"), on("b", "500", priority=1))

    assert stage.complete() == "a"
    assert stage.when() == [("a", 0.0), ("b", 0.0), ("a", 0.5)]


def test_pauses_have_an_upper_end() -> None:
    """None is longer than backoff_max."""
    retry = RetryPolicy(max_attempts=6, backoff_initial=1.0, backoff_max=3.0)
    stage = Stage(a="500 500 500 500 500 ok", retry=retry, failure_threshold=9)

    assert stage.complete() == "a"
    assert [at for _, at in stage.when()] == [0.0, 1.0, 3.0, 6.0, 9.0, 12.0]


@pytest.mark.parametrize("strategy", ["primary", "least_connections", "round_robin", "random"])
def test_no_pause_at_all(strategy: str) -> None:
    """Even then those that were not asked come first."""
    stage = Stage(
        on("a", "500 ok"),
        on("b", "500 ok"),
        on("c", "500 ok", priority=1),
        strategy=strategy,
        retry=RetryPolicy(max_attempts=4, backoff_initial=0.0),
    )

    assert stage.complete() in "abc"
    asked = stage.asked()
    assert (set(asked[:2]), asked[2]) == ({"a", "b"}, "c")


def test_thousands_of_returns() -> None:
    """The pause is no overflow, however often it has doubled."""
    retry = RetryPolicy(max_attempts=1500, backoff_initial=1e-9, backoff_max=0.001)
    stage = Stage(a="refused", retry=retry, failure_threshold=10_000)

    assert isinstance(stage.fail(), ConnectionFailed)
    assert len(stage.asked()) == 1500


def test_whichever_is_first_a_return_or_the_end_of_a_cool_down() -> None:
    """A cool-down of another that ends before the pause is over, and the other way round."""
    stage = Stage(b="429:0.3 ok", a="500 ok")
    stage.fail(retry=False)
    stage.asked()
    assert stage.complete() == "b"
    assert stage.when() == [("a", 0.0), ("b", 0.3)]

    stage = Stage(b="429:0.7 ok", a="500 ok")
    assert stage.complete() == "a"
    assert stage.when() == [("b", 0.0), ("a", 0.0), ("a", 0.5)]


def test_the_last_resort_comes_last() -> None:
    """While a cool-down within reach or a return is left, the unhealthy ones are let alone."""
    stage = Stage(bad="500 500 500 ok", good="ok ok ok 429:2 500 ok")
    for _ in range(3):
        assert stage.complete() == "good"
    stage.asked()

    assert stage.complete() == "good"
    assert stage.when() == [("good", 0.0), ("good", 2.0), ("good", 3.0)]

    stage = Stage(bad="500 500 500 ok", good="ok ok ok 429:60")
    for _ in range(3):
        stage.complete()
    stage.asked()
    assert stage.complete() == "bad"
    assert stage.when() == [("good", 0.0), ("bad", 0.0)]


def test_everybody_is_unhealthy() -> None:
    """Each is tried once without a pause, the soonest to recover first; only then one again."""
    stage = Stage(a="500", b="500", c="500", failure_threshold=1)
    for _ in range(3):
        stage.fail(retry=False)
        stage.clock.advance(0.1)
    stage.asked()
    stage.began = stage.clock.now()

    stage.fail()
    assert stage.when() == [("a", 0.0), ("b", 0.0), ("c", 0.0)]

    stage.fail(retry=True)
    assert [name for name, _ in stage.when()] == ["a", "b", "c"]


def test_two_unhealthy_ones_and_a_third_attempt() -> None:
    """The last resort is returned to as any other: after both were asked, with a pause."""
    stage = Stage(a="500 500 ok", b="500", failure_threshold=1)
    for _ in range(2):
        stage.fail(retry=False)
    stage.asked()

    assert stage.complete() == "a"
    assert stage.when() == [("a", 0.0), ("b", 0.0), ("a", 0.5)]


def test_a_deployment_that_falls_ill_in_the_call() -> None:
    """It is returned to with a pause when there is nobody else; not where fail_open is off."""
    stage = Stage(a="500 ok", failure_threshold=1)
    assert stage.complete() == "a"
    assert stage.when() == [("a", 0.0), ("a", 0.5)]

    stage = Stage(a="500 ok", failure_threshold=1, fail_open=False)
    assert isinstance(stage.fail(), ServerFault)
    assert stage.when() == [("a", 0.0)]
    error = stage.fail()
    assert isinstance(error, NoHealthyDeployment)
    assert error.reasons == {"a": "unhealthy: broke, for 5.0 s"}
    assert error.retry_after == 5.0
    assert stage.when() == []


@pytest.mark.parametrize("word", ["501", "tls"])
def test_what_no_pause_cures(word: str) -> None:
    """It is not returned to within the call, even if nobody else is there; the next call may ask."""
    stage = Stage(a=word)

    stage.fail()
    assert stage.when() == [("a", 0.0)]
    stage.fail()
    assert stage.asked() == ["a"]

    stage = Stage(a=f"{word} ok", b="500 500 ok")
    assert stage.complete() == "b"
    assert stage.when() == [("a", 0.0), ("b", 0.0), ("b", 0.5), ("b", 1.5)]


def test_a_missing_capability() -> None:
    """501 goes elsewhere and blames nobody."""
    stage = Stage(a="501", b="ok")

    for _ in range(9):
        assert stage.complete() == "b"

    assert stage.states()["a"] == "healthy"
    assert stage.counts("a") == (9, 0, 0)


# -- how often ------------------------------------------------------------------------------


def test_attempts_that_may_have_done_work() -> None:
    """They are three in all, however many deployments there are."""
    stage = Stage(a="500", b="reset", c="html", d="ok")

    assert len(stage.fail().attempts) == 3
    assert stage.asked() == ["a", "b", "c"]


@pytest.mark.parametrize("word", ["refused", "tls", "401", "quota", "429:60", "529:60", "501"])
def test_definite_refusals(word: str) -> None:
    """They move on until everyone was asked, and are no part of the three."""
    stage = Stage(a=word, b=word, c=word, d=word, e="500", f="500", g="ok")

    assert stage.complete() == "g"
    assert stage.asked() == list("abcdefg")
    assert stage.clock.now() == stage.began


def test_refusals_by_everybody() -> None:
    """Everyone is asked once, then at most two are asked again."""
    stage = Stage(a="refused", b="refused", c="refused", d="refused", e="refused")

    stage.fail()

    assert stage.when() == [*((name, 0.0) for name in "abcde"), ("a", 0.5), ("a", 1.5)]


@pytest.mark.parametrize("max_attempts", [1, 2, 5])
def test_max_attempts(max_attempts: int) -> None:
    """It bounds the attempts that may have done work, and with one less the returns."""
    retry = RetryPolicy(max_attempts=max_attempts)
    stage = Stage(a="500", retry=retry, failure_threshold=9)
    stage.fail()
    assert len(stage.asked()) == max_attempts

    stage = Stage(a="refused", b="refused", retry=retry, failure_threshold=9)
    stage.fail()
    assert len(stage.asked()) == 2 + max_attempts - 1


def test_no_retry() -> None:
    """retry=False makes exactly one request, whatever comes, and gives it all the time there is."""
    for word in ("500", "refused", "429:1", "401", "501", "hang"):
        stage = Stage(a=word, b="ok")
        error = stage.fail(retry=False, timeout=600.0)
        assert [attempt.deployment for attempt in error.attempts] == ["a"]
        assert stage.journal == [Asked("a", 0.0, 600.0)]


@pytest.mark.parametrize("word", ["refused", "429:60", "401", "529:60", "501"])
def test_retrying_what_was_not_sent(word: str) -> None:
    """retry="unsent" goes on after a refusal; each attempt gets all the time that is left."""
    stage = Stage(a=f"{word}/1", b=f"{word}/1", c="hang", d="ok")

    error = stage.fail(retry="unsent", timeout=600.0)

    assert stage.journal == [
        Asked("a", 0.0, 600.0),
        Asked("b", 1.0, 599.0),
        Asked("c", 2.0, 598.0),
    ]
    assert len(error.attempts) == 3


@pytest.mark.parametrize("word", ["500", "reset", "html", "hang/1", "502"])
def test_not_retrying_what_may_have_been_processed(word: str) -> None:
    """retry="unsent" ends there: to ask again elsewhere might be billed twice."""
    stage = Stage(a=word, b="ok")

    stage.fail(retry="unsent")

    assert stage.asked() == ["a"]


@pytest.mark.parametrize("word", ["400", "long"])
def test_a_request_that_is_wrong_itself(word: str) -> None:
    """It ends the call, and touches nobody."""
    stage = Stage(a=word, b="ok", failure_threshold=1)

    for _ in range(20):
        stage.fail()

    assert stage.asked() == ["a"] * 20
    assert stage.states() == {"a": "healthy", "b": "healthy"}


# -- how long -------------------------------------------------------------------------------


def test_the_deadline_covers_everything() -> None:
    """Attempts, pauses and waits: no attempt gets more than what is left, and none begins after it."""
    stage = Stage(a="500/2 500/2 500/2", retry=RetryPolicy(max_attempts=9), failure_threshold=99)

    stage.fail(timeout=7.0)

    assert stage.journal == [
        Asked("a", 0.0, 7.0),
        Asked("a", 2.5, 4.5),
        Asked("a", 5.5, 1.5),
    ]
    assert stage.clock.now() - stage.began == 7.5


def test_a_pause_that_the_deadline_does_not_leave_room_for() -> None:
    """The error is raised at once, not after a wait in vain."""
    stage = Stage(a="500")

    stage.fail(timeout=0.4)

    assert stage.when() == [("a", 0.0)]
    assert stage.clock.now() == stage.began


def test_no_time_at_all() -> None:
    """timeout=0 sends nothing."""
    stage = Stage(a="ok")

    error = stage.fail(timeout=0)

    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error, TimeoutError)
    assert (error.sent, error.attempts) == ("no", ())
    assert stage.asked() == []
    assert stage.counts("a") == (0, 0, 0)


def test_time_that_ends_while_waiting_for_a_place() -> None:
    """Nothing is sent, and the place in the queue is given up."""
    stage = Stage(on("a", "ok", max_concurrent=1))

    with stage.pool.lease():
        error = stage.fail(timeout=3.0)

    assert isinstance(error, DeadlineExceeded)
    assert stage.clock.now() - stage.began == 3.0
    assert stage.asked() == []
    assert stage.complete() == "a"


def test_a_place_that_becomes_free_too_late() -> None:
    """It is not given to one whose time is over, even if nobody has told him yet."""
    clock = HandClock()
    gate = Gate()
    pool = ProviderPool([Deployment("a", gate, max_concurrent=1)], health_check=None, clock=clock)
    thread, _ = in_thread(lambda: pool.complete("first"))
    assert gate.entered.acquire(timeout=WALL)
    ends: list[str] = []

    def wait() -> None:
        with pytest.raises(DeadlineExceeded):
            pool.complete("second", timeout=3.0)
        ends.append("late")

    late, _ = in_thread(wait)
    clock.until_asleep(1)

    wait = clock.wait
    clock.wait = lambda event, timeout: True  # type: ignore[method-assign]
    clock.advance(3.0)
    gate.open.set()
    thread.join(WALL)
    clock.wait = wait  # type: ignore[method-assign]
    late.join(WALL)

    assert ends == ["late"]
    assert not gate.entered.acquire(blocking=False)


def test_the_time_of_an_attempt() -> None:
    """While others remain it does not eat the call; the last attempt may have all that is left."""
    stage = Stage(a="hang", b="hang", c="hang", failure_threshold=9)
    stage.fail(timeout=600.0)
    assert stage.journal == [
        Asked("a", 0.0, 200.0),
        Asked("b", 200.0, 200.0),
        Asked("c", 400.0, 200.0),
    ]

    stage = Stage(a="hang", b="hang", c="hang", failure_threshold=9)
    stage.fail(timeout=75.0)
    assert stage.journal == [
        Asked("a", 0.0, 30.0),
        Asked("b", 30.0, 22.5),
        Asked("c", 52.5, 22.5),
    ]


def test_the_time_of_an_attempt_on_a_measured_one() -> None:
    """Three times its slowest per cent, if that is more than its share."""
    stage = Stage(a="ok/4 hang", b="ok")
    stage.complete()
    stage.journal.clear()

    stage.complete(timeout=18.0)

    assert stage.journal[0].timeout == pytest.approx(12.0, rel=0.1)


def test_a_deployment_with_a_time_out_of_its_own() -> None:
    """It rules, but for what is left of the call."""
    stage = Stage(on("a", "hang", timeout=8.0), on("b", "hang", timeout=8.0))

    stage.fail(timeout=10.0)

    assert stage.journal == [Asked("a", 0.0, 8.0), Asked("b", 8.0, 2.0)]


def test_a_call_without_a_limit() -> None:
    """A policy may set none; every attempt has all the time."""
    stage = Stage(a="500", b="ok", retry=RetryPolicy(timeout=None))

    stage.complete()

    assert [each.timeout for each in stage.journal] == [float("inf")] * 2


def test_deadlines_that_are_unfair() -> None:
    """Each call fails on time; three without a success between are one fault."""
    stage = Stage(a="hang", failure_threshold=1)

    for number in range(2):
        error = stage.fail(timeout=2.0)
        assert isinstance(error, DeadlineExceeded)
        assert stage.clock.now() - stage.began == 2.0 * (number + 1)
        assert stage.states() == {"a": "healthy"}
    stage.fail(timeout=2.0)

    assert stage.states() == {"a": "unhealthy"}
    assert stage.counts("a") == (3, 0, 0)


def test_a_deadline_that_is_fair() -> None:
    """Five seconds while unmeasured, then three times its slowest per cent and a second at least."""
    stage = Stage(a="hang", failure_threshold=1)
    stage.fail(timeout=5.0)
    assert stage.states() == {"a": "unhealthy"}

    stage = Stage(a="ok/0.1 hang", failure_threshold=1)
    stage.complete()
    stage.fail(timeout=0.9)
    assert stage.states() == {"a": "healthy"}
    stage.fail(timeout=1.0)
    assert stage.states() == {"a": "unhealthy"}


# -- for what it waits ----------------------------------------------------------------------


def test_a_cool_down_within_reach() -> None:
    """All are rate-limited: the call waits for the earliest, exactly as long as it lasts."""
    stage = Stage(a="429:9 ok", b="429:2 ok")

    assert stage.complete(timeout=10.0) == "b"

    assert stage.when() == [("a", 0.0), ("b", 0.0), ("b", 2.0)]


def test_a_crowd_at_the_end_of_a_cool_down() -> None:
    """One goes first; the others follow its success."""
    clock = HandClock()
    gate = Gate()
    stage = Stage(on("a", "429:2"), clock=clock)
    stage.fail(retry=False)
    stage.pool.deployments[0].provider.complete = gate.complete
    calls = [in_thread(stage.complete) for _ in range(6)]
    clock.until_asleep(6)

    clock.advance(2.0)
    assert gate.entered.acquire(timeout=WALL)
    clock.until_asleep(5)
    assert not gate.entered.acquire(blocking=False)
    gate.open.set()
    for thread, _ in calls:
        thread.join(WALL)

    assert [answer for _, answers in calls for answer in answers] == ["a"] * 6


def test_a_cool_down_out_of_reach() -> None:
    """The call is refused at once and told when to come back; no request is spent on it."""
    for limits in ({"timeout": 10.0}, {"timeout": 600.0}):
        stage = Stage(a="429:60", b="429:70")
        error = stage.fail(**limits)
        assert isinstance(error, RateLimited)
        assert error.retry_after == 60.0
        error = stage.fail(**limits)
        assert isinstance(error, NoHealthyDeployment)
        assert error.retry_after == 60.0
        assert str(error).splitlines() == [
            "no deployment can be asked now",
            "  a: cooling: slow down, for 60.0 s",
            "  b: cooling: slow down, for 70.0 s",
        ]
        assert stage.when() == [("a", 0.0), ("b", 0.0)]
        assert stage.clock.now() == stage.began


@pytest.mark.parametrize("max_wait", [0.0, 1.9])
def test_a_cool_down_longer_than_max_wait(max_wait: float) -> None:
    """It is not waited for."""
    stage = Stage(a="429:2 ok", retry=RetryPolicy(max_wait=max_wait))

    assert isinstance(stage.fail(), RateLimited)
    assert stage.when() == [("a", 0.0)]


def test_a_pause_longer_than_max_wait() -> None:
    """max_wait is for cool-downs and places; a pause before a return is none of these."""
    retry = RetryPolicy(max_wait=0.0, backoff_initial=20.0, backoff_max=20.0)
    stage = Stage(a="500 ok", retry=retry)

    assert stage.complete() == "a"
    assert stage.when() == [("a", 0.0), ("a", 20.0)]


@pytest.mark.parametrize(("max_wait", "answered"), [(6.0, True), (5.0, False), (3.0, False)])
def test_two_cool_downs_of_one_call(max_wait: float, answered: bool) -> None:
    """All waits of a call together are within max_wait."""
    stage = Stage(a="429:3 429:3 ok", retry=RetryPolicy(max_wait=max_wait))

    if answered:
        assert stage.complete() == "a"
        assert stage.when() == [("a", 0.0), ("a", 3.0), ("a", 6.0)]
    else:
        assert isinstance(stage.fail(), RateLimited)
        assert stage.when() == [("a", 0.0), ("a", 3.0)]


def test_a_pause_and_a_cool_down_of_one_call() -> None:
    """The pause leaves all of max_wait to the cool-down."""
    retry = RetryPolicy(max_wait=3.0, backoff_initial=2.0, backoff_max=2.0)
    stage = Stage(a="500 429:3 ok", retry=retry)

    assert stage.complete() == "a"
    assert stage.when() == [("a", 0.0), ("a", 2.0), ("a", 5.0)]


def test_a_place_within_max_wait() -> None:
    """A full pool is waited for, not longer than max_wait."""
    stage = Stage(on("a", "ok", max_concurrent=1), retry=RetryPolicy(max_wait=4.0))

    with stage.pool.lease():
        error = stage.fail()

    assert isinstance(error, NoHealthyDeployment)
    assert error.reasons == {"a": "healthy: no free place of 1"}
    assert stage.clock.now() - stage.began == 4.0


def test_a_full_pool() -> None:
    """Everybody is served in the end, and never more at a time than there are places."""
    gates = [Gate(), Gate()]
    pool = ProviderPool(
        [Deployment("a", gates[0], max_concurrent=2), Deployment("b", gates[1], max_concurrent=1)],
        health_check=None,
    )
    calls = [in_thread(lambda: pool.complete("hello").deployment) for _ in range(12)]
    for gate, places in zip(gates, (2, 1), strict=True):
        for _ in range(places):
            assert gate.entered.acquire(timeout=WALL)
        gate.open.set()
    for thread, _ in calls:
        thread.join(WALL)

    assert {answer for _, answers in calls for answer in answers} == {"a", "b"}
    assert sum(len(answers) for _, answers in calls) == 12
    assert (gates[0].peak, gates[1].peak) == (2, 1)


# -- the budget for retries -----------------------------------------------------------------


def test_the_budget_for_retries() -> None:
    """Three retries after faults may be in flight; a fourth call ends with the error it had."""
    gate = Gate()
    stage = Stage(on("a", "500"), Deployment("b", gate, priority=1), failure_threshold=99)
    calls = [in_thread(stage.complete) for _ in range(3)]
    for _ in calls:
        assert gate.entered.acquire(timeout=WALL)

    error = stage.fail()
    assert isinstance(error, ServerFault)
    assert [attempt.deployment for attempt in error.attempts] == ["a"]

    gate.open.set()
    for thread, _ in calls:
        thread.join(WALL)
    assert stage.complete() == "b"


@pytest.mark.parametrize("word", ["refused", "429:60", "529:60"])
def test_refusals_are_under_no_budget(word: str) -> None:
    """They add no load, however many calls go on elsewhere."""
    gate = Gate()
    stage = Stage(on("a", word), Deployment("b", gate, priority=1), failure_threshold=99)
    calls = [in_thread(stage.complete) for _ in range(8)]

    for _ in calls:
        assert gate.entered.acquire(timeout=WALL)
    gate.open.set()
    for thread, _ in calls:
        thread.join(WALL)

    assert [answer for _, answers in calls for answer in answers] == ["b"] * 8


def test_leaving_a_deployment_that_was_just_taken_out() -> None:
    """Everyone who was there may go elsewhere: that is no more load than there was."""
    sick, well = Gate(*["500"] * 8), Gate()
    stage = Stage(Deployment("a", sick), Deployment("b", well, priority=1), failure_threshold=1)
    calls = [in_thread(stage.complete) for _ in range(8)]
    for _ in calls:
        assert sick.entered.acquire(timeout=WALL)
    sick.open.set()

    for _ in calls:
        assert well.entered.acquire(timeout=WALL)
    well.open.set()
    for thread, _ in calls:
        thread.join(WALL)

    assert [answer for _, answers in calls for answer in answers] == ["b"] * 8


# -- interrupts -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_in_the_providers_call(kind: type[BaseException]) -> None:
    """It passes; the place comes back and nothing is counted, in a retry and in a trial too."""

    class Interrupted:
        def complete(self, request: Any, timeout: float) -> str:
            raise kind

    stage = Stage(on("a", "500"), Deployment("b", Interrupted(), max_concurrent=1, priority=1))
    with pytest.raises(kind):
        stage.pool.complete("hello")

    assert stage.counts("b") == (0, 0, 0)
    assert stage.pool.health("b").healthy
    assert not stage.pool._ledger._places.retrying


def test_a_trial_that_is_interrupted() -> None:
    """The next call may make it."""
    stage = Stage(a="500 ctrl-c ok", failure_threshold=1)
    stage.fail(retry=False)
    stage.clock.advance(5.0)
    with pytest.raises(KeyboardInterrupt):
        stage.pool.complete("hello")

    assert stage.states() == {"a": "recovering"}
    assert stage.complete() == "a"


def test_a_pool_that_closes_in_mid_call() -> None:
    """What is in flight ends; nothing is retried."""

    def fail(request: Any, timeout: float) -> str:
        stage.pool.close()
        raise ServerFault("broke", status=500)

    stage = Stage(a="ok", b="ok")
    stage.pool.deployments[0].provider.complete = fail
    with pytest.raises(Exception, match="the pool is closed"):
        stage.pool.complete("hello")
    assert stage.asked() == []


def test_many_threads_at_once() -> None:
    """Every call is answered, and what was counted is what was asked."""
    stage = Stage(a="ok", b="500", c="ok", strategy="round_robin", failure_threshold=10_000)
    start = threading.Barrier(8)

    def work() -> int:
        start.wait(WALL)
        return sum(stage.complete() != "b" for _ in range(100))

    calls = [in_thread(work) for _ in range(8)]
    for thread, _ in calls:
        thread.join(2 * WALL)

    assert sum(done for _, answers in calls for done in answers) == 800
    asked = stage.asked()
    statuses = stage.pool.all_health()
    for name, status in statuses.items():
        assert status.total_requests == asked.count(name)
        assert status.requests_in_flight == 0
    assert statuses["b"].total_errors == asked.count("b")
