"""Two real model servers for all tests here, and pools over them that must end with nothing in flight."""

from __future__ import annotations

import pathlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama import MODEL, HeldModel, LlamaServer, eventually

from llmpool import Deployment, HealthCheckConfig, OpenAIProvider, ProviderPool

NO_CHECKER = HealthCheckConfig(enabled=False)
"""Where a test is about calls, no check is to help."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: runs over real model servers")


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LlamaServer]]:
    """Two servers, each with a key of its own; in the end neither writes an answer any more."""
    logs = tmp_path_factory.mktemp("llama")
    servers = {name: LlamaServer(name, log=logs / f"{name}.log") for name in ("eu", "us")}
    try:
        for server in servers.values():
            server.begin()
        yield servers
        alive = [server for server in servers.values() if server.alive]
        eventually(lambda: not any(server.busy_places() for server in alive))
    finally:
        for server in servers.values():
            server.stop()


@pytest.fixture
def eu(fleet: dict[str, LlamaServer]) -> LlamaServer:
    """The first server, running, whatever the test before did to it."""
    fleet["eu"].start()
    return fleet["eu"]


@pytest.fixture
def us(fleet: dict[str, LlamaServer]) -> LlamaServer:
    """The second server, running."""
    fleet["us"].start()
    return fleet["us"]


@pytest.fixture
def dead() -> Iterator[str]:
    """The URL of an address that refuses every connection and that nobody else can get."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


@pytest.fixture
def held_model(tmp_path: pathlib.Path) -> Iterator[HeldModel]:
    """A copy of the model whose loading can be held up."""
    model = HeldModel(tmp_path / "held.gguf")
    yield model
    model.path.unlink()  # a hundred megabytes


@pytest.fixture
def slow_starter(held_model: HeldModel, tmp_path: pathlib.Path) -> Iterator[LlamaServer]:
    """A server that has not been started, on the model whose loading can be held up."""
    server = LlamaServer("slow", log=tmp_path / "slow.log", model_path=held_model.path)
    yield server
    server.stop()


MakePool = Callable[..., ProviderPool]


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    """Make pools, without a checker unless one is asked for; each must end with nothing in flight."""
    made: list[ProviderPool] = []

    def make(*deployments: Deployment, **options: Any) -> ProviderPool:
        pool = ProviderPool(deployments, **{"health_check": NO_CHECKER, **options})
        made.append(pool)
        return pool

    yield make
    for pool in made:
        assert {status.requests_in_flight for status in pool.all_health().values()} == {0}
        pool.close()


Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy() -> Deploy:
    """Make a deployment of a server's name; ``key`` gives it another key than the right one."""

    def make(server: LlamaServer, *, key: Any = None, path: str = "/models", **options: Any) -> Any:
        provider = OpenAIProvider(
            server.url, api_key=server.key if key is None else key, model=MODEL, ping_path=path
        )
        return Deployment(options.pop("name", server.name), provider, **options)

    return make
