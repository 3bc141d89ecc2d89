"""Row 12: choosing well, over simulated hours in which servers are slow, fail, flap and recover."""

from __future__ import annotations

import random
import threading

from benchmarks.measure import AT_LEAST, Figure, Scale
from benchmarks.references import STRATEGIES, Oracle, RoundRobin, Routing, agreement
from benchmarks.world import ATTEMPTS, SERVERS, Call, Told, Way, World, live, traffic
from llmpool import Deployment, ProviderPool, errors
from llmpool.claims import Claim
from llmpool.entries import Wish
from llmpool.outcomes import OK, classify

OURS = ("least_connections", "least_latency", "round_robin")


class Never:
    """A provider that the simulation stands in for."""

    def complete(self, request: object, timeout: float) -> str:
        """Not come here."""
        raise AssertionError("the simulation answers")


class WorldClock:
    """The world's time. Nothing waits for it: a call that nobody can serve fails."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> float:
        """Give the world's seconds."""
        return self._world.now

    def utc(self) -> object:
        """Not come here."""
        raise AssertionError("nothing is dated")

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Not come here."""
        raise AssertionError("nothing waits")


class Pool:
    """llmpool's own ledger and strategy, asked attempt by attempt as a call asks."""

    def __init__(self, strategy: str, world: World, seed: int) -> None:
        deployments = [Deployment(str(server), Never()) for server in range(SERVERS)]
        pool = ProviderPool(
            deployments,
            strategy=strategy,
            health_check=None,
            clock=WorldClock(world),  # type: ignore[arg-type]  # it is never asked for the date
            rng=random.Random(seed),
        )
        self._pool = pool
        self._ledger = pool._ledger

    def begin(self, world: World) -> tuple[Wish, list[Claim]]:
        """Give a wish, and room for the claims made for it."""
        return Wish(None, frozenset(), world.now + 600.0, 0.0, True, ATTEMPTS), []

    def choose(self, ticket: tuple[Wish, list[Claim]], world: World) -> int | None:
        """Take a claim."""
        wish, claims = ticket
        claim = Claim(self._ledger, wish)
        if claim.take() is not None:
            return None
        claims.append(claim)
        return int(claim.deployment.name)

    def ended(
        self,
        ticket: tuple[Wish, list[Claim]],
        server: int,
        seconds: float,
        good: bool,
        world: World,
    ) -> None:
        """Settle it, and go on as a call does."""
        wish, claims = ticket
        claim = claims[-1]
        fault = classify(errors.ServerFault("broke", status=500))
        claim.settle(OK if good else fault, seconds)
        if not good:
            wish.avoid |= {str(server)}
            wish.attempts_left = max(1, ATTEMPTS - len(claims))
            wish.budgeted = not claim.taken_out


def beside_references(scale: Scale) -> list[Figure]:
    """Row 12: beside an oracle, and beside what LiteLLM's strategies and a plain round robin do."""
    pace = 0.1 if scale.quick else 1.0
    found: dict[str, list[Told]] = {}
    for seed in range(min(scale.rounds, 3)):
        calls = traffic(pace, seed)

        def run(name: str, way: Way, world: World, calls: list[Call] = calls) -> None:
            found.setdefault(name, []).append(live(way, calls, world))

        for strategy in OURS:
            world = World(pace)
            run(strategy, Pool(strategy, world, seed), world)
        run("oracle", Oracle(), World(pace))
        run("plain round robin", RoundRobin(), World(pace))
        for strategy in STRATEGIES:
            run(f"LiteLLM {strategy}", Routing(strategy, random.Random(seed)), World(pace))
    figures = []
    for name, stories in found.items():
        figures += _figures(name, stories, found["oracle"])
    own, others = found["least_latency"], [name for name in found if name not in (*OURS, "oracle")]
    for name in others:
        pairs = list(zip(own, found[name], strict=True))
        means = [mine.mean / theirs.mean for mine, theirs in pairs]
        tails = [mine.p99 / theirs.p99 for mine, theirs in pairs]
        figures += [
            Figure(f"least_latency: mean, beside {name}", "times", means, limit=1.0),
            Figure(f"least_latency: p99, beside {name}", "times", tails, limit=1.0),
        ]
    share = agreement(scale.pick(200, 20), 1)
    figures.append(Figure("models that choose as the originals", "share", [share], AT_LEAST, 1))
    return figures


def _figures(name: str, stories: list[Told], oracle: list[Told]) -> list[Figure]:
    pairs = list(zip(stories, oracle, strict=True))
    best = name == "least_latency"
    return [
        Figure(
            f"{name}: failed calls",
            "calls",
            [told.failed for told in stories],
            limit=0 if name in OURS else None,
        ),
        Figure(
            f"{name}: mean, beside the oracle",
            "times",
            [mine.mean / theirs.mean for mine, theirs in pairs],
            limit=1.2 if best else None,
        ),
        Figure(
            f"{name}: p99, beside the oracle",
            "times",
            [mine.p99 / theirs.p99 for mine, theirs in pairs],
            limit=1.2 if best else None,
        ),
    ]
