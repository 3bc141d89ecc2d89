"""Rows 5 and 6: a chat over loopback HTTP, and the connections it takes."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import requests

from benchmarks.fleet import Fleet
from benchmarks.measure import Figure, Scale, alternate, ratios
from benchmarks.overhead import calls_per_second
from benchmarks.work import Loop
from llmpool import Deployment, OpenAIProvider, ProviderPool

PROMPT = "Tell me of the sea."
MESSAGES: Any = [{"role": "user", "content": PROMPT}]
LIMITS = {"requests": 0.55, "openai": 0.4, "Router": 0.1}
Ask = Callable[[], object]


@contextmanager
def by_pool(fleet: Fleet) -> Iterator[Ask]:
    """Ask through a pool of one deployment per server."""
    deployments = [
        Deployment(f"d{number}", OpenAIProvider(url, api_key="k", model="tiny"))
        for number, url in enumerate(fleet.urls)
    ]
    pool = ProviderPool(deployments, health_check=None)
    try:
        yield lambda: pool.complete(PROMPT).text
    finally:
        pool.close()
        for deployment in deployments:
            deployment.provider.close()


@contextmanager
def by_requests(fleet: Fleet) -> Iterator[Ask]:
    """Ask as one does by hand, each thread over a session of its own."""
    local = threading.local()
    sessions = []
    url = f"{fleet.urls[0]}/chat/completions"

    def ask() -> object:
        session = getattr(local, "session", None)
        if session is None:
            session = local.session = requests.Session()
            session.headers["Authorization"] = "Bearer k"
            sessions.append(session)
        return session.post(url, json={"model": "tiny", "messages": MESSAGES}, timeout=60).json()

    yield ask
    for session in sessions:
        session.close()


@contextmanager
def by_openai(fleet: Fleet) -> Iterator[Ask]:
    """Ask through the vendor's own client."""
    import openai

    with openai.OpenAI(base_url=fleet.urls[0], api_key="k") as client:
        create = client.chat.completions.create
        yield lambda: create(model="tiny", messages=MESSAGES)


@contextmanager
def by_router(fleet: Fleet) -> Iterator[Ask]:
    """Ask through LiteLLM's Router, with a client that keeps its connections."""
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
        ]
    )
    yield lambda: router.completion("tiny", MESSAGES)
    router.discard()
    client.close()
    litellm.client_session = None


def chats_of(ask: Ask) -> Loop:
    """Ask again and again."""

    def loop(count: int) -> None:
        for _ in range(count):
            ask()

    return loop


def _seconds_each(loop: Loop, count: int, threads: int) -> float:
    return 1.0 / calls_per_second(loop, count, threads)


def beside_peers(scale: Scale) -> list[Figure]:
    """Row 5: wall-clock time of a chat, beside what else one would take."""
    ways = {"llmpool": by_pool, "requests": by_requests, "openai": by_openai, "Router": by_router}
    counts = {"Router": scale.pick(48, 32)}
    figures = []
    with Fleet(3) as fleet, ExitStack() as stack:
        loops = {name: chats_of(stack.enter_context(way(fleet))) for name, way in ways.items()}
        for threads in (1, 16):
            for loop in loops.values():
                calls_per_second(loop, 2 * threads, threads)
            found = alternate(
                scale.rounds * 2,
                {
                    name: functools.partial(
                        _seconds_each, loop, counts.get(name, scale.pick(480, 96)), threads
                    )
                    for name, loop in loops.items()
                },
            )
            figures += [
                Figure(
                    f"time, beside {peer}, {threads} threads",
                    "times",
                    ratios(found["llmpool"], found[peer]),
                    limit=LIMITS[peer],
                )
                for peer in ways
                if peer != "llmpool"
            ]
    return figures


def connections(scale: Scale) -> list[Figure]:
    """Row 6: new connections after a warm-up with as many threads."""
    figures = []
    for threads in (1, 16, 64):
        values = []
        for _ in range(scale.rounds):
            with Fleet(1) as fleet, by_pool(fleet) as ask:
                calls_per_second(chats_of(ask), threads * 20, threads)
                fleet.forget()
                calls_per_second(chats_of(ask), threads * scale.pick(50, 10), threads)
                values.append(float(fleet.seen()[0].accepted))
        figures.append(Figure(f"new connections, {threads} threads", "", values, limit=0))
    return figures
