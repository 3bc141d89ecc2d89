"""What a file can say, read off types."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import pytest

from llmpool import HealthCheckConfig
from llmpool.settings.shapes import Shape, keys_of, shape_of


@pytest.mark.parametrize(
    ("hint", "good", "bad", "wanted"),
    [
        (str, ["a"], [1, None, False], "a text"),
        (bool, [True, False], ["a", 1, None], "true or false"),
        (int, [1], [1.5, True, "1"], "a whole number"),
        (float, [1, 1.5], [True, "1"], "a number"),
        (float | int, [1, 1.5], ["1"], "a number"),
        (int | None, [1, None, False], ["1", True], "a whole number or false for none"),
        (bool | str, [True, False, "a"], [1], "a text or true or false"),
        (Literal["a", "b"], ["a"], ["c", 1], "one of a, b"),
        (tuple[str, ...], [["a"], ()], ["a", [1], {"a": 1}], "a list of texts"),
        (Iterable[Literal["a", "b"]], [["a"]], [["c"]], "a list of a, b"),
        (list[list[str]], [[["a"]]], [["a"]], "a list of entries"),
        (Mapping[str, float], [{"a": 1}], [{"a": "b"}, {1: 1}, []], "a table of numbers"),
        (HealthCheckConfig, [{}], [[], 1], "a table"),
    ],
)
def test_a_type(hint: Any, good: list[Any], bad: list[Any], wanted: str) -> None:
    """It tells what fits, and how that is said."""
    shape = shape_of(hint)
    assert shape.sayable
    assert [value for value in good if not shape.fits(value)] == []
    assert [value for value in bad if shape.fits(value)] == []
    assert not shape.fits(object())
    assert shape.wanted == wanted


@pytest.mark.parametrize(
    "hint",
    [
        Any,
        None,
        random.Random,
        random.Random | None,
        Callable[[], str],
        list[object],
        Mapping[int, str],
        Mapping[str, object],
    ],
)
def test_a_type_that_no_file_can_say(hint: Any) -> None:
    """It is no key."""
    assert not shape_of(type(None) if hint is None else hint).sayable


def test_the_keys_of_a_constructor() -> None:
    """Those that a file can say, with those that must be there; of a function too."""

    def make(a: str, b: random.Random, c: int = 1) -> None: ...

    class Made:
        def __init__(self, d: str | Callable[[], str]) -> None: ...

    # The names in these annotations are looked up where they stand.
    make.__annotations__ = {"a": str, "b": random.Random, "c": int}
    Made.__init__.__annotations__ = {"d": str | Callable[[], str]}
    assert {name: key.required for name, key in keys_of(make).items()} == {"a": True, "c": False}
    assert keys_of(Made)["d"].shape.live


def test_the_schema_of_a_shape() -> None:
    """One way is itself; several are any of them."""
    assert shape_of(str).schema() == {"type": "string"}
    assert Shape(list_of=Shape(choices=("a",))).schema() == {
        "type": "array",
        "items": {"enum": ["a"]},
    }
    assert shape_of(Mapping[str, str] | None).schema() == {
        "anyOf": [
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"const": False},
        ]
    }
    assert shape_of(int | float).schema() == {"type": "number"}
