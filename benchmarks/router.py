"""A paced load while one of three deployments fails, beside LiteLLM's Router."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.connects import Connects
from benchmarks.fleet import Fleet
from benchmarks.traffic import Plan, Story, suffer
from llmpool import Deployment, HealthCheckConfig, OpenAIProvider, Probe, ProviderPool

INTERVAL = 2.0
TIMEOUT = 1.0
FAULTS = ("killed", "hang", "500", "429", "401")
LATENCY = (0.015, 0.025)
PLAN = Plan(good=4.0, bad=12.0, again=9.0, rate=60.0)
PROMPT = "Tell me of the sea."


@contextmanager
def pool_of(fleet: Fleet) -> Iterator[ProviderPool]:
    """Make a pool that checks by probes every two seconds."""
    deployments = [
        Deployment(f"s{n}", OpenAIProvider(url, api_key="k", model="tiny"), timeout=TIMEOUT)
        for n, url in enumerate(fleet.urls)
    ]
    config = HealthCheckConfig(INTERVAL, timeout=TIMEOUT, unhealthy_interval=INTERVAL)
    pool = ProviderPool(deployments, health_check=config, check=Probe())
    try:
        yield pool
    finally:
        pool.close()
        for deployment in deployments:
            deployment.provider.close()


def by_pool(fleet: Fleet, plan: Plan, fault: str, before: int = 0) -> Story:
    """Let callers call the pool, after so many good calls *before*."""
    with pool_of(fleet) as pool, Connects(fleet.ports[0]) as connects:

        def ask() -> None:
            pool.complete(PROMPT)

        for _ in range(before):
            ask()
        return suffer(fleet, plan, fault, [ask] * plan.threads, connects.taken, INTERVAL)


def by_router(fleet: Fleet, plan: Plan, fault: str, before: int = 0) -> Story:
    """Let callers call LiteLLM's Router, with a client of its own that keeps connections."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import httpx
    import litellm

    client = litellm.client_session = httpx.Client()
    router = litellm.Router(
        model_list=[
            {
                "model_name": "tiny",
                "litellm_params": {"model": "openai/tiny", "api_base": url, "api_key": "k"},
            }
            for url in fleet.urls
        ],
        timeout=TIMEOUT,
        num_retries=2,
    )
    messages = [{"role": "user", "content": PROMPT}]

    def ask() -> None:
        router.completion("tiny", messages)

    with Connects(fleet.ports[0]) as connects:
        for _ in range(before):
            ask()
        try:
            return suffer(fleet, plan, fault, [ask] * plan.threads, connects.taken, INTERVAL)
        finally:
            router.discard()
            client.close()
            litellm.client_session = None


WAYS = {"llmpool": by_pool, "Router": by_router}
