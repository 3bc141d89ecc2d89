"""Callers that call while a server fails and comes back, and what is to be told of it."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence

import attrs

from benchmarks.fleet import Fleet

Ask = Callable[[], None]
Connects = Callable[[], list[float]]

CALLER = "caller-"
"""How the names of callers' threads begin."""


@attrs.frozen
class Record:
    """One call of a caller's; ``error`` is None if it was answered."""

    began: float
    ended: float
    error: str | None


@attrs.frozen
class Plan:
    """
    How a server's trouble goes: seconds of good, of bad, of good again.

    ``rate`` is the calls per second of all callers together; None lets each call as fast as it is
    answered.
    """

    good: float
    bad: float
    again: float
    threads: int = 8
    rate: float | None = None


@attrs.frozen
class Story:
    """
    What came of one plan. Times are seconds; None where it never came.

    ``out`` is the time from the fault to the last call sent there while it was bad, ``back`` from the
    repair to the first that it served, ``share`` to the tenth part of a second from which on it had its
    fair share. ``probes`` counts callers' calls sent there later than *interval* after the fault.
    """

    calls: int
    failed: int
    p50: float
    p99: float
    out: float
    back: float | None
    share: float | None
    probes: int
    most_open: int
    errors: dict[str, int]


def quantile(values: Sequence[float], share: float) -> float:
    """Give the value that *share* of *values* do not exceed; nan of none."""
    if not values:
        return math.nan
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def run(plan: Plan, asks: Sequence[Ask], during: Callable[[], None]) -> list[Record]:
    """Have each of *asks* called again and again by a thread of its own, for as long as *during* lasts."""
    stopped = threading.Event()
    tickets = itertools.count()
    records: list[list[Record]] = [[] for _ in asks]
    start = time.monotonic() + 0.05

    def call(ask: Ask, own: list[Record]) -> None:
        while not stopped.is_set():
            if plan.rate is not None:
                due = start + next(tickets) / plan.rate
                if stopped.wait(max(0.0, due - time.monotonic())):
                    return
            began = time.monotonic()
            try:
                ask()
            except Exception as error:  # noqa: BLE001 - what fails is counted
                own.append(Record(began, time.monotonic(), f"{type(error).__name__}: {error}"))
            else:
                own.append(Record(began, time.monotonic(), None))

    threads = [
        threading.Thread(target=call, args=pair, name=f"{CALLER}{number}", daemon=True)
        for number, pair in enumerate(zip(asks, records, strict=True))
    ]
    for thread in threads:
        thread.start()
    try:
        during()
    finally:
        stopped.set()
        for thread in threads:
            thread.join(60.0)
    return sorted(itertools.chain(*records), key=lambda record: record.began)


def suffer(
    fleet: Fleet, plan: Plan, fault: str, asks: Sequence[Ask], connects: Connects, interval: float
) -> Story:
    """
    Have server 0 of *fleet* go bad and come back under callers' load.

    *connects* gives when callers tried to connect to it: one that is dead sees nothing of that itself.
    """
    pause = threading.Event()
    moments: list[float] = []

    def during() -> None:
        pause.wait(plan.good)
        moments.append(fleet.behave(0, fault))
        pause.wait(plan.bad)
        moments.append(fleet.behave(0, "ok"))
        pause.wait(plan.again)

    fleet.forget()
    records = run(plan, asks, during)
    seen = fleet.seen()
    asked = [at for at, _ in seen[0].calls] + connects()
    served = [[at for at, good in server.calls if good] for server in seen]
    story = tell(records, moments[0], moments[1], asked, served, interval)
    return attrs.evolve(story, most_open=max(server.most_open for server in seen))


def tell(
    records: Sequence[Record],
    fault_at: float,
    repair_at: float,
    asked: Sequence[float],
    served: Sequence[Sequence[float]],
    interval: float,
) -> Story:
    """
    Tell what came of a fault.

    *asked* are the times at which callers' calls were sent to the bad server, *served* those of the
    calls that each server answered well, the bad one's first.
    """
    times = [record.ended - record.began for record in records]
    while_bad = [at - fault_at for at in asked if fault_at <= at < repair_at]
    errors: dict[str, int] = {}
    for record in records:
        if record.error is not None:
            errors[record.error] = errors.get(record.error, 0) + 1
    return Story(
        calls=len(records),
        failed=sum(errors.values()),
        p50=quantile(times, 0.5),
        p99=quantile(times, 0.99),
        out=max(while_bad, default=0.0),
        back=min((at - repair_at for at in served[0] if at >= repair_at), default=None),
        share=_fair_from(served, repair_at),
        probes=sum(1 for after in while_bad if after > interval),
        most_open=0,
        errors=errors,
    )


def _fair_from(served: Sequence[Sequence[float]], repair_at: float) -> float | None:
    """Give the seconds from the repair until the first server has half of a fair share in a window."""
    window = 0.2
    own = [at - repair_at for at in served[0] if at >= repair_at]
    everyone = [at - repair_at for server in served for at in server if at >= repair_at]
    last = max(everyone, default=0.0)
    start = 0.0
    while start + window <= last:
        inside = sum(1 for at in everyone if start <= at < start + window)
        mine = sum(1 for at in own if start <= at < start + window)
        if mine and mine * len(served) * 2 >= inside:
            return start
        start += 0.1
    return None
