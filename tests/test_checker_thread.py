"""The checker's thread: when it starts, what stops it, what outlives it."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from checking import WALL, Hand, Hang, Questions, in_thread, pool_of, threads_named, until

from llmpool import (
    Custom,
    Deployment,
    Event,
    HealthCheckConfig,
    HealthChecker,
    PoolClosed,
    ProviderPool,
)
from llmpool.metronome import HealthCheckerHandle, metronome
from llmpool.testing import ScriptedProvider

QUICK: dict[str, Any] = {"interval": 0.02, "unhealthy_interval": 0.02, "jitter": 0.0}


def quick_pool(questions: Any = None, **settings: Any) -> ProviderPool:
    """Build a pool in real time whose checker asks very often."""
    return ProviderPool(
        [Deployment("a", ScriptedProvider("fine", repeat=True))],
        name="main",
        check=Custom(Questions() if questions is None else questions),
        health_check=HealthCheckConfig(**QUICK),
        **settings,
    )


def checkers() -> list[str]:
    return threads_named("llmpool-checker-")


# -- start and stop -----------------------------------------------------------------------------


def test_constructing_starts_nothing() -> None:
    """Neither a pool nor a checker does."""
    pool = quick_pool()
    HealthChecker(pool)
    assert checkers() == []
    assert not pool.health_status().checker_alive


def test_it_runs_until_it_is_stopped() -> None:
    """Time and again it asks; stopped, it ends, as often as one likes to say so."""
    questions = Questions()
    pool = quick_pool(questions)
    handle = pool.start()
    assert repr(handle) == "<HealthCheckerHandle, running>"
    assert repr(pool._checker) == "<HealthChecker of 'main', running>"
    assert checkers() == ["llmpool-checker-main"]
    assert pool.health_status().checker_alive
    assert questions.wait_for(3)
    handle.stop()
    handle.stop()
    assert handle.stopped.is_set()
    assert handle.join(WALL)
    assert handle.join()
    assert not handle.alive
    assert repr(handle) == "<HealthCheckerHandle, stopped>"
    assert repr(pool._checker) == "<HealthChecker of 'main', at rest>"
    assert not pool.health_status().checker_alive


def test_starting_twice() -> None:
    """It is one thread, and one handle."""
    pool = quick_pool()
    assert pool.start() is pool.start()
    assert len(checkers()) == 1


def test_many_threads_start_it() -> None:
    """It is one thread, and one handle."""
    pool = quick_pool()
    barrier = threading.Barrier(8)

    def start() -> HealthCheckerHandle:
        barrier.wait(WALL)
        pool.complete("hello")
        return pool.start()

    started = [in_thread(start) for _ in range(8)]
    for thread, _ in started:
        thread.join(WALL)
    assert len({id(found[0]) for _, found in started}) == 1
    assert len(checkers()) == 1


def test_the_first_call_starts_it() -> None:
    """And a call never starts again what somebody has stopped."""
    pool = quick_pool()
    pool.complete("hello")
    handle = pool._checker.handle
    assert handle is not None
    assert handle.alive
    handle.stop()
    assert handle.join(WALL)
    pool.complete("hello")
    assert checkers() == []
    assert pool.start() is not handle
    assert len(checkers()) == 1


def test_a_handle_as_a_context() -> None:
    """Leaving the block stops and joins."""
    pool = quick_pool()
    with pool.start() as handle:
        assert isinstance(handle.stopped, threading.Event)
        assert handle.alive
    assert not handle.alive


def test_stopped_from_within_a_check() -> None:
    """The check may even wait for the thread's end."""
    ended: list[bool] = []
    started = threading.Event()

    def stop() -> bool:
        assert started.wait(WALL)
        handle.stop()
        ended.append(handle.join(WALL))
        return True

    pool = quick_pool(Questions(a=stop))
    handle = pool.start()
    started.set()
    assert handle.join(WALL)
    until(lambda: ended)
    assert ended[0] is True


def test_a_handle_that_is_not_at_its_end() -> None:
    """Joining tells so after its time; a wrong time is refused."""
    pool = quick_pool()
    handle = pool.start()
    assert handle.join(0.0) is False
    assert handle.join(0.01) is False
    for wrong in (-1.0, float("nan"), "soon", True):
        with pytest.raises((TypeError, ValueError), match="timeout: wanted seconds >= 0 or None"):
            handle.join(wrong)  # type: ignore[arg-type]


def test_a_handle_in_a_forked_child() -> None:
    """It has an event of its own, set if the parent's was, and no thread yet."""
    for stop in (False, True):
        handle = HealthCheckerHandle()
        if stop:
            handle.stop()
        before = handle.stopped
        handle._renew()
        assert handle.stopped is not before
        assert handle.stopped.is_set() is stop
        assert handle.join()


def test_checks_that_are_switched_off() -> None:
    """No thread is started, by a call neither; the handle is a stopped one."""
    pool = pool_of("a", enabled=False)
    pool._checker.idle = True
    pool.complete("hello")
    handle = pool.start()
    assert handle.stopped.is_set()
    assert handle.join()
    assert checkers() == []
    assert pool.check_now()[0].healthy


def test_a_pool_without_a_checker() -> None:
    """It has none to start, and yet checks when asked to."""
    pool = ProviderPool([Deployment("a", ScriptedProvider("fine"))], health_check=None)
    assert pool.complete("hello").text == "fine"
    assert pool.start().stopped.is_set()
    assert checkers() == []
    assert pool.check_now()[0].healthy
    assert not pool.health_status().checker_alive


def test_a_pass_that_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next one comes."""
    pool = quick_pool()
    passes = iter([ZeroDivisionError("odd"), None])
    came = threading.Event()

    def tick() -> float:
        error = next(passes)
        if error is not None:
            raise error
        came.set()
        return 3600.0

    monkeypatch.setattr(pool._checker, "tick", tick)
    pool.start()
    assert came.wait(WALL)
    assert "the pass of a checker failed" in caplog.text


# -- a closed pool ------------------------------------------------------------------------------


def test_a_closed_pool() -> None:
    """Its checker is stopped, and none can be started."""
    pool = quick_pool()
    handle = pool.start()
    pool.close()
    assert not handle.alive
    for start in (pool.start, HealthChecker(pool).start):
        with pytest.raises(PoolClosed):
            start()
    assert checkers() == []


def test_a_pool_closed_while_its_checker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever comes first, the thread ends."""
    pool = quick_pool()
    original = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        pool._closed.set()  # as by close(), just before it would look for a handle
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    handle = pool.start()
    monkeypatch.undo()
    assert handle.join(WALL)


# -- made by hand -------------------------------------------------------------------------------


def test_a_checker_made_by_hand() -> None:
    """Started, it takes the place of the pool's own, which ends."""
    own, other = Questions(), Questions()
    pool = quick_pool(own)
    former = pool.start()
    assert own.wait_for(1)
    handle = HealthChecker(pool, HealthCheckConfig(**QUICK), check=Custom(other)).start()
    assert former.join(WALL)
    count = len(own.asked)
    assert other.wait_for(3)
    assert len(own.asked) == count
    assert pool.start() is handle
    pool.check_now()
    assert len(own.asked) == count
    assert len(checkers()) == 1


def test_a_checker_made_by_hand_before_the_first_call() -> None:
    """The pool's own is never started."""
    own, other = Questions(), Questions()
    pool = quick_pool(own)
    HealthChecker(pool, HealthCheckConfig(**QUICK), check=Custom(other)).start()
    pool.complete("hello")
    assert other.wait_for(2)
    assert own.asked == []
    assert len(checkers()) == 1


def test_a_call_starts_the_one_that_is_being_replaced() -> None:
    """It does not start after all, or is stopped."""
    pool = quick_pool()
    own = pool._checker
    HealthChecker(pool, HealthCheckConfig(**QUICK)).start()
    own.ensure()  # as by a call that had read the pool's checker before
    assert len(checkers()) == 1


def test_a_checker_for_a_pool_without_one() -> None:
    """It is the pool's from its start on."""
    questions = Questions()
    pool = ProviderPool([Deployment("a", ScriptedProvider("fine"))], health_check=None)
    with HealthChecker(pool, HealthCheckConfig(**QUICK), check=Custom(questions)).start():
        assert questions.wait_for(2)
        assert pool.health_status().checker_alive


def test_a_checker_by_hand_that_is_switched_off() -> None:
    """It takes the place all the same: then nothing checks."""
    pool = quick_pool()
    former = pool.start()
    handle = HealthChecker(pool, HealthCheckConfig(enabled=False)).start()
    assert handle.stopped.is_set()
    assert former.join(WALL)
    pool.complete("hello")
    assert checkers() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"config": 30}, "config: wanted a HealthCheckConfig or None, got 30"),
        ({"check": "ping"}, "check: wanted Ping"),
    ],
)
def test_a_checker_made_wrong(arguments: dict[str, Any], said: str) -> None:
    """It is refused with the field, what is wanted and what came."""
    with pytest.raises(TypeError, match=said):
        HealthChecker(pool_of("a"), **arguments)


# -- threads that die, or never live --------------------------------------------------------------


def test_the_thread_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status and listeners show it; the next call starts another under the same handle."""
    events: list[Event] = []
    questions = Questions()
    pool = quick_pool(questions, listeners=[events.append])
    monkeypatch.setattr(pool._checker, "tick", lambda: exec("raise SystemExit"))
    handle = pool.start()
    assert handle.join(WALL)
    assert not pool.health_status().checker_alive
    assert not handle.stopped.is_set()
    assert repr(handle) == "<HealthCheckerHandle, at rest>"
    until(lambda: events)
    monkeypatch.undo()
    monkeypatch.setattr(pool._checker, "_start_at", 0.0)  # as if a second had gone by
    pool.complete("hello")
    assert questions.wait_for(2)
    assert pool.health_status().checker_alive
    assert pool._checker.handle is handle
    told = [(event.deployment, event.old, event.new, event.reason) for event in events]
    assert told == [("", "running", "dead", "SystemExit"), ("", "dead", "running", None)]
    handle.stop()
    assert handle.join(WALL)


def test_no_thread_for_the_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls work, one a second tries again, and the listeners are told once each way."""
    events: list[Event] = []
    tries: list[str] = []
    pool = pool_of("a", listeners=[events.append])
    clock: Any = pool._clock
    pool._checker.idle = True

    def refuse(thread: threading.Thread) -> None:
        tries.append(thread.name)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(3):
        for _ in range(3):
            assert pool.complete("hello").text == "fine"
        clock.advance(1.0)
    assert tries == ["llmpool-checker-main"] * 3
    assert [(event.old, event.new) for event in events] == [("running", "dead")]
    assert not pool.health_status().checker_alive
    monkeypatch.undo()
    pool.complete("hello")
    assert pool.health_status().checker_alive
    assert [(event.old, event.new) for event in events[1:]] == [("dead", "running")]


def test_a_host_where_threads_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls work and the status shows it; joining does not wait for what never began."""
    pool = pool_of("a")
    pool._checker.idle = True
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    for _ in range(3):
        assert pool.complete("hello").text == "fine"
    assert not pool.health_status().checker_alive
    pool.close()


def test_a_thread_that_is_there_and_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it lives is not enough: the status tells whether it woke when it meant to."""
    pool = quick_pool()
    entered, leave = threading.Event(), threading.Event()

    def stand_still() -> float:
        entered.set()
        assert leave.wait(WALL)
        return 3600.0

    monkeypatch.setattr(pool._checker, "tick", stand_still)
    handle = pool.start()
    assert entered.wait(WALL)
    assert pool.health_status().checker_alive
    monkeypatch.setattr(pool._checker, "_awake_by", time.monotonic() - 1.0)
    assert handle.alive
    assert not pool.health_status().checker_alive
    leave.set()


def test_an_interrupt_while_the_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that has not begun is begun by the next call."""
    pool = pool_of("a")
    pool._checker.idle = True

    def interrupt(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.complete("hello")
    monkeypatch.undo()
    pool._clock.advance(1.0)  # type: ignore[attr-defined]
    pool.complete("hello")
    assert len(checkers()) == 1


# -- pools that are forgotten -------------------------------------------------------------------


def forget(make: Callable[[], Any]) -> list[weakref.ref[Any]]:
    """Make something, and keep only weak references to it."""
    return [weakref.ref(thing) for thing in make()]


def slow_pool(**more: Any) -> ProviderPool:
    """Build a pool whose checker sleeps for long."""
    settings = HealthCheckConfig(3600.0, unhealthy_interval=3600.0)
    provider = ScriptedProvider("fine", repeat=True)
    return ProviderPool([Deployment("a", provider)], health_check=settings, **more)


def test_a_pool_forgotten_without_close() -> None:
    """It is collected, and its thread ends at once, however long it meant to sleep."""

    def make() -> Any:
        pool = slow_pool()
        pool.complete("hello")
        until(lambda: pool.health("a").last_check)
        return pool, pool._checker, pool._ledger

    refs = forget(make)
    gc.collect()
    until(lambda: [ref() for ref in refs] == [None] * 3)
    until(lambda: checkers() == [])


def test_a_pool_forgotten_in_a_cycle() -> None:
    """The collector finds it, whatever thread it runs in."""

    def make() -> Any:
        cycle: list[Any] = []
        pool = slow_pool(listeners=[cycle.append])
        cycle.append(pool)
        pool.start()
        return (pool,)

    gc.disable()
    try:
        (ref,) = forget(make)
        assert ref() is not None
        assert len(checkers()) == 1
        until(lambda: gc.collect() >= 0 and ref() is None)
    finally:
        gc.enable()
    until(lambda: checkers() == [])


def test_ten_times_the_same_cell() -> None:
    """Each new pool takes the place of the one before: one thread is left."""
    pool = None
    for _ in range(10):
        pool = slow_pool()
        pool.complete("hello")
    gc.collect()
    until(lambda: len(checkers()) == 1)
    assert pool is not None
    assert pool.health_status().checker_alive


def test_a_forgotten_pool_whose_checker_is_kept() -> None:
    """The thread ends too, for there is nothing left to check."""
    pool = slow_pool()
    checker = HealthChecker(pool, HealthCheckConfig(3600.0, unhealthy_interval=3600.0))
    handle = checker.start()
    del pool
    gc.collect()
    assert handle.join(WALL)
    checker.ensure()
    with pytest.raises(PoolClosed):
        checker.start()


def test_a_forgotten_pool_with_a_hung_check() -> None:
    """It is collected while the check hangs."""
    hang = Hang()

    def make() -> Any:
        pool = quick_pool(Questions(a=hang))
        pool.start()
        assert hang.entered.acquire(timeout=WALL)
        return (pool,)

    (ref,) = forget(make)
    gc.collect()
    assert ref() is None
    until(lambda: checkers() == [])
    hang.open.set()


def test_a_pool_forgotten_by_the_metronome_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its thread held the last reference, it does not sleep before it ends."""
    inside, leave = threading.Event(), threading.Event()

    def make() -> Any:
        pool = slow_pool()
        tick = pool._checker._ledger.tick

        def hold() -> None:
            kept.append(pool)  # the last reference, dropped on this thread
            inside.set()
            assert leave.wait(WALL)
            tick()
            kept.clear()

        kept: list[Any] = []
        monkeypatch.setattr(pool._checker._ledger, "tick", hold)
        pool.start()
        assert inside.wait(WALL)
        return (pool,)

    (ref,) = forget(make)
    monkeypatch.undo()
    leave.set()
    until(lambda: checkers() == [])
    gc.collect()
    assert ref() is None


def test_a_hand_that_turns_while_the_thread_runs() -> None:
    """Two turns at once ask nobody twice."""
    questions = Questions()
    pool = slow_pool(check=Custom(questions))
    hand = Hand(pool)
    turns = [in_thread(hand.checker.tick) for _ in range(4)]
    for thread, _ in turns:
        thread.join(WALL)
    assert questions.wait_for(1)
    assert questions.asked == ["a"]


class Deaf(threading.Event):
    """One that cannot be set."""

    def set(self) -> None:
        """Do nothing."""


def test_a_pool_forgotten_just_before_a_pass() -> None:
    """The thread ends at the pass, though it has not yet been told to."""
    pool = pool_of(ScriptedProvider())
    checker = HealthChecker(pool, HealthCheckConfig())
    thread = metronome(checker, pool, Deaf())
    del checker, pool
    gc.collect()
    thread.start()
    thread.join(WALL)
    assert not thread.is_alive()
