"""What a file can say of a value, read off its type."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

import attrs

_PLAIN = {str: "text", bool: "flag", int: "integer", float: "number"}
_JSON = {"text": "string", "flag": "boolean", "integer": "integer", "number": "number"}
_SAID = {
    "text": "a text",
    "flag": "true or false",
    "integer": "a whole number",
    "number": "a number",
}
_LISTS = (
    list,
    tuple,
    set,
    frozenset,
    collections.abc.Sequence,
    collections.abc.Iterable,
    collections.abc.Collection,
    collections.abc.Set,
)
_MAPS = (dict, collections.abc.Mapping)


@attrs.frozen
class Shape:
    """
    The values that may stand at a key.

    Attributes:
        plain: of text, flag, integer, number.
        choices: the only texts; empty for any.
        none: whether None is meant by ``false``, since TOML has no word for it.
        list_of: of the entries of a list, if that is a list.
        map_of: of the entries of a table whose keys are free, if it is one.
        table: the attrs class whose fields are the keys, if it is a table of that kind.
        live: whether a function may stand for it, to be asked again.
    """

    plain: frozenset[str] = frozenset()
    choices: tuple[str, ...] = ()
    none: bool = False
    list_of: Shape | None = None
    map_of: Shape | None = None
    table: type[Any] | None = None
    live: bool = False

    @property
    def sayable(self) -> bool:
        """Whether a file can say anything here but none."""
        return bool(self.plain or self.choices or self.list_of or self.map_of or self.table)

    def fits(self, value: object) -> bool:
        """Tell whether *value* is of this shape; of a table's keys nothing is said here."""
        if value is None or value is False:
            return self.none or (value is False and "flag" in self.plain)
        if isinstance(value, bool):
            return "flag" in self.plain
        if isinstance(value, str):
            return value in self.choices if self.choices else "text" in self.plain
        if isinstance(value, int):
            return not self.plain.isdisjoint(("integer", "number"))
        if isinstance(value, float):
            return "number" in self.plain
        if isinstance(value, Mapping):
            return self.table is not None or _all_fit(self.map_of, value.values(), value)
        if isinstance(value, (list, tuple, set, frozenset)):
            return _all_fit(self.list_of, value)
        return False

    @property
    def wanted(self) -> str:
        """Say what is wanted."""
        parts = [_SAID[kind] for kind in _SAID if kind in self.plain]
        if "number" in self.plain and "integer" in self.plain:
            parts.remove(_SAID["integer"])
        if self.choices:
            parts.append(f"one of {', '.join(self.choices)}")
        if self.list_of is not None:
            parts.append(f"a list of {_many(self.list_of)}")
        if self.map_of is not None:
            parts.append(f"a table of {_many(self.map_of)}")
        if self.table is not None:
            parts.append("a table")
        if self.none and "flag" not in self.plain:
            parts.append("false for none")
        return " or ".join(parts)

    def schema(self) -> dict[str, Any]:
        """Give the JSON Schema of it, a table's own keys apart."""
        ways: list[dict[str, Any]] = [
            {"type": _JSON[kind]}
            for kind in _JSON
            if kind in self.plain and not self._doubled(kind)
        ]
        if self.choices:
            ways.append({"enum": list(self.choices)})
        if self.list_of is not None:
            ways.append({"type": "array", "items": self.list_of.schema()})
        if self.map_of is not None:
            ways.append({"type": "object", "additionalProperties": self.map_of.schema()})
        if self.none and "flag" not in self.plain:
            ways.append({"const": False})
        return ways[0] if len(ways) == 1 else {"anyOf": ways}

    def _doubled(self, kind: str) -> bool:
        return kind == "integer" and "number" in self.plain


def _many(shape: Shape) -> str:
    if shape.choices:
        return ", ".join(shape.choices)
    return {"a text": "texts", "a number": "numbers", "a whole number": "whole numbers"}.get(
        shape.wanted, "entries"
    )


def _all_fit(shape: Shape | None, entries: Any, keys: Any = ()) -> bool:
    return (
        shape is not None
        and all(isinstance(key, str) for key in keys)
        and all(shape.fits(entry) for entry in entries)
    )


def shape_of(hint: Any) -> Shape:
    """Read a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _joined([shape_of(each) for each in arguments])
    if hint in _PLAIN:
        return Shape(plain=frozenset((_PLAIN[hint],)))
    if hint is type(None):
        return Shape(none=True)
    if origin is Literal:
        return Shape(choices=tuple(each for each in arguments if isinstance(each, str)))
    if origin is collections.abc.Callable:
        return Shape(live=True)
    if origin in _LISTS and shape_of(arguments[0]).sayable:
        return Shape(list_of=shape_of(arguments[0]))
    if origin in _MAPS and arguments[0] is str and shape_of(arguments[1]).sayable:
        return Shape(map_of=shape_of(arguments[1]))
    if isinstance(hint, type) and attrs.has(hint):
        return Shape(table=hint)
    return Shape()


def _joined(shapes: list[Shape]) -> Shape:
    return Shape(
        plain=frozenset().union(*(each.plain for each in shapes)),
        choices=tuple(choice for each in shapes for choice in each.choices),
        none=any(each.none for each in shapes),
        list_of=next((each.list_of for each in shapes if each.list_of), None),
        map_of=next((each.map_of for each in shapes if each.map_of), None),
        table=next((each.table for each in shapes if each.table), None),
        live=any(each.live for each in shapes),
    )


@attrs.frozen
class Key:
    """A key that a table may have."""

    shape: Shape
    required: bool


def keys_of(target: Callable[..., Any]) -> Mapping[str, Key]:
    """
    Give the keys that *target*, an attrs class or a constructor, takes: those that a file can say.

    Raises:
        NameError: a type in its annotations cannot be looked up.
    """
    hashable: Any = target
    return _keys_of(hashable)


@functools.lru_cache(maxsize=32)
def _keys_of(target: Any) -> Mapping[str, Key]:
    if isinstance(target, type) and attrs.has(target):
        hints = typing.get_type_hints(target)
    else:
        hints = typing.get_type_hints(_constructor(target) if isinstance(target, type) else target)
    found = {}
    for name, parameter in inspect.signature(target).parameters.items():
        shape = shape_of(hints.get(name, Any))
        if shape.sayable:
            found[name] = Key(shape, parameter.default is inspect.Parameter.empty)
    return types.MappingProxyType(found)


def _constructor(kind: Any) -> Any:
    return kind.__init__
