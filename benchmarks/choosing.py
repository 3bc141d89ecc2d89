"""Row 12: choosing well, over simulated hours in which servers are slow, fail, flap and recover."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Sequence

import attrs

from benchmarks.measure import AT_LEAST, Figure, Scale
from benchmarks.references import (
    STRATEGIES,
    Oracle,
    RoundRobin,
    Routing,
    StrictOracle,
    agreement,
)
from benchmarks.world import (
    ATTEMPTS,
    BURST_AT,
    BURST_WHILE_FLAPPING,
    SERVERS,
    SPANS,
    Told,
    Way,
    World,
    live,
    traffic,
)
from llmpool import Deployment, ProviderPool, errors
from llmpool.claims import Claim
from llmpool.outcomes import OK, classify
from llmpool.strategies import BY_NAME
from llmpool.wishes import Wish

BEST, DEFAULT = "least_latency", "least_connections"
"""The strategy for servers that differ, which is judged, and the one that a pool has if none is named."""
ORACLE, STRICT = "oracle", "oracle that leaves it out"
ROUND_ROBIN = "plain round robin"
LITELLM = "LiteLLM "
REFERENCES = (ROUND_ROBIN, *(LITELLM + strategy for strategy in STRATEGIES))


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


@attrs.frozen
class Task:
    """One way through one simulated story; the *seed* draws its traffic, and which server does what."""

    name: str
    seed: int
    pace: float
    burst_at: float = BURST_AT


def simulate(task: Task) -> Told:
    """Let a story happen."""
    world = World(task.pace, task.seed, task.burst_at)
    return live(_way(task, world), traffic(world, task.seed), world)


def _way(task: Task, world: World) -> Way:
    if task.name in BY_NAME:
        return Pool(task.name, world, task.seed)
    if task.name.startswith(LITELLM):
        return Routing(task.name.removeprefix(LITELLM), random.Random(task.seed))
    return {ORACLE: Oracle, STRICT: StrictOracle, ROUND_ROBIN: RoundRobin}[task.name]()


Stories = dict[str, list[Told]]


def _simulate_all(
    names: Iterable[str], seeds: Iterable[int], pace: float, burst_at: float = BURST_AT
) -> Stories:
    return {name: [simulate(Task(name, seed, pace, burst_at)) for seed in seeds] for name in names}


def beside_references(scale: Scale) -> list[Figure]:
    """Row 12: beside an oracle, and beside what LiteLLM's strategies and a plain round robin do."""
    pace = scale.pick(10, 1) / 10
    seeds = range(scale.pick(2 * scale.rounds, 1))
    few = seeds[:3]
    judged = (ORACLE, BEST, DEFAULT, *REFERENCES)
    others = [strategy for strategy in BY_NAME if strategy not in judged]
    found = _simulate_all(judged, seeds, pace) | _simulate_all(others, seeds[:1], pace)
    at_once = _simulate_all(
        (ORACLE, STRICT, BEST, DEFAULT, LITELLM + "least-busy"), few, pace, BURST_WHILE_FLAPPING
    )
    figures = []
    for name in (BEST, DEFAULT, *others, *REFERENCES):
        figures += _whole(name, found)
    for name in REFERENCES:
        figures += _beside(f"{BEST}: {{}}, beside {name}", found[BEST], found[name], 1.0)
    for name in (BEST, DEFAULT):
        figures += _by_span(name, found, pace)
    figures += _at_once(at_once)
    share = agreement(scale.pick(200, 20), 1)
    figures.append(Figure("models that choose as the originals", "share", [share], AT_LEAST, 1))
    return figures


def _whole(name: str, found: Stories) -> list[Figure]:
    """Tell of one way through all hours."""
    failed = [told.failed for told in found[name]]
    limit = 1.2 if name == BEST else None
    return [
        Figure(f"{name}: failed calls", "calls", failed, limit=0 if name in BY_NAME else None),
        *_beside(f"{name}: {{}}, beside the oracle", found[name], found[ORACLE], limit),
    ]


def _by_span(name: str, found: Stories, pace: float) -> list[Figure]:
    """Tell of one way through each part of the hours."""
    figures = []
    for span, (start, end) in SPANS.items():
        own, best = (
            [told.during(start * pace, end * pace) for told in found[way]] for way in (name, ORACLE)
        )
        figures += _beside(f"{name}, while {span}: {{}}, beside the oracle", own, best)
    return figures


def _at_once(found: Stories) -> list[Figure]:
    """Tell of the burst that comes while one flaps, and what the sentence for that costs anybody."""
    where = "a burst while one flaps"
    busy = LITELLM + "least-busy"
    figures = []
    for name in (STRICT, BEST, DEFAULT, busy):
        figures += _beside(f"{where}, {name}: {{}}, beside the oracle", found[name], found[ORACLE])
    what = f"{where}, {BEST}: {{}}, beside the {STRICT}"
    figures += _beside(what, found[BEST], found[STRICT], 1.2)
    failed = [told.failed for told in found[BEST]]
    figures.append(Figure(f"{where}, {BEST}: failed calls", "calls", failed, limit=0))
    failed = [told.failed for told in found[busy]]
    figures.append(Figure(f"{where}, {busy}: failed calls", "calls", failed))
    return figures


def _beside(
    what: str, own: Sequence[Told], theirs: Sequence[Told], limit: float | None = None
) -> list[Figure]:
    """Divide the means, and the longest of a hundred, seed by seed."""
    pairs = list(zip(own, theirs, strict=False))  # of some there are fewer
    return [
        Figure(
            what.format("mean"),
            "times",
            [mine.mean / other.mean for mine, other in pairs],
            limit=limit,
        ),
        Figure(
            what.format("p99"),
            "times",
            [mine.p99 / other.p99 for mine, other in pairs],
            limit=limit,
        ),
    ]
