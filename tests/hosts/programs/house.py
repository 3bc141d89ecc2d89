"""The pool that every hosted program uses, what it tells of itself, and a WSGI application over it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

from llmpool import Deployment, HealthCheckConfig, LLMPoolError, OpenAIProvider, ProviderPool

NAMES = ("eu", "us")


def build(**settings: Any) -> ProviderPool:
    """Build a pool over the servers of the environment, whose checker asks often and patiently."""
    return ProviderPool(
        [
            Deployment(
                name,
                OpenAIProvider(
                    os.environ[f"HOUSE_{name.upper()}"],
                    api_key=os.environ["HOUSE_KEY"],
                    model="tiny",
                ),
            )
            for name in NAMES
        ],
        name="house",
        health_check=HealthCheckConfig(
            0.2, unhealthy_interval=0.2, timeout=60.0, skip_after_traffic=False
        ),
        **settings,
    )


def ask(pool: ProviderPool, prompt: str) -> str:
    """Ask by a whole answer, or by a stream where the question wants one."""
    if prompt.endswith("streamed"):
        with pool.stream(prompt, timeout=30) as stream:
            return "".join(chunk.text for chunk in stream)
    return pool.complete(prompt, timeout=30).text


def questions(label: str, number: int) -> list[str]:
    """Give questions that nobody else asks; every third wants a stream."""
    return [
        f"{label} of {os.getpid()} number {n}{' streamed' if n % 3 == 0 else ''}"
        for n in range(number)
    ]


def astray(pool: ProviderPool, label: str, number: int = 40, threads: int = 4) -> list[str]:
    """Ask questions from several threads; give what did not get the answer to its question."""
    with ThreadPoolExecutor(threads) as workers:
        asked = questions(label, number)
        answers = list(workers.map(lambda prompt: ask(pool, prompt), asked))
    return [
        f"{prompt!r} got {answer!r}"
        for prompt, answer in zip(asked, answers, strict=True)
        if answer != f"echo: {prompt}"
    ]


def state(pool: ProviderPool) -> dict[str, Any]:
    """Tell, in values for JSON, how a pool is in this process."""
    whole = pool.health_status()
    checks = {each.name: each.last_check for each in whole.deployments}
    return {
        "pid": os.getpid(),
        "checker": whole.checker_alive,
        "healthy": [each.name for each in whole.deployments if each.healthy],
        "in_flight": sum(each.requests_in_flight for each in whole.deployments),
        "asked": sum(each.total_requests for each in whole.deployments),
        "errors": sum(each.total_errors for each in whole.deployments),
        "checked": {
            name: check.timestamp.isoformat() if check is not None and check.healthy else None
            for name, check in checks.items()
        },
        "checkers": sum(
            thread.name.startswith("llmpool-checker-") for thread in threading.enumerate()
        ),
    }


POOL = build()
if os.environ.get("HOUSE_EAGER"):
    # As an application does that warms up while it is loaded: the checker's thread runs and the
    # connections are open before whoever loads this forks.
    wrong = astray(POOL, "warm-up", 8)
    assert not wrong, wrong


def respond(path: str, query: str) -> Any:
    """Answer one request to the application."""
    if path != "/ask":
        return state(POOL)
    try:
        text = ask(POOL, parse_qs(query)["q"][0])
    except LLMPoolError as error:
        text = f"{type(error).__name__}: {error}"
    return {"pid": os.getpid(), "text": text}


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Serve WSGI."""
    body = json.dumps(respond(environ["PATH_INFO"], environ["QUERY_STRING"])).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]
