"""The tables and keys that a configuration may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from llmpool.checks import Ping, Probe
from llmpool.fallback import CONTENT_FILTER, CONTEXT_LENGTH
from llmpool.settings.shapes import Key, Shape, keys_of
from llmpool.strategies import BY_NAME

CHECKS: dict[str, type[Ping] | type[Probe]] = {"ping": Ping, "probe": Probe}

_WORDS = {
    "strategy": Shape(choices=tuple(BY_NAME)),
    "fallback_on": Shape(list_of=Shape(choices=(CONTEXT_LENGTH, CONTENT_FILTER))),
}
"""Keys whose texts are names that are known, which their types do not tell."""


@attrs.frozen
class Outline:
    """
    What may stand at the top.

    Attributes:
        pool: the keys of ``[pool]``.
        tables: the names of tables, with the class that each of the simple ones becomes.
    """

    pool: Mapping[str, Key]
    tables: Mapping[str, Any]

    @classmethod
    def of(cls, pool: Callable[..., Any]) -> Outline:
        """Read the parameters of *pool*: settings of its own, and classes of settings."""
        keys = {name: key for name, key in keys_of(pool).items() if name != "deployments"}
        tables = {name: key.shape.table for name, key in keys.items() if key.shape.table}
        own = {name: key for name, key in keys.items() if name not in tables}
        for name in own.keys() & _WORDS.keys():
            own[name] = Key(_WORDS[name], required=False)
        return cls(own, {"pool": None, "check": None, **tables})

    @property
    def names(self) -> list[str]:
        """Name everything that may stand at the top."""
        return [*self.tables, "deployment"]
