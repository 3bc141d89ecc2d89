"""What the pool tells about itself: frozen values, fit to print, to serialise and to show in a notebook."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

import attrs

from llmpool import _html
from llmpool import _validators as valid
from llmpool.errors import one_line


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        return {
            field.name: _plain(getattr(value, field.name)) for field in attrs.fields(type(value))
        }
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON knows neither
    return value


def _error(given: object) -> str | None:
    return None if given is None else one_line(str(given))


@attrs.frozen
class HealthCheckResult:
    """
    What one check found.

    ``latency`` is in seconds; ``timestamp`` is aware; ``error`` is one line, or None. A
    :class:`~llmpool.Deployment` may stand for its name.
    """

    deployment: str = attrs.field(converter=str)
    healthy: bool = attrs.field(validator=valid.flag())
    latency: float = attrs.field(default=0.0, validator=valid.seconds(zero=True))
    error: str | None = attrs.field(default=None, converter=_error)
    timestamp: datetime.datetime = attrs.field(
        factory=lambda: datetime.datetime.now(datetime.timezone.utc)
    )

    @timestamp.validator
    def _check_timestamp(self, _: attrs.Attribute[datetime.datetime], value: object) -> None:
        if not isinstance(value, datetime.datetime) or value.tzinfo is None:
            valid.refuse("timestamp", "an aware datetime", value, kind=TypeError)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can carry."""
        return dict(_plain(self))

    def _repr_html_(self) -> str:
        return _html.check(self)


@attrs.frozen(kw_only=True)
class DeploymentStatus:
    """
    One deployment at a moment.

    Latencies are milliseconds of successful calls, None while unmeasured. ``total_requests`` counts
    attempts by callers, checks never. ``cooldown_remaining`` is seconds until it may be asked again.
    Tokens are those that answers told of; ``cost`` is None without prices, ``requests_left`` and
    ``tokens_left`` (what may be sent at once) are None without a limit per minute.
    """

    name: str
    healthy: bool
    state: str
    reason: str | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    requests_in_flight: int = 0
    total_requests: int = 0
    total_errors: int = 0
    error_rate: float = 0.0
    consecutive_failures: int = 0
    consecutive_successes: int = 0
    cooldown_remaining: float = 0.0
    last_check: HealthCheckResult | None = None
    last_error: str | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    requests_left: int | None = None
    tokens_left: int | None = None

    @property
    def in_service(self) -> bool:
        """Whether it is healthy and was not drained; a rate limit takes nobody out of service."""
        return self.healthy and self.state != "draining"

    def to_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can carry."""
        return dict(_plain(self))

    def _repr_html_(self) -> str:
        return _html.deployment(self)


@attrs.frozen(kw_only=True)
class PoolHealthStatus:
    """
    The whole pool at a moment.

    ``avg_latency_ms`` is the mean of the healthy deployments' medians, None while none is measured.
    ``checker_alive`` tells whether a checker thread runs in this process. ``cost`` is the sum of what
    is known, None when no deployment has prices.
    """

    total_deployments: int
    healthy_deployments: int
    avg_latency_ms: float | None
    pool_healthy: bool
    deployments: tuple[DeploymentStatus, ...]
    checker_alive: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can carry."""
        return dict(_plain(self))

    def _repr_html_(self) -> str:
        return _html.pool(self)


def summed_up(statuses: tuple[DeploymentStatus, ...], *, checker_alive: bool) -> PoolHealthStatus:
    """Give the whole pool's status from its deployments'."""
    healthy = [status for status in statuses if status.healthy]
    costs = [status.cost for status in statuses if status.cost is not None]
    medians = [status.latency_p50_ms for status in healthy if status.latency_p50_ms is not None]
    return PoolHealthStatus(
        total_deployments=len(statuses),
        healthy_deployments=len(healthy),
        avg_latency_ms=sum(medians) / len(medians) if medians else None,
        pool_healthy=bool(healthy),
        deployments=statuses,
        checker_alive=checker_alive,
        input_tokens=sum(status.input_tokens for status in statuses),
        output_tokens=sum(status.output_tokens for status in statuses),
        cost=sum(costs) if costs else None,
    )


@attrs.frozen
class Explanation:
    """
    Whether a deployment would be asked now, why, and for how long (seconds; None: open-ended).
    """

    deployment: str
    eligible: bool
    why: str
    until: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can carry."""
        return dict(_plain(self))


@attrs.frozen
class Event:
    """
    A change of a deployment's state; ``at`` is the pool's monotonic time in seconds.

    The checker's own changes (``"running"``, ``"degraded"``, ``"dead"``) come too; their
    ``deployment`` is empty.
    """

    pool: str
    deployment: str
    old: str
    new: str
    reason: str | None
    at: float
