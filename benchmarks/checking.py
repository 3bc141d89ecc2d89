"""Rows 8 and 9: how long a pass over many deployments takes, and what a checker at rest costs."""

from __future__ import annotations

import heapq
import threading
import time

from benchmarks.fleet import Fleet
from benchmarks.measure import Figure, Scale
from llmpool import Custom, Deployment, HealthCheckConfig, OpenAIProvider, ProviderPool

WORKERS = 64
CHECK = 0.1
TIMEOUT = 0.3


class Unasked:
    """A provider that no call is meant for."""

    def complete(self, request: object, timeout: float) -> str:
        """Say nothing."""
        return ""


def whole_pass(scale: Scale) -> list[Figure]:
    """
    Row 8: a pass over 1,000 deployments of 100 ms each with 64 workers, 20 of them hung.

    What the hung ones take is not counted: their time, a check's time-out each, and the end of the pass
    after the last good answer. What they keep from the others is.
    """
    count, hung = scale.pick(1000, 200), scale.pick(20, 4)
    ideal = count / WORKERS * CHECK
    values = []
    for _ in range(min(scale.rounds, 5)):
        released = threading.Event()
        ended: list[float] = []

        def check(deployment: Deployment, released: threading.Event = released) -> bool:
            if int(deployment.name) % (count // hung) == 0:
                released.wait(30.0)
                return False
            threading.Event().wait(CHECK)
            ended.append(time.monotonic())  # noqa: B023 - this round's
            return True

        config = HealthCheckConfig(timeout=TIMEOUT, max_workers=WORKERS, enabled=False)
        provider = Unasked()
        pool = ProviderPool(
            [Deployment(str(number), provider) for number in range(count)],
            health_check=config,
            check=Custom(check),
        )
        began = time.monotonic()
        pool.check_now()
        values.append((max(ended) - began) / ideal)
        released.set()
        pool.close()
    return [
        Figure(f"a pass over {count:,}, {hung} hung", "times", values, limit=1.15),
        Figure("by workers that cost nothing", "times", [free_of_cost(count, hung) / ideal]),
    ]


def free_of_cost(count: int, hung: int) -> float:
    """Give the seconds until the last good answer, were there nothing to do but to wait."""
    free_at = [0.0] * WORKERS
    last = 0.0
    for number in range(count):
        begins = heapq.heappop(free_at)
        hangs = number % (count // hung) == 0
        heapq.heappush(free_at, begins + (TIMEOUT if hangs else CHECK))
        if not hangs:
            last = max(last, begins + CHECK)
    return last


def at_rest(scale: Scale) -> list[Figure]:
    """
    Row 9: the CPU time of a checker that pings 100 deployments over HTTP every 30 s.

    The quick scale asks ten times as often for a tenth of the time.
    """
    haste = scale.pick(1, 10)
    interval = 30.0 / haste
    with Fleet(10) as fleet:
        deployments = [
            Deployment(
                f"d{number}", OpenAIProvider(fleet.urls[number % 10], api_key="k", model="tiny")
            )
            for number in range(100)
        ]
        config = HealthCheckConfig(interval, unhealthy_interval=interval, skip_after_traffic=False)
        pool = ProviderPool(deployments, health_check=config)
        pause = threading.Event()
        try:
            pool.start()
            pause.wait(2.0)  # the first pass asks all at once
            began, cpu = time.monotonic(), time.process_time()
            pause.wait(interval * 1.1)
            share = (time.process_time() - cpu) / (time.monotonic() - began) / haste
        finally:
            pool.close()
            for deployment in deployments:
                deployment.provider.close()
    return [Figure("share of one core", "%", [100.0 * share], limit=1.0)]
