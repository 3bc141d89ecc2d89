"""
A check for django-health-check 4: ``"llmpool.contrib.django.health.PoolHealth"`` among its view's checks.

It asks no deployment: it tells what the pool knows.
"""

from __future__ import annotations

import dataclasses

from llmpool.contrib.django import pools
from llmpool.web import as_quorum, is_ready
from llmpool.web.watching import glance

try:
    from health_check.base import HealthCheck
    from health_check.exceptions import ServiceUnavailable
except ImportError:
    raise ImportError(
        "llmpool.contrib.django.health needs django-health-check 4.0 or newer, which is not installed"
    ) from None


@dataclasses.dataclass
class PoolHealth(HealthCheck):  # type: ignore[misc]
    """
    Fails when fewer deployments are healthy than *quorum* wants, and not before.

    A warning of django-health-check's answers 500 as an error does, so a pool that is merely short of one
    deployment gives none.

    Attributes:
        pool: its name in ``settings.LLMPOOL``.
        quorum: how many healthy deployments are enough; as a float, which share of all.
    """

    pool: str = "default"
    quorum: float = 1

    def __post_init__(self) -> None:
        as_quorum("quorum", self.quorum)

    def run(self) -> None:
        """Look at the pool, whose checker runs from then on."""
        view = glance(pools[self.pool])
        if view.problem is not None:
            raise ServiceUnavailable(view.problem)
        if not is_ready(view.status, self.quorum):
            usable = [each.healthy and each.state != "draining" for each in view.status.deployments]
            raise ServiceUnavailable(f"{sum(usable)} of {len(usable)} deployments healthy")
