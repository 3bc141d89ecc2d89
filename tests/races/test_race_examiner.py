"""The examiner and the schedule of checks under many threads."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest
from crowd import PATIENCE, WINDOW, Inside, NoLock, caught, crowd, give_way
from stand import Mute

from llmpool import Custom, Deployment, HealthCheckConfig, HealthChecker, ProviderPool
from llmpool.testing import ManualClock

NAMES = tuple(f"d{number}" for number in range(4))
CONFIG = HealthCheckConfig(enabled=False, timeout=PATIENCE)


class Yielding(dict[Any, Any]):
    """A dictionary that gives way between what is read of it and what is done about that."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Look up, and dawdle."""
        found = super().get(key, default)
        give_way()
        return found


class Hesitant(list[Any]):
    """A heap that gives way between the look at its top and what is done about that."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        give_way()
        return found


def make_pool(check: Custom, *names: str, clock: ManualClock | None = None) -> ProviderPool:
    """Make a pool that is checked by hand."""
    fleet = [Deployment(name, Mute()) for name in names]
    return ProviderPool(fleet, health_check=CONFIG, check=check, clock=clock)


def hammer_examiner(broken: bool) -> list[str]:
    """Have 64 threads check at once; give what is wrong with what they are told."""
    inside = Inside(dict.fromkeys(NAMES, 1))

    def ask(deployment: Deployment) -> bool:
        with inside(deployment.name):
            return True

    pool = make_pool(Custom(ask), *NAMES)
    assert pool._checker is not None
    examiner = pool._checker._examiner
    examiner._open = Yielding()
    if broken:
        examiner._lock = NoLock()  # type: ignore[assignment]

    def check(number: int) -> None:
        for _ in range(3):
            if not inside.problems:
                told = pool.check_now()
                assert [each.deployment for each in told] == list(NAMES)
                assert all(each.healthy for each in told)

    return crowd(check) + inside.problems


def test_a_crowd_checks() -> None:
    """No deployment is asked twice at once, and everybody is told of all; without its lock it shows."""
    assert hammer_examiner(broken=False) == []
    assert caught(lambda: hammer_examiner(broken=True))


class Door(dict[Any, Any]):
    """Holds the first who looks until another has looked as well, or was kept out."""

    def __init__(self) -> None:
        super().__init__()
        self.looking = threading.Event()
        self.came = threading.Event()
        self.kept_out: bool | None = None

    def get(self, key: Any, default: Any = None) -> Any:
        """Look up, the first one slowly."""
        found = super().get(key, default)
        if not self.looking.is_set():
            self.looking.set()
            self.kept_out = not self.came.wait(WINDOW)
        else:
            self.came.set()
        return found


@pytest.mark.parametrize("broken", [False, True])
def test_two_threads_begin_one_check(broken: bool) -> None:
    """The second one joins the check of the first; without the lock there would be two."""
    asked: Counter[str] = Counter()
    go_on = threading.Event()

    def ask(deployment: Deployment) -> bool:
        asked[deployment.name] += 1
        return go_on.wait(PATIENCE)

    pool = make_pool(Custom(ask), "eu")
    assert pool._checker is not None
    examiner = pool._checker._examiner
    door = examiner._open = Door()
    if broken:
        examiner._lock = NoLock()  # type: ignore[assignment]
    jobs: list[Any] = []
    threads = [threading.Thread(target=lambda: jobs.append(examiner.begin("eu"))) for _ in range(2)]
    threads[0].start()
    assert door.looking.wait(PATIENCE)
    threads[1].start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    go_on.set()
    examiner.wait(jobs)
    assert (door.kept_out, asked["eu"]) == ((False, 2) if broken else (True, 1))
    assert (jobs[0] is jobs[1]) == (not broken)


def hammer_schedule(broken: bool) -> list[str]:
    """Have 16 threads take what is due; give what is wrong with what they got."""
    names = [f"d{number}" for number in range(32)]
    pool = make_pool(Custom(lambda deployment: True), *names, clock=ManualClock())
    checker = HealthChecker(pool, CONFIG)
    checker._rng = random.Random(1)
    now = checker._now()
    assert sorted(checker._due(now)) == sorted(names)
    for name in names:
        checker._schedule.put(name, now)
    checker._schedule._at = Yielding(checker._schedule._at)
    checker._schedule._heap = Hesitant(checker._schedule._heap)
    if broken:
        checker._lock = NoLock()  # type: ignore[assignment]
    taken: list[str] = []
    problems = crowd(lambda number: taken.extend(checker._due(now)), threads=16)
    if sorted(taken) != sorted(names):
        problems.append(f"taken: {Counter(taken)}")
    return problems


def test_a_crowd_takes_turns() -> None:
    """Each turn that is due is taken once; without the lock it shows."""
    assert hammer_schedule(broken=False) == []
    assert caught(lambda: hammer_schedule(broken=True))
