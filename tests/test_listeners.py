"""Listeners: told of each change, in the thread that made it, outside every lock."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from checking import WALL, Hand, Hang, Questions, in_thread, pool_of, until

from llmpool import (
    Custom,
    Deployment,
    Event,
    HealthCheckConfig,
    HealthChecker,
    PoolClosed,
    ProviderPool,
)
from llmpool.announcer import Announcer
from llmpool.errors import AuthenticationFailed, ConnectionFailed, RateLimited
from llmpool.roster import Change
from llmpool.testing import ScriptedProvider

REFUSED = ConnectionFailed("refused", sent="no")


def failing(*errors: Any) -> ScriptedProvider:
    """Make a provider that always fails, with the last of *errors*."""
    return ScriptedProvider(*(errors or (REFUSED,)), repeat=True)


def fail(pool: ProviderPool, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ConnectionFailed):
            pool.complete("hello", retry=False)


def test_what_a_listener_is_told() -> None:
    """Pool, deployment, old and new state, the reason, and when."""
    events: list[Event] = []
    pool = pool_of(failing(), failure_threshold=2, listeners=[events.append])
    fail(pool, times=2)
    assert events == [Event("main", "a", "healthy", "unhealthy", "refused", pool._clock.now())]
    pool.drain("a", timeout=0.0)
    pool.resume("a")
    assert [event.new for event in events] == ["unhealthy", "draining", "unhealthy"]


def test_it_is_told_in_the_thread_that_made_the_change() -> None:
    """A caller's for a call, a worker's for a check."""
    threads: list[str] = []

    def listen(event: Event) -> None:
        threads.append(threading.current_thread().name)

    pool = pool_of(failing(), failure_threshold=1, listeners=[listen])
    thread, _ = in_thread(lambda: fail(pool))
    thread.join(WALL)
    assert threads == [thread.name]
    pool = pool_of("a", check=Custom(lambda deployment: False), listeners=[listen])
    pool.check_now()
    assert threads[1].startswith("llmpool-check-main-")


def test_a_listener_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged by its type alone and ignored; the next one is told, the state is right."""
    events: list[Event] = []

    def broken(event: Event) -> None:
        raise ValueError("sk-never-to-be-seen")

    pool = pool_of(failing(), failure_threshold=1, listeners=[broken, events.append])
    fail(pool)
    assert pool.health("a").state == "unhealthy"
    assert len(events) == 1
    assert "a listener raised ValueError and was ignored" in caplog.text
    assert "never-to-be-seen" not in caplog.text


def test_a_listener_that_wants_to_end_the_program() -> None:
    """That goes on to the caller, and leaves the state right."""

    def leave(event: Event) -> None:
        raise SystemExit(3)

    pool = pool_of(failing(), failure_threshold=1, listeners=[leave])
    with pytest.raises(SystemExit):
        pool.complete("hello", retry=False)
    status = pool.health("a")
    assert (status.state, status.requests_in_flight) == ("unhealthy", 0)


def test_a_listener_that_wants_to_end_a_worker(caplog: pytest.LogCaptureFixture) -> None:
    """It ends nothing there: the check is booked, and the pass goes on."""

    def leave(event: Event) -> None:
        raise SystemExit(3)

    pool = pool_of(*"ab", check=Custom(lambda deployment: False), listeners=[leave])
    assert [result.healthy for result in pool.check_now()] == [False, False]
    assert pool.healthy_count() == 0
    until(lambda: "the booking of a check raised SystemExit" in caplog.text)


def test_a_listener_that_blocks_a_checks_worker() -> None:
    """The other checks go on, and the metronome too."""
    release, inside = threading.Event(), threading.Semaphore(0)

    def block(event: Event) -> None:
        inside.release()
        assert release.wait(60.0)

    questions = Questions(a=False)
    pool = pool_of(*"abc", check=Custom(questions), listeners=[block])
    thread, _ = in_thread(pool.check_now)
    assert inside.acquire(timeout=WALL)
    until(lambda: all(pool.health(name).last_check for name in "bc"))
    assert pool.health("a").state == "unhealthy"
    pool._clock.advance(30.0)  # type: ignore[attr-defined]
    pool._checker.tick()
    assert questions.wait_for(5)
    assert pool.complete("hello").text == "fine"
    release.set()
    thread.join(WALL)


def test_a_listener_that_blocks_when_a_check_hangs() -> None:
    """The metronome books such a failure elsewhere, and asks the others in time."""
    release, inside = threading.Event(), threading.Semaphore(0)
    hang = Hang()

    def block(event: Event) -> None:
        inside.release()
        assert release.wait(60.0)

    questions = Questions(a=hang)
    pool = ProviderPool(
        [Deployment(name, ScriptedProvider()) for name in "ab"],
        check=Custom(questions),
        health_check=HealthCheckConfig(0.05, timeout=0.1, unhealthy_interval=0.05),
        listeners=[block],
    )
    pool.start()
    assert hang.entered.acquire(timeout=WALL)
    assert inside.acquire(timeout=WALL)
    asked = questions.asked.count("b")
    until(lambda: questions.asked.count("b") >= asked + 3)
    assert pool.health_status().checker_alive
    assert pool.health("a").state == "unhealthy"
    release.set()
    hang.open.set()


def test_a_state_that_ends_by_time_is_not_told_by_the_metronome() -> None:
    """A listener that blocks then holds up no turn, and is waited for by no second one."""
    release, inside = threading.Event(), threading.Semaphore(0)

    def block(event: Event) -> None:
        if event.new == "healthy":
            inside.release()
            assert release.wait(60.0)

    limited = ScriptedProvider(RateLimited("slow down", status=429, retry_after=2.0))
    pool = pool_of(limited, "b", listeners=[block])
    with pytest.raises(RateLimited):
        pool.complete("hello", retry=False)
    hand = Hand(pool)
    hand.tick(after=3.0)
    assert inside.acquire(timeout=WALL)
    assert hand.tick(after=30.0) == ["a", "b"]
    release.set()


@pytest.mark.parametrize(
    "act",
    [
        lambda pool, name: pool.drain(name, timeout=WALL),
        lambda pool, name: pool.remove(name),
        lambda pool, name: pool.add(Deployment(f"{name}-2", ScriptedProvider("fine"))),
        lambda pool, name: pool.complete("hello"),
        lambda pool, name: pool.check_now(),
        lambda pool, name: (pool.health_status(), pool.explain(), repr(pool)),
        lambda pool, name: pool.close(),
        lambda pool, name: pool.start().stop(),
    ],
)
@pytest.mark.parametrize("by", ["call", "check"])
def test_a_listener_that_calls_back_into_the_pool(
    act: Callable[[ProviderPool, str], Any], by: str
) -> None:
    """Whatever it does there, and in whichever thread, nothing waits for itself."""
    done: list[str] = []
    errors: list[Exception] = []

    def listen(event: Event) -> None:
        if event.new != "unhealthy" or done:
            return
        done.append(event.deployment)
        try:
            act(pool, event.deployment)
        except Exception as error:
            errors.append(error)

    pool = pool_of(
        failing(),
        Deployment("spare", ScriptedProvider("fine", repeat=True), priority=1),
        check=Custom(Questions(a=False)),
        failure_threshold=1,
        max_workers=1,
        listeners=[listen],
    )

    def work() -> None:
        with contextlib.suppress(PoolClosed):  # where that is what the listener did
            pool.complete("hello") if by == "call" else pool.check_now()

    thread, found = in_thread(work)
    thread.join(WALL)
    assert found == [None]
    assert (done, errors) == (["a"], [])


def test_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Good news as information, bad as a warning, a wrong key as an error; each with its names."""
    provider = ScriptedProvider(
        AuthenticationFailed("who?", status=401), "fine", RateLimited("slow down", retry_after=9.0)
    )
    pool = pool_of(provider)
    for _ in range(3):
        try:
            pool.complete("hello", retry=False)
        except (AuthenticationFailed, RateLimited):
            pool._clock.advance(61.0)  # type: ignore[attr-defined]
    records = [record for record in caplog.records if record.name == "llmpool.health"]
    assert [(record.levelno, record.getMessage()) for record in records] == [
        (logging.ERROR, "pool main: a is disabled, was healthy: who?"),
        (logging.INFO, "pool main: a is healthy, was disabled"),
        (logging.WARNING, "pool main: a is cooling, was healthy: slow down"),
    ]
    assert {vars(record)["llmpool_pool"] for record in records} == {"main"}
    assert {vars(record)["llmpool_deployment"] for record in records} == {"a"}


def test_an_announcer_whose_checker_is_gone() -> None:
    """It tells the others."""
    events: list[Event] = []
    announcer = Announcer("main", [events.append])
    announcer(Change("a", "healthy", "unhealthy", None, 1.0))
    pool = pool_of("b")
    announcer.tell_checker(HealthChecker(pool))
    gc.collect()
    announcer(Change("a", "unhealthy", "recovering", None, 2.0))
    assert [event.at for event in events] == [1.0, 2.0]


@pytest.mark.parametrize("wrong", ["loud", 3, [print, "loud"], None])
def test_no_listeners(wrong: Any) -> None:
    """They are refused with the field, what is wanted and what came."""
    with pytest.raises(TypeError, match="listeners: wanted "):
        pool_of("a", listeners=wrong)
