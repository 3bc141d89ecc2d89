"""``llmpool bench``: so many calls from so many threads, and what came of them."""

from __future__ import annotations

import argparse
import itertools
import json
import threading
from typing import Any, TextIO

import attrs

from llmpool import CompletionResponse, LLMPoolError, ProviderPool
from llmpool._threads import daemon, join_all
from llmpool.clock import SystemClock
from llmpool.commands import _tables
from llmpool.commands._configured import pool_of
from llmpool.commands._tables import Table, printable
from llmpool.commands._terminal import Line, Span

ALL_ANSWERED, SOME_FAILED, INTERRUPTED = 0, 1, 130
_ERRORS_SHOWN = 5
_PATIENCE = 2.0
"""Seconds that calls in flight at Ctrl-C may take to end."""

_clock = SystemClock()


@attrs.frozen
class Plan:
    """What is to be sent, and how."""

    calls: int
    threads: int
    prompt: str
    model: str | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    streamed: bool = False


@attrs.frozen
class Result:
    """One call: who answered, after how many seconds (the first content too, of a stream), or what failed."""

    took: float
    deployment: str | None = None
    first: float | None = None
    tokens: int = 0
    attempts: int = 1
    error: str | None = None


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Make the calls and tell what came of them; give the exit status."""
    plan = Plan(
        options.calls,
        options.threads,
        options.prompt,
        options.model,
        options.max_tokens,
        options.timeout,
        options.stream,
    )
    with pool_of(options) as pool:
        load = Load(pool, plan)
        load.play()
        if options.json:
            out.write(json.dumps(record(load), indent=2) + "\n")
        else:
            _tables.write(out, parts(load), _tables.environment())
    if load.interrupted:
        return INTERRUPTED
    return SOME_FAILED if any(each.error for each in load.results) else ALL_ANSWERED


class Load:
    """
    Threads that share a number of calls.

    Threads: ``play`` from one; the results may be read when it has returned.
    """

    def __init__(self, pool: ProviderPool, plan: Plan) -> None:
        self.pool = pool
        self.plan = plan
        self.seconds = 0.0
        self.interrupted = False
        # Appends are whole, and nobody reads before the end.
        self._results: list[Result] = []
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # guards the numbers
        self._numbers = itertools.count()

    @property
    def results(self) -> list[Result]:
        """What has come of the calls, in the order of their ends."""
        return list(self._results)

    def play(self) -> None:
        """Make all calls, or as many as there are until Ctrl-C."""
        count = min(self.plan.threads, self.plan.calls)
        threads = [
            daemon(f"llmpool-bench-{number}", self._ask_on) for number in range(1, count + 1)
        ]
        began = _clock.now()
        try:
            for thread in threads:
                thread.start()
            while join_all(threads, 0.5):
                pass
        except KeyboardInterrupt:
            self.interrupted = True
            self._stopped.set()
            join_all(threads, _PATIENCE)
        self.seconds = _clock.now() - began

    def _ask_on(self) -> None:
        while not self._stopped.is_set():
            with self._lock:  # critical section
                number = next(self._numbers)
            if number >= self.plan.calls:
                return
            self._results.append(self._ask())

    def _ask(self) -> Result:
        began = _clock.now()
        try:
            answer, first = self._stream(began) if self.plan.streamed else self._complete()
        except LLMPoolError as error:
            said = printable(str(error).partition("\n")[0])
            return Result(_clock.now() - began, error=f"{type(error).__name__}: {said}")
        except Exception as error:  # noqa: BLE001 - whatever it is, this call has failed
            return Result(_clock.now() - began, error=type(error).__name__)
        tokens = 0 if answer.usage is None else answer.usage.completion_tokens
        took = _clock.now() - began
        return Result(took, answer.deployment, first, tokens, max(1, len(answer.attempts)))

    def _complete(self) -> tuple[CompletionResponse, None]:
        plan = self.plan
        answer = self.pool.complete(
            plan.prompt, model=plan.model, max_tokens=plan.max_tokens, timeout=plan.timeout
        )
        return answer, None

    def _stream(self, began: float) -> tuple[CompletionResponse, float]:
        plan = self.plan
        with self.pool.stream(
            plan.prompt, model=plan.model, max_tokens=plan.max_tokens, timeout=plan.timeout
        ) as stream:
            first = _clock.now() - began  # it returns at its first content
            for _ in stream:
                pass
            return stream.response, first


def percentile(values: list[float], share: float) -> float | None:
    """Give the value below which *share* of the values lie; None of none."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def record(load: Load) -> dict[str, Any]:
    """Give the summary as plain values that JSON can carry; seconds, and milliseconds where named."""
    results = load.results
    answered = [each for each in results if each.error is None]
    names = [each.name for each in load.pool.deployments]
    statuses = load.pool.all_health()
    return {
        "pool": load.pool.name,
        "interrupted": load.interrupted,
        "calls": len(results),
        "failed": len(results) - len(answered),
        "threads": load.plan.threads,
        "seconds": round(load.seconds, 3),
        "calls_per_second": round(len(results) / max(load.seconds, 1e-9), 2),
        **_times(answered),
        "completion_tokens": sum(each.tokens for each in answered),
        "repeated": sum(each.attempts > 1 for each in answered),
        "errors": _errors(results),
        "deployments": [
            {
                "name": name,
                "answers": len(mine),
                "share": round(len(mine) / max(1, len(answered)), 4),
                **_times(mine),
                "failed_attempts": statuses[name].total_errors,
                "state": statuses[name].state,
            }
            for name in names
            for mine in [[each for each in answered if each.deployment == name]]
        ],
    }


def _times(results: list[Result]) -> dict[str, Any]:
    took = [each.took for each in results]
    first = [each.first for each in results if each.first is not None]
    times = {"p50_ms": percentile(took, 0.5), "p99_ms": percentile(took, 0.99)}
    if first:
        times |= {"first_p50_ms": percentile(first, 0.5), "first_p99_ms": percentile(first, 0.99)}
    return {name: None if at is None else round(at * 1000, 1) for name, at in times.items()}


def _errors(results: list[Result]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for each in results:
        if each.error is not None:
            counted[each.error] = counted.get(each.error, 0) + 1
    return counted


def parts(load: Load) -> list[Table | Line]:
    """Draw the summary."""
    told = record(load)
    firsts = "first_p50_ms" in told
    titles = ["deployment", "answers>", "share>", "p50 ms>", "p99 ms>"]
    titles += ["first p50>", "first p99>"] if firsts else []
    rows = [_row({"name": "all", "answers": told["calls"] - told["failed"], **told}, firsts)]
    rows = [*(_row(each, firsts) for each in told["deployments"]), *rows]
    lines: list[Table | Line] = [Table((*titles, "faults>"), tuple(rows))]
    lines.append(
        [
            Span(
                f"{told['calls']} calls in {told['seconds']:g} s from {told['threads']} threads, "
            ),
            Span(f"{told['calls_per_second']:g} a second; "),
            Span(f"failed {told['failed']}", "bad" if told["failed"] else "good"),
            Span(f", repeated elsewhere {told['repeated']}"),
        ]
    )
    for error, count in list(told["errors"].items())[:_ERRORS_SHOWN]:
        lines.append([Span(f"  {count} × {error}", "bad")])
    if load.interrupted:
        lines.append([Span("Interrupted before its end.", "warn")])
    return lines


def _row(told: dict[str, Any], firsts: bool) -> tuple[Span, ...]:
    share = "" if "share" not in told else f"{100 * told['share']:.0f} %"
    names = ["p50_ms", "p99_ms", *(["first_p50_ms", "first_p99_ms"] if firsts else [])]
    times = ["-" if told.get(name) is None else f"{told[name]:.0f}" for name in names]
    cells = [str(told["answers"]), share, *times, str(told.get("failed_attempts", ""))]
    return (Span(told["name"], "bold"), *map(Span, cells))
