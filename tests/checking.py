"""What the tests of the checker share: a pool on a hand-turned clock, and a hand to turn its checker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from llmpool import Deployment, HealthCheckConfig, ProviderPool
from llmpool.examiner import Job
from llmpool.status import HealthCheckResult
from llmpool.testing import ManualClock, ScriptedProvider

WALL = 30.0
"""Seconds within which anything must happen that is awaited for real."""


def pool_of(
    *given: Any,
    check: Any = None,
    clock: ManualClock | None = None,
    listeners: Any = (),
    fail_open: bool = True,
    **settings: Any,
) -> ProviderPool:
    """
    Build a pool on a hand-turned clock, whose checker has no jitter and is not started by itself.

    Deployments are given, or their providers, or their names: then they answer whatever comes.
    """
    names = iter("abcdefgh")
    deployments = []
    for each in given:
        if isinstance(each, str):
            each = Deployment(each, ScriptedProvider("fine", name=each, repeat=True))
        if not isinstance(each, Deployment):
            each = Deployment(next(names), each)
        deployments.append(each)
    pool = ProviderPool(
        deployments,
        name="main",
        check=check,
        clock=ManualClock() if clock is None else clock,
        listeners=listeners,
        fail_open=fail_open,
        health_check=HealthCheckConfig(**{"jitter": 0.0, **settings}),
    )
    pool._checker.idle = False  # no call starts it
    return pool


class Hand:
    """Turns the checker of a pool, and waits for the checks that a turn has begun."""

    def __init__(self, pool: ProviderPool) -> None:
        self.pool = pool
        self.clock: Any = pool._clock
        self.checker: Any = pool._checker
        self.jobs: list[Job] = []
        self.nap = 0.0
        self._begin = self.checker._examiner.begin
        self.checker._examiner.begin = self._noted

    def _noted(self, name: str) -> Job | None:
        job: Job | None = self._begin(name)
        if job is not None:
            self.jobs.append(job)
        return job

    def tick(self, after: float = 0.0) -> list[str]:
        """Move the clock, turn once, wait; give the names that were asked."""
        self.clock.advance(after)
        self.jobs = []
        self.nap = self.checker.tick()
        for job in self.jobs:
            assert job.done.wait(WALL)
        return [job.entry.name for job in self.jobs]

    def over(self, seconds: float, step: float = 1.0) -> list[float]:
        """Turn every *step* seconds; give the times, from now, at which somebody was asked."""
        times = []
        for turn in range(1, round(seconds / step) + 1):
            times += [turn * step for _ in self.tick(step)]
        return times


class Questions:
    """A check's function: answers by name, True by default, and counts what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)

    def __call__(self, deployment: Deployment) -> bool | HealthCheckResult:
        with self._came:
            self.asked.append(deployment.name)
            self._came.notify_all()
        answer = self.answers.get(deployment.name, True)
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    def wait_for(self, count: int) -> bool:
        """Wait until so many questions have come."""
        with self._came:
            return self._came.wait_for(lambda: len(self.asked) >= count, WALL)


class Hang:
    """An answer that does not come until it is let go."""

    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.left = threading.Event()

    def __call__(self) -> bool:
        self.entered.release()
        assert self.open.wait(60.0)
        self.left.set()
        return self.answer


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run *work* in a thread of its own; give the thread and the list its result goes into."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


def until(condition: Callable[[], Any]) -> None:
    """Wait until *condition* holds, which another thread is to bring about."""
    pause, end = threading.Event(), time.monotonic() + WALL
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        pause.wait(0.002)


def threads_named(part: str) -> list[str]:
    """Give the names of the living threads that have *part* in them."""
    return [thread.name for thread in threading.enumerate() if part in thread.name]
