"""Choosing one of the deployments that may be asked; a strategy knows nothing of health."""

from __future__ import annotations

import heapq
import inspect
import itertools
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

from llmpool._validators import refuse

if TYPE_CHECKING:
    from llmpool.config import Prices

SCANNED = 16
"""Up to so many candidates are all looked at; of more, :data:`DRAWN` at random."""
DRAWN = 4


@attrs.frozen
class Candidate:
    """
    A deployment that may be asked now, as a user's strategy sees it.

    ``load`` is the calls in flight plus the faults of the last 30 s; ``latency`` is the moving mean of
    successful calls in seconds, None while unmeasured; ``prices`` are those it was given, or None.
    """

    name: str
    weight: float
    priority: int
    region: str | None
    tags: tuple[str, ...]
    in_flight: int
    load: float
    latency: float | None
    prices: Prices | None = None


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

    Its candidates are the ledger's own entries, which have the fields of :class:`Candidate`, ``stride``
    (one over the weight) and ``turns`` (the strides of all the times that one was chosen). Who is behind
    in turns is behind its share.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._met: Sequence[Any] | None = None
        self._ends: list[float] | None = None  # running sums of the weights, where these differ

    def fresh(self, rng: random.Random) -> BuiltIn:
        """Make one for a pool's own use."""
        return type(self)(rng)

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose one of *candidates*."""
        raise NotImplementedError  # pragma: no cover - each built-in has its own

    def _meet(self, candidates: Sequence[Any]) -> None:
        """
        Prepare for candidates that are not those of the last time.

        Among candidates that are always chosen from together, none is ahead of the one furthest behind
        by more than one stride of its own. Who is, from calls that only some of them could serve or
        from coming back, is put there: so nobody is left out for long, and nobody catches up in a burst.
        """
        behind = min(candidate.turns for candidate in candidates)
        for candidate in candidates:
            candidate.turns = min(candidate.turns, behind + candidate.stride)
        weights = [candidate.weight for candidate in candidates]
        even = weights.count(weights[0]) == len(weights)
        self._ends = None if even else list(itertools.accumulate(weights))
        self._met = candidates

    def _draw(self, candidates: Sequence[Any], ends: list[float] | None) -> Any:
        """Draw one at random, all alike or as the running sums of their weights say."""
        if ends is None:
            return candidates[int(self._rng.random() * len(candidates))]
        place = bisect_right(ends, self._rng.random() * ends[-1])
        return candidates[min(place, len(candidates) - 1)]

    def _draw_few(self, candidates: Sequence[Any], ends: list[float] | None) -> list[Any]:
        """Draw :data:`DRAWN` at random, the same one more than once if it so falls."""
        if ends is None:  # as _draw() would, in two thirds of the time
            draw, size = self._rng.random, len(candidates)
            return [candidates[math.floor(draw() * size)] for _ in range(DRAWN)]
        return [self._draw(candidates, ends) for _ in range(DRAWN)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class RoundRobin(BuiltIn):
    """
    Take turns; a weight of 2 is two turns.

    Stride scheduling (Waldspurger and Weihl 1995): the one with the fewest turns is next.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__(rng)
        self._heap: list[tuple[float, int]] = []

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose the one furthest behind its share."""
        if candidates is not self._met:
            self._meet(candidates)
            self._heap = [(candidate.turns, place) for place, candidate in enumerate(candidates)]
            heapq.heapify(self._heap)
        while True:
            turns, place = self._heap[0]
            chosen = candidates[place]
            if chosen.turns <= turns:
                return chosen
            heapq.heapreplace(self._heap, (chosen.turns, place))  # chosen since it was noted


class LeastConnections(BuiltIn):
    """Take the one with the least load for its weight; among equals, in turn by weight."""

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose the least loaded."""
        if candidates is not self._met:
            self._meet(candidates)
        if len(candidates) > SCANNED:
            candidates = self._draw_few(candidates, self._ends)
        if self._ends is not None:
            return _least_for_its_weight(candidates)
        best = candidates[0]
        for candidate in candidates:
            if candidate.load < best.load or (
                candidate.load == best.load and candidate.turns < best.turns
            ):
                best = candidate
        return best


def _least_for_its_weight(candidates: Sequence[Any]) -> Any:
    """
    Give the one with the least load for its weight, give or take one call.

    With weights of 3 and 1 and two calls at a time, one each would be the nearest to equal loads, and
    would make the shares 1 and 1. So who has less load than the least would have with one more call may
    go first, if it is behind in turns.
    """
    # Mostly it is simply the one furthest behind, which is found in a third of the time.
    due = candidates[0]
    bound = math.inf
    for candidate in candidates:
        if candidate.turns < due.turns:
            due = candidate
        with_one_more = (candidate.load + 1) * candidate.stride
        if with_one_more < bound:
            bound = with_one_more
    if due.load * due.stride < bound:
        return due
    ranked = sorted(candidates, key=lambda candidate: candidate.load * candidate.stride)
    return next(
        candidate
        for place, candidate in enumerate(ranked, 1)
        if not any(
            other.turns < candidate.turns
            and other.load * other.stride < (candidate.load + 1) * candidate.stride
            for other in ranked[place:]
        )
    )


class LeastLatency(BuiltIn):
    """
    Take the one that answers soonest, its mean latency times its load.

    One that is not measured, or not for some minutes, counts as the average, so it is tried again.
    """

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose the soonest."""
        if candidates is not self._met:
            self._meet(candidates)
        if len(candidates) > SCANNED:
            candidates = self._draw_few(candidates, None)
        known = [candidate.latency for candidate in candidates if candidate.latency is not None]
        average = sum(known) / len(known) if known else 1.0
        # Spelt out, for min() with a key takes half as long again.
        best, soonest = candidates[0], math.inf
        for candidate in candidates:
            latency = average if candidate.latency is None else candidate.latency
            wait = latency * (1.0 + candidate.load)
            if wait < soonest or (wait == soonest and candidate.turns < best.turns):
                best, soonest = candidate, wait
        return best


class LowestCost(LeastConnections):
    """
    Take the cheapest; among those of one price, the one with the least load.

    One without prices counts as dearer than any that has some.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        super().__init__(rng)
        self._priced: Sequence[Any] | None = None
        self._cheapest: Sequence[Any] = ()

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose the cheapest."""
        if candidates is not self._priced:
            least = min(candidate.price for candidate in candidates)
            self._cheapest = tuple(each for each in candidates if each.price == least)
            self._priced = candidates
        return super().pick(self._cheapest)


def mean_price(prices: Prices | None) -> float:
    """
    Give the one number by which prices are compared: that of three tokens in for each one out.

    It is the usual blend, and a fixed one: the order does not depend on what was asked before.
    """
    return math.inf if prices is None else (3.0 * prices.input + prices.output) / 4.0


class Weighted(BuiltIn):
    """Draw at random, in proportion to the weights."""

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Draw one."""
        if candidates is not self._met:
            self._meet(candidates)
        return self._draw(candidates, self._ends)


class Random(BuiltIn):
    """Draw at random, all alike."""

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Draw one."""
        return self._draw(candidates, None)


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
    "lowest_cost": LowestCost,
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
    if inspect.iscoroutinefunction(given.pick):  # type: ignore[attr-defined]  # seen just above
        raise TypeError("strategy: wanted a plain pick(), got a coroutine function")
    return given  # type: ignore[return-value]  # the protocol was checked just above
