"""A clock turned by hand."""

from __future__ import annotations

import datetime
import threading

_EPOCH = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)


class ManualClock:
    """
    A clock that moves only when told: what takes minutes is tested in none.

    A wait on it returns at once and moves it by the time that would have gone by, so code
    under test that waits never does, and every thread sees the same hands.

    Threads: every method may be called from any; the lock guards the hands.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._lock = threading.Lock()
        self._start = start
        self._now = start

    def __repr__(self) -> str:
        return f"ManualClock(now={self.now()})"

    def now(self) -> float:
        """Give monotonic seconds."""
        with self._lock:
            return self._now

    def utc(self) -> datetime.datetime:
        """Give a wall clock that started at the year 2030 and moves along."""
        with self._lock:
            return _EPOCH + datetime.timedelta(seconds=self._now - self._start)

    def advance(self, seconds: float) -> None:
        """
        Move the hands on.

        Raises:
            ValueError: *seconds* is negative; a monotonic clock does not go back.
        """
        if not seconds >= 0:
            raise ValueError(f"seconds: wanted a number >= 0, got {seconds!r}")
        with self._lock:
            self._now += seconds

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """
        Move on by *timeout* unless *event* is set; tell whether it is.

        Raises:
            AssertionError: there is no end to the wait, which no clock could bring about.
        """
        if event.is_set():
            return True
        if timeout is None:
            raise AssertionError("a wait without end on a ManualClock")
        self.advance(max(0.0, timeout))
        return event.is_set()
