"""A local server, and a pool over it that must end with nothing in flight."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmpool import Deployment, OpenAIProvider, ProviderPool, RetryPolicy
from llmpool.testing import LocalServer

KEY = "sk-of-the-deployment-0123456789"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server that wants a key."""
    with LocalServer("eu", api_keys=[KEY]) as server:
        yield server


@pytest.fixture
def pool(server: LocalServer) -> Iterator[ProviderPool]:
    """A pool over it, without a checker, that asks once."""
    provider = OpenAIProvider(server.url, api_key=KEY, model="tiny")
    retry = RetryPolicy(1, timeout=30.0, max_wait=0.0)
    deployments = [Deployment("a", provider)]
    with ProviderPool(deployments, name="main", health_check=None, retry=retry) as pool:
        yield pool
        assert pool.health("a").requests_in_flight == 0
