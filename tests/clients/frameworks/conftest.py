"""Pools of two servers, as the frameworks' rooms want them."""

from __future__ import annotations

import pytest
from on_pools import at
from real_clients import MakePool

from llmpool import ProviderPool, RetryPolicy
from llmpool.testing import LocalServer


@pytest.fixture
def pool(pool_of: MakePool, eu: LocalServer, us: LocalServer) -> ProviderPool:
    """A pool over both servers, the first one first, that waits for nobody."""
    quick = RetryPolicy(backoff_initial=0.0, max_wait=0.0)
    return pool_of(at(eu), at(us), retry=quick)
