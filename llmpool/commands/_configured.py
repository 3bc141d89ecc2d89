"""The pool that a command works with: of a file, of the environment, or over local servers for a trial."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import attrs

from llmpool import Deployment, HealthCheckConfig, OpenAIProvider, ProviderPool
from llmpool import settings as configured
from llmpool.commands._arguments import Unusable
from llmpool.settings import variables
from llmpool.testing import LocalServer

FILE = "llmpool.toml"

_DEMO_SERVERS = {"eu": 0.06, "us": 0.08, "asia": 0.10}
_NOTHING = (
    f"there is no {FILE} here. `llmpool config example > {FILE}` writes one to begin with, "
    "--config PATH names another, and --demo takes three local servers instead."
)


def blueprint(config: str | None, *, reveal: bool = True) -> configured.Blueprint:
    """
    Read the file named, or the environment's settings, or the file of this folder.

    Raises:
        Unusable: there is none, or it makes no pool.
    """
    try:
        if config is not None:
            return configured.read_file(config, ProviderPool, reveal=reveal)
        if variables.is_configured():
            return configured.read_environment(ProviderPool, reveal=reveal)
        if pathlib.Path(FILE).exists():
            return configured.read_file(FILE, ProviderPool, reveal=reveal)
    except (configured.ConfigError, ImportError) as error:
        problem = str(error)
    else:
        problem = _NOTHING
    raise Unusable(problem)


@contextlib.contextmanager
def pool_of(options: argparse.Namespace, *, checker: bool = False) -> Iterator[ProviderPool]:
    """
    Open the pool that the options name; without *checker* it has none, for a command checks itself.

    Raises:
        Unusable: there is no usable configuration.
    """
    with contextlib.ExitStack() as opened:
        plan = _demo(opened) if options.demo else blueprint(options.config)
        checks = plan.options.get("health_check") or HealthCheckConfig()
        own = {} if checker else {"health_check": attrs.evolve(checks, enabled=False)}
        try:
            pool = plan.build(ProviderPool, **own)
        except configured.ConfigError as error:
            raise Unusable(str(error)) from None
        opened.callback(pool.close)
        yield pool


def _demo(opened: contextlib.ExitStack) -> configured.Blueprint:
    deployments = []
    for name, latency in _DEMO_SERVERS.items():
        server = opened.enter_context(LocalServer(name, latency=latency))
        # No proxies: one of the environment's would be asked for the way to this machine.
        provider: Any = OpenAIProvider(server.url, api_key=None, model="tiny", proxies={})
        deployments.append(Deployment(name, provider))
    return configured.Blueprint(tuple(deployments), {"name": "demo"}, "demo")
