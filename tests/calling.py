"""Calls on a stage: deployments that answer by words, a clock turned by hand, a journal of who was asked."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import attrs

from llmpool import Deployment, HealthCheckConfig, ProviderPool, RetryPolicy, errors
from llmpool.messages import EmbeddingResponse
from llmpool.testing import ManualClock

ENDS: dict[str, Callable[[], Exception]] = {
    "500": lambda: errors.ServerFault("broke", status=500),
    "502": lambda: errors.ServerFault("bad gateway", status=502),
    "501": lambda: errors.ServerFault("not implemented", status=501),
    "529": lambda: errors.ServerFault("overloaded", status=529),
    "loading": lambda: errors.ServerFault("loading", status=503, code="loading_model"),
    "refused": lambda: errors.ConnectionFailed("refused", sent="no"),
    "reset": lambda: errors.ConnectionFailed("reset"),
    "tls": lambda: errors.ConnectionFailed("certificate expired", code="tls", sent="no"),
    "html": lambda: errors.MalformedResponse("HTML"),
    "429": lambda: errors.RateLimited("slow down", status=429),
    "401": lambda: errors.AuthenticationFailed("wrong key", status=401),
    "quota": lambda: errors.QuotaExhausted("no money", status=429, code="insufficient_quota"),
    "daily": lambda: errors.RateLimited("per day", status=429, code="quota_per_day"),
    "400": lambda: errors.InvalidRequest("bad request", status=400),
    "long": lambda: errors.ContextLengthExceeded("too long", status=400),
    "unknown": lambda: errors.InvalidRequest("no model", status=404, code="model_not_found"),
    "hang": lambda: errors.DeadlineExceeded("hung"),
    "type": lambda: TypeError("the caller's own"),
    "ctrl-c": lambda: KeyboardInterrupt(),  # type: ignore[dict-item,return-value]
}
"""The ways in which an attempt can fail; ``429:5`` carries a Retry-After of 5 s."""


@attrs.frozen
class Asked:
    """One attempt as its deployment saw it: when in seconds since the start, and with what time-out."""

    name: str
    at: float
    timeout: float
    model: str | None = None


class Longest(random.Random):
    """Draws the most each time, and notes between what."""

    def __init__(self) -> None:
        super().__init__(1)
        self.drawn: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        """Give *b*."""
        self.drawn.append((a, b))
        return b


class Actor:
    """
    A provider that answers by words, the last one again and again.

    ``ok``, or one of ENDS; ``hang`` lasts as long as it may, ``500/3`` and ``ok/3`` last 3 s.
    """

    def __init__(self, words: str, model: str | None = None) -> None:
        self.model = model
        self.name = ""
        self.stage: Stage | None = None
        self._words = words.split()

    def complete(self, request: Any, timeout: float) -> str:
        """Play the next word."""
        self._play(request.model, timeout)
        return f"{self.name} says so"

    def embed(self, texts: Any, model: str | None, timeout: float) -> EmbeddingResponse:
        """Play the next word."""
        self._play(model, timeout)
        return EmbeddingResponse([[1.0]] * len(texts))

    def _play(self, model: str | None, timeout: float) -> None:
        stage = self.stage
        assert stage is not None
        stage.journal.append(Asked(self.name, stage.clock.now() - stage.began, timeout, model))
        word = self._words.pop(0) if len(self._words) > 1 else self._words[0]
        word, _, lasts = word.partition("/")
        kind, _, delay = word.partition(":")
        stage.clock.advance(timeout if kind == "hang" and not lasts else float(lasts or 0))
        if kind != "ok":
            # Under no name here: the frame would hold the error that holds it.
            raise _ended(kind, delay)


def _ended(kind: str, delay: str) -> Exception:
    error = ENDS[kind]()
    if delay:
        error.retry_after = float(delay)  # type: ignore[attr-defined]
    return error


def on(name: str, words: str, *, model: str | None = None, **options: Any) -> Deployment:
    """Give a deployment that answers by *words*."""
    return Deployment(name, Actor(words, model), **options)


class Stage:
    """
    A pool whose deployments answer by words, asked in the order given while nothing speaks against it.

    Draws are the longest, so that a back-off is 0.5 s, then 1 s, and a first sentence 5 s.
    """

    def __init__(
        self,
        *deployments: Deployment,
        strategy: Any = "primary",
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        failure_threshold: int = 3,
        fail_open: bool = True,
        clock: ManualClock | None = None,
        **named: str,
    ) -> None:
        self.clock = ManualClock() if clock is None else clock
        self.rng = Longest()
        self.journal: list[Asked] = []
        given = [*deployments, *(on(name, words) for name, words in named.items())]
        for deployment in given:
            if isinstance(deployment.provider, Actor):
                deployment.provider.name = deployment.name
                deployment.provider.stage = self
        self.pool = ProviderPool(
            given,
            name="main",
            strategy=strategy,
            retry=retry,
            fail_open=fail_open,
            health_check=HealthCheckConfig(enabled=False, failure_threshold=failure_threshold),
            clock=self.clock,
            rng=self.rng,
        )
        self.began = self.clock.now()

    def complete(self, **options: Any) -> str:
        """Make a call that goes well; tell who answered."""
        return str(self.pool.complete("hello", **options).deployment)

    def fail(self, **options: Any) -> Any:
        """Make a call that goes wrong; give its error."""
        try:
            answer = self.pool.complete("hello", **options)
        except errors.LLMPoolError as error:
            return error
        raise AssertionError(f"answered by {answer.deployment}")

    def asked(self) -> list[str]:
        """Tell who was asked since the last time this was."""
        asked, self.journal = self.journal, []
        return [each.name for each in asked]

    def when(self) -> list[tuple[str, float]]:
        """Tell who was asked, and when, since the last time this was."""
        asked, self.journal = self.journal, []
        return [(each.name, round(each.at, 6)) for each in asked]

    def states(self) -> dict[str, str]:
        """Give the state of each."""
        return {name: status.state for name, status in self.pool.all_health().items()}

    def counts(self, name: str) -> tuple[int, int, int]:
        """Give requests, errors, and what is in flight."""
        status = self.pool.health(name)
        return status.total_requests, status.total_errors, status.requests_in_flight


class Gate:
    """A provider whose calls wait until they are let go; they end as *ends* say, then well."""

    def __init__(self, *ends: str) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self._ends = list(ends)
        self._lock = threading.Lock()
        self._inside = 0
        self.peak = 0

    def complete(self, request: Any, timeout: float) -> str:
        """Wait, then play the next end."""
        with self._lock:
            end = self._ends.pop(0) if self._ends else "ok"
            self._inside += 1
            self.peak = max(self.peak, self._inside)
        self.entered.release()
        try:
            assert self.open.wait(10.0)
        finally:
            with self._lock:
                self._inside -= 1
        if end != "ok":
            raise ENDS[end]()
        return "fine"
