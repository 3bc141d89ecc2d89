"""A pool over two local servers that echo, for a trial without models and keys."""

from __future__ import annotations

from llmpool import Deployment, OpenAIProvider, ProviderPool
from llmpool.testing import LocalServer


def make_pool() -> ProviderPool:
    """Start the servers and make the pool; asked once in a process, when a view first needs it."""
    servers = [LocalServer(name, chunk_delay=0.05).start() for name in ("eu", "us")]
    return ProviderPool(
        [
            Deployment(
                server.name, OpenAIProvider(server.url, api_key=None, model="tiny", proxies={})
            )
            for server in servers
        ],
        name="default",
    )
