"""When each deployment's next turn to be checked comes."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable

from llmpool.config import Deployment


class Schedule:
    """
    Turns of deployments, by name; times are the pool's monotonic seconds.

    Each operation but :meth:`enroll` costs O(log n). No lock of its own: one thread at a time.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []
        self._at: dict[str, float] = {}  # of several turns of one name in the heap, the valid one
        self._order = itertools.count()
        self._roster: dict[str, Deployment] = {}

    def enroll(self, deployments: Iterable[Deployment], now: float) -> None:
        """Give those that are new a turn at once, and drop those that are gone."""
        roster = {deployment.name: deployment for deployment in deployments}
        for name in self._at.keys() - roster.keys():
            del self._at[name]
        for name, deployment in roster.items():
            if self._roster.get(name) is not deployment:
                self.put(name, now)
        self._roster = roster

    def put(self, name: str, at: float) -> None:
        """Give *name* a turn at *at*, unless it has an earlier one."""
        known = self._at.get(name)
        if known is None or at < known:
            self._at[name] = at
            heapq.heappush(self._heap, (at, next(self._order), name))

    def take(self, now: float) -> list[str]:
        """Give the names whose turn has come; they have none any more."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, _, name = heapq.heappop(self._heap)
            if self._at.get(name) == at:
                del self._at[name]
                due.append(name)
        return due

    def next_at(self) -> float | None:
        """Give the time of the next turn; None when there is none."""
        while self._heap and self._at.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
