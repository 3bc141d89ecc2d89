"""Where an application's pool stands."""

from __future__ import annotations

from typing import cast

from flask import current_app

from llmpool.pool import ProviderPool

NAME = "llmpool"
"""The key in ``app.extensions``, whose value is the pool itself."""


def pool() -> ProviderPool:
    """
    Give the pool of the current application.

    Raises:
        RuntimeError: there is no application context, or the application has no pool.
    """
    found = current_app.extensions.get(NAME)
    if found is None:
        raise RuntimeError(
            f"the application {current_app.name!r} has no pool: call init_app(app) of a LLMPool first"
        )
    return cast(ProviderPool, found)
