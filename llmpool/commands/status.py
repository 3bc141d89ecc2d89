"""``llmpool status`` and ``llmpool explain``: check the configured deployments once, or over and over."""

from __future__ import annotations

import argparse
import json
import threading
from typing import Any, NoReturn, TextIO

from llmpool import DeploymentStatus, Explanation, PoolHealthStatus, ProviderPool
from llmpool.clock import SystemClock
from llmpool.commands import _tables, page
from llmpool.commands._arguments import Unusable
from llmpool.commands._chronicle import TONES
from llmpool.commands._configured import pool_of
from llmpool.commands._tables import Table, printable
from llmpool.commands._terminal import Line, Screen, Span, is_coloured, is_drawable

ALL_HEALTHY, SOME_HEALTHY, NONE_HEALTHY = 0, 1, 2
SOME_ELIGIBLE, NONE_ELIGIBLE = 0, 2

_clock = SystemClock()


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Check and show; with ``--watch`` and ``--web`` until Ctrl-C. Give the exit status."""
    if options.web:
        page.serve(options, out)
    if options.control or options.host is not None or options.port is not None:
        raise Unusable("--host, --port and --control go with --web")
    with pool_of(options) as pool:
        if options.watch is not None:
            watch(pool, options.watch, as_json=options.json, out=out)
        return show(pool, as_json=options.json, out=out)


def show(pool: ProviderPool, *, as_json: bool, out: TextIO) -> int:
    """Check and show once; give the exit status."""
    pool.check_now()
    status = pool.health_status()
    if as_json:
        out.write(json.dumps(_record(pool, status), indent=2) + "\n")
    else:
        _tables.write(out, _parts(pool, status), _tables.environment())
    if status.healthy_deployments == status.total_deployments:
        return ALL_HEALTHY
    return SOME_HEALTHY if status.healthy_deployments else NONE_HEALTHY


def watch(pool: ProviderPool, period: float, *, as_json: bool, out: TextIO) -> NoReturn:
    """Check and show every *period* seconds, until Ctrl-C."""
    environ = _tables.environment()
    never = threading.Event()
    drawable = is_drawable(out, environ) and not as_json
    with Screen(out, coloured=is_coloured(out, environ)) as screen:
        while True:
            began = _clock.now()
            pool.check_now()
            status = pool.health_status()
            if as_json:
                out.write(json.dumps(_record(pool, status)) + "\n")
                out.flush()
            elif drawable:
                screen.draw(_watched(pool, status, period))
            else:
                _tables.write(out, [[Span(_now())], *_parts(pool, status), []], environ)
            _clock.wait(never, max(0.0, began + period - _clock.now()))


def _watched(pool: ProviderPool, status: PoolHealthStatus, period: float) -> list[Line]:
    head = [Span(_now(), "bold"), Span(f"  every {period:g} s, Ctrl-C ends it", "dim")]
    lines: list[Line] = [head, []]
    for part in _parts(pool, status):
        lines += part.lines() if isinstance(part, Table) else [part]
    return lines


def _now() -> str:
    return _clock.utc().astimezone().strftime("%H:%M:%S")


def _record(pool: ProviderPool, status: PoolHealthStatus) -> dict[str, Any]:
    return {"pool": pool.name, "at": _clock.utc().isoformat(), **status.to_dict()}


def _parts(pool: ProviderPool, status: PoolHealthStatus) -> list[Table | Line]:
    rows = tuple(_row(pool, each) for each in status.deployments)
    titles = ("deployment", "state", "check ms>", "tier>", "weight>", "why")
    healthy, total = status.healthy_deployments, status.total_deployments
    tone = "good" if healthy == total else "warn" if healthy else "bad"
    return [Table(titles, rows), [Span(f"{healthy} of {total} healthy", tone)]]


def _row(pool: ProviderPool, status: DeploymentStatus) -> tuple[Span, ...]:
    deployment = next(each for each in pool.deployments if each == status.name)
    check = status.last_check
    why = (check.error if check is not None else None) or status.reason or ""
    took = "-" if check is None else f"{check.latency * 1000:.0f}"
    return (
        Span(status.name, "bold"),
        Span(status.state, TONES.get(status.state)),
        Span(took),
        Span(str(deployment.priority)),
        Span(f"{deployment.weight:g}"),
        Span(printable(why)),
    )


def explain(options: argparse.Namespace, out: TextIO) -> int:
    """Check once, then tell of each deployment whether a call would go there; give the exit status."""
    with pool_of(options) as pool:
        pool.check_now()
        told = list(pool.explain().values())
    if options.json:
        whole = {"pool": pool.name, "deployments": [each.to_dict() for each in told]}
        out.write(json.dumps(whole, indent=2) + "\n")
    else:
        titles = ("deployment", "asked", "for s>", "why")
        table = Table(titles, tuple(map(_explained, told)))
        count = sum(each.eligible for each in told)
        tone = "good" if count == len(told) else "warn" if count else "bad"
        last = [Span(f"{count} of {len(told)} would be asked now", tone)]
        _tables.write(out, [table, last], _tables.environment())
    return SOME_ELIGIBLE if any(each.eligible for each in told) else NONE_ELIGIBLE


def _explained(each: Explanation) -> tuple[Span, ...]:
    return (
        Span(each.deployment, "bold"),
        Span("yes", "good") if each.eligible else Span("no", "bad"),
        Span("-" if each.until is None else f"{each.until:.1f}"),
        Span(printable(each.why)),
    )
