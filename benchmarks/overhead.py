"""Rows 1 to 4: what a call costs over a provider that does nothing."""

from __future__ import annotations

import os
import threading
import time
from functools import partial

from benchmarks import callgrind, work
from benchmarks.measure import AT_LEAST, Figure, Scale, alternate, ratios, seconds_each
from llmpool.strategies import BY_NAME

SIZES = (10, 100, 1000, 10_000)
THREADS = (16, 64)


def beside_tenacity(scale: Scale) -> list[Figure]:
    """Row 1: three deployments, one thread, beside a no-op through a plain ``tenacity.Retrying``."""
    count = scale.pick(3000, 300)
    loops = {name: work.WORK[name]() for name in ("llmpool-3", "tenacity", "pybreaker")}
    found = alternate(
        scale.rounds * 2,
        {name: partial(seconds_each, loop, count) for name, loop in loops.items()},
    )
    own = found["llmpool-3"]
    counted = callgrind.PROGRAM is not None and not scale.quick
    limit = None if counted else 0.9
    figures = [
        Figure("time, beside tenacity", "times", ratios(own, found["tenacity"]), limit=limit),
        Figure("time, beside pybreaker", "times", ratios(own, found["pybreaker"])),
        Figure("CPU time of a call", "µs", [1e6 * value for value in own]),
    ]
    if counted:
        ours, theirs = callgrind.per_call("llmpool-3"), callgrind.per_call("tenacity")
        figures += [
            Figure("instructions, beside tenacity", "times", [ours / theirs], limit=0.9),
            Figure("instructions of a call", "1,000", [ours / 1000]),
        ]
    return figures


def by_size(scale: Scale) -> list[Figure]:
    """Row 2: 10 to 10,000 deployments under each strategy, beside three."""
    count = scale.pick(1000, 100)
    figures = []
    for strategy in BY_NAME:
        sizes = (3, *SIZES[: scale.pick(4, 3)])
        loops = {size: work.calls_of_pool(size, strategy) for size in sizes}
        for loop in loops.values():
            loop(20)
        found = alternate(
            scale.rounds * 3,
            {str(size): partial(seconds_each, loop, count) for size, loop in loops.items()},
        )
        figures += [
            Figure(
                f"{strategy}, {size:,} deployments",
                "times",
                ratios(found[str(size)], found["3"]),
                limit=1.5 if size <= 1000 else None,
            )
            for size in sizes[1:]
        ]
    return figures


def by_threads(scale: Scale) -> list[Figure]:
    """Row 3: calls per second from many threads at once, beside one."""
    loop = work.calls_of_pool()
    total = scale.pick(16_000, 1600)
    loop(100)
    found = alternate(
        scale.rounds * 2,
        {
            str(threads): partial(calls_per_second, loop, total, threads)
            for threads in (1, *THREADS)
        },
    )
    return [
        Figure(
            f"calls per second, {threads} threads",
            "times",
            ratios(found[str(threads)], found["1"]),
            AT_LEAST,
            0.5,
        )
        for threads in THREADS
    ]


def calls_per_second(loop: work.Loop, total: int, threads: int) -> float:
    """Do *total* pieces of work in so many threads that begin together."""
    barrier = threading.Barrier(threads)
    spans: list[tuple[float, float]] = []
    each = total // threads

    def call() -> None:
        barrier.wait(60.0)
        began = time.perf_counter()  # here, for a watcher would begin when it is let
        loop(each)
        spans.append((began, time.perf_counter()))

    workers = [threading.Thread(target=call, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120.0)
    if len(spans) < threads:
        raise RuntimeError("a thread has failed, or is not done")
    return each * threads / (max(end for _, end in spans) - min(began for began, _ in spans))


def beside_router(scale: Scale) -> list[Figure]:
    """
    Row 4: LiteLLM's Router with its mock response, in llmpool's calls.

    By the CPU time of the process: the Router does a fifth of a call's work in threads of its own.
    """
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    figures = []
    for size in (1, 2, 3):
        own, other = work.calls_of_pool(size), work.calls_of_router(size)
        own(100)
        other(2)
        found = alternate(
            scale.rounds * 3,
            {
                "llmpool": partial(seconds_each, own, 2000, time.process_time),
                "Router": partial(seconds_each, other, scale.pick(40, 5), time.process_time),
            },
        )
        values = ratios(found["Router"], found["llmpool"])
        figures.append(Figure(f"Router, {size} deployments", "times", values, AT_LEAST, 250))
    return figures
