"""Time as a thing that is passed in, so that what takes minutes is tested in none."""

from __future__ import annotations

import datetime
import math
import sys
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the pool knows of time."""

    def now(self) -> float:
        """Give monotonic seconds."""
        ...

    def utc(self) -> datetime.datetime:
        """Give the wall clock's time, aware; shown to people, never calculated with."""
        ...

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for *event* at most *timeout* seconds; tell whether it is set."""
        ...


NAP = 0.5


class SystemClock:
    """The machine's own time."""

    now = staticmethod(time.monotonic)

    def utc(self) -> datetime.datetime:
        """Give the wall clock's time in UTC."""
        return datetime.datetime.now(datetime.timezone.utc)

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for *event*; in half seconds where a longer wait ignores Ctrl-C (Windows before 3.14)."""
        if sys.platform != "win32":
            return event.wait(timeout)
        end = math.inf if timeout is None else self.now() + timeout
        while not event.wait(max(0.0, min(NAP, end - self.now()))):
            if self.now() >= end:
                return False
        return True
