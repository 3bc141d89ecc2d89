"""Choosing one of the deployments that may be asked; a strategy knows nothing of health."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import attrs

from llmpool._validators import refuse

SCANNED = 16
"""Up to so many candidates are all looked at; of more, :data:`DRAWN` at random."""
DRAWN = 4


@attrs.frozen
class Candidate:
    """
    A deployment that may be asked now, as a user's strategy sees it.

    ``load`` is the calls in flight plus the faults of the last 30 s; ``latency`` is the moving mean of
    successful calls in seconds, None while unmeasured.
    """

    name: str
    weight: float
    priority: int
    region: str | None
    tags: tuple[str, ...]
    in_flight: int
    load: float
    latency: float | None


@runtime_checkable
class RoutingStrategy(Protocol):
    """
    What chooses.

    ``pick`` gets the eligible deployments, all of one priority, and gives one of them. It is called
    outside every lock, from the threads of the callers, several at a time.
    """

    def pick(self, candidates: tuple[Candidate, ...]) -> Candidate:
        """Choose one of *candidates*; there is at least one."""
        ...


class BuiltIn:
    """
    A strategy of ours: cheap and safe enough to choose inside the ledger's section.

    Its candidates are the ledger's own entries, which have the fields of :class:`Candidate` and
    ``turns``: how often one was chosen, over its weight.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()

    def fresh(self, rng: random.Random) -> BuiltIn:
        """Make one for a pool's own use."""
        return type(self)(rng)

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose one of *candidates*."""
        raise NotImplementedError  # pragma: no cover - each built-in has its own

    def _few(self, candidates: Sequence[Any]) -> Sequence[Any]:
        """Give all of few candidates, and a few of many."""
        total = len(candidates)
        if total <= SCANNED:
            return candidates
        draw = self._rng.random
        return [candidates[int(draw() * total)] for _ in range(DRAWN)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class RoundRobin(BuiltIn):
    """
    Take turns; a weight of 2 is two turns.

    Stride scheduling (Waldspurger and Weihl 1995): each has a virtual time that a turn moves on by
    1/weight, and the one furthest behind is next.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__(rng)
        self._for: Sequence[Any] | None = None
        self._heap: list[tuple[float, int]] = []
        self._times: dict[str, float] = {}
        self._floor = 0.0

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose the one furthest behind its share."""
        if candidates is not self._for:
            self._rebuild(candidates)
        time, place = self._heap[0]
        chosen = candidates[place]
        heapq.heapreplace(self._heap, (time + 1.0 / chosen.weight, place))
        self._times[chosen.name] = time + 1.0 / chosen.weight
        self._floor = time
        return chosen

    def _rebuild(self, candidates: Sequence[Any]) -> None:
        floor = self._floor
        times = self._times
        # Who was away does not catch up: it continues from where the others are.
        self._heap = [
            (max(times.get(candidate.name, floor), floor), place)
            for place, candidate in enumerate(candidates)
        ]
        heapq.heapify(self._heap)
        if len(times) > 4 * len(candidates) + 64:
            self._times = {name: time for name, time in times.items() if time > floor}
        self._for = candidates


class LeastConnections(BuiltIn):
    """Take the one with the least load for its weight; among equals, in turn by weight."""

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose the least loaded."""
        best = None
        least = turns = 0.0
        for candidate in self._few(candidates):
            load = candidate.load / candidate.weight
            if best is None or load < least or (load == least and candidate.turns < turns):
                best, least, turns = candidate, load, candidate.turns
        return best


class LeastLatency(BuiltIn):
    """
    Take the one that answers soonest, its mean latency times its load.

    One that is not measured, or not for some minutes, counts as the average, so it is tried again.
    """

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose the soonest."""
        few = self._few(candidates)
        known = [candidate.latency for candidate in few if candidate.latency is not None]
        average = sum(known) / len(known) if known else 1.0
        return min(
            few,
            key=lambda candidate: (
                (average if candidate.latency is None else candidate.latency)
                * (1.0 + candidate.load),
                candidate.turns,
            ),
        )


class Weighted(BuiltIn):
    """Draw at random, in proportion to the weights."""

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__(rng)
        self._for: Sequence[Any] | None = None
        self._ends: list[float] = []

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Draw one."""
        if candidates is not self._for:
            total = 0.0
            self._ends = [total := total + candidate.weight for candidate in candidates]
            self._for = candidates
        place = bisect_right(self._ends, self._rng.random() * self._ends[-1])
        return candidates[min(place, len(candidates) - 1)]


class Random(BuiltIn):
    """Draw at random, all alike."""

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Draw one."""
        return candidates[int(self._rng.random() * len(candidates))]


class Primary(BuiltIn):
    """Take the first in the order given to the pool; the rest are spares."""

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose the first."""
        return candidates[0]


BY_NAME: dict[str, type[BuiltIn]] = {
    "round_robin": RoundRobin,
    "least_latency": LeastLatency,
    "least_connections": LeastConnections,
    "weighted": Weighted,
    "random": Random,
    "primary": Primary,
}


def resolve(given: object, rng: random.Random) -> BuiltIn | RoutingStrategy:
    """
    Give the strategy that a user named or brought.

    Raises:
        ValueError: no strategy has that name.
        TypeError: it has no ``pick``.
    """
    wanted = f"one of {', '.join(BY_NAME)}, or an object with pick(candidates)"
    if isinstance(given, str):
        if given not in BY_NAME:
            refuse("strategy", wanted, given)
        return BY_NAME[given](rng)
    if isinstance(given, type) or not callable(getattr(given, "pick", None)):
        refuse("strategy", wanted, given, kind=TypeError)
    if isinstance(given, BuiltIn):
        return given.fresh(rng)
    return given  # type: ignore[return-value]  # the protocol was checked just above
