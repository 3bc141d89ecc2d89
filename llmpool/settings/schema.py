"""The JSON Schema of a configuration file, for editors: made from what the reader goes by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmpool.config import Deployment
from llmpool.settings import makers
from llmpool.settings.outline import CHECKS, Outline
from llmpool.settings.shapes import Key, keys_of

DIALECT = "http://json-schema.org/draft-07/schema#"
_NAME = {"type": "string"}


def schema(pool: Callable[..., Any]) -> dict[str, Any]:
    """Describe every table and key; ranges of values are the reader's alone."""
    outline = Outline.of(pool)
    tables = {name: _table(keys_of(kind)) for name, kind in outline.tables.items() if kind}
    return {
        "$schema": DIALECT,
        "title": "llmpool",
        "type": "object",
        "properties": {
            "pool": _table(outline.pool),
            "check": _check(),
            **tables,
            "deployment": {"type": "array", "minItems": 1, "items": _deployment()},
        },
        "required": ["deployment"],
        "additionalProperties": False,
    }


def _table(keys: Mapping[str, Key], fixed: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            **(fixed or {}),
            **{name: _value(key) for name, key in keys.items()},
        },
        "required": [name for name, key in keys.items() if key.required],
        "additionalProperties": False,
    }


def _value(key: Key) -> dict[str, Any]:
    if key.shape.table is None:
        return key.shape.schema()
    inner = _table(keys_of(key.shape.table))
    return {"anyOf": [inner, {"const": False}]} if key.shape.none else inner


def _check() -> dict[str, Any]:
    ways = []
    for name, kind in CHECKS.items():
        is_meant: dict[str, Any] = {"properties": {"kind": {"const": name}}}
        if name != "ping":  # which goes without saying
            is_meant["required"] = ["kind"]
        keys = _table(keys_of(kind), {"kind": _NAME})
        ways.append({"if": is_meant, "then": keys})
    return {"type": "object", "properties": {"kind": {"enum": list(CHECKS)}}, "allOf": ways}


def _deployment() -> dict[str, Any]:
    own = keys_of(Deployment)
    choices = {"provider": makers.provider_names(), "preset": makers.preset_names()}
    made = {"provider": makers.of_provider, "preset": makers.of_preset}
    ways: list[dict[str, Any]] = []
    for key, names in choices.items():
        for name in names:
            table = _table({**made[key](name).keys, **own}, {key: _NAME})
            alike = next((way for way in ways if way["then"] == table), None)
            if alike is not None:
                alike["if"]["properties"][key]["enum"].append(name)
                continue
            is_meant = {"properties": {key: {"enum": [name]}}, "required": [key]}
            ways.append({"if": is_meant, "then": table})
    return {
        "type": "object",
        "properties": {key: {"enum": names} for key, names in choices.items()},
        "oneOf": [{"required": [key]} for key in choices],
        "allOf": ways,
    }
