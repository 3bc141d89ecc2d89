"""A browser for all tests here, servers that can be made to fail, and the page over a pool of them."""

from __future__ import annotations

import contextlib
import logging
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chromium import Viewer, start_chromium
from served import Served

from llmpool import Deployment, HealthCheckConfig, OpenAIProvider, Prices, ProviderPool
from llmpool.testing import LocalServer
from llmpool.web import StatusSite

# It writes down all that goes to and fro.
logging.getLogger("selenium").setLevel(logging.INFO)

KEY = "sk-of-the-page"
REFRESH = 0.2


@pytest.fixture(scope="session")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One process of Chromium."""
    driver = start_chromium(tmp_path_factory.mktemp("chromium"))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def viewer(chrome: Any) -> Iterator[Viewer]:
    """A tab without a past; in the end it must have complained of nothing that was not expected."""
    viewer = Viewer(chrome)
    viewer.use()
    viewer.leave()
    viewer.complaints()
    viewer.asked()
    yield viewer
    complaints = viewer.complaints()
    viewer.leave()
    assert complaints == []


class House:
    """Servers, a pool over them with a checker that asks often, and what was made of them."""

    def __init__(self, names: tuple[str, ...], stack: contextlib.ExitStack, pool: str) -> None:
        self.servers = {
            name: stack.enter_context(LocalServer(f"s{number}", api_keys=[KEY], latency=0.005))
            for number, name in enumerate(names)
        }
        self.pool = stack.enter_context(
            ProviderPool(
                [
                    Deployment(
                        name,
                        OpenAIProvider(server.url, api_key=KEY, model="tiny"),
                        prices=Prices(input=1.0, output=2.0),
                        region="eu-west" if number % 2 else "us-east",
                    )
                    for number, (name, server) in enumerate(self.servers.items())
                ],
                name=pool,
                strategy="round_robin",
                health_check=HealthCheckConfig(
                    0.2, unhealthy_interval=0.2, timeout=60.0, skip_after_traffic=False
                ),
            )
        )

    def ask(self, number: int = 4) -> None:
        """Make a few calls, and look whether they are answered."""
        for n in range(number):
            assert self.pool.complete(f"question {n}", timeout=30).text == f"echo: question {n}"

    def state(self, name: str) -> str:
        """Give a deployment's state."""
        return self.pool.health(name).state


Furnish = Callable[..., House]
Serve = Callable[..., Served]


@pytest.fixture
def furnish() -> Iterator[Furnish]:
    """Make a house whose deployments have such names."""
    with contextlib.ExitStack() as stack:
        yield lambda *names, pool="main": House(names, stack, pool)


@pytest.fixture
def house(furnish: Furnish) -> House:
    """Two servers, which have answered a few questions."""
    house = furnish("eu", "us")
    house.ask()
    return house


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve the page over a pool, or over several by name."""
    with contextlib.ExitStack() as stack:

        def start(pools: Any, **settings: Any) -> Served:
            site = StatusSite(pools, **{"refresh": REFRESH, **settings})
            return stack.enter_context(Served(site.wsgi))

        yield start


@pytest.fixture
def axe() -> str:
    """The source of axe-core, which looks for barriers."""
    import importlib.util

    found = importlib.util.find_spec("axe_playwright_python")
    assert found is not None
    assert found.origin is not None
    return pathlib.Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")
