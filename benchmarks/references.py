"""
Who chooses in the simulation: an oracle, plain round robin, and LiteLLM's strategies as models.

The models follow the behaviour of litellm 1.106: which of the deployments that are not cooling a
strategy may choose, and when a failing one cools. :func:`agreement` checks their choices against the
originals' own.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.world import CROWD, SERVERS, World

COOL = 5.0
"""Seconds of the Router's default cool-down."""
REMEMBERED = 10
"""Latencies that latency-based routing averages."""


class Oracle:
    """Knows each server's state, and takes the good one that is soonest done."""

    def begin(self, world: World) -> None:
        """Need nothing."""

    def choose(self, ticket: None, world: World) -> int | None:
        """Choose the soonest of those that do not fail."""
        good = [server for server in range(SERVERS) if not world.fails(server)]
        return min(good, key=lambda server: _wait(world, server))

    def ended(self, ticket: None, server: int, seconds: float, good: bool, world: World) -> None:
        """Know it already."""


def _wait(world: World, server: int) -> float:
    """Give how much longer than on a good idle server a call would take."""
    return world.factor(server) * (1.0 + world.in_flight[server] / CROWD)


class StrictOracle(Oracle):
    """Knows it too, and leaves one that flaps out all the while, as the sentence for that does."""

    def choose(self, ticket: None, world: World) -> int | None:
        """Choose the soonest of those that neither fail nor flap."""
        good = [server for server in range(SERVERS) if not world.fails(server)]
        if world.within("one flaps") and world.flapping in good:
            good.remove(world.flapping)
        return min(good, key=lambda server: _wait(world, server))


class RoundRobin(Oracle):
    """Takes them in turn, whatever they do."""

    def __init__(self) -> None:
        self._turn = -1

    def choose(self, ticket: None, world: World) -> int | None:
        """Choose the next."""
        self._turn = (self._turn + 1) % SERVERS
        return self._turn


def least_busy(counts: Sequence[int], allowed: Sequence[int]) -> list[int]:
    """Give what least-busy may choose: the first with the fewest calls in flight."""
    return [min(allowed, key=lambda server: counts[server])]


def lowest_latency(latencies: Mapping[int, Sequence[float]], allowed: Sequence[int]) -> list[int]:
    """Give what latency-based routing may choose: those with the lowest mean, unmeasured being 0."""
    means = {}
    for server in allowed:
        own = latencies.get(server) or (0.0,)
        means[server] = sum(own) / len(own)
    lowest = min(means.values())
    return [server for server in allowed if means[server] <= lowest]


def least_used(tokens: Sequence[int], allowed: Sequence[int]) -> list[int]:
    """Give what usage-based routing may choose: those with the fewest tokens of this minute."""
    fewest = min(tokens[server] for server in allowed)
    return [server for server in allowed if tokens[server] == fewest]


def shuffle(_: object, allowed: Sequence[int]) -> list[int]:
    """Give what simple-shuffle may choose: all."""
    return list(allowed)


class Routing:
    """
    The Router under one strategy.

    A deployment cools for five seconds once more than half of at least five calls of this minute failed.
    Every answer takes as many tokens as any other.
    """

    def __init__(self, strategy: str, rng: random.Random) -> None:
        self._strategy = strategy
        self._rng = rng
        self._cooling_until = [0.0] * SERVERS
        self._minute = -1
        self._ends = [[0, 0] for _ in range(SERVERS)]
        self._latencies: dict[int, deque[float]] = {}

    def begin(self, world: World) -> None:
        """Need nothing."""

    def choose(self, ticket: None, world: World) -> int | None:
        """Choose among those that do not cool."""
        allowed = [each for each in range(SERVERS) if self._cooling_until[each] <= world.now]
        if not allowed:
            return None
        if self._strategy == "least-busy":
            found = least_busy(world.in_flight, allowed)
        elif self._strategy == "latency-based-routing":
            found = lowest_latency(self._latencies, allowed)
        elif self._strategy == "usage-based-routing-v2":
            self._turn_minute(world)
            found = least_used([good for good, _ in self._ends], allowed)
        else:
            found = shuffle(None, allowed)
        return self._rng.choice(found)

    def ended(self, ticket: None, server: int, seconds: float, good: bool, world: World) -> None:
        """Count it in this minute."""
        self._turn_minute(world)
        ends = self._ends[server]
        ends[not good] += 1
        if good:
            self._latencies.setdefault(server, deque(maxlen=REMEMBERED)).append(seconds)
        elif sum(ends) >= 5 and ends[1] / sum(ends) > 0.5:
            self._cooling_until[server] = world.now + COOL

    def _turn_minute(self, world: World) -> None:
        minute = int(world.now / 60.0)
        if minute != self._minute:
            self._minute = minute
            self._ends = [[0, 0] for _ in range(SERVERS)]


STRATEGIES = ("simple-shuffle", "least-busy", "latency-based-routing", "usage-based-routing-v2")


def agreement(cases: int, seed: int) -> float:
    """Give the share of random situations in which the models may choose just what the originals do."""
    from litellm.caching.caching import DualCache
    from litellm.router_strategy.least_busy import LeastBusyLoggingHandler
    from litellm.router_strategy.lowest_latency import LowestLatencyLoggingHandler
    from litellm.router_strategy.lowest_tpm_rpm_v2 import LowestTPMLoggingHandler_v2
    from litellm.router_strategy.simple_shuffle import simple_shuffle

    rng = random.Random(seed)
    slow: Any = LowestLatencyLoggingHandler(DualCache())
    used: Any = LowestTPMLoggingHandler_v2(DualCache())
    agreed = 0
    for _ in range(cases):
        allowed = sorted(rng.sample(range(SERVERS), rng.randint(1, SERVERS)))
        deployments = [
            {"model_info": {"id": str(server)}, "litellm_params": {"model": "m"}}
            for server in allowed
        ]
        counts = [rng.randrange(4) for _ in range(SERVERS)]
        cache = DualCache()
        for server, count in enumerate(counts):
            cache.set_cache(f"m_request_count:{server}", count, local_only=True)
        busy: Any = LeastBusyLoggingHandler(cache)
        latencies = {
            server: [rng.choice((0.5, 1.0, 2.0)) for _ in range(rng.randint(1, 3))]
            for server in allowed
            if rng.random() < 0.8
        }
        known = {str(server): {"latency": own} for server, own in latencies.items()}
        keys = [str(server) for server in allowed]
        tokens = [counts[server] or None for server in allowed]  # None: not asked in this minute
        originals: list[tuple[Callable[[], Any], list[int]]] = [
            (
                partial(busy.get_available_deployments, "m", deployments),
                least_busy(counts, allowed),
            ),
            (
                partial(
                    slow._get_available_deployments, "m", deployments, request_count_dict=known
                ),
                lowest_latency(latencies, allowed),
            ),
            (
                partial(
                    used._common_checks_available_deployment,
                    "m",
                    deployments,
                    keys,
                    tokens,
                    keys,
                    tokens,
                ),
                least_used(counts, allowed),
            ),
            (
                partial(simple_shuffle, lambda name: name, deployments, "m", None),
                shuffle(None, allowed),
            ),
        ]
        agreed += all(_choices(original) == set(expected) for original, expected in originals)
    used.cancel_sync_task()
    return agreed / cases


def _choices(original: Callable[[], Any], draws: int = 60) -> set[int]:
    """Give all that an original chooses; each of five is missed in 60 draws once in 600,000."""
    return {int(original()["model_info"]["id"]) for _ in range(draws)}
