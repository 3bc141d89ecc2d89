"""Counting the outcomes of the last two minutes."""

from __future__ import annotations

WINDOW = 120.0
BUCKET = WINDOW / 12


class Tally:
    """
    Live outcomes, the faults among them, and the faults that no ping finds.

    ``buckets`` are of ten seconds, and each is ``[start, outcomes, faults, deep faults]``.
    """

    __slots__ = ("buckets",)

    def __init__(self) -> None:
        self.buckets: list[list[float]] = []

    def bucket(self, now: float) -> list[float]:
        """Give the bucket to count in."""
        buckets = self.buckets
        if not buckets or now >= buckets[-1][0] + BUCKET:
            buckets.append([now, 0, 0, 0])
            while buckets[0][0] <= now - WINDOW:
                del buckets[0]
        return buckets[-1]

    def add_fault(self, now: float, deep: bool) -> None:
        """Count a fault, *deep* if no ping finds it."""
        bucket = self.bucket(now)
        bucket[1] += 1
        bucket[2] += 1
        bucket[3] += deep

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
