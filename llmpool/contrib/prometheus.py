"""Metrics of pools for Prometheus, by its client library; several processes may share them."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import weakref
from typing import Any

from llmpool import _validators as valid
from llmpool.contrib._models import Models, label
from llmpool.contrib._optional import load
from llmpool.observers import AttemptFacts, Observer
from llmpool.outcomes import Attempt
from llmpool.pool import ProviderPool
from llmpool.status import Event, HealthCheckResult

_client = load("prometheus_client", "llmpool.contrib.prometheus", "prometheus")

SECONDS = tuple(0.01 * 2**step for step in range(14))
"""Bounds of the histograms: those that OpenTelemetry advises for calls of models, 10 ms to 82 s."""
_NAMESPACE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def instrument(
    pool: ProviderPool, *, registry: Any = None, namespace: str = "llmpool"
) -> ProviderPool:
    """
    Count what *pool* does from now on; give the pool back. A second time does nothing.

    Any number of pools may be on one registry, each under its name. Names of models are labels: those
    that the deployments name, and of those that callers made up the first twenty; all further ones
    are ``"other"``.

    Args:
        registry: of prometheus_client; None for its default one.
        namespace: what the names of the metrics begin with.

    Raises:
        ValueError: *namespace* begins no name of a metric, or the registry has metrics of these names.
    """
    if not isinstance(pool, ProviderPool):
        valid.refuse("pool", "a ProviderPool", pool, kind=TypeError)
    chosen = _client.REGISTRY if registry is None else registry
    with _lock:  # critical section
        kept = _kept.setdefault(chosen, {})
        metrics = kept.get(namespace)
        if metrics is None:
            metrics = kept[namespace] = _Metrics(chosen, namespace)
        observer = metrics.observers.get(pool)
        if observer is not None:
            return pool
        observer = metrics.observers[pool] = _PoolObserver(metrics, pool)
    pool.observe(observer)
    observer.look_at(pool)
    return pool


class _Metrics:
    """The metrics on one registry."""

    def __init__(self, registry: Any, namespace: str) -> None:
        valid.as_text("namespace", namespace)
        if not _NAMESPACE.fullmatch(namespace):
            valid.refuse("namespace", "letters, digits and underscores", namespace)
        place = ("pool", "deployment")
        attempt = (*place, "model", "outcome")
        known = {"namespace": namespace, "registry": None}
        times = {**known, "buckets": SECONDS}
        self.requests = _client.Counter(
            "requests_total", "Attempts that have ended, by what came of them.", attempt, **known
        )
        self.duration = _client.Histogram(
            "request_duration_seconds",
            "Time of attempts; of a stream, what was spent waiting for it.",
            attempt,
            **times,
        )
        self.first_token = _client.Histogram(
            "time_to_first_token_seconds",
            "Time of attempts until the first content of a stream.",
            (*place, "model"),
            **times,
        )
        self.in_flight = _client.Gauge(
            "inflight_requests",
            "Attempts under way.",
            place,
            multiprocess_mode="livesum",
            **known,
        )
        self.up = _client.Gauge(
            "deployment_up",
            "Whether a deployment is healthy and not drained (1) or not (0).",
            place,
            # Not the least of all: a forked process has zeros until it first sets a value, and these
            # are older than anything that was ever set.
            multiprocess_mode="livemostrecent",
            **known,
        )
        self.check_duration = _client.Histogram(
            "health_check_duration_seconds", "Time of checks.", (*place, "outcome"), **times
        )
        self.failovers = _client.Counter(
            "failovers_total",
            "Calls that went on elsewhere after an attempt had failed.",
            ("pool", "from", "reason"),
            **known,
        )
        self.tokens = _client.Counter(
            "tokens_total",
            "Tokens that answers told of, of the request (input) or of the answer (output).",
            (*place, "model", "type"),
            **known,
        )
        _register(registry, list(vars(self).values()))
        # Their observers hold no pool, so that a forgotten one is collected.
        self.observers: weakref.WeakKeyDictionary[ProviderPool, _PoolObserver] = (
            weakref.WeakKeyDictionary()
        )


def _register(registry: Any, metrics: list[Any]) -> None:
    """
    Put all of *metrics* on *registry*, or none.

    Raises:
        ValueError: it has one of such a name.
    """
    done = []
    try:
        for each in metrics:
            registry.register(each)
            done.append(each)
    except ValueError:
        for each in done:
            registry.unregister(each)
        raise


# Guards what it is declared for, and the observers of each; it re-enters for a signal handler.
_lock = threading.RLock()
_kept: weakref.WeakKeyDictionary[Any, dict[str, _Metrics]] = weakref.WeakKeyDictionary()


class _PoolObserver(Observer):
    """
    Counts what one pool does.

    Threads: any.
    """

    def __init__(self, metrics: _Metrics, pool: ProviderPool) -> None:
        self._metrics = metrics
        self._pool = label(pool.name)
        self._models = Models(pool)
        # Weakly, so that a forgotten pool is collected.
        self._asked = weakref.ref(pool)
        # Guards the gauges of the deployments and what was last seen of each, so that none is set from an
        # older look than the last. It re-enters for a signal handler.
        self._lock = threading.RLock()
        self._states: dict[str, str] = {}
        self._pid = os.getpid()

    def look_at(self, pool: ProviderPool) -> None:
        """Take the states as they are."""
        for deployment in pool.deployments:
            self._show(deployment.name)

    def attempt_started(self, facts: AttemptFacts) -> None:
        """Count what is under way, and who takes over from whom."""
        self._arrive()
        notes = facts.call.notes
        former: Attempt | None = notes.get(self)
        if former is not None and former.deployment != facts.deployment:
            gone, reason = label(former.deployment), str(former.verdict)
            self._metrics.failovers.labels(self._pool, gone, reason).inc()
        self._metrics.in_flight.labels(self._pool, label(facts.deployment)).inc()

    def attempt_ended(self, attempt: Attempt, facts: AttemptFacts) -> None:
        """Count it by what came of it."""
        self._arrive()
        facts.call.notes[self] = attempt
        self._follow(facts.deployment)
        metrics = self._metrics
        where = (self._pool, label(facts.deployment))
        model = self._models.bounded(facts.model or facts.upstream)
        metrics.in_flight.labels(*where).dec()
        metrics.requests.labels(*where, model, str(attempt.verdict)).inc()
        metrics.duration.labels(*where, model, str(attempt.verdict)).observe(attempt.latency)
        if facts.first_content is not None:
            metrics.first_token.labels(*where, model).observe(facts.first_content)
        usage = facts.usage
        if usage is not None:
            metrics.tokens.labels(*where, model, "input").inc(usage.input_tokens)
            metrics.tokens.labels(*where, model, "output").inc(usage.output_tokens)

    def check_ended(self, result: HealthCheckResult) -> None:
        """Count it."""
        self._arrive()
        outcome = "ok" if result.healthy else "failed"
        told = self._metrics.check_duration.labels(self._pool, label(result.deployment), outcome)
        told.observe(result.latency)
        self._follow(result.deployment)

    def state_changed(self, event: Event) -> None:
        """Show the deployment's; the checker has none."""
        self._arrive()
        if event.deployment:
            self._show(event.deployment)

    def _follow(self, deployment: str) -> None:
        """Look again at one that is recovering: it proves itself without a change of its state."""
        if self._states.get(deployment) == "recovering":
            self._show(deployment)

    def _show(self, deployment: str) -> None:
        pool = self._asked()
        if pool is None:
            return  # its last words
        with self._lock, contextlib.suppress(KeyError):  # it may be removed meanwhile
            status = pool.health(deployment)
            self._states[deployment] = status.state
            gauge = self._metrics.up.labels(self._pool, label(deployment))
            gauge.set(1.0 if status.in_service else 0.0)

    def _arrive(self) -> None:
        """Show the states anew in a forked child, where each gauge of several processes starts at zero."""
        pid = os.getpid()
        if self._pid == pid:
            return
        self._pid = pid
        self._lock = threading.RLock()
        for deployment in list(self._states):
            self._show(deployment)
