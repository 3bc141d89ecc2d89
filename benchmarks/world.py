"""A simulated world of model servers and callers, on a hand-turned clock: hours in seconds."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Sequence
from typing import Any, Protocol

import attrs

from benchmarks.traffic import quantile

SERVERS = 5
SLOW, FAILING, FLAPPING = 2, 3, 4
MEDIAN, SPREAD = 2.0, 0.6
"""Seconds of the middle answer, and how heavy the tail is: the sigma of a log-normal."""
CROWD = 8
"""So many calls at once double what one takes."""
FAILS_IN = 0.05
ATTEMPTS = 3
HOURS = 7200.0


@attrs.frozen
class Call:
    """One call of the traffic: when it comes, and what its attempts take on a good idle server."""

    at: float
    seconds: tuple[float, ...]


@attrs.frozen
class Told:
    """What callers met with: seconds of those that were answered, and how many were not."""

    seconds: list[float]
    failed: int
    asked: tuple[int, ...]

    @property
    def mean(self) -> float:
        """The mean."""
        return sum(self.seconds) / len(self.seconds)

    @property
    def p99(self) -> float:
        """What one in a hundred exceeds."""
        return quantile(self.seconds, 0.99)


class World:
    """
    The servers at this moment. One is slow for half an hour, one fails fast, one flaps while a burst
    comes, and all recover; *pace* shortens all of it.
    """

    def __init__(self, pace: float = 1.0) -> None:
        self.pace = pace
        self.now = 0.0
        self.in_flight = [0] * SERVERS

    def factor(self, server: int) -> float:
        """Give how much slower than good a server is."""
        return 6.0 if server == SLOW and self._within(600, 2400) else 1.0

    def fails(self, server: int) -> bool:
        """Tell whether a server fails what comes now."""
        if server == FAILING:
            return self._within(2400, 3600)
        return server == FLAPPING and self._within(3600, 5400) and int(self.now / 20.0) % 2 == 1

    def rate(self, at: float) -> float:
        """Give the calls per second at a time."""
        return 10.0 if 4500 <= at / self.pace < 4800 else 3.0

    def _within(self, start: float, end: float) -> bool:
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


def traffic(pace: float, seed: int) -> list[Call]:
    """Draw the calls of all hours."""
    rng = random.Random(seed)
    world = World(pace)
    calls: list[Call] = []
    at = 0.0
    while True:
        at += rng.expovariate(world.rate(at))
        if at >= HOURS * pace:
            return calls
        draws = tuple(MEDIAN * rng.lognormvariate(0.0, SPREAD) for _ in range(ATTEMPTS))
        calls.append(Call(at, draws))


def live(way: Way, calls: Sequence[Call], world: World) -> Told:
    """Let all calls happen, each attempt where *way* says."""
    order = itertools.count()
    agenda: list[tuple[float, int, Any]] = [(call.at, next(order), (call,)) for call in calls]
    heapq.heapify(agenda)
    seconds: list[float] = []
    asked = [0] * SERVERS
    failed = 0

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
            failed += not attempt(what[0], way.begin(world), 0)
            continue
        call, ticket, nth, server, takes, good = what
        world.in_flight[server] -= 1
        way.ended(ticket, server, takes, good, world)
        if good:
            seconds.append(world.now - call.at)
        elif nth + 1 >= ATTEMPTS or not attempt(call, ticket, nth + 1):
            failed += 1
    return Told(seconds, failed, tuple(asked))
