"""Latencies of one deployment: quantiles from logarithmic buckets that forget."""

from __future__ import annotations

import math
from bisect import bisect_left

_GROWTH = 2 ** (1 / 8)
_FIRST = 1e-5
_BOUNDS = tuple(_FIRST * _GROWTH**step for step in range(208))
"""Upper ends in seconds, from 10 µs to about 600 s, each 9 % above the last."""

HALF = 150.0
"""Seconds that half of the memory spans; a measurement is forgotten after one to two of these."""


class Latencies:
    """
    Successful calls' seconds over the last few minutes.

    Not thread-safe: the ledger's lock guards it. Quantiles are right to within 5 %.
    """

    __slots__ = ("_cached", "_now", "_old", "_turn_at", "count", "mean", "measured_at", "worst")

    def __init__(self) -> None:
        self._now: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._turn_at = -math.inf
        self._cached: dict[float, float] = {}
        self.count = 0
        self.mean: float | None = None
        self.measured_at = -math.inf
        self.worst = 0.0  # no call in memory took longer

    def add(self, seconds: float, now: float) -> float:
        """Take in one call; give the mean with it."""
        if now >= self._turn_at:
            self._turn(now)
        place = bisect_left(_BOUNDS, seconds)
        counts = self._now
        counts[place] = counts.get(place, 0) + 1
        self.count = count = self.count + 1
        if count & 31 == 1 or count < 32:
            self._cached.clear()
        self.measured_at = now
        if seconds > self.worst:
            self.worst = seconds
        mean = self.mean
        # A moving mean over some ten calls: quick to see a change, not moved by one outlier alone.
        mean = seconds if mean is None else mean + 0.1 * (seconds - mean)
        self.mean = mean
        return mean

    def quantile(self, share: float) -> float | None:
        """Give the seconds that *share* of the calls stayed below; None while unmeasured."""
        known = self._cached.get(share)
        if known is not None:
            return known
        counts = dict(self._old)
        for place, number in self._now.items():
            counts[place] = counts.get(place, 0) + number
        rank = share * sum(counts.values())
        for place in sorted(counts):
            rank -= counts[place]
            if rank <= 0:
                found = _BOUNDS[min(place, len(_BOUNDS) - 1)] / math.sqrt(_GROWTH)
                self._cached[share] = found
                return found
        return None

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        if now >= self._turn_at and self.count:
            self._turn(now)
        if now - self.measured_at > HALF:
            self.mean = None

    def _turn(self, now: float) -> None:
        fresh = now < self._turn_at + HALF
        self._old = self._now if fresh else {}
        self._now = {}
        self._turn_at = now + HALF
        self.count = sum(self._old.values())
        self.worst = _BOUNDS[min(max(self._old), len(_BOUNDS) - 1)] if self._old else 0.0
        self._cached.clear()
