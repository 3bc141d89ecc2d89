"""The first calls of a process: a pool begins anew once, and its checker is started once."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import pytest
from crowd import PATIENCE, NoLock, caught, crowd, give_way

from llmpool import Deployment, HealthCheckConfig, HealthCheckerHandle, ProviderPool, checker
from llmpool._forks import Home
from llmpool.testing import ScriptedProvider

NEVER = HealthCheckConfig(interval=3600.0, unhealthy_interval=3600.0)


class Slow(HealthCheckerHandle):
    """A handle that takes its time to be made: whoever else looks meanwhile finds none."""

    made: ClassVar[list[HealthCheckerHandle]] = []

    def __init__(self) -> None:
        give_way()
        super().__init__()
        self.made.append(self)


def make_pool() -> ProviderPool:
    """Make a pool that has started nothing."""
    provider = ScriptedProvider("fine", repeat=True)
    return ProviderPool([Deployment("eu", provider)], health_check=NEVER)


def hammer_start(broken: bool, started: list[threading.Thread]) -> list[str]:
    """Have 64 threads make the first call; give what is wrong with what they start."""
    started.clear()
    Slow.made.clear()
    pool = make_pool()
    if broken:
        pool._checker._lock = NoLock()  # type: ignore[assignment]
    problems = crowd(lambda number: pool.complete("hello"))
    if len(started) != 1:
        problems.append(f"{len(started)} threads were started")
    pool.close()
    for handle in Slow.made:
        handle.stop()  # one of which the pool knows nothing too
    for thread in started:
        thread.join(PATIENCE)
    return problems


def test_a_crowd_makes_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them starts the checker; where two may look before either has it shows."""
    started: list[threading.Thread] = []
    start = checker.start

    def note(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(checker, "start", note)
    monkeypatch.setattr(checker, "HealthCheckerHandle", Slow)
    assert hammer_start(False, started) == []
    assert caught(lambda: hammer_start(True, started))


class Hesitant(ProviderPool):
    """A pool that dawdles between the look at its process id and what it does about that."""

    resets = 0

    def _reset(self) -> None:
        self.resets += 1
        give_way()
        super()._reset()


def hammer_process(broken: bool) -> list[str]:
    """Have 64 threads find another process id; give what is wrong with what they make of it."""
    pool: Any = make_pool()
    pool.__class__ = Hesitant
    pool._home = Home(pool._reset)
    if broken:
        pool._home.lock = NoLock()
    pool._home.pid = -1
    problems = crowd(lambda number: pool.healthy_count())
    if pool.resets != 1:
        problems.append(f"reset {pool.resets} times")
    return problems


def test_a_crowd_finds_itself_in_another_process() -> None:
    """It begins anew once, lest what one has begun be dropped by the next; without the lock it shows."""
    assert hammer_process(False) == []
    assert caught(lambda: hammer_process(True))
