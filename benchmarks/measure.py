"""Figures: several rounds of one measurement, their middle, their spread, and what is to be reached."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

AT_MOST, AT_LEAST = "at most", "at least"


@attrs.frozen
class Scale:
    """How much is done: rounds of each measurement, and whether just enough to see that it works."""

    rounds: int = 5
    quick: bool = False

    def pick(self, full: int, quick: int) -> int:
        """Give the number for this scale."""
        return quick if self.quick else full


def _row(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


@attrs.frozen
class Figure:
    """
    One line of a report.

    ``values`` has one value for each round, and none where it could not be measured; ``limit`` is what is
    to be reached, if anything is.
    """

    what: str
    unit: str
    values: tuple[float, ...] = attrs.field(converter=_row)
    sense: str = AT_MOST
    limit: float | None = None

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values) if self.values else math.nan

    @property
    def met(self) -> bool | None:
        """Whether the middle one reaches the limit; None without one."""
        if self.limit is None:
            return None
        if self.sense == AT_MOST:
            return self.median <= self.limit
        return self.median >= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Write it for JSON."""
        return {
            "what": self.what,
            "unit": self.unit,
            "median": _short(self.median),
            "low": _short(min(self.values, default=math.nan)),
            "high": _short(max(self.values, default=math.nan)),
            "rounds": len(self.values),
            "reach": None if self.limit is None else f"{self.sense} {self.limit:.3g}",
            "met": self.met,
        }

    def __str__(self) -> str:
        told = self.to_dict()
        verdict = {None: "", True: "reached", False: "MISSED"}[told["met"]]
        spread = f"{told['low']} to {told['high']}"
        measured = f"{self.what:<62} {told['median']!s:>9} {self.unit:<6} {spread:<20}"
        return f"  {measured} {told['reach'] or '':<14} {verdict}".rstrip()


def _short(value: float) -> float | None:
    """Give three figures of *value*; None where there is none."""
    return float(f"{value:.3g}") if math.isfinite(value) else None


def alternate(rounds: int, ways: Mapping[str, Callable[[], float]]) -> dict[str, tuple[float, ...]]:
    """Measure each of *ways* in turn, round after round, so that a noisy minute meets them all."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, measure in ways.items():
            found[name].append(measure())
    return {name: tuple(values) for name, values in found.items()}


def ratios(these: Sequence[float], those: Sequence[float]) -> tuple[float, ...]:
    """Divide round by round."""
    return tuple(this / that for this, that in zip(these, those, strict=True))


def seconds_each(
    work: Callable[[int], None], count: int, clock: Callable[[], float] = time.thread_time
) -> float:
    """Give the seconds by *clock* of one of *count* pieces of *work*: by default this thread's CPU time."""
    began = clock()
    work(count)
    return (clock() - began) / count
