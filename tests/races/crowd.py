"""Many threads at once, switched as often as the interpreter can, and twins of ours that are broken."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

PATIENCE = 30.0
"""Real seconds within which every thread of a test gets where it is going."""
WINDOW = 0.3
"""Seconds for which a window is held open to somebody whom the lock must keep out."""
ROUNDS = 20
"""So often a stress run may fail to catch a broken twin; each of them alone mostly does."""


def give_way() -> None:
    """Let another thread run."""
    # As short as can be, and yet a sleep: after one of no time at all Python 3.10 mostly goes on with
    # the same thread.
    time.sleep(1e-6)


class NoLock:
    """What takes the place of a lock in a broken twin."""

    def __enter__(self) -> None:
        give_way()

    def __exit__(self, *_: object) -> None:
        pass

    def acquire(self, *_: object, **__: object) -> bool:
        """Pretend."""
        return True

    def release(self) -> None:
        """Pretend."""


@contextlib.contextmanager
def switching() -> Iterator[list[str]]:
    """Switch threads as often as can be; give a list of what threads died of meanwhile."""
    died: list[str] = []

    def note(args: threading.ExceptHookArgs) -> None:
        died.append(f"a thread died of {args.exc_type.__name__}: {args.exc_value}")

    interval, hook = sys.getswitchinterval(), threading.excepthook
    threading.excepthook = note
    sys.setswitchinterval(1e-6)
    try:
        yield died
    finally:
        sys.setswitchinterval(interval)
        threading.excepthook = hook


def crowd(job: Callable[[int], object], threads: int = 64) -> list[str]:
    """Have *job* done by so many threads at once, each with its number; give what went wrong."""
    problems: list[str] = []
    together = threading.Barrier(threads)

    def work(number: int) -> None:
        try:
            together.wait(PATIENCE)
            job(number)
        except BaseException as error:
            problems.append(f"{type(error).__name__}: {error}")

    callers = [
        threading.Thread(target=work, args=(number,), name=f"crowd-{number}", daemon=True)
        for number in range(threads)
    ]
    with switching() as died:
        for caller in callers:
            caller.start()
        end = time.monotonic() + PATIENCE
        for caller in callers:
            caller.join(max(0.0, end - time.monotonic()))
            if caller.is_alive():
                problems.append(f"{caller.name} is stuck")
    return problems + died


def caught(run: Callable[[], list[str]]) -> bool:
    """Tell whether a stress run finds something wrong, given some rounds for it."""
    return any(run() for _ in range(ROUNDS))


class Inside:
    """
    Counts who is inside of what, and notes when there are too many.

    Threads: any; the lock guards the counts.
    """

    def __init__(self, most: dict[Any, int]) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._now = dict.fromkeys(most, 0)
        self.passed = dict.fromkeys(most, 0)
        self.problems: list[str] = []

    @contextlib.contextmanager
    def __call__(self, what: Any) -> Iterator[None]:
        """Be inside of *what* while the block lasts."""
        with self._lock:
            self._now[what] += 1
            self.passed[what] += 1
            if self._now[what] > self._most[what]:
                self.problems.append(f"{self._now[what]} at once inside of {what}")
        try:
            give_way()
            yield
        finally:
            with self._lock:
                self._now[what] -= 1
