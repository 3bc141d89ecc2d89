"""A pass of checks: side by side, each under its deadline, every end booked once."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator

import pytest
from checking import WALL, Hand, Hang, Questions, in_thread, pool_of, threads_named, until

from llmpool import Custom, Deployment, HealthCheckResult, Ping, Probe, ProviderPool
from llmpool.errors import ConnectionFailed, ServerFault
from llmpool.testing import ScriptedProvider

SHORT = 0.1


@pytest.fixture
def hang() -> Iterator[Hang]:
    hang = Hang()
    yield hang
    hang.open.set()


def by_name(results: tuple[HealthCheckResult, ...]) -> dict[str, HealthCheckResult]:
    return {result.deployment: result for result in results}


# -- what a pass gives --------------------------------------------------------------------------


def test_the_results_of_a_pass() -> None:
    """One for each deployment, in order: what was found, when, how long it took, and why not."""
    down = ScriptedProvider(ping_steps=[ConnectionFailed("refused", sent="no")])
    pool = pool_of(ScriptedProvider(), down)
    good, bad = pool.check_now()
    assert (good.deployment, good.healthy, good.error) == ("a", True, None)
    assert (bad.deployment, bad.healthy, bad.error) == ("b", False, "refused")
    assert 0.0 <= good.latency < WALL
    assert good.timestamp.tzinfo is datetime.timezone.utc
    assert [status.last_check for status in pool.all_health().values()] == [good, bad]
    assert pool.health("b").last_error == "refused"


def test_checks_are_no_requests() -> None:
    """They never count as a caller's, whatever comes of them."""
    failing = ScriptedProvider(ServerFault("oh no", status=500), repeat=True)
    pool = pool_of(failing, "b", check=Probe())
    pool.check_now()
    for status in pool.all_health().values():
        assert (status.total_requests, status.total_errors, status.error_rate) == (0, 0, 0.0)


def test_checks_of_one_pass_run_side_by_side() -> None:
    """Each meets all the others."""
    barrier = threading.Barrier(8)
    together = Custom(lambda deployment: barrier.wait(WALL) >= 0)
    results = pool_of(*"abcdefgh", check=together).check_now()
    assert len(results) == 8
    assert all(result.healthy for result in results)


def test_a_slow_check_delays_no_other(hang: Hang) -> None:
    """The others' answers are booked while it is still on its way."""
    questions = Questions(a=hang)
    pool = pool_of(*"abc", check=Custom(questions))
    thread, found = in_thread(pool.check_now)
    assert hang.entered.acquire(timeout=WALL)
    assert questions.wait_for(3)
    until(lambda: all(pool.health(name).last_check for name in "bc"))
    assert pool.health("a").last_check is None
    hang.open.set()
    thread.join(WALL)
    assert [result.deployment for result in found[0]] == ["a", "b", "c"]


def test_more_deployments_than_workers() -> None:
    """All are asked, never more at a time than there are workers."""
    inside = threading.Semaphore(3)

    def one_of_three(deployment: Deployment) -> bool:
        if not inside.acquire(blocking=False):
            return False
        try:
            return len(threads_named("llmpool-check-main")) <= 3
        finally:
            inside.release()

    names = [f"d{number}" for number in range(20)]
    results = pool_of(*names, check=Custom(one_of_three), max_workers=3).check_now()
    assert [result.deployment for result in results] == names
    assert all(result.healthy for result in results)


def test_a_check_is_already_under_way(hang: Hang) -> None:
    """A second pass waits for it instead of asking again."""
    questions = Questions(a=hang)
    pool = pool_of("a", check=Custom(questions))
    passes = [in_thread(pool.check_now)]
    assert hang.entered.acquire(timeout=WALL)
    hand = Hand(pool)
    passes.append(in_thread(pool.check_now))
    until(lambda: hand.jobs)
    hang.open.set()
    for thread, _ in passes:
        thread.join(WALL)
    (first,), (second,) = (found[0] for _, found in passes)
    assert first is second
    assert questions.asked == ["a"]


# -- checks that hang ---------------------------------------------------------------------------


def test_a_check_that_hangs(hang: Hang) -> None:
    """It has failed at its deadline; the others are as they are."""
    pool = pool_of(*"ab", check=Custom(Questions(a=hang)), timeout=SHORT)
    results = by_name(pool.check_now())
    assert results["b"].healthy
    assert not results["a"].healthy
    assert results["a"].error == "the check did not end within 0.1 s"
    assert results["a"].latency == SHORT
    assert pool.health("a").state == "unhealthy"


def test_while_a_check_hangs(hang: Hang) -> None:
    """Its deployment is not asked again; that it still hangs is one more failure."""
    questions = Questions(a=hang)
    pool = pool_of("a", check=Custom(questions), timeout=SHORT, failure_threshold=3)
    pool.complete("hello")  # so that no single check decides
    for failures in (1, 2, 3):
        pool._clock.advance(1.0)  # type: ignore[attr-defined]
        (result,) = pool.check_now()
        assert not result.healthy
        assert pool.health("a").consecutive_failures == failures
    assert result.error == "the last check still hangs"
    assert pool.health("a").state == "unhealthy"
    assert questions.asked == ["a"]
    assert len(threads_named("llmpool-check-main")) == 1


def test_a_late_answer(hang: Hang) -> None:
    """It is dropped, and only then the deployment is asked again."""
    questions = Questions(a=hang)
    pool = pool_of("a", check=Custom(questions), timeout=SHORT)
    (failed,) = pool.check_now()
    hang.open.set()
    assert hang.left.wait(WALL)
    until(lambda: not pool._checker._examiner._open)
    assert pool.health("a").last_check is failed
    assert pool.health("a").state == "unhealthy"
    (after,) = pool.check_now()
    assert after.healthy
    assert questions.asked == ["a", "a"]


def test_a_live_success_while_a_check_hangs(hang: Hang) -> None:
    """It is newer than the check, so that none of its failures counts."""
    pool = pool_of("a", check=Custom(Questions(a=hang)), timeout=SHORT, failure_threshold=1)
    pool.complete("hello")
    thread, _ = in_thread(pool.check_now)
    assert hang.entered.acquire(timeout=WALL)
    pool._clock.advance(1.0)  # type: ignore[attr-defined]
    pool.complete("hello")
    thread.join(WALL)
    pool._clock.advance(1.0)  # type: ignore[attr-defined]
    pool.check_now()
    assert pool.health("a").state == "healthy"
    assert pool.health("a").last_error == "the check did not end within 0.1 s"


def test_more_hung_checks_than_workers() -> None:
    """Each worker is written off in turn, and the healthy one behind them is asked."""
    hangs = {name: Hang() for name in "abcd"}
    questions = Questions(**hangs)
    pool = pool_of(*"abcde", check=Custom(questions), timeout=SHORT, max_workers=2)
    try:
        results = by_name(pool.check_now())
        assert [name for name, result in results.items() if result.healthy] == ["e"]
        # Those written off, and at most as many workers besides.
        assert len(threads_named("llmpool-check-main")) <= 4 + 2
        again = by_name(pool.check_now())
        assert again["e"].healthy
        assert sorted(questions.asked) == ["a", "b", "c", "d", "e", "e"]
    finally:
        for hang in hangs.values():
            hang.open.set()


def test_all_checks_hang() -> None:
    """Pass after pass each has one thread at most, and every pass ends."""
    hangs = {name: Hang() for name in "abc"}
    pool = pool_of(*"abc", check=Custom(Questions(**hangs)), timeout=SHORT)
    try:
        for _ in range(3):
            assert [result.healthy for result in pool.check_now()] == [False] * 3
            assert len(threads_named("llmpool-check-main")) == 3
    finally:
        for hang in hangs.values():
            hang.open.set()


# -- a roster that changes ----------------------------------------------------------------------


def test_a_deployment_removed_and_added_again_under_a_check(hang: Hang) -> None:
    """The old one's answer is dropped; the new one of its name is asked for itself."""
    hang.answer = False
    questions = Questions(a=hang)
    pool = pool_of(*"ab", check=Custom(questions))
    thread, found = in_thread(pool.check_now)
    assert hang.entered.acquire(timeout=WALL)
    pool.remove("a")
    pool.add(Deployment("a", ScriptedProvider("new")))
    questions.answers["a"] = True
    assert by_name(pool.check_now())["a"].healthy
    hang.open.set()
    thread.join(WALL)
    assert not by_name(found[0])["a"].healthy
    status = pool.health("a")
    assert (status.state, status.last_error) == ("healthy", None)
    assert status.last_check is not None
    assert status.last_check.healthy


@pytest.mark.parametrize("again", [False, True])
def test_a_deployment_removed_before_its_turn(hang: Hang, again: bool) -> None:
    """It is not asked, nor is another of its name in its place; the pass ends without it."""
    questions = Questions(a=hang)
    pool = pool_of(*"ab", check=Custom(questions), max_workers=1)
    thread, found = in_thread(pool.check_now)
    assert hang.entered.acquire(timeout=WALL)
    until(lambda: len(pool._checker._examiner._open) == 2)
    pool.remove("b")
    if again:
        pool.add(Deployment("b", ScriptedProvider("new")))
    hang.open.set()
    thread.join(WALL)
    assert [result.deployment for result in found[0]] == ["a"]
    assert questions.asked == ["a"]


def test_a_deployment_removed_within_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone between the list and its turn, it is left out."""
    pool = pool_of(*"ab")
    monkeypatch.setattr(pool._ledger, "names", lambda: ("a", "gone", "b"))
    assert [result.deployment for result in pool.check_now()] == ["a", "b"]


# -- checks that call the pool ------------------------------------------------------------------


def passes_within(pool: ProviderPool, deployment: Deployment) -> bool:
    return len(pool.check_now()) == 2


@pytest.mark.parametrize(
    "act",
    [
        lambda pool, deployment: pool.complete("hello").text == "fine",
        lambda pool, deployment: pool.health(deployment.name).state == "healthy",
        lambda pool, deployment: pool.close(0.0) is None,
        lambda pool, deployment: pool.remove(deployment.name),
    ],
)
def test_a_check_that_uses_the_pool(act: Callable[[ProviderPool, Deployment], bool]) -> None:
    """No lock is held while it runs."""
    pool = pool_of(*"ab", check=Custom(lambda deployment: act(pool, deployment)))
    results = pool.check_now()
    assert [result.error for result in results] == [None, None]


def test_a_check_that_makes_a_pass() -> None:
    """It waits for itself, until its own deadline; with one worker it makes room for the other."""
    questions = Questions(a=lambda: passes_within(pool, pool.deployments[0]))
    pool = pool_of(*"ab", check=Custom(questions), timeout=SHORT, max_workers=1)
    results = by_name(pool.check_now())
    assert results["b"].healthy
    assert results["a"].error == "the check did not end within 0.1 s"


# -- threads that cannot be had -----------------------------------------------------------------


class Threads:
    """Whether threads can be started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = True
        original = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            if not self.allowed and thread.name.startswith("llmpool-"):
                raise RuntimeError("can't start new thread")
            original(thread)

        monkeypatch.setattr(threading.Thread, "start", start)


def test_no_thread_for_a_check(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is booked; the result says so, the log and the listeners are told once each way."""
    events: list[tuple[str, str, str]] = []
    pool = pool_of(
        *"ab", listeners=[lambda event: events.append((event.deployment, event.old, event.new))]
    )
    threads = Threads(monkeypatch)
    threads.allowed = False
    for _ in range(2):
        for result in pool.check_now():
            assert (result.healthy, result.error) == (
                False,
                "not checked: no thread can be started",
            )
    assert pool.complete("hello").text == "fine"
    assert pool.health_status().healthy_deployments == 2
    assert pool.health("a").last_check is None
    assert events == [("", "running", "degraded")]
    threads.allowed = True
    assert all(result.healthy for result in pool.check_now())
    assert events[1:] == [("", "degraded", "running")]
    told = [record.getMessage() for record in caplog.records if "checker" in record.name]
    assert told == [
        "pool main: the checker is degraded, was running: no thread can be started",
        "pool main: the checker is running, was degraded",
    ]


def test_no_thread_in_a_hung_workers_place(hang: Hang, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass ends all the same: what was queued is not checked, and listeners are told here."""
    threads = Threads(monkeypatch)
    told: list[str] = []

    def hangs() -> bool:
        threads.allowed = False
        return hang()

    pool = pool_of(
        *"ab",
        check=Custom(Questions(a=hangs)),
        timeout=SHORT,
        max_workers=1,
        listeners=[lambda event: told.append(f"{event.deployment} {event.new}")],
    )
    results = by_name(pool.check_now())
    assert results["a"].error == "the check did not end within 0.1 s"
    assert results["b"].error == "not checked: no thread can be started"
    assert sorted(told) == [" degraded", "a unhealthy"]
    assert pool.health("b").last_check is None


# -- made by hand -------------------------------------------------------------------------------


def test_the_questions_by_default() -> None:
    """A pool pings, at no cost."""
    provider = ScriptedProvider()
    pool = pool_of(provider)
    assert pool._checker.check == Ping()
    pool.check_now()
    assert len(provider.pings) == 1
    assert provider.pings[0].timeout == 10.0
