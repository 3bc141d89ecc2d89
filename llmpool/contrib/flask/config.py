"""From the keys of ``app.config`` to a pool: those of a file's ``[pool]``, and one for each of its tables."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from llmpool._validators import describe
from llmpool.config import Deployment
from llmpool.errors import one_line
from llmpool.pool import ProviderPool
from llmpool.settings import Blueprint, ConfigError, read_file, read_mapping
from llmpool.settings.outline import Outline
from llmpool.settings.problems import Path, meant
from llmpool.settings.shapes import Key, keys_of

if TYPE_CHECKING:
    from flask import Config

PREFIX = "LLMPOOL_"
FILE, LIST = f"{PREFIX}CONFIG", f"{PREFIX}DEPLOYMENTS"

_PLAIN = (str, bool, int, float, list, tuple, set, frozenset, Mapping)
_MOST_SHOWN = 60

_Line = Callable[[str], str]
"""Names the key that a message of the pool's constructor is about."""


def set_defaults(config: Config) -> None:
    """Set what is not there."""
    config.setdefault(FILE, None)
    config.setdefault(LIST, None)


def build(config: Config, name: str) -> ProviderPool:
    """
    Make the pool that *config* describes, called *name* unless it says otherwise.

    Raises:
        ConfigError: it makes none; every problem names its key.
    """
    outline = Outline.of(ProviderPool)
    keys = {PREFIX + key.upper(): key for key in (*outline.pool, *outline.tables) if key != "pool"}
    problems = _misspelt(config, (*keys, FILE, LIST))
    given = {keys[key]: value for key, value in config.items() if key in keys}
    try:
        if config[FILE] is None:
            plan, line = _of_keys(config[LIST], given, outline)
        else:
            both = [key for key in (*keys, LIST) if config.get(key) is not None]
            plan, line = _of_file(config, both)
    except ConfigError as error:
        raise ConfigError(*problems, *error.problems) from None
    if problems:
        raise ConfigError(*problems)
    try:
        return ProviderPool(plan.deployments, **{"name": name, **plan.options})
    except (TypeError, ValueError) as error:  # it names the argument first, and shows no key
        problem = line(str(error))
    raise ConfigError(problem)


def _misspelt(config: Config, known: Iterable[str]) -> list[str]:
    """Find keys that look like known ones; others are not ours to judge, whatever they begin with."""
    names = {key.removeprefix(PREFIX): key for key in known}
    ours = [key for key in config if isinstance(key, str) and key.startswith(PREFIX)]
    problems = []
    for key in ours:
        # Without the prefix, which would make any two of them alike.
        hint = meant(key.removeprefix(PREFIX), names)
        if hint and key not in names.values():
            problems.append(f"{key}: unknown key{hint.replace('mean ', f'mean {PREFIX}')}")
    return problems


def _of_file(config: Config, both: list[str]) -> tuple[Blueprint, _Line]:
    path = config[FILE]
    problems = [f"{key}: wanted it in the file that {FILE} names, got it here too" for key in both]
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        problems.append(f"{FILE}: wanted the path of a TOML file, got {describe(path)}")
        raise ConfigError(*problems)
    whole = pathlib.Path(config.root_path, path)
    try:
        plan = read_file(whole, ProviderPool)
    except ConfigError as error:
        problems += [f"{FILE}: {problem}" for problem in error.problems]
        raise ConfigError(*problems) from None
    if problems:
        raise ConfigError(*problems)
    return plan, lambda message: f"{FILE}: {whole}: {message}"


def _of_keys(
    deployments: object, given: Mapping[str, Any], outline: Outline
) -> tuple[Blueprint, _Line]:
    # What is made already, as a RetryPolicy, or None, is for the pool to judge.
    made = {key: value for key, value in given.items() if not isinstance(value, _PLAIN)}
    plain = {key: value for key, value in given.items() if key not in made}
    mapping: dict[str, Any] = {
        key: _lowered(value, outline.tables[key])
        for key, value in plain.items()
        if key in outline.tables
    }
    mapping["pool"] = {key: value for key, value in plain.items() if key in outline.pool}
    if deployments is not None:
        mapping["deployment"] = _listed(deployments)
    naming = _Naming(frozenset(given), deployments, mapping.get("deployment"))
    plan = read_mapping(mapping, ProviderPool, source="app.config", naming=naming)
    whole = attrs.evolve(plan, options={**plan.options, **made})
    return whole, lambda message: naming.line((), message)


def _listed(deployments: object) -> Any:
    """Give a list of tables, also for a mapping of names to tables, which single variables come to."""
    if isinstance(deployments, Mapping):
        deployments = [
            {"name": name, **table} if isinstance(table, Mapping) else table
            for name, table in deployments.items()
        ]
    if not isinstance(deployments, (list, tuple)):
        return deployments
    return [_lowered(each, Deployment) for each in deployments]


def _lowered(table: Any, kind: type[Any] | None) -> Any:
    """Write in small letters the keys of a table that variables of the environment have in capitals."""
    if not isinstance(table, Mapping):
        return table
    keys: Mapping[str, Key] = {} if kind is None else keys_of(kind)
    found = {}
    for name, value in table.items():
        key = name.lower() if isinstance(name, str) and name.isupper() else name
        inner = keys[key].shape.table if key in keys else None
        found[key] = value if inner is None else _lowered(value, inner)
    return found


@attrs.frozen
class _Naming:
    """Names the key of ``app.config`` that a message is about."""

    given: frozenset[str]
    deployments: Any
    tables: Any

    def line(self, path: Path, message: str) -> str:
        """Name the place of *message*, which begins with a key of the table at *path*."""
        if path and path[0] == "deployment":
            inner = "".join(f"{part}: " for part in path[2:])
            return f"{LIST}{self._label(int(path[1]))}: {inner}{message}"
        if path and path[0] != "pool":
            inner = "".join(f"{part}: " for part in path[1:])
            return f"{PREFIX}{str(path[0]).upper()}: {inner}{message}"
        key, _, rest = message.partition(": ")
        if key == "deployment":
            got = "nothing" if self.deployments is None else describe(self.deployments)
            return f"{LIST}: wanted a list of tables (in the environment as JSON), got {got}"
        if key in ("deployments", *self.given):
            return f"{PREFIX}{key.upper()}: {rest}"
        return f"{LIST}: {message}"  # of deployments that contradict each other

    def _label(self, place: int) -> str:
        entry = self.tables[place]
        name = entry.get("name") if isinstance(entry, Mapping) else None
        label = ""
        if isinstance(name, str) and name.isprintable():
            label = f'"{one_line(name, _MOST_SHOWN)}"'
        if isinstance(self.deployments, Mapping):
            return f"[{label or place}]"
        return f"[{place}] {label}".rstrip()
