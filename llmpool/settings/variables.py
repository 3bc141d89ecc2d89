"""A configuration in variables of the environment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from llmpool.checks import Probe
from llmpool.config import Deployment
from llmpool.settings import makers
from llmpool.settings.blueprint import Blueprint
from llmpool.settings.files import read_file
from llmpool.settings.outline import Outline
from llmpool.settings.problems import ConfigError, Path, meant, unknown
from llmpool.settings.reader import read_mapping
from llmpool.settings.references import References
from llmpool.settings.shapes import Key, Shape, keys_of

_BETWEEN = "__"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]+")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_TEXT = Key(Shape(plain=frozenset(("text",))), required=False)
_NONE = "none"


def read_environment(
    pool: Callable[..., Any],
    *,
    prefix: str = "LLMPOOL_",
    environ: Mapping[str, str] | None = None,
    reveal: bool = True,
) -> Blueprint:
    """
    Read the variables that begin with *prefix*, or the file that ``CONFIG`` among them names.

    Raises:
        ConfigError: they make no pool.
    """
    found = {
        name[len(prefix) :]: value
        for name, value in (os.environ if environ is None else environ).items()
        if name.startswith(prefix)
    }
    if found.get("CONFIG", "").strip():
        if "DEPLOYMENTS" in found:
            raise ConfigError(f"{prefix}CONFIG: wanted it or {prefix}DEPLOYMENTS, got both")
        return read_file(found["CONFIG"], pool, reveal=reveal)
    variables = _Variables(found, prefix, Outline.of(pool))
    mapping = variables.mapping()
    if variables.problems:
        raise ConfigError(*variables.problems)
    references = References(reveal=reveal)
    if environ is not None:
        references = References(reveal=reveal, environ=environ)
    return read_mapping(
        mapping, pool, source="environment", naming=variables, references=references
    )


def is_configured(prefix: str = "LLMPOOL_") -> bool:
    """Tell whether the environment names deployments, or a file."""
    return any(os.environ.get(prefix + name, "").strip() for name in ("DEPLOYMENTS", "CONFIG"))


class _Variables:
    """Turns variables into the mapping that a file would be, and names places as variables."""

    def __init__(self, found: Mapping[str, str], prefix: str, outline: Outline) -> None:
        self.problems: list[str] = []
        self._found = found
        self._prefix = prefix
        self._outline = outline
        listed = found.get("DEPLOYMENTS", "").split(",")
        self._deployments = [name.strip() for name in listed if name.strip()]
        self._heads = {_upper(name): name for name in self._deployments}

    def line(self, path: Path, message: str) -> str:
        """Name the variable that a message is about, as far as it begins with a key."""
        if not path and message.startswith("deployment:"):
            return f"{self._prefix}DEPLOYMENTS: wanted names of deployments, got nothing"
        words = [str(part) for part in path if not isinstance(part, int)]
        if words and words[0] == "deployment":
            words[0] = self._deployments[int(path[1])]
        if words == ["pool"]:
            words = []
        key, colon, rest = message.partition(":")
        if not colon or not key.isidentifier():
            return f"{self._prefix}{_joined(words)}: {message}" if words else message
        return f"{self._prefix}{_joined([*words, key])}:{rest}"

    def mapping(self) -> dict[str, Any]:
        """Give what a file would hold; what is wrong with single values is in the problems."""
        tables = [name for name in self._outline.tables if name not in ("pool", "check")]
        for head in self._heads.keys() & {"CHECK", *map(str.upper, tables)}:
            self._complain("DEPLOYMENTS", f"{self._heads[head]!r} is the name of a table")
        for name in self._deployments:
            last = self._heads[_upper(name)]
            if name != last:
                self._complain("DEPLOYMENTS", f"{name!r} and {last!r} have the same variables")
        whole: dict[str, Any] = {"pool": self._pool()}
        self._look_at_the_rest(tables)
        for table in tables:
            keys = keys_of(self._outline.tables[table])
            whole[table] = self._table(table.upper(), keys)
        whole["check"] = self._table("CHECK", {"kind": _TEXT, **keys_of(Probe)})
        if self._deployments:
            whole["deployment"] = [self._deployment(name) for name in self._deployments]
        return {name: table for name, table in whole.items() if table}

    def _complain(self, variable: str, message: str) -> None:
        self.problems.append(f"{self._prefix}{variable}: {message}")

    def _pool(self) -> dict[str, Any]:
        keys = self._outline.pool
        found = {}
        for name in self._found:
            if _BETWEEN in name or name == "DEPLOYMENTS":
                continue
            # Others are not ours to judge: a cluster sets variables of its own with any prefix.
            if name.lower() in keys:
                found[name.lower()] = self._value(name, keys[name.lower()].shape)
            elif near := meant(name, map(str.upper, (*keys, "deployments"))):
                self._complain(name, f"unknown variable{near}")
        return found

    def _look_at_the_rest(self, tables: list[str]) -> None:
        known = {"CHECK", *map(str.upper, tables), *self._heads}
        for name in self._found:
            head, between, _ = name.partition(_BETWEEN)
            if between and head not in known:
                near = meant(head, known)
                self._complain(name, f"neither a table nor one of {self._prefix}DEPLOYMENTS{near}")

    def _deployment(self, name: str) -> dict[str, Any]:
        head = _upper(name)
        chosen = {key: self._found.get(f"{head}__{key.upper()}") for key in ("provider", "preset")}
        provider, preset = chosen["provider"], chosen["preset"]
        maker = None
        if preset in makers.preset_names():
            maker = makers.of_preset(str(preset))
        elif provider in makers.provider_names():
            maker = makers.of_provider(str(provider))
        # Without one of them nothing is known of the keys; what is missing is said by the reader.
        if maker is None:
            return {"name": name, **{key: given for key, given in chosen.items() if given}}
        keys = {**maker.keys, **keys_of(Deployment), "provider": _TEXT, "preset": _TEXT}
        return {"name": name, **self._table(head, keys)}

    def _table(self, head: str, keys: Mapping[str, Key]) -> dict[str, Any]:
        start = head + _BETWEEN
        found: dict[str, Any] = {}
        for variable in self._found:
            if not variable.startswith(start):
                continue
            name, inner, _ = variable[len(start) :].lower().partition(_BETWEEN)
            if name not in keys:
                self._complain(variable, unknown(name, keys).partition(": ")[2])
            elif not inner:
                found[name] = self._value(variable, keys[name].shape)
            elif (kind := keys[name].shape.table) is None:
                self._complain(variable, f"{name} is no table")
            elif name not in found:
                found[name] = self._table(f"{start}{name.upper()}", keys_of(kind))
        return found

    def _value(self, variable: str, shape: Shape) -> Any:
        text = self._found[variable].strip()
        if shape.none and text.lower() == _NONE:
            return None
        try:
            return _parsed(text, shape)
        except (ValueError, RecursionError):  # the latter of deeply nested JSON
            self._complain(variable, f"wanted {_wanted(shape)}, got another text")
            return None


def _parsed(text: str, shape: Shape) -> Any:
    """Read a value of *shape*, in JSON where it begins so."""
    if text[:1] in ("{", "[") and not (shape.plain or shape.choices):
        return json.loads(text)
    if shape.list_of is not None:
        return [_parsed(part.strip(), shape.list_of) for part in text.split(",") if part.strip()]
    if shape.map_of is not None:
        return _pairs(text, shape.map_of)
    if "flag" in shape.plain and text.lower() in (*_TRUE, *_FALSE):
        return text.lower() in _TRUE
    if "text" in shape.plain or shape.choices:
        return text
    if not shape.plain & {"integer", "number"}:
        raise ValueError(text)
    try:
        return int(text)
    except ValueError:
        if "number" not in shape.plain:
            raise
        return float(text)


def _pairs(text: str, shape: Shape) -> dict[str, Any]:
    pairs = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, sign, value = part.partition("=")
        if not sign:
            raise ValueError(part)
        pairs[name.strip()] = _parsed(value.strip(), shape)
    return pairs


def _wanted(shape: Shape) -> str:
    if shape.list_of is not None:
        return "texts with commas between them"
    if shape.map_of is not None:
        return "name=value pairs with commas between them, or a JSON object"
    if shape.table is not None:
        return "a JSON object, or a variable for each of its keys"
    return shape.wanted.replace("false for none", _NONE)


def _upper(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name).upper()


def _joined(words: list[str]) -> str:
    return _BETWEEN.join(map(_upper, words))
