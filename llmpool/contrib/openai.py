"""The OpenAI SDK on a pool."""

from __future__ import annotations

from typing import Any

from llmpool import _validators as valid
from llmpool.contrib import httpx as transports
from llmpool.contrib._optional import load
from llmpool.forwarding.passing import demand_speaker
from llmpool.pool import ProviderPool

BASE_URL = "https://llmpool.invalid/v1"
"""A name that does not exist: nothing can get past the pool."""


def client(pool: ProviderPool, timeout: float | None, **options: Any) -> Any:
    """
    Make an ``openai.OpenAI`` whose requests go to the deployments of *pool*.

    Raises:
        ImportError: the SDK is not installed.
        ValueError: no deployment speaks its format, or an option is the pool's own.
    """
    sdk = load("openai", "pool.openai()", "openai")
    demand_speaker(pool.deployments, "openai")
    return sdk.OpenAI(**settings(pool, sdk, BASE_URL, timeout, options))


def settings(
    pool: ProviderPool, sdk: Any, base_url: str, timeout: float | None, options: dict[str, Any]
) -> dict[str, Any]:
    """
    Give the arguments for an SDK's client.

    Raises:
        ValueError: an option is the pool's own.
    """
    if "http_client" in options:
        valid.refuse("http_client", "none, for it is the pool's own", options["http_client"])
    module = transports.module_under(sdk)
    ours = {"base_url": base_url, "api_key": "llmpool", "max_retries": 0, "timeout": timeout}
    return {**ours, **options, "http_client": transports.http_client(pool, module)}
