"""From a mapping of plain values to the arguments of a pool; every problem is found, not only the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from llmpool.checks import Ping, Probe
from llmpool.config import Deployment
from llmpool.settings import makers
from llmpool.settings.blueprint import Blueprint
from llmpool.settings.outline import CHECKS, Outline
from llmpool.settings.problems import (
    ConfigError,
    Naming,
    Path,
    TableNaming,
    meant,
    said,
    unknown,
)
from llmpool.settings.references import STAND_IN, References
from llmpool.settings.shapes import Key, Shape, keys_of

_T = TypeVar("_T")


def read_mapping(
    mapping: Mapping[str, Any],
    pool: Callable[..., Any],
    *,
    source: str,
    naming: Naming | None = None,
    references: References | None = None,
) -> Blueprint:
    """
    Read a whole configuration.

    Args:
        pool: takes what is read, by name; its own parameters are the keys of ``[pool]``.
        source: named in front of every problem.

    Raises:
        ConfigError: it makes no pool.
    """
    names = naming or TableNaming(source, mapping)
    reader = _Reader(names, references or References())
    blueprint = reader.whole(mapping, Outline.of(pool), source)
    if reader.problems:
        raise ConfigError(*reader.problems)
    return blueprint


class _Reader:
    def __init__(self, naming: Naming, references: References) -> None:
        self.problems: list[str] = []
        self._naming = naming
        self._references = references

    def _complain(self, path: Path, message: str) -> None:
        self.problems.append(self._naming.line(path, message))

    def whole(self, mapping: object, outline: Outline, source: str) -> Blueprint:
        """Read everything."""
        options: dict[str, Any] = {}
        deployments: list[Any] = []
        if not isinstance(mapping, Mapping):
            self._complain((), f"wanted a table, got {said(mapping)}")
            return Blueprint((), options, source)
        for key, given in mapping.items():
            if key == "deployment":
                deployments = self._deployments(given)
            elif key not in outline.tables:
                where = "belongs in the table [pool]" if key in outline.pool else None
                self._complain((), f"{key}: {where}" if where else unknown(key, outline.names))
            elif not isinstance(given, Mapping):
                self._complain((), f"{key}: wanted a table, got {said(given)}")
            elif key == "pool":
                options.update(self._values((key,), given, outline.pool) or {})
            elif key == "check":
                options["check"] = self._check(given)
            else:
                options[key] = self._build((key,), outline.tables[key], given)
        if "deployment" not in mapping:
            self._complain((), "deployment: wanted at least one [[deployment]] table, got none")
        return Blueprint(tuple(deployments), options, source)

    # -- tables -----------------------------------------------------------------------------

    def _values(
        self,
        path: Path,
        given: Mapping[Any, Any],
        keys: Mapping[str, Key],
        *,
        kind: Any = None,
        private: frozenset[str] = frozenset(),
    ) -> dict[str, Any] | None:
        """
        Read a table; None where there was a problem.

        Texts at *private* keys may refer elsewhere; those of *kind*, an attrs class, are judged as it does.
        """
        found: dict[str, Any] = {}
        fields = attrs.fields_dict(kind) if isinstance(kind, type) and attrs.has(kind) else {}
        before = len(self.problems)
        for name, value in given.items():
            if name not in keys:
                self._complain(path, unknown(name, keys))
            elif not keys[name].shape.fits(value):
                self._complain(path, _misfit(name, keys[name].shape, value, name in private))
            else:
                found[name] = self._value((*path, name), keys[name].shape, value, name in private)
                self._judge(path, fields.get(name), found[name])
        for name, key in keys.items():
            if key.required and name not in given:
                self._complain(path, f"{name}: wanted {_wanted(key.shape)}, got nothing")
        return found if len(self.problems) == before else None

    def _judge(self, path: Path, field: attrs.Attribute[Any] | None, value: Any) -> None:
        """Complain of what the class would refuse: made at once, it would name the first alone."""
        if field is None or field.validator is None:
            return
        try:
            field.validator(None, field, value)
        except (TypeError, ValueError) as error:
            self._complain(path, str(error))

    def _value(self, path: Path, shape: Shape, value: Any, private: bool) -> Any:
        if value is None or (value is False and "flag" not in shape.plain):
            return None
        if isinstance(value, Mapping) and shape.table is not None:
            return self._build(path, shape.table, value)
        if not private:
            return value
        if isinstance(value, str):
            return self._followed(path, value, live=shape.live)
        if isinstance(value, Mapping):
            return {
                name: self._followed(path, entry) if isinstance(entry, str) else entry
                for name, entry in value.items()
            }
        return value

    def _followed(self, path: Path, text: str, *, live: bool = False) -> Any:
        try:
            return self._references.follow(text, live=live)
        except ValueError as error:
            self._complain(path[:-1], f"{path[-1]}: wanted a value, got nothing from {error}")
            return None

    def _build(self, path: Path, kind: Callable[..., _T], given: Mapping[Any, Any]) -> _T | None:
        values = self._values(path, given, keys_of(kind), kind=kind)
        return None if values is None else self._made(path, kind, values)

    def _made(self, path: Path, kind: Callable[..., _T], values: Mapping[str, Any]) -> _T | None:
        try:
            return kind(**values)
        except (TypeError, ValueError) as error:
            # Of the package's own constructors: they name the field first, and show no key.
            self._complain(path, str(error))
            return None

    # -- the two with a choice in them ------------------------------------------------------

    def _check(self, given: Mapping[Any, Any]) -> Ping | Probe | None:
        rest = dict(given)
        kind = rest.pop("kind", "ping")
        if not isinstance(kind, str) or kind not in CHECKS:
            wanted = " or ".join(f'"{name}"' for name in CHECKS)
            self._complain(("check",), f"kind: wanted {wanted}, got {said(kind)}")
            return None
        chosen: Callable[..., Ping | Probe] = CHECKS[kind]
        return self._build(("check",), chosen, rest)

    def _deployments(self, given: object) -> list[Deployment | None]:
        if not isinstance(given, (list, tuple)):
            self._complain((), f"deployment: wanted [[deployment]] tables, got {said(given)}")
            return []
        return [self._deployment(("deployment", at), entry) for at, entry in enumerate(given)]

    def _deployment(self, path: Path, given: object) -> Deployment | None:
        if isinstance(given, Deployment):
            return given
        if not isinstance(given, Mapping):
            self._complain(path, f"wanted a table, got {said(given)}")
            return None
        rest = dict(given)
        maker = self._maker(path, rest)
        if maker is None:
            return None
        own = keys_of(Deployment)
        keys = {**maker.keys, **own}
        private = frozenset(maker.keys) - own.keys()
        values = self._values(path, rest, keys, kind=Deployment, private=private)
        if values is None:
            return None
        arguments = {name: values[name] for name in maker.keys if name in values}
        if maker.finds_key and not self._references.reveal:
            arguments.setdefault("api_key", STAND_IN)
        provider = self._made(path, maker.make, arguments)
        if provider is None:
            return None
        settings = {name: values[name] for name in own if name in values}
        return self._made(path, Deployment, {**settings, "provider": provider})

    def _maker(self, path: Path, rest: dict[Any, Any]) -> makers.Maker | None:
        provider, preset = rest.pop("provider", None), rest.pop("preset", None)
        if (provider is None) == (preset is None):
            got = "nothing" if provider is None else "both"
            self._complain(path, f"provider: wanted provider or preset, got {got}")
        elif preset is not None:
            if self._known(path, "preset", preset, makers.preset_names()):
                return makers.of_preset(preset)
        elif not isinstance(provider, str):
            return makers.Maker(lambda: provider, {})
        elif self._known(path, "provider", provider, makers.provider_names()):
            return makers.of_provider(provider)
        return None

    def _known(self, path: Path, key: str, given: object, names: list[str]) -> bool:
        if given in names:
            return True
        hint = meant(given, names) or f"; there are {', '.join(names)}"
        self._complain(path, f"{key}: wanted the name of a {key}, got {said(given)}{hint}")
        return False


def _wanted(shape: Shape) -> str:
    if shape.live:
        return '"env:NAME", "file:PATH", or false for a server without keys'
    return shape.wanted


def _misfit(name: str, shape: Shape, value: object, private: bool) -> str:
    got = said(value, private=private)
    if isinstance(value, Mapping) and shape.map_of is not None:
        got = "a table with another kind of entry"
    return f"{name}: wanted {_wanted(shape)}, got {got}{meant(value, shape.choices)}"
