"""Row 13 and its like: stories of a failing server, turned into figures."""

from __future__ import annotations

import math

import attrs

from benchmarks import balancer, haproxy, router
from benchmarks.fleet import Fleet
from benchmarks.measure import Figure, Scale
from benchmarks.traffic import Plan, Story

ROLES = {"llmpool": "own", "HAProxy": "other"}
SLACK = 0.25
"""Seconds that a noisy machine may add to what hangs on a clock."""


def beside_haproxy(scale: Scale) -> list[Figure]:
    """Row 13: the same servers, checks and callers, behind llmpool and behind HAProxy."""
    if balancer.PROGRAM is None:
        return [Figure("HAProxy is not installed: not measured", "", [])]
    plan = haproxy.PLAN
    faults: tuple[str, ...] = haproxy.FAULTS
    if scale.quick:
        plan, faults = attrs.evolve(plan, good=0.7, bad=1.5, again=1.5), ("500", "truncated")
    figures = []
    for retries in (0,) if scale.quick else (0, haproxy.RETRIES):
        for fault in faults:
            stories = {}
            for name, way in haproxy.WAYS.items():
                with Fleet(3, latency=haproxy.LATENCY) as fleet:
                    stories[ROLES[name]] = way(fleet, plan, fault, retries)
            callers = f"{fault}, callers retry twice" if retries else fault
            figures += haproxy_figures(callers, plan, **stories)
    return figures


def haproxy_figures(fault: str, plan: Plan, own: Story, other: Story) -> list[Figure]:
    """Give what both stories tell; ours is to be no worse."""
    # Who never left a bad server has none to come back to.
    stayed = other.out > 0.9 * plan.bad

    def both(
        what: str, unit: str, ours: float, theirs: float, slack: float = 0.0, fair: bool = True
    ) -> list[Figure]:
        return [
            Figure(f"{fault}: {what}", unit, _known(ours), limit=theirs + slack if fair else None),
            Figure(f"{fault}: {what}, HAProxy", unit, _known(theirs)),
        ]

    return [
        Figure(f"{fault}: failed calls", "calls", [own.failed], limit=0),
        Figure(f"{fault}: failed calls, HAProxy", "calls", [other.failed]),
        *both("p50", "ms", own.p50 * 1000, other.p50 * 1000),
        *both("p99", "ms", own.p99 * 1000, other.p99 * 1000),
        *both("last call to the bad one after", "s", own.out, other.out, SLACK),
        *both("serves again after", "s", _time(own.back), _time(other.back), SLACK, not stayed),
        *both(
            "half a fair share after",
            "s",
            _time(own.share),
            _time(other.share),
            SLACK,
            not stayed,
        ),
    ]


def beside_router(scale: Scale) -> list[Figure]:
    """A paced load while one of three fails, behind llmpool and behind LiteLLM's Router."""
    plan = router.PLAN
    faults: tuple[str, ...] = router.FAULTS
    if scale.quick:
        plan, faults = attrs.evolve(plan, good=1.0, bad=2.5, again=5.0), ("killed",)
    figures = []
    for fault in faults:
        for name, way in router.WAYS.items():
            with Fleet(3, latency=router.LATENCY) as fleet:
                figures += router_figures(name, fault, way(fleet, plan, fault))
    return figures


def seasoned(scale: Scale) -> list[Figure]:
    """The same after 10,000 good calls, which must not outvote the fault."""
    before = scale.pick(10_000, 500)
    plan = attrs.evolve(router.PLAN, good=1.0, bad=scale.pick(6, 3), again=5.0)
    figures = []
    for fault in ("500", "hang")[: scale.pick(2, 1)]:
        with Fleet(3) as fleet:
            story = router.by_pool(fleet, plan, fault, before)
        # So quick are these servers that two of them are mostly idle. The third, if it has failed once or
        # twice and was not taken out, has no call for the 30 s in which a fault counts as load.
        name = f"llmpool, {before:,} good calls before"
        figures += router_figures(name, fault, story, returns=False)
    return figures


def router_figures(name: str, fault: str, story: Story, returns: bool = True) -> list[Figure]:
    """Give what one story tells; for llmpool, with what is to be reached, its return if *returns*."""
    ours = name.startswith("llmpool")
    held = ours and fault != "429"  # after which a cool-down ends by time, and a call goes first
    about = f"{fault}: {name}"
    back = 2 * router.INTERVAL * 1.1 + SLACK  # with the jitter of the checks
    return [
        Figure(f"{about}, failed calls", "calls", [story.failed], limit=0 if ours else None),
        Figure(f"{about}, p50", "ms", [story.p50 * 1000]),
        Figure(f"{about}, p99", "ms", [story.p99 * 1000]),
        Figure(
            f"{about}, last call to the bad one after",
            "s",
            [story.out],
            limit=router.INTERVAL if held else None,
        ),
        Figure(
            f"{about}, calls spent as probes", "calls", [story.probes], limit=0 if held else None
        ),
        # A wrong key is tried again once in its period, a minute, which is longer than this goes on.
        Figure(
            f"{about}, serves again after",
            "s",
            _known(_time(story.back)),
            limit=back if ours and returns and fault != "401" else None,
        ),
    ]


def crowded(scale: Scale) -> list[Figure]:
    """Count the connections that 64 callers have open at one server, through each fault."""
    figures = []
    plan = attrs.evolve(router.PLAN, good=1.0, bad=2.5, again=1.0, threads=64, rate=None)
    for fault in router.FAULTS[: scale.pick(5, 1)]:
        with Fleet(3, latency=router.LATENCY) as fleet:
            story = router.by_pool(fleet, plan, fault)
        about = f"{fault}: llmpool, 64 threads"
        figures += [
            Figure(f"{about}, failed calls", "calls", [story.failed], limit=0),
            # One for each caller, and one for a check.
            Figure(f"{about}, most connections to a server", "", [story.most_open], limit=65),
        ]
    return figures


def _time(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def _known(value: float) -> list[float]:
    return [value] if math.isfinite(value) else []
