"""Row 13: how soon a bad server is left alone, and has its share again, beside HAProxy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

from benchmarks import balancer
from benchmarks.connects import Connects
from benchmarks.fleet import Fleet
from benchmarks.traffic import Ask, Plan, Story, suffer
from llmpool import Deployment, HealthCheckConfig, OpenAIProvider, Probe, ProviderPool

INTERVAL = 0.2
TIMEOUT = 1.0
FAULTS = ("killed", "500", "hang", "429", "reset", "truncated")
LATENCY = (0.015, 0.025)
PLAN = Plan(good=1.5, bad=2.5, again=2.5)
PROMPT = "Tell me of the sea."
RETRIES = 2


@contextmanager
def pool_of(fleet: Fleet, **options: float) -> Iterator[ProviderPool]:
    """Make a pool with the same checks as HAProxy's: every 0.2 s, three failures out, two successes in."""
    deployments = [
        Deployment(f"s{n}", OpenAIProvider(url, api_key="k", model="tiny"), timeout=TIMEOUT)
        for n, url in enumerate(fleet.urls)
    ]
    config = HealthCheckConfig(
        INTERVAL, timeout=INTERVAL, unhealthy_interval=INTERVAL, skip_after_traffic=False
    )
    pool = ProviderPool(deployments, health_check=config, check=Probe())
    try:
        yield pool
    finally:
        pool.close()
        for deployment in deployments:
            deployment.provider.close()


def by_pool(fleet: Fleet, plan: Plan, fault: str, retries: int) -> Story:
    """Let callers call the pool."""
    with pool_of(fleet) as pool, Connects(fleet.ports[0]) as connects:

        def ask() -> None:
            pool.complete(PROMPT)

        asks = [retrying(ask, retries)] * plan.threads
        return suffer(fleet, plan, fault, asks, connects.taken, INTERVAL)


def by_haproxy(fleet: Fleet, plan: Plan, fault: str, retries: int) -> Story:
    """Let callers call HAProxy, each over a session of its own."""
    with balancer.HAProxy(fleet.ports, interval=INTERVAL, timeout=TIMEOUT) as front:
        sessions = [requests.Session() for _ in range(plan.threads)]

        def asking(session: requests.Session) -> Ask:
            body = {"model": "tiny", "messages": [{"role": "user", "content": PROMPT}]}

            def ask() -> None:
                answer = session.post(f"{front.url}/chat/completions", json=body, timeout=10.0)
                answer.raise_for_status()
                answer.json()["choices"][0]["message"]["content"]

            return retrying(ask, retries)

        try:
            asks = [asking(session) for session in sessions]
            return suffer(fleet, plan, fault, asks, front.connects, INTERVAL)
        finally:
            for session in sessions:
                session.close()


def retrying(ask: Ask, times: int) -> Ask:
    """Ask again so often when it fails, after a pause as the vendors' SDKs make."""
    pause = threading.Event()

    def again() -> None:
        for turn in range(times):
            try:
                return ask()
            except Exception:  # noqa: BLE001 - whatever it is, the next try may go well
                pause.wait(0.5 * 2**turn * 0.875)
        return ask()

    return again


WAYS: dict[str, Callable[[Fleet, Plan, str, int], Story]] = {
    "llmpool": by_pool,
    "HAProxy": by_haproxy,
}
