"""A running server for each test that asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmpool.testing import LocalServer


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Give a server that behaves."""
    with LocalServer("eu") as running:
        yield running
