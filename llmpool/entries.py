"""What the ledger holds of one deployment; the ledger's lock guards all of it."""

from __future__ import annotations

import math
import threading

from llmpool.config import Deployment
from llmpool.health import UNMEASURED, Health, State
from llmpool.latency import Latencies
from llmpool.messages import Usage
from llmpool.quota import Quota
from llmpool.status import DeploymentStatus, Explanation, HealthCheckResult
from llmpool.strategies import Candidate, mean_price
from llmpool.wishes import ANY, Wish

UNMEASURED_TIMEOUT = 30.0
UNMEASURED_FAIR = 5.0
UNKNOWN_MODEL = "does not know the model"


class Entry:
    """
    One deployment in the ledger.

    ``name``, ``weight``, ``priority``, ``region``, ``tags``, ``in_flight``, ``load``, ``latency`` and
    ``prices`` are what a strategy may look at; they are plain fields, since every choice reads them.
    """

    __slots__ = (
        "alarm_at",
        "cached_tokens",
        "cost",
        "delicate",
        "deployment",
        "draining",
        "eligible",
        "errors",
        "health",
        "idle",
        "in_flight",
        "input_tokens",
        "last_check",
        "last_error",
        "latencies",
        "latency",
        "limit",
        "load",
        "name",
        "open",
        "output_tokens",
        "price",
        "prices",
        "priority",
        "quota",
        "region",
        "removed",
        "requests",
        "shown",
        "stride",
        "tags",
        "turns",
        "unknown",
        "watched",
        "weight",
    )

    def __init__(self, deployment: Deployment, now: float) -> None:
        self.deployment = deployment
        self.name = deployment.name
        self.weight = deployment.weight
        self.priority = deployment.priority
        self.region = deployment.region
        self.tags = deployment.tags
        self.stride = 1.0 / deployment.weight if deployment.weight else math.inf
        self.health = Health(healthy_since=now)
        self.latencies = Latencies()
        self.latency: float | None = None
        self.open: dict[int, tuple[int, float]] = {}  # token: (generation, end of its lease)
        self.in_flight = 0
        self.load = 0
        self.limit = UNMEASURED
        self.turns = 0.0
        self.eligible = False
        self.watched = False  # the limit follows from who is in flight
        self.delicate = False  # a claim there changes more than a count
        self.quota: Quota | None = None  # the whole quota group has one
        self.draining = False
        self.removed = False
        self.idle: threading.Event | None = None
        self.unknown: dict[str, float] = {}
        self.alarm_at: float | None = None
        self.shown = "healthy"
        self.requests = 0
        self.errors = 0
        self.last_error: str | None = None
        self.last_check: HealthCheckResult | None = None
        self.prices = deployment.prices
        self.price = mean_price(self.prices)
        self.input_tokens = 0
        self.cached_tokens = 0
        self.output_tokens = 0
        self.cost = 0.0

    def state(self, now: float) -> str:
        """Give the state that users see."""
        if self.draining or not self.weight:
            return "draining"
        return self.health.name(now)

    def recount(self, now: float) -> None:
        """Derive the counts and the limit from the open claims."""
        self.in_flight = len(self.open)
        self.load = self.in_flight + len(self.health.penalties)
        allowance = self.health.allowance(now)
        self.watched = allowance != UNMEASURED
        self.delicate = self.watched or self.quota is not None
        if self.watched:
            # Claims from before the last turn of events, and expired leases, hold up no trial.
            generation = self.health.generation
            held = list(self.open.values())
            allowance += sum(1 for born, end in held if born != generation or end <= now)
        most = self.deployment.max_concurrent
        self.limit = allowance if most is None else min(most, allowance)

    def open_at(self, tokens: int, now: float) -> float:
        """Give the time from which a call of so many tokens may come; not later than *now* if it may now."""
        at = self.health.open_at(now)
        return at if self.quota is None else max(at, self.quota.ready_at(tokens, now))

    def has_room(self, tokens: int, now: float) -> bool:
        """Tell whether its limits per minute admit a call of so many tokens."""
        return self.quota is None or self.quota.ready_at(tokens, now) <= now

    def spend(self, usage: Usage) -> None:
        """Add up what a call took."""
        self.input_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens
        self.output_tokens += usage.completion_tokens
        if self.prices is not None:
            self.cost += self.prices.cost(usage)

    def serves(self, model: str | None, tags: frozenset[str], upstream: object) -> bool:
        """Tell whether a call that wants this may come here, health apart."""
        deployment = self.deployment
        return (
            deployment.knows(model)
            and (not tags or tags.issubset(deployment.tags))
            and (upstream is ANY or deployment.upstream(model) == upstream)
            and (model is None or model not in self.unknown)
        )

    def time_for(self, wish: Wish, now: float, others: bool) -> float:
        """
        Give the seconds that an attempt may take here.

        While others remain, one that hangs must not eat the whole call.
        """
        left = wish.deadline_at - now
        own = self.deployment.timeout
        if own is not None:
            return min(left, own)
        if not others or wish.attempts_left < 2:
            return left
        share = left / wish.attempts_left
        latencies = self.latencies
        if latencies.count == 0:
            # Unmeasured, it may take long; yet there must be time to ask another.
            return min(left, max(share, min(UNMEASURED_TIMEOUT, left / 2)))
        if share >= 3.0 * latencies.worst:
            return share
        return min(left, max(share, 3.0 * (latencies.quantile(0.99) or 0.0)))

    def fair_time(self) -> float:
        """Give the shortest seconds after which a time-out is this deployment's fault."""
        p99 = self.latencies.quantile(0.99)
        fair = UNMEASURED_FAIR if p99 is None else max(1.0, 3.0 * p99)
        own = self.deployment.timeout
        return fair if own is None else min(own, fair)

    def candidate(self) -> Candidate:
        """Show it to a user's strategy."""
        return Candidate(
            self.name,
            self.weight,
            self.priority,
            self.region,
            self.tags,
            self.in_flight,
            float(self.load),
            self.latency,
            self.prices,
        )

    def status(self, now: float) -> DeploymentStatus:
        """Show it to users."""
        health = self.health
        requests, tokens = (None, None) if self.quota is None else self.quota.left(now)
        return DeploymentStatus(
            name=self.name,
            healthy=health.healthy,
            state=self.state(now),
            reason=self.reason(now),
            latency_p50_ms=_milliseconds(self.latencies.quantile(0.5)),
            latency_p99_ms=_milliseconds(self.latencies.quantile(0.99)),
            requests_in_flight=self.in_flight,
            total_requests=self.requests,
            total_errors=self.errors,
            error_rate=self.errors / self.requests if self.requests else 0.0,
            consecutive_failures=max(health.faults, health.check_faults),
            consecutive_successes=max(health.oks, health.check_oks),
            cooldown_remaining=max(0.0, self.open_at(0, now) - now),
            last_check=self.last_check,
            last_error=self.last_error,
            input_tokens=self.input_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            cost=None if self.prices is None else self.cost,
            requests_left=requests,
            tokens_left=tokens,
        )

    def reason(self, now: float) -> str | None:
        """Give the reason for the state that users see."""
        if self.draining:
            return "drained by the user"
        if not self.weight:
            return "weight 0"
        return self.health.why(now)

    def explain(self, now: float, tokens: int = 0) -> Explanation:
        """Tell whether a call of so many tokens would come here now, why, and for how long."""
        state = self.state(now)
        if state == "draining":
            return Explanation(self.name, False, self.reason(now) or state)
        opens_at = self.health.open_at(now)
        if opens_at > now:
            said = self.reason(now)
            return Explanation(
                self.name, False, f"{state}: {said}" if said else state, opens_at - now
            )
        if self.quota is not None and (opens_at := self.quota.ready_at(tokens, now)) > now:
            spent = f"{state}: its {self.quota.spent(tokens, now)} are used up"
            return Explanation(self.name, False, spent, opens_at - now)
        if self.in_flight >= self.limit:
            kind = "trial" if self.health.state is State.RECOVERING else "place"
            return Explanation(self.name, False, f"{state}: no free {kind} of {self.limit}")
        return Explanation(self.name, True, state)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000.0
