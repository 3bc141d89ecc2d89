"""One deployment's last hour: calls, errors and latencies in buckets of half a minute."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from llmpool.latency import Latencies
from llmpool.outcomes import Verdict
from llmpool.web.spells import Spells

STEP = 30.0
"""Seconds of one bucket."""
COUNT = 120
"""So many buckets are kept."""

_ERRORS = frozenset({Verdict.RATE_LIMITED, Verdict.CONFIG, Verdict.BUSY, Verdict.FAULT})
"""What counts as a deployment's error, as in its status."""


@attrs.frozen
class Bucket:
    """What came of the calls that ended within one step; latencies are of those that succeeded."""

    place: int
    calls: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None


class Line:
    """
    The buckets and the states of one deployment.

    Past buckets are kept as their sums, so that an hour takes the same room whatever happened in it.

    Not thread-safe: the history's lock guards it.
    """

    __slots__ = ("_calls", "_errors", "_latencies", "_past", "_place", "seen_at", "spells")

    def __init__(self, now: float) -> None:
        self.seen_at = now
        self.spells = Spells()
        self._past: deque[Bucket] = deque()
        self._place = place_of(now)
        self._begin()

    def _begin(self) -> None:
        self._calls = self._errors = 0
        self._latencies = Latencies()

    def count(self, verdict: Verdict, latency: float, now: float) -> None:
        """Count an attempt; one that is told of late goes into the newest bucket."""
        self.turn(place_of(now))
        self._calls += 1
        self._errors += verdict in _ERRORS
        if verdict is Verdict.OK:
            self._latencies.add(latency, now)

    def turn(self, place: int) -> None:
        """Begin the bucket at *place* if it is a later one, and drop those that are too old by then."""
        if place <= self._place:
            return
        if self._calls:
            self._past.append(self._newest())
            self._begin()
        self._place = place
        while self._past and self._past[0].place <= place - COUNT:
            self._past.popleft()

    def _newest(self) -> Bucket:
        middle, most = self._latencies.quantile(0.5), self._latencies.quantile(0.99)
        return Bucket(
            self._place, self._calls, self._errors, _milliseconds(middle), _milliseconds(most)
        )

    def buckets(self, first: int) -> list[Bucket]:
        """Give the buckets with calls in them from *first* on."""
        return [
            bucket
            for bucket in (*self._past, self._newest())
            if bucket.place >= first and bucket.calls
        ]

    def columns(self, first: int, count: int) -> dict[str, list[Any]]:
        """Give *count* buckets from *first* on as columns; where nothing was called, zeros and None."""
        columns: dict[str, list[Any]] = {
            "calls": [0] * count,
            "errors": [0] * count,
            "p50_ms": [None] * count,
            "p99_ms": [None] * count,
        }
        for bucket in self.buckets(first):
            for name, column in columns.items():
                column[bucket.place - first] = getattr(bucket, name)
        return columns


def place_of(now: float) -> int:
    """Give the number of the bucket that a monotonic time lies in."""
    return int(now // STEP)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000.0, 3)
