"""What a configuration comes to: the arguments of a pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from llmpool.config import Deployment
from llmpool.settings.problems import ConfigError

_T = TypeVar("_T")


@attrs.frozen
class Blueprint:
    """Deployments and options, ready for a pool; *source* is named where the pool refuses them."""

    deployments: tuple[Deployment, ...]
    options: Mapping[str, Any]
    source: str

    def build(self, pool: Callable[..., _T], **others: Any) -> _T:
        """
        Make the pool; *others* go before what is configured.

        Raises:
            ConfigError: the parts make no pool.
            TypeError: there is no such argument.
        """
        problem = None
        try:
            return pool(self.deployments, **{**self.options, **others})
        except ValueError as error:
            problem = f"{self.source}: {error}"
        raise ConfigError(problem)
