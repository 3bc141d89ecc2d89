"""The Anthropic SDK on a pool."""

from __future__ import annotations

from typing import Any

from llmpool.contrib._optional import load
from llmpool.contrib.openai import settings
from llmpool.forwarding.passing import demand_speaker
from llmpool.pool import ProviderPool

BASE_URL = "https://llmpool.invalid"


def client(pool: ProviderPool, timeout: float | None, **options: Any) -> Any:
    """
    Make an ``anthropic.Anthropic`` whose requests go to the deployments of *pool*.

    Raises:
        ImportError: the SDK is not installed.
        ValueError: no deployment speaks its format, or an option is the pool's own.
    """
    sdk = load("anthropic", "pool.anthropic()", "anthropic")
    demand_speaker(pool.deployments, "anthropic")
    return sdk.Anthropic(**settings(pool, sdk, BASE_URL, timeout, options))
