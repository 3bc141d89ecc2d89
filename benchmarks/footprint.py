"""Rows 10 and 11: the time and memory of the import, and of what a pool holds."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fleet import Fleet
from benchmarks.measure import Figure, Scale, alternate, ratios
from llmpool import CompletionResponse, Deployment, OpenAIProvider, ProviderPool

_ROOT = Path(__file__).parents[1]

_IMPORT = """
import json, time
cpu, wall = time.process_time(), time.perf_counter()
import {modules}
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
try:
    status = open("/proc/self/status").read()
    memory = int(status.split("VmRSS:")[1].split()[0])
except OSError:
    import resource
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(dict(cpu=cpu, wall=wall, memory=memory)))
"""


def _fresh(modules: str) -> dict[str, float]:
    """Import in a fresh interpreter; give its seconds, and the memory afterwards in KiB."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT.format(modules=modules)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": "/usr/bin:/bin"},
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def imports(scale: Scale) -> list[Figure]:
    """Row 10: ``import llmpool``, beside importing what it stands on, and beside LiteLLM."""
    told: dict[str, list[dict[str, float]]] = {}

    def measure(modules: str) -> float:
        told.setdefault(modules, []).append(_fresh(modules))
        return 0.0

    needs = "requests, attrs, tenacity"
    names = ("llmpool", needs)
    for name in names:
        _fresh(name)  # writes what is compiled
    alternate(scale.rounds * 2, {name: partial(measure, name) for name in names})
    alternate(scale.pick(3, 1), {"litellm": lambda: measure("litellm")})

    def of(modules: str, what: str) -> list[float]:
        return [each[what] for each in told[modules]]

    own_time, own_memory = of("llmpool", "cpu"), of("llmpool", "memory")
    return [
        Figure(
            "CPU time, beside its needs", "times", ratios(own_time, of(needs, "cpu")), limit=1.25
        ),
        Figure(
            "memory, beside its needs", "times", ratios(own_memory, of(needs, "memory")), limit=1.1
        ),
        Figure("llmpool: seconds", "s", of("llmpool", "wall")),
        Figure("llmpool: memory", "MB", [value / 1024 for value in own_memory]),
        Figure("LiteLLM: seconds", "s", of("litellm", "wall")),
        Figure("LiteLLM: memory", "MB", [value / 1024 for value in of("litellm", "memory")]),
    ]


class Nothing:
    """A provider that does nothing."""

    def complete(self, request: object, timeout: float) -> CompletionResponse:
        """Answer at once."""
        return CompletionResponse("ok")


def memory(scale: Scale) -> list[Figure]:
    """Row 11: what Python allocates for a deployment, and for an open stream over HTTP."""
    each = [_per_deployment(scale.pick(10_000, 1000))]
    stream = [_per_stream(scale.pick(100, 20)) for _ in range(scale.pick(3, 1))]
    return [
        Figure("a deployment", "KiB", [value / 1024 for value in each], limit=3.0),
        Figure("an open stream", "KiB", [value / 1024 for value in stream], limit=40.0),
    ]


def _per_deployment(count: int) -> float:
    provider = Nothing()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        pool = ProviderPool(
            [Deployment(f"d{number}", provider) for number in range(count)], health_check=None
        )
        for _ in range(count):
            pool.complete("hello")
        return (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()


def _per_stream(count: int) -> float:
    with Fleet(1) as fleet:
        fleet.stream_of(1)
        fleet.behave(0, "stall")  # after the first content, so that each stays open
        provider = OpenAIProvider(fleet.urls[0], api_key="k", model="tiny")
        pool = ProviderPool([Deployment("d", provider)], health_check=None)
        held: list[Any] = [pool.stream("hello")]
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            held += [pool.stream("hello") for _ in range(count)]
            return (tracemalloc.get_traced_memory()[0] - before) / count
        finally:
            tracemalloc.stop()
            for stream in held:
                stream.close()
            pool.close()
            provider.close()
