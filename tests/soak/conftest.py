"""How long the soak lasts, and from which seed."""

from __future__ import annotations

import os
import random

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak-seconds",
        type=float,
        default=float(os.environ.get("LLMPOOL_SOAK_SECONDS") or 120.0),
        help="how long the soak lasts (default: %(default)g); or LLMPOOL_SOAK_SECONDS",
    )
    parser.addoption(
        "--soak-seed",
        type=int,
        default=int(os.environ.get("LLMPOOL_SOAK_SEED") or random.SystemRandom().randrange(10**6)),
        help="what all that is random comes from, to repeat a soak; or LLMPOOL_SOAK_SEED",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test its seconds, and as much again to begin and to end."""
    for item in items:
        item.add_marker(pytest.mark.timeout(2 * config.getoption("--soak-seconds") + 300))


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long the soak lasts."""
    return float(request.config.getoption("--soak-seconds"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What all that is random comes from."""
    return int(request.config.getoption("--soak-seed"))
