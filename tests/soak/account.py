"""What came of all calls, and what must not have."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence

import attrs

from llmpool import Attempt, DeploymentStatus

_SHOWN = 20
"""So many problems are kept; what goes wrong once mostly goes wrong always."""
_ERRORS = frozenset({"rate_limited", "config", "busy", "fault"})
"""Verdicts that a deployment's ``total_errors`` counts."""


@attrs.frozen
class Limits:
    """
    Seconds.

    Attributes:
        timeout: what each call is given.
        slack: beyond that, on a machine with much else to do.
        settle: for what must end by itself.
        linger: for what is in flight on a deployment that is removed.
    """

    timeout: float = 3.0
    slack: float = 12.0
    settle: float = 15.0
    linger: float = 5.0


class Account:
    """
    One entry for each call, kept by its caller.

    Threads: the lock guards every field.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        self.asked: Counter[str] = (
            Counter()
        )  # attempts on each deployment, as the callers know them
        self.failed: Counter[str] = Counter()  # those of them that count as its errors
        self.unjudged: Counter[str] = Counter()  # those whose verdict nobody told
        self.seconds: list[int] = [0] * 1000
        self.longest = 0.0
        self.failed_over = 0
        self.problems: list[str] = []

    def begin(self, kind: str) -> None:
        """Note a call that begins."""
        with self._lock:
            self.begun[kind] += 1

    def end(self, kind: str, took: float, end: str, by: str) -> None:
        """Note its end: "answered", "let go", or the name of its error."""
        with self._lock:
            self.ended[kind] += 1
            self.seconds[min(int(took * 100), 999)] += 1
            self.longest = max(self.longest, took)
            if by:
                self.served[by] += 1
            else:
                self.errors[end] += 1
            if took > self._limits.timeout + self._limits.slack:
                self._note(f"a call of {kind} took {took:.1f} s: {end}")

    def attempted(self, attempts: Sequence[Attempt]) -> None:
        """Note the attempts of one call, as it tells of them."""
        with self._lock:
            for attempt in attempts:
                self.asked[attempt.deployment] += 1
                self.failed[attempt.deployment] += str(attempt.verdict) in _ERRORS
            self.failed_over += len(attempts) > 1

    def leased(self, deployment: str, *, failed: bool) -> None:
        """Note the one attempt of a lease, which tells nothing of itself."""
        with self._lock:
            self.asked[deployment] += 1
            self.unjudged[deployment] += failed

    def note(self, problem: str) -> None:
        """Note what must not be."""
        with self._lock:
            self._note(problem)

    def _note(self, problem: str) -> None:
        if len(self.problems) < _SHOWN:
            self.problems.append(problem)

    def compare(self, statuses: Mapping[str, DeploymentStatus]) -> None:
        """Hold what the pool has counted to what its callers saw, while nobody calls."""
        with self._lock:
            for name, status in statuses.items():
                counted, seen = status.total_requests, self.asked[name]
                if counted != seen:
                    self._note(f"{name}: the pool counted {counted} requests, its callers {seen}")
                least = self.failed[name]
                if not least <= status.total_errors <= least + self.unjudged[name]:
                    self._note(f"{name}: counted {status.total_errors} errors, seen {least}")
            if self.begun != self.ended:
                self._note(f"lost calls: begun {dict(self.begun)}, ended {dict(self.ended)}")

    def quantile(self, share: float) -> float:
        """Give the seconds below which *share* of the calls ended, to a hundredth."""
        with self._lock:
            rest = share * sum(self.seconds)
            for hundredth, count in enumerate(self.seconds):
                rest -= count
                if rest <= 0:
                    return (hundredth + 1) / 100
            return 10.0
