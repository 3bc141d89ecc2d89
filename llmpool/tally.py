"""Counting the outcomes of the last two minutes."""

from __future__ import annotations

import math

WINDOW = 120.0
BUCKET = WINDOW / 12


class Tally:
    """
    Live outcomes, the faults among them, and the faults that no ping finds.

    ``buckets`` are of ten seconds, and each is ``[start, outcomes, faults, deep faults]``.
    """

    __slots__ = ("_full_at", "buckets")

    def __init__(self) -> None:
        self.buckets: list[list[float]] = []
        self._full_at = -math.inf  # the end of the last one

    def add(self, now: float) -> None:
        """Count an outcome, a fault or none."""
        if now >= self._full_at:
            self._begin(now)
        self.buckets[-1][1] += 1

    def add_fault(self, now: float, deep: bool) -> None:
        """Count a fault, *deep* if no ping finds it."""
        self.add(now)
        bucket = self.buckets[-1]
        bucket[2] += 1
        bucket[3] += deep

    def _begin(self, now: float) -> None:
        self.buckets.append([now, 0, 0, 0])
        self._full_at = now + BUCKET
        while self.buckets[0][0] <= now - WINDOW:
            del self.buckets[0]

    def take_back(self) -> None:
        """Count the last deep fault no longer."""
        for bucket in reversed(self.buckets):
            if bucket[3]:
                bucket[1:] = [count - 1 for count in bucket[1:]]
                return

    def totals(self, now: float) -> tuple[float, float, float]:
        """Give outcomes, faults and deep faults of the last two minutes."""
        fresh = [bucket for bucket in self.buckets if bucket[0] > now - WINDOW]
        total, faults, deep = (sum(bucket[column] for bucket in fresh) for column in (1, 2, 3))
        return total, faults, deep
