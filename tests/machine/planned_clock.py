"""A clock on which things happen to others while one waits."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

from llmpool.testing import ManualClock


class PlannedClock(ManualClock):
    """
    A manual clock that carries out plans when its hands come to them.

    Threads: one. A wait ends at the plan that sets its event.
    """

    def __init__(self) -> None:
        super().__init__()
        self._plans: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def plan(self, seconds: float, act: Callable[[], object]) -> Callable[[], None]:
        """Have *act* done so many seconds from now; give what calls it off."""
        planned = (self.now() + seconds, next(self._order), act)
        heapq.heappush(self._plans, planned)

        def call_off() -> None:
            if planned in self._plans:
                self._plans.remove(planned)
                heapq.heapify(self._plans)

        return call_off

    def advance(self, seconds: float) -> None:
        """Move the hands on, from plan to plan."""
        self._go(self.now() + seconds, threading.Event())

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Move on by *timeout*, or to the plan that sets *event*."""
        if timeout is None:
            raise AssertionError("a wait without end")
        if not event.is_set():
            self._go(self.now() + max(0.0, timeout), event)
        return event.is_set()

    def _go(self, end: float, event: threading.Event) -> None:
        while self._plans and self._plans[0][0] <= end:
            at, _, act = heapq.heappop(self._plans)
            super().advance(max(0.0, at - self.now()))
            act()
            if event.is_set():
                return
        super().advance(max(0.0, end - self.now()))
