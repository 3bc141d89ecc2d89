"""A simulated world of model servers and callers, on a hand-turned clock: hours in seconds."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Sequence
from typing import Any, Protocol

import attrs

from benchmarks.traffic import quantile

SERVERS = 5
MEDIAN, SPREAD = 2.0, 0.6
"""Seconds of the middle answer, and how heavy the tail is: the sigma of a log-normal."""
CROWD = 8
"""So many calls at once double what one takes."""
FAILS_IN = 0.05
ATTEMPTS = 3
HOURS = 7200.0
SPANS = {
    "all is well": (0.0, 600.0),
    "one is slow": (600.0, 2400.0),
    "one fails fast": (2400.0, 3600.0),
    "one flaps": (3600.0, 5400.0),
    "all is well again": (5400.0, 6000.0),
    "a burst comes": (6000.0, 6300.0),
    "the burst is over": (6300.0, 7200.0),
}
"""What happens, and from when to when."""
BURST_AT = 6000.0
BURST_WHILE_FLAPPING = 4500.0


@attrs.frozen
class Call:
    """One call of the traffic: when it comes, and what its attempts take on a good idle server."""

    at: float
    seconds: tuple[float, ...]


@attrs.frozen
class Told:
    """
    What callers met with: when each call came and the seconds until its answer, or infinity.

    A call that failed is so later than any that was answered; the mean is of the answered alone.
    """

    calls: list[tuple[float, float]]
    asked: tuple[int, ...] = ()

    @property
    def failed(self) -> int:
        """How many were not answered."""
        return sum(1 for _, seconds in self.calls if seconds == math.inf)

    @property
    def mean(self) -> float:
        """The mean."""
        answered = [seconds for _, seconds in self.calls if seconds < math.inf]
        return sum(answered) / len(answered) if answered else math.nan

    @property
    def p99(self) -> float:
        """What one in a hundred exceeds."""
        return quantile([seconds for _, seconds in self.calls], 0.99)

    def during(self, start: float, end: float) -> Told:
        """Give the part of it that came within a span."""
        return Told([call for call in self.calls if start <= call[0] < end])


class World:
    """
    The servers at this moment. One is slow for half an hour, one fails fast, one flaps, a burst comes,
    and each time all recover.

    *seed* draws which servers these are, so that nobody is lucky by the order in which they stand;
    *pace* shortens all of it.
    """

    def __init__(self, pace: float = 1.0, seed: int = 0, burst_at: float = BURST_AT) -> None:
        self.pace = pace
        self.now = 0.0
        self.in_flight = [0] * SERVERS
        self.slow, self.failing, self.flapping = random.Random(seed).sample(range(SERVERS), 3)
        self._burst_at = burst_at

    def factor(self, server: int) -> float:
        """Give how much slower than good a server is."""
        return 6.0 if server == self.slow and self.within("one is slow") else 1.0

    def fails(self, server: int) -> bool:
        """Tell whether a server fails what comes now."""
        if server == self.failing:
            return self.within("one fails fast")
        return (
            server == self.flapping and self.within("one flaps") and int(self.now / 20.0) % 2 == 1
        )

    def rate(self, at: float) -> float:
        """Give the calls per second at a time."""
        return 10.0 if self._burst_at <= at / self.pace < self._burst_at + 300.0 else 3.0

    def within(self, span: str) -> bool:
        """Tell whether it is the time of one of :data:`SPANS`."""
        start, end = SPANS[span]
        return start <= self.now / self.pace < end


class Way(Protocol):
    """Who chooses. Servers are numbers, and *ticket* is one call through all its attempts."""

    def begin(self, world: World) -> Any:
        """Begin a call; give its ticket."""
        ...

    def choose(self, ticket: Any, world: World) -> int | None:
        """Choose for the next attempt; None where there is nobody."""
        ...

    def ended(self, ticket: Any, server: int, seconds: float, good: bool, world: World) -> None:
        """Learn what came of it."""
        ...


def traffic(world: World, seed: int) -> list[Call]:
    """Draw the calls of all hours."""
    rng = random.Random(seed)
    calls: list[Call] = []
    at = 0.0
    while True:
        at += rng.expovariate(world.rate(at))
        if at >= HOURS * world.pace:
            return calls
        draws = tuple(MEDIAN * rng.lognormvariate(0.0, SPREAD) for _ in range(ATTEMPTS))
        calls.append(Call(at, draws))


def live(way: Way, calls: Sequence[Call], world: World) -> Told:
    """Let all calls happen, each attempt where *way* says."""
    order = itertools.count()
    agenda: list[tuple[float, int, Any]] = [(call.at, next(order), (call,)) for call in calls]
    heapq.heapify(agenda)
    told: list[tuple[float, float]] = []
    asked = [0] * SERVERS

    def attempt(call: Call, ticket: Any, nth: int) -> bool:
        server = way.choose(ticket, world)
        if server is None:
            return False
        asked[server] += 1
        bad = world.fails(server)
        crowd = 1.0 + world.in_flight[server] / CROWD
        takes = FAILS_IN if bad else call.seconds[nth] * world.factor(server) * crowd
        world.in_flight[server] += 1
        end = (call, ticket, nth, server, takes, not bad)
        heapq.heappush(agenda, (world.now + takes, next(order), end))
        return True

    while agenda:
        world.now, _, what = heapq.heappop(agenda)
        if len(what) == 1:
            call = what[0]
            lost = not attempt(call, way.begin(world), 0)
        else:
            call, ticket, nth, server, takes, good = what
            world.in_flight[server] -= 1
            way.ended(ticket, server, takes, good, world)
            if good:
                told.append((call.at, world.now - call.at))
            lost = not good and (nth + 1 >= ATTEMPTS or not attempt(call, ticket, nth + 1))
        if lost:
            told.append((call.at, math.inf))
    return Told(told, tuple(asked))
