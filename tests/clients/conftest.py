"""Two local servers, and pools of real clients over them that must end with nothing in flight."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from real_clients import KEY, MakePool

from llmpool import Deployment, HealthCheckConfig, ProviderPool
from llmpool.testing import LocalServer


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """The first server."""
    with LocalServer("eu", api_keys=[KEY]) as server:
        yield server


@pytest.fixture
def us() -> Iterator[LocalServer]:
    """The second server."""
    with LocalServer("us", api_keys=[KEY]) as server:
        yield server


@pytest.fixture
def dead() -> Iterator[str]:
    """The address of a port that refuses every connection and that nobody else can get."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def pool_of() -> Iterator[MakePool]:
    """Make pools of providers called a, b, c, asked in this order, without a checker."""
    made: list[ProviderPool] = []

    def make(*providers: Any, **options: Any) -> ProviderPool:
        deployments = [
            Deployment(name, given) for name, given in zip("abc", providers, strict=False)
        ]
        settings = {"strategy": "primary", "health_check": HealthCheckConfig(enabled=False)}
        pool = ProviderPool(deployments, **{**settings, **options})
        made.append(pool)
        return pool

    yield make
    for pool in made:
        assert {status.requests_in_flight for status in pool.all_health().values()} == {0}
        pool.close()
