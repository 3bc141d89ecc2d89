"""The executor under many threads."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from crowd import PATIENCE, WINDOW, Inside, NoLock, caught, crowd, give_way

from llmpool._threads import DaemonExecutor

WORKERS = 3


class Unguarded(DaemonExecutor):
    """The broken twin."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._guard = NoLock()  # type: ignore[assignment]


def slowly() -> Iterator[int]:
    """Number the workers, giving way between the look at how many there are and the next."""
    for number in itertools.count(1):
        give_way()
        yield number


def hammer(kind: type[DaemonExecutor]) -> list[str]:
    """Have 64 threads submit; give what is wrong with what comes back."""
    executor = kind(WORKERS, "llmpool-race")
    executor._numbers = slowly()  # type: ignore[assignment]
    inside = Inside({"work": WORKERS})

    def work(number: int) -> int:
        with inside("work"):
            return number

    def submit(number: int) -> None:
        for turn in range(10):
            if not inside.problems:
                future = executor.submit(work, number + turn)
                assert future.result(3.0) == number + turn

    return crowd(submit) + inside.problems


def test_a_crowd_submits() -> None:
    """Each job is done once, by no more workers than wanted; without its guard it shows."""
    assert hammer(DaemonExecutor) == []
    assert caught(lambda: hammer(Unguarded))


class Door(deque[Any]):
    """A queue that holds the worker who finds it empty until somebody has come, or was kept out."""

    def __init__(self) -> None:
        super().__init__()
        self.leaving = threading.Event()
        self.came = threading.Event()
        self.kept_out: bool | None = None

    def __bool__(self) -> bool:
        some = len(self) > 0
        if not some and not self.leaving.is_set():
            self.leaving.set()
            self.kept_out = not self.came.wait(WINDOW)
        return some

    def append(self, job: Any) -> None:
        """Take in a job."""
        super().append(job)
        if self.leaving.is_set():
            self.came.set()


def meet_at_the_door(executor: DaemonExecutor) -> tuple[bool | None, bool]:
    """Submit while the last worker leaves; tell whether one was kept out, and whether it is done."""
    door = executor._jobs = Door()
    first = executor.submit(threading.current_thread)
    worker = first.result(PATIENCE)
    assert door.leaving.wait(PATIENCE)
    second = executor.submit(str, 2)
    worker.join(PATIENCE)
    assert not worker.is_alive()
    if door.kept_out:
        assert second.result(PATIENCE) == "2"
    return door.kept_out, second.done()


def test_a_job_comes_as_the_last_worker_leaves() -> None:
    """It comes either before the worker looks or after it has left, and is done; else it is stranded."""
    assert meet_at_the_door(DaemonExecutor(1, "llmpool-door")) == (True, True)
    assert meet_at_the_door(Unguarded(1, "llmpool-door")) == (False, False)
