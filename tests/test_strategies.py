"""Who is chosen, how often, and how soon after coming back."""

from __future__ import annotations

import collections
import heapq
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmpool.strategies import (
    BY_NAME,
    SCANNED,
    BuiltIn,
    Candidate,
    LeastConnections,
    LeastLatency,
    Primary,
    Random,
    RoundRobin,
    RoutingStrategy,
    Weighted,
    resolve,
)

FAIR = [RoundRobin, LeastConnections, Weighted]
TURNING = [RoundRobin, LeastConnections]


class Entry:
    """What a strategy sees of the ledger's record; :func:`chosen` counts the turns, as the ledger does."""

    def __init__(self, name: str, weight: float = 1.0, latency: float | None = None) -> None:
        self.name = name
        self.weight = weight
        self.stride = 1.0 / weight
        self.turns = 0.0
        self.load = 0
        self.latency = latency
        self.price = math.inf

    def __repr__(self) -> str:
        return self.name


def entries(*weights: float) -> tuple[Entry, ...]:
    """Give one entry for each weight, called a, b, c …"""
    return tuple(Entry(chr(97 + place), weight) for place, weight in enumerate(weights))


def chosen(strategy: BuiltIn, candidates: Sequence[Entry], calls: int) -> list[Entry]:
    """Choose so often, one call after the other."""
    picked = []
    for _ in range(calls):
        entry = strategy.pick(candidates)
        entry.turns += entry.stride
        picked.append(entry)
    return picked


def shares(picked: Sequence[Entry]) -> dict[str, float]:
    """Give each one's share of the calls."""
    return {
        name: number / len(picked)
        for name, number in collections.Counter(entry.name for entry in picked).items()
    }


def crowd(
    strategy: BuiltIn,
    candidates: Sequence[Entry],
    at_once: int,
    calls: int,
    slow: dict[str, float] | None = None,
) -> list[Entry]:
    """Choose so often with so many calls in flight, each of which takes its random time."""
    rng = random.Random(7)
    ends: list[tuple[float, int, Entry]] = []
    picked: list[Entry] = []
    now = 0.0
    for number in range(calls):
        if len(ends) == at_once:
            now, _, ended = heapq.heappop(ends)
            ended.load -= 1
        entry = chosen(strategy, candidates, 1)[0]
        entry.load += 1
        picked.append(entry)
        takes = rng.expovariate(1.0) * (slow or {}).get(entry.name, 1.0)
        heapq.heappush(ends, (now + takes, number, entry))
    return picked


# -- shares -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3, 7, 1000])
def test_round_robin_over_equals(number: int) -> None:
    """Each has one turn in a round, exactly."""
    candidates = entries(*[1.0] * number)
    picked = chosen(RoundRobin(), candidates, 3 * number)
    for start in range(0, 3 * number, number):
        assert {entry.name for entry in picked[start : start + number]} == {
            entry.name for entry in candidates
        }


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_round_robin_over_weights(weights: list[int]) -> None:
    """A whole cycle gives each its weight, exactly, and nobody is ever more than a turn off."""
    candidates = entries(*weights)
    total = sum(weights)
    picked = chosen(RoundRobin(), candidates, 2 * total)
    counts = collections.Counter(entry.name for entry in picked[:total])
    # Sums of strides are rounded, which may swap two that are due at the same moment.
    assert all(abs(counts[entry.name] - entry.weight) <= 1 for entry in candidates)
    so_far: collections.Counter[str] = collections.Counter()
    for number, entry in enumerate(picked, 1):
        so_far[entry.name] += 1
        due = number * entry.weight / total
        assert so_far[entry.name] - due < 2


@pytest.mark.parametrize("kind", FAIR)
@pytest.mark.parametrize("weights", [(2, 1), (5, 3, 2), (1, 1, 0.1), (0.5, 0.25, 0.25), (1,) * 5])
def test_weights_are_shares(kind: type[BuiltIn], weights: tuple[float, ...]) -> None:
    """One call after the other, the weight is the share of the calls."""
    picked = chosen(kind(random.Random(1)), entries(*weights), 20_000)
    for entry in entries(*weights):
        wanted = entry.weight / sum(weights)
        assert shares(picked)[entry.name] == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("kind", FAIR)
@pytest.mark.parametrize("at_once", [2, 3, 16])
def test_weights_are_shares_of_calls_at_a_time(kind: type[BuiltIn], at_once: int) -> None:
    """So they are with several calls in flight, also with fewer than deployments."""
    picked = crowd(kind(random.Random(1)), entries(3, 1, 1), at_once, 20_000)
    assert shares(picked) == pytest.approx({"a": 0.6, "b": 0.2, "c": 0.2}, abs=0.015)


@pytest.mark.parametrize("kind", FAIR)
def test_weights_among_many(kind: type[BuiltIn]) -> None:
    """Above the number that is looked at whole, the weight is still the share."""
    candidates = entries(10, *[1.0] * 99)
    picked = chosen(kind(random.Random(1)), candidates, 20_000)
    assert shares(picked)["a"] == pytest.approx(10 / 109, abs=0.01)
    others = [shares(picked)[entry.name] for entry in candidates[1:]]
    assert min(others) > 0.5 / 109


def test_random_over_weights() -> None:
    """All alike, whatever they weigh."""
    picked = chosen(Random(random.Random(1)), entries(9, 1), 10_000)
    assert shares(picked) == pytest.approx({"a": 0.5, "b": 0.5}, abs=0.02)


def test_primary() -> None:
    """The first, as long as it is there."""
    a, b = entries(1, 5)
    assert chosen(Primary(), (a, b), 5) == [a] * 5
    assert chosen(Primary(), (b,), 1) == [b]


# -- coming and going ---------------------------------------------------------------------------


def back(entry: Entry, others: Sequence[Entry]) -> None:
    """Let *entry* come back as the ledger does: not behind anyone."""
    entry.turns = max(other.turns for other in others)


@pytest.mark.parametrize("kind", TURNING)
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 1, 0.001), (5, 1, 2)])
def test_one_comes_back(kind: type[BuiltIn], weights: tuple[float, ...]) -> None:
    """It has its share from then on: no burst to catch up, no waiting out what it missed."""
    a, b, c = entries(*weights)
    strategy = kind(random.Random(1))
    chosen(strategy, (a, b, c), 100)
    chosen(strategy, (a, c), 5000)
    back(b, (a, c))

    picked = chosen(strategy, (a, b, c), 60)
    share = b.weight / (a.weight + b.weight + c.weight)
    for number in range(10, 61):
        assert abs(picked[:number].count(b) - number * share) <= 2


@pytest.mark.parametrize("kind", TURNING)
def test_one_comes_back_that_the_ledger_knows_nothing_of(kind: type[BuiltIn]) -> None:
    """However far behind it is, it catches up by no more than a turn."""
    a, b = entries(1, 1)
    strategy = kind(random.Random(1))
    chosen(strategy, (a,), 5000)
    picked = chosen(strategy, (a, b), 20)
    assert picked[:2] == [b, a]
    assert picked.count(a) == picked.count(b) == 10


@pytest.mark.parametrize("kind", TURNING)
def test_one_is_new(kind: type[BuiltIn]) -> None:
    """The first calls go round as ever."""
    a, b, c = entries(1, 1, 1)
    strategy = kind(random.Random(1))
    chosen(strategy, (a, b), 501)
    back(c, (a, b))
    picked = chosen(strategy, (a, b, c), 30)
    assert all(9 <= picked.count(entry) <= 11 for entry in (a, b, c))


@pytest.mark.parametrize("kind", TURNING)
def test_calls_for_two_models_in_turn(kind: type[BuiltIn]) -> None:
    """Who serves one of them is not left out for what others did for the other."""
    a, b, c = entries(1, 1, 1)
    strategy = kind(random.Random(1))
    chosen(strategy, (c,), 1000)
    here, there = (a, b), (c,)
    picked = []
    for _ in range(100):
        picked += chosen(strategy, here, 1)
        chosen(strategy, there, 1)
    assert picked.count(a) == picked.count(b) == 50


@pytest.mark.parametrize("kind", TURNING)
def test_calls_that_only_one_can_serve(kind: type[BuiltIn]) -> None:
    """After a thousand of them, the next thousand of the common ones go to both."""
    a, b = entries(1, 1)
    strategy = kind(random.Random(1))
    chosen(strategy, (a,), 1000)
    picked = chosen(strategy, (a, b), 1000)
    assert abs(picked.count(a) - 500) <= 1


@given(st.data())
def test_any_coming_and_going(data: st.DataObject) -> None:
    """Whoever is there, in a stretch of calls each has its share, to within two turns."""
    everyone = entries(*data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=5)))
    strategy = RoundRobin()
    away: set[Entry] = set()
    for _ in range(data.draw(st.integers(1, 6))):
        here = tuple(data.draw(st.sets(st.sampled_from(everyone), min_size=1)))
        here = tuple(entry for entry in everyone if entry in here)
        for entry in away & set(here):
            back(entry, here)
        away = set(everyone) - set(here)
        calls = data.draw(st.integers(1, 40))
        counts = collections.Counter(chosen(strategy, here, calls))
        total = sum(entry.weight for entry in here)
        for entry in here:
            assert abs(counts[entry] - calls * entry.weight / total) <= 2 + entry.weight / 2


# -- load and latency ---------------------------------------------------------------------------


def test_the_least_loaded() -> None:
    """Among equals in weight it is simply the one with the least load."""
    a, b, c = entries(1, 1, 1)
    a.load, b.load, c.load = 2, 1, 3
    a.turns = c.turns = 0.0
    b.turns = 99.0
    assert LeastConnections().pick((a, b, c)) is b


@pytest.mark.parametrize(
    ("loads", "turns", "wanted"),
    [
        ((0, 0), (0, 1), "a"),
        ((0, 0), (1, 0), "b"),
        ((1, 0), (0, 1), "a"),  # two of three calls are a's by right
        ((1, 0), (1, 0), "b"),
        ((3, 0), (0, 1), "b"),  # four would be more than its weight
        ((0, 1), (1, 0), "a"),
        ((6, 2), (0, 1), "a"),
        ((7, 2), (1, 0), "b"),
    ],
)
def test_the_least_loaded_for_its_weight(
    loads: tuple[int, int], turns: tuple[float, float], wanted: str
) -> None:
    """Of weights 3 and 1, who is behind in turns goes first, within one call of equal loads."""
    pair = entries(3, 1)
    for entry, load, turn in zip(pair, loads, turns, strict=True):
        entry.load, entry.turns = load, turn
    assert LeastConnections().pick(pair).name == wanted


def test_a_light_one_among_heavy_ones() -> None:
    """Its long stride does not hide which of the heavy ones has less to do."""
    a, b, c = entries(1, 1, 0.01)
    a.load, b.load, c.load = 5, 1, 0
    c.turns = 100.0
    assert LeastConnections().pick((a, b, c)) is b


def test_one_that_hangs() -> None:
    """It gets no more calls than it can hold."""
    picked = crowd(LeastConnections(random.Random(1)), entries(1, 1, 1), 6, 3000, {"c": 1000.0})
    assert picked.count(picked[0]) > 1000
    assert sum(entry.name == "c" for entry in picked) < 20


def test_the_soonest() -> None:
    """Mean latency times what it already has to do."""
    a, b = Entry("a", latency=1.0), Entry("b", latency=2.5)
    strategy = LeastLatency()
    assert strategy.pick((a, b)) is a
    a.load = 2
    assert strategy.pick((a, b)) is b


def test_one_that_is_not_measured() -> None:
    """It counts as the average of those that are: neither first of all nor never."""
    fast, slow, new = Entry("fast", latency=1.0), Entry("slow", latency=3.0), Entry("new")
    strategy = LeastLatency()
    assert strategy.pick((fast, slow, new)) is fast
    fast.load = 3
    assert strategy.pick((fast, slow, new)) is new
    new.load = 1
    assert strategy.pick((fast, slow, new)) is slow


def test_nobody_is_measured() -> None:
    """They are asked in turn."""
    candidates = entries(1, 1, 1)
    picked = chosen(LeastLatency(), candidates, 9)
    assert [picked.count(entry) for entry in candidates] == [3, 3, 3]


def test_latencies_of_nothing() -> None:
    """A mean of zero divides nothing."""
    candidates = (Entry("a", latency=0.0), Entry("b", latency=0.0))
    picked = chosen(LeastLatency(), candidates, 4)
    assert [picked.count(entry) for entry in candidates] == [2, 2]


@pytest.mark.parametrize("kind", [LeastConnections, LeastLatency])
def test_few_of_many(kind: type[BuiltIn]) -> None:
    """Above 16 a few are drawn: the best of all may be missed, the worst is hardly ever taken."""
    candidates = tuple(Entry(str(place), latency=1.0 + place) for place in range(1000))
    for entry in candidates:
        entry.load = int(entry.name)
    strategy = kind(random.Random(1))
    picked = [int(strategy.pick(candidates).name) for _ in range(300)]
    assert len(set(picked)) > 200
    assert sum(picked) / len(picked) < 300
    whole = candidates[:SCANNED]
    assert {strategy.pick(whole).name for _ in range(10)} == {"0"}


@pytest.mark.parametrize("kind", BY_NAME.values())
@pytest.mark.parametrize("number", [1, 2, SCANNED, SCANNED + 1, 100])
def test_one_of_the_candidates(kind: type[BuiltIn], number: int) -> None:
    """Every strategy gives one of those it was given, also the last draw of all."""
    candidates = tuple(Entry(str(place), 1.0 + place % 3) for place in range(number))
    strategy = kind(random.Random(1))
    assert {strategy.pick(candidates) for _ in range(50)} <= set(candidates)


class Highest(random.Random):
    """A random number so close below one that a product is rounded up to the whole."""

    def random(self) -> float:
        return 1.0


@pytest.mark.parametrize("weights", [(1, 2), (0.1, 0.2, 0.3)])
def test_a_draw_at_the_very_end(weights: tuple[float, ...]) -> None:
    """It is the last one, not one beyond."""
    candidates = entries(*weights)
    assert Weighted(Highest()).pick(candidates) is candidates[-1]


# -- a user's choice ----------------------------------------------------------------------------


class Nearest:
    """A user's strategy: no base class, one method."""

    def pick(self, candidates: tuple[Candidate, ...]) -> Candidate:
        return min(candidates, key=lambda candidate: (candidate.region != "eu", candidate.name))


class Eager(RoundRobin):
    """A user's variant of ours."""


class AsyncStrategy:
    """A strategy for another world."""

    async def pick(self, candidates: Any) -> Any:
        raise AssertionError("nobody should ask")


@pytest.mark.parametrize("name", BY_NAME)
def test_a_strategy_by_name(name: str) -> None:
    """Each pool gets one of its own."""
    rng = random.Random(1)
    first, second = resolve(name, rng), resolve(name, rng)
    assert type(first) is BY_NAME[name]
    assert first is not second
    assert repr(first) == f"{BY_NAME[name].__name__}()"


@pytest.mark.parametrize("kind", [RoundRobin, Eager])
def test_one_of_ours_as_an_object(kind: type[BuiltIn]) -> None:
    """It is made anew for the pool, for it keeps a pool's turns."""
    given = kind()
    taken = resolve(given, random.Random(1))
    assert type(taken) is kind
    assert taken is not given


def test_a_users_own() -> None:
    """An object with pick() is taken as it is."""
    nearest = Nearest()
    assert isinstance(nearest, RoutingStrategy)
    assert resolve(nearest, random.Random(1)) is nearest
    us = Candidate("us", 1.0, 0, "us", (), 0, 0.0, None)
    eu = Candidate("eu", 1.0, 0, "eu", ("cheap",), 0, 0.0, 0.5)
    assert nearest.pick((us, eu)) is eu


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ("round-robin", ValueError, "got 'round-robin'"),
        ("", ValueError, "got ''"),
        (None, TypeError, "got None"),
        (RoundRobin, TypeError, "got the class RoundRobin"),
        (Nearest, TypeError, "got the class Nearest"),
        (object(), TypeError, "got a object"),
        (lambda candidates: candidates[0], TypeError, "got a function"),
        (AsyncStrategy(), TypeError, "got a coroutine function"),
    ],
)
def test_a_strategy_that_is_none(given: object, kind: type[Exception], said: str) -> None:
    """It is refused with what there is."""
    with pytest.raises(kind) as caught:
        resolve(given, random.Random(1))
    assert str(caught.value).startswith("strategy: wanted ")
    assert str(caught.value).endswith(said)
