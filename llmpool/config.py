"""What a user configures: deployments, checks, retries; each refused at once when it is wrong."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from llmpool import _validators as valid

if TYPE_CHECKING:
    from llmpool.messages import Usage

LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6
"""Beyond these a share is no share: sums of weights would lose the small ones to rounding."""


MOST_MONEY = 1e12


def _frozen_names(given: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(valid.name_map("models", given))


def _tags(given: Any) -> tuple[str, ...]:
    return valid.names("tags", given)


@attrs.frozen(kw_only=True)
class Prices:
    """
    What tokens cost: for a million of them, all in one currency.

    Attributes:
        input: those of the request.
        output: those of the answer, reasoning included.
        cached_input: those of the request that a prompt cache held; None: like the others.
    """

    input: float = attrs.field(validator=valid.number(most=MOST_MONEY))
    output: float = attrs.field(validator=valid.number(most=MOST_MONEY))
    cached_input: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(valid.number(most=MOST_MONEY))
    )

    def cost(self, usage: Usage) -> float:
        """Give what so many tokens cost."""
        fresh = usage.prompt_tokens
        spent = usage.completion_tokens * self.output
        if self.cached_input is not None:
            fresh -= usage.cached_tokens
            spent += usage.cached_tokens * self.cached_input
        return (fresh * self.input + spent) / 1e6


@attrs.frozen(eq=False, repr=False)
class Deployment:
    """
    A configured target: one key, region, vendor or server.

    A deployment is known by its name: it compares equal to it, and to itself alone otherwise.

    Attributes:
        weight: its share of the traffic under the strategies that weigh; 0 means drained.
        priority: its tier; a lower number first, the next only when the one above has nobody.
        max_concurrent: calls at a time; further ones wait in turn.
        models: from the name a caller uses to this provider's own; empty passes every name through.
        tags: marks that a call can ask for.
        quota_group: deployments of one name here share their rate-limit cool-downs, and the two
            limits per minute.
        timeout: seconds for one attempt.
        prices: what its tokens cost; without them its cost is unknown.
        requests_per_minute: what it may be sent; further calls go elsewhere or wait.
        tokens_per_minute: likewise, of the request and of the answer together.
        max_context: tokens that its model can read; for ``fallback_on``.
        vendor: whose content filter it has; for ``fallback_on``.
    """

    name: str = attrs.field(validator=valid.name())
    provider: Any = attrs.field()
    weight: float = attrs.field(default=1, kw_only=True, validator=valid.number(most=MOST_WEIGHT))
    priority: int = attrs.field(default=0, kw_only=True)
    max_concurrent: int | None = attrs.field(
        default=None, kw_only=True, validator=valid.count(1, none=True)
    )
    region: str | None = attrs.field(default=None, kw_only=True, validator=valid.name(none=True))
    models: Mapping[str, str] = attrs.field(factory=dict, kw_only=True, converter=_frozen_names)
    tags: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_tags)
    quota_group: str | None = attrs.field(
        default=None, kw_only=True, validator=valid.name(none=True)
    )
    timeout: float | None = attrs.field(
        default=None, kw_only=True, validator=valid.seconds(none=True)
    )
    prices: Prices | None = attrs.field(default=None, kw_only=True)
    requests_per_minute: int | None = attrs.field(
        default=None, kw_only=True, validator=valid.count(1, none=True)
    )
    tokens_per_minute: int | None = attrs.field(
        default=None, kw_only=True, validator=valid.count(1, none=True)
    )
    max_context: int | None = attrs.field(
        default=None, kw_only=True, validator=valid.count(1, none=True)
    )
    vendor: str | None = attrs.field(default=None, kw_only=True, validator=valid.name(none=True))

    @provider.validator
    def _check_provider(self, _: attrs.Attribute[Any], provider: object) -> None:
        complete = getattr(provider, "complete", None)
        if isinstance(provider, type) or not callable(complete):
            wanted = "a provider object with a complete(request, timeout) method"
            valid.refuse("provider", wanted, provider, kind=TypeError, private=True)
        if inspect.iscoroutinefunction(complete):
            raise TypeError("provider: wanted a plain complete(), got a coroutine function")

    @prices.validator
    def _check_prices(self, _: attrs.Attribute[Any], prices: object) -> None:
        if prices is not None and not isinstance(prices, Prices):
            valid.refuse("prices", "a Prices or None", prices, kind=TypeError)

    @weight.validator
    def _check_weight(self, _: attrs.Attribute[float], weight: float) -> None:
        if 0 < weight < LEAST_WEIGHT:
            valid.refuse("weight", f"0, or at least {LEAST_WEIGHT:g}", weight)

    @priority.validator
    def _check_priority(self, _: attrs.Attribute[int], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            valid.refuse("priority", "a whole number", value, kind=TypeError)

    def __repr__(self) -> str:
        return f"Deployment({self.name!r}, {type(self.provider).__name__})"

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return self.name == other if isinstance(other, str) else self is other

    def __hash__(self) -> int:
        return hash(self.name)

    def knows(self, model: str | None) -> bool:
        """Tell whether it takes this name of a model."""
        return model is None or not self.models or model in self.models

    def upstream(self, model: str | None) -> str | None:
        """Give its own name for *model*; None leaves it to the server."""
        if model is not None:
            return self.models.get(model, model)
        own = getattr(self.provider, "model", None)
        return own if isinstance(own, str) else None


def deployments_of(given: object) -> list[Deployment]:
    """
    Take what a pool is given.

    Raises:
        ValueError: there is none, or none with a weight, or two of one name.
        TypeError: it is no iterable of deployments.
    """
    if isinstance(given, (str, bytes, Mapping, Deployment)) or not isinstance(given, Iterable):
        valid.refuse("deployments", "an iterable of Deployment", given, kind=TypeError)
    taken = list(given)
    for entry in taken:
        if not isinstance(entry, Deployment):
            valid.refuse("deployments", "Deployment in the list", entry, kind=TypeError)
    if not taken:
        raise ValueError("deployments: wanted at least one, got none")
    valid.unique_names("deployments", (entry.name for entry in taken))
    if not any(entry.weight for entry in taken):
        raise ValueError("deployments: wanted at least one weight above 0, got all 0")
    return taken


@attrs.frozen
class HealthCheckConfig:
    """
    How deployments are checked.

    Attributes:
        interval: seconds between checks of a healthy deployment.
        timeout: seconds of wall clock for one check, all its phases together.
        failure_threshold: faults in a row, or failed checks in a row, that take a deployment out.
        recovery_threshold: good checks in a row that let it back in.
        enabled: False starts no thread.
        jitter: the share of an interval by which checks are spread.
        unhealthy_interval: seconds between checks of one that is out.
        skip_after_traffic: do not ask one whose calls succeeded within the interval.
        max_workers: checks that run at a time.
    """

    interval: float = attrs.field(default=30.0, validator=valid.seconds())
    timeout: float = attrs.field(kw_only=True, default=10.0, validator=valid.seconds())
    failure_threshold: int = attrs.field(kw_only=True, default=3, validator=valid.count(1))
    recovery_threshold: int = attrs.field(kw_only=True, default=2, validator=valid.count(1))
    enabled: bool = attrs.field(kw_only=True, default=True, validator=valid.flag())
    jitter: float = attrs.field(kw_only=True, default=0.1, validator=valid.number(most=1))
    unhealthy_interval: float = attrs.field(kw_only=True, default=5.0, validator=valid.seconds())
    skip_after_traffic: bool = attrs.field(kw_only=True, default=True, validator=valid.flag())
    max_workers: int = attrs.field(kw_only=True, default=32, validator=valid.count(1))


@attrs.frozen
class RetryPolicy:
    """
    How a call goes on after a failed attempt.

    Attributes:
        max_attempts: attempts that may have done work, in all.
        timeout: seconds for a whole call that names none; None for no limit.
        max_wait: seconds a call may wait for cool-downs to end or a place to become free, all its waits
            together.
        backoff_initial: seconds; the longest pause before the first return to the same deployment.
        backoff_max: seconds; no pause is longer.
        budget_ratio: retries in flight, as a share of the calls in flight.
        budget_min: retries in flight that are always allowed.
    """

    max_attempts: int = attrs.field(default=3, validator=valid.count(1))
    timeout: float | None = attrs.field(
        kw_only=True, default=600.0, validator=valid.seconds(none=True)
    )
    max_wait: float = attrs.field(kw_only=True, default=10.0, validator=valid.seconds(zero=True))
    backoff_initial: float = attrs.field(
        kw_only=True, default=0.5, validator=valid.seconds(zero=True)
    )
    backoff_max: float = attrs.field(kw_only=True, default=8.0, validator=valid.seconds(zero=True))
    budget_ratio: float = attrs.field(kw_only=True, default=0.2, validator=valid.number(most=1))
    budget_min: int = attrs.field(kw_only=True, default=3, validator=valid.count())

    @property
    def limit(self) -> float:
        """The total seconds, as a number also where there is no limit."""
        return math.inf if self.timeout is None else self.timeout
