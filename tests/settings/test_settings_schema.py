"""The JSON Schema and the reader agree, and the package carries the schema of today."""

from __future__ import annotations

import copy
import importlib.resources
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from llmpool import ProviderPool
from llmpool.commands.config import schema_text
from llmpool.settings import ConfigError, read_mapping
from llmpool.settings.references import References
from llmpool.settings.schema import schema

KINDS = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}
SAMPLES: list[Any] = ["text", 1, 1.5, True, False, ["a"], [3], {"a": "b"}, {"a": 1}, {"a": {}}]
WHOLE: dict[str, Any] = {
    "pool": {"name": "main", "strategy": "weighted"},
    "health_check": {"interval": 5.0},
    "retry": {"timeout": False},
    "check": {"kind": "probe", "max_tokens": 1},
    "deployment": [
        {"name": "a", "provider": "openai", "base_url": "http://a.invalid/v1", "api_key": False},
        {"name": "b", "provider": "anthropic", "api_key": "env:B"},
        {"name": "c", "provider": "azure", "endpoint": "https://c.invalid", "api_key": "env:C"},
        {"name": "d", "provider": "gemini", "api_key": "env:D"},
        {"name": "e", "preset": "groq", "prices": {"input": 1, "output": 2.0}},
    ],
}
WHOLE["deployment"][2]["deployment"] = "x"


def agrees(rule: dict[str, Any], value: Any) -> bool:
    """Judge *value* by the words of JSON Schema that the schema uses, and by no others."""
    known = {"type", "enum", "const", "anyOf", "oneOf", "allOf", "if", "then", "properties"}
    known |= {"required", "additionalProperties", "items", "minItems", "$schema", "title"}
    assert rule.keys() <= known, rule.keys() - known
    if "type" in rule and not KINDS[rule["type"]](value):
        return False
    if "enum" in rule and value not in rule["enum"]:
        return False
    if "const" in rule and (value != rule["const"] or type(value) is not type(rule["const"])):
        return False
    if "anyOf" in rule and not any(agrees(way, value) for way in rule["anyOf"]):
        return False
    if "oneOf" in rule and sum(agrees(way, value) for way in rule["oneOf"]) != 1:
        return False
    if not all(agrees(way, value) for way in rule.get("allOf", [])):
        return False
    if "if" in rule and agrees(rule["if"], value) and not agrees(rule["then"], value):
        return False
    if isinstance(value, list) and len(value) < rule.get("minItems", 0):
        return False
    if isinstance(value, list):
        return all(agrees(rule.get("items", {}), entry) for entry in value)
    return not isinstance(value, dict) or _agrees_object(rule, value)


def _agrees_object(rule: dict[str, Any], value: dict[str, Any]) -> bool:
    known = rule.get("properties", {})
    rest = rule.get("additionalProperties", {})
    if not set(rule.get("required", ())) <= value.keys():
        return False
    for name, entry in value.items():
        if name in known:
            if not agrees(known[name], entry):
                return False
        elif rest is False or not agrees(rest, entry):
            return False
    return True


def reads(mapping: dict[str, Any]) -> bool | str:
    """Tell whether the reader takes *mapping*; of what it refuses, how it puts that."""
    try:
        read_mapping(mapping, ProviderPool, source="x", references=References(reveal=False))
    except ConfigError as error:
        return str(error)
    return True


def tables(mapping: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """Give each table of a fresh copy: the whole, the table, and where its keys are described."""
    for name in ("pool", "health_check", "retry", "check"):
        whole = copy.deepcopy({**mapping, "deployment": mapping["deployment"][:1]})
        yield whole, whole[name], name
    for at in range(len(mapping["deployment"])):
        whole = copy.deepcopy({"deployment": [mapping["deployment"][at]]})
        yield whole, whole["deployment"][0], f"deployment {at}"


RULE = schema(ProviderPool)


def keys_described(where: str, table: dict[str, Any]) -> list[str]:
    """List the keys that the schema gives a table."""
    name, _, at = where.partition(" ")
    rule = RULE["properties"][name]
    if at:
        rule = rule["items"]
    if "allOf" not in rule:
        return list(rule["properties"])
    return [
        key
        for way in rule["allOf"]
        if agrees(way["if"], table)
        for key in way["then"]["properties"]
    ]


def test_a_whole_configuration() -> None:
    """Both take it."""
    assert agrees(RULE, WHOLE)
    assert reads(WHOLE) is True


PLACES = [where for _, _, where in tables(WHOLE)]


@pytest.mark.parametrize("place", range(len(PLACES)), ids=PLACES)
def test_every_key_with_a_value_of_every_kind(place: int) -> None:
    """What the schema refuses the reader refuses, and what it takes is refused for its value alone."""
    whole, table, where = list(tables(WHOLE))[place]
    checked = 0
    for key in [*keys_described(where, table), "nonsense"]:
        former = table.get(key, KeyError)
        for sample in SAMPLES:
            table[key] = sample
            said = reads(whole)
            if agrees(RULE, whole):
                # A key that is known and of its kind; the value may be out of its range.
                assert said is True or f"{key}: wanted" in str(said) or ", " in str(said), said
                assert "unknown key" not in str(said)
            else:
                assert said is not True, (key, sample)
            checked += 1
        if former is KeyError:
            del table[key]
        else:
            table[key] = former
    assert checked >= 2 * len(SAMPLES)


@pytest.mark.parametrize("place", range(len(PLACES)), ids=PLACES)
def test_a_key_that_is_left_out(place: int) -> None:
    """Both want the same keys; of a check without a kind, both take a ping."""
    for key in list(list(tables(WHOLE))[place][1]):
        whole, table, _ = list(tables(WHOLE))[place]
        del table[key]
        # Azure wants one of two keys, and only its constructor knows that.
        if not (table.get("provider") == "azure" and key in ("api_key", "deployment")):
            assert agrees(RULE, whole) is (reads(whole) is True), key


@pytest.mark.parametrize("key", list(WHOLE))
def test_a_table_that_is_none_or_left_out(key: str) -> None:
    """Both take and refuse the same."""
    without = {name: table for name, table in WHOLE.items() if name != key}
    for mapping in (without, {**WHOLE, key: 3}, {**WHOLE, key: []}, {**WHOLE, key: {}}):
        taken = reads(mapping) is True
        if mapping.get(key) == [] and key == "deployment":
            taken = False  # read, but no pool
        assert agrees(RULE, mapping) is taken, mapping.get(key)


def test_what_the_package_carries() -> None:
    """The file is what the code says today; ``llmpool config schema`` writes it anew."""
    carried = importlib.resources.files("llmpool.settings").joinpath("llmpool.schema.json")
    told = "run: llmpool config schema > llmpool/settings/llmpool.schema.json"
    assert carried.read_text(encoding="utf-8") == schema_text(), told
    assert json.loads(schema_text()) == RULE


def test_the_example() -> None:
    """The one in the documentation is the one that the command prints."""
    carried = importlib.resources.files("llmpool.settings").joinpath("example.toml")
    shown = pathlib.Path(__file__).parents[2] / "docs" / "examples" / "llmpool.toml"
    assert carried.read_text(encoding="utf-8") == shown.read_text(encoding="utf-8")
