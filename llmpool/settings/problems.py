"""What is wrong with a configuration, and how a wrong key or value is named."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from llmpool._validators import describe
from llmpool.errors import one_line

_SHOWN_NAME = 60

Path = Sequence[str | int]
"""Where something stands: ``("deployment", 1)``, ``("pool",)``; the top is empty."""


class ConfigError(ValueError):
    """
    A configuration that makes no pool.

    Attributes:
        problems: each of them, one line: source, table, key, what is wanted, what came; never a
            secret.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class Naming(Protocol):
    """How a source names its places."""

    def line(self, path: Path, message: str) -> str:
        """Name the place of *message*, which begins with a key of the table at *path*."""
        ...


class TableNaming:
    """Names as a TOML file has them: ``llmpool.toml: [[deployment]] 2 "eu": weight: …``."""

    def __init__(self, source: str, mapping: Any) -> None:
        self._source = source
        self._mapping = mapping

    def line(self, path: Path, message: str) -> str:
        """Name the place of *message*, which begins with a key of the table at *path*."""
        return ": ".join(part for part in (self._source, self._table(path), message) if part)

    def _table(self, path: Path) -> str:
        if not path:
            return ""
        if len(path) > 1 and isinstance(path[1], int):
            inner = "".join(f".{part}" for part in path[2:])
            name = self._label(str(path[0]), path[1])
            return f"[[{path[0]}]] {path[1] + 1}{name}" + (f" {inner[1:]}" if inner else "")
        return f"[{'.'.join(map(str, path))}]"

    def _label(self, list_name: str, place: int) -> str:
        name = None
        entry = self._mapping[list_name][place]
        if isinstance(entry, dict):
            name = entry.get("name")
        if not isinstance(name, str) or not name.isprintable():
            return ""
        return f' "{one_line(name, _SHOWN_NAME)}"'


def said(value: object, *, private: bool = False) -> str:
    """Show a wrong value as a file would have it; of a *private* one its kind alone."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, (list, tuple)):
        return "a list with another kind of entry" if value else "an empty list"
    if private and value is not None:
        return {"str": "a text", "int": "a number", "float": "a number"}.get(
            type(value).__name__, "something else"
        )
    return describe(value)


def unknown(key: object, known: Iterable[str]) -> str:
    """Say that *key* is none of the *known*, and which of them may be meant."""
    names = sorted(known)
    shown = key if isinstance(key, str) and key.isidentifier() and len(key) < 40 else describe(key)
    hint = meant(key, names) or f"; there are {', '.join(names) or 'none'}"
    return f"{shown}: unknown key{hint}"


def meant(given: object, names: Iterable[str]) -> str:
    """Ask whether one of the *names* is meant, if one looks like it."""
    if not isinstance(given, str):
        return ""
    by_spelling = {name.lower(): name for name in names}
    near = difflib.get_close_matches(given.lower(), by_spelling, n=1, cutoff=0.6)
    return f"; did you mean {by_spelling[near[0]]}?" if near else ""
