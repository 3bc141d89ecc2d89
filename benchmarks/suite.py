"""The benchmarks, in the order of what they are about: from one call to a failing server."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import attrs

from benchmarks.measure import Figure, Scale


@attrs.frozen
class Benchmark:
    """One benchmark: ``place`` is ``module:function``, ``limit`` the seconds after which it is ended."""

    name: str
    title: str
    place: str
    limit: float = 240.0

    def load(self) -> Callable[[Scale], list[Figure]]:
        """Import what measures; peers that it needs come with it."""
        module, _, function = self.place.partition(":")
        found: Callable[[Scale], list[Figure]] = getattr(
            importlib.import_module(f"benchmarks.{module}"), function
        )
        return found


SUITE = (
    Benchmark(
        "overhead", "A call over a provider that does nothing", "overhead:beside_tenacity", 400.0
    ),
    Benchmark("sizes", "The same with more deployments, beside three", "overhead:by_size"),
    Benchmark("threads", "The same from many threads, beside one", "overhead:by_threads"),
    Benchmark(
        "mock",
        "LiteLLM's Router and its mock response, in calls of llmpool",
        "overhead:beside_router",
    ),
    Benchmark("chat", "A chat over loopback HTTP", "http_calls:beside_peers"),
    Benchmark("connections", "New connections after a warm-up", "http_calls:connections"),
    Benchmark("stream", "A stream over loopback HTTP", "streams:beside_peers"),
    Benchmark("pass", "A pass of checks, beside the ideal", "checking:whole_pass"),
    Benchmark("rest", "A checker at rest, 100 deployments every 30 s", "checking:at_rest"),
    Benchmark("import", "Importing", "footprint:imports"),
    Benchmark("memory", "Memory", "footprint:memory"),
    Benchmark("choosing", "Choosing well, by simulation", "choosing:beside_references", 400.0),
    Benchmark("haproxy", "A failing server, beside HAProxy", "beside:beside_haproxy", 420.0),
    Benchmark("router", "A failing server, beside LiteLLM's Router", "beside:beside_router", 480.0),
    Benchmark("seasoned", "A server that fails after many good calls", "beside:seasoned"),
    Benchmark("crowded", "Connections of 64 callers while a server fails", "beside:crowded"),
)
BY_NAME = {benchmark.name: benchmark for benchmark in SUITE}
