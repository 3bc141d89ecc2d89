"""Deployments that come, go, or fall silent while there is traffic."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from checking import Hand
from crowds import until
from scene import ANSWER, PATIENCE, PROMPT, Reader, Stage, states

from llmpool import (
    DeadlineExceeded,
    Deployment,
    HealthCheckConfig,
    NoHealthyDeployment,
    Probe,
)


class Desk:
    """A provider that answers for as long as it is open."""

    def __init__(self) -> None:
        self.open = True
        self.asked = 0
        self.inside = 0
        self._lock = threading.Lock()

    def complete(self, request: Any, timeout: float) -> str:
        """Answer, a moment later."""
        with self._lock:
            self.asked += 1
            self.inside += 1
        came = self.open
        PAUSE.wait(0.002)
        assert came, "asked after it had been left"
        with self._lock:
            self.inside -= 1
        return ANSWER


PAUSE = threading.Event()
"""Nobody sets it: waiting on it lasts as long as it may."""

CALLERS = 100
ROUNDS = 25


def test_deployments_come_and_go_under_a_hundred_threads(stage: Stage) -> None:
    """No call is lost, none reaches a deployment that has been left, and what is in flight ends."""
    pool = stage.pool(
        *(Deployment(name, Desk()) for name in ("eu", "us")), strategy="least_connections"
    )
    turns = threading.Semaphore(0)
    answers: list[str] = []

    def call() -> None:
        for _ in range(ROUNDS):
            assert turns.acquire(timeout=6 * PATIENCE)
            answers.append(pool.complete(PROMPT, timeout=6 * PATIENCE).text)

    callers = [Reader(call) for _ in range(CALLERS)]
    guests: list[Desk] = []
    for number in range(ROUNDS):
        desk = Desk()
        guests.append(desk)
        pool.add(Deployment("guest", desk))
        turns.release(CALLERS)
        until(lambda desk=desk: desk.asked >= 3)
        if number % 2:
            assert pool.drain("guest", timeout=PATIENCE)
            desk.open = False
            assert desk.inside == 0
        if number % 4 == 3:
            desk.open = True
            pool.resume("guest")
        assert pool.remove("guest", timeout=PATIENCE)
        desk.open = False
        assert desk.inside == 0
    for caller in callers:
        caller.result()
    assert answers == [ANSWER] * (CALLERS * ROUNDS)
    assert set(states(pool)) == {"eu", "us"}
    assert all(desk.inside == 0 for desk in guests)


class Fading:
    """A provider that answers until it is told to fall silent."""

    def __init__(self) -> None:
        self.silent = False
        self.asked = 0

    def complete(self, request: Any, timeout: float) -> str:
        """Answer, or use up the time."""
        self.asked += 1
        if self.silent:
            raise DeadlineExceeded("hung")
        return ANSWER


def faded(stage: Stage, **settings: Any) -> tuple[Any, Fading]:
    """Give a pool of one that has given ten thousand good answers, and now hangs, and one that is well."""
    eu = Fading()
    pool = stage.timed(
        Deployment("eu", eu),
        Deployment("us", Fading()),
        health_check=HealthCheckConfig(),
        **settings,
    )
    pool._checker.idle = False  # turned by hand
    for _ in range(10_000):
        pool.complete(PROMPT)
    assert eu.asked == 10_000
    eu.silent = True
    return pool, eu


def test_silence_after_ten_thousand_answers(stage: Stage) -> None:
    """Three calls find out, each of which is answered by another; the past weighs nothing."""
    pool, eu = faded(stage)
    for expected in (1, 2, 3, 3, 3):
        assert pool.complete(PROMPT).deployment == "us"
        assert eu.asked - 10_000 == expected
    assert states(pool) == {"eu": "unhealthy", "us": "healthy"}


def test_silence_after_ten_thousand_answers_and_no_call(stage: Stage) -> None:
    """Checks alone find out as soon, and it has no call before a check has found it well."""
    pool, eu = faded(stage, check=Probe())
    hand = Hand(pool)
    hand.tick()
    failed = 0
    while states(pool)["eu"] == "healthy":
        failed += hand.tick(30.0).count("eu")
        assert failed <= 3
    asked = eu.asked
    assert pool.complete(PROMPT).deployment == "us"
    assert eu.asked == asked


def test_silence_after_ten_thousand_answers_and_nobody_else(stage: Stage) -> None:
    """With nobody to go to its callers are told, and it is out all the same."""
    eu = Fading()
    pool = stage.timed(Deployment("eu", eu), fail_open=False)
    for _ in range(1000):
        pool.complete(PROMPT)
    eu.silent = True
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            pool.complete(PROMPT, retry=False)
    with pytest.raises(NoHealthyDeployment):
        pool.complete(PROMPT)
