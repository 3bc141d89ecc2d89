"""How many healthy deployments are enough."""

from __future__ import annotations

import pytest

from llmpool import DeploymentStatus, PoolHealthStatus
from llmpool.web import as_quorum, is_ready


@pytest.mark.parametrize("quorum", [1, 2, 1000, 0.01, 0.5, 1.0])
def test_a_quorum(quorum: float) -> None:
    """A whole number from 1 on, or a float up to 1.0, is given back as it is."""
    assert as_quorum("quorum", quorum) is quorum


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (0, ValueError),
        (-1, ValueError),
        (0.0, ValueError),
        (1.5, ValueError),
        (2.0, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (True, TypeError),
        ("1", TypeError),
        (None, TypeError),
    ],
)
def test_no_quorum(wrong: object, kind: type[Exception]) -> None:
    """It is refused by the name of its field, and what is wanted."""
    wanted = "MIN: wanted a whole number >= 1, or a share above 0 and up to 1.0, got"
    with pytest.raises(kind, match=wanted):
        as_quorum("MIN", wrong)


def status(healthy: int, total: int) -> PoolHealthStatus:
    """Give a pool with so many healthy."""
    states = ["healthy"] * healthy + ["unhealthy"] * (total - healthy)
    return status_of(*states)


def status_of(*states: str) -> PoolHealthStatus:
    """Give a pool with deployments in these states; a drained one is healthy, as far as is known."""
    deployments = tuple(
        DeploymentStatus(name=str(number), healthy=state in ("healthy", "draining"), state=state)
        for number, state in enumerate(states)
    )
    healthy = sum(each.healthy for each in deployments)
    return PoolHealthStatus(
        total_deployments=len(states),
        healthy_deployments=healthy,
        avg_latency_ms=None,
        pool_healthy=healthy > 0,
        deployments=deployments,
    )


@pytest.mark.parametrize(
    ("healthy", "total", "quorum", "ready"),
    [
        (0, 0, 1, False),
        (0, 3, 1, False),
        (1, 3, 1, True),
        (1, 3, 2, False),
        (2, 3, 2, True),
        (2, 3, 5, False),
        (3, 3, 5, True),
        (0, 3, 0.01, False),
        (1, 300, 0.001, True),
        (1, 3, 0.5, False),
        (2, 4, 0.5, True),
        (7, 10, 0.7, True),
        (6, 10, 0.7, False),
        (2, 3, 1.0, False),
        (3, 3, 1.0, True),
    ],
)
def test_whether_a_pool_is_ready(healthy: int, total: int, quorum: float, ready: bool) -> None:
    """Enough are healthy, one at least; more than there are means all."""
    assert is_ready(status(healthy, total), quorum) is ready


@pytest.mark.parametrize(
    ("states", "quorum", "ready"),
    [
        (("draining",), 1, False),
        (("draining", "draining"), 0.1, False),
        (("draining", "healthy"), 1, True),
        (("draining", "healthy"), 2, False),
        (("draining", "healthy"), 0.5, True),
        (("draining", "healthy"), 1.0, False),
    ],
)
def test_drained_deployments(states: tuple[str, ...], quorum: float, ready: bool) -> None:
    """They count in the total alone, for nobody asks them."""
    assert is_ready(status_of(*states), quorum) is ready
