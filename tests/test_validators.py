"""Wrong values are refused with the field, what is wanted and what came, and with nothing private."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
import pytest

from llmpool import _validators as valid

NO_NUMBERS: list[tuple[object, str]] = [
    (True, "True"),
    (False, "False"),
    ("3", "'3'"),
    (None, "None"),
    (b"3", "a bytes"),
    (Decimal(3), "a Decimal"),
    (3 + 0j, "a complex"),
    (float, "the class float"),
    ([3], "a list"),
]
NO_DURATIONS: list[tuple[object, str]] = [
    (math.nan, "nan"),
    (math.inf, "inf"),
    (-math.inf, "-inf"),
    (-1, "-1"),
    (-0.5, "-0.5"),
    (10**400, "an int of 1329 bits"),
]


def refused(check: Callable[..., object], *args: Any, kind: type[Exception], **more: Any) -> str:
    """Give the message with which *check* refuses."""
    with pytest.raises(kind) as caught:
        check(*args, **more)
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.parametrize(("value", "shown"), NO_NUMBERS)
def test_no_number(value: object, shown: str) -> None:
    """A bool is none, and neither is a text; the type is what is wrong."""
    for check, wanted in (
        (valid.as_seconds, "seconds > 0"),
        (valid.as_number, "a number >= 0"),
        (valid.as_count, "a whole number >= 0"),
    ):
        said = refused(check, "field", value, kind=TypeError)
        assert said == f"field: wanted {wanted}, got {shown}"


@pytest.mark.parametrize(("value", "shown"), NO_DURATIONS)
def test_no_duration(value: object, shown: str) -> None:
    """Not a number, endless, negative or beyond any clock: the value is what is wrong."""
    said = refused(valid.as_seconds, "timeout", value, kind=ValueError)
    assert said == f"timeout: wanted seconds > 0, got {shown}"
    said = refused(valid.as_number, "share", value, kind=ValueError)
    assert said == f"share: wanted a number >= 0, got {shown}"


def test_seconds() -> None:
    """Zero and None are seconds only where they mean something."""
    for value in (1, 0.5, 1e-9, 1e9):
        valid.as_seconds("timeout", value)
    valid.as_seconds("timeout", 0, zero=True)
    valid.as_seconds("timeout", None, none=True)
    said = refused(valid.as_seconds, "timeout", 0.0, kind=ValueError, none=True)
    assert said == "timeout: wanted seconds > 0 or None, got 0.0"
    said = refused(valid.as_seconds, "timeout", -1, kind=ValueError, zero=True)
    assert said == "timeout: wanted seconds >= 0, got -1"


def test_counts() -> None:
    """Whole numbers from the least on; 3.0 is none."""
    valid.as_count("n", 0)
    valid.as_count("n", 10**50)
    valid.as_count("n", None, none=True)
    assert refused(valid.as_count, "n", 0, kind=ValueError, least=1) == (
        "n: wanted a whole number >= 1, got 0"
    )
    assert refused(valid.as_count, "n", 3.0, kind=TypeError, none=True) == (
        "n: wanted a whole number >= 0 or None, got 3.0"
    )


def test_numbers_with_a_bound() -> None:
    """The bound itself is allowed."""
    valid.as_number("jitter", 1, most=1)
    valid.as_number("jitter", 0.0, most=1)
    assert refused(valid.as_number, "jitter", 1.1, kind=ValueError, most=1) == (
        "jitter: wanted a number from 0 to 1, got 1.1"
    )


def test_texts() -> None:
    """Blank is empty."""
    valid.as_text("model", " a ")
    valid.as_text("model", None, none=True)
    assert refused(valid.as_text, "model", " \n", kind=ValueError) == (
        "model: wanted a text that is not empty, got a str of 2 characters"
    )
    assert refused(valid.as_text, "model", 5, kind=TypeError, none=True) == (
        "model: wanted a text that is not empty or None, got 5"
    )


def test_names() -> None:
    """A name goes into logs: one line, nothing that moves the cursor."""
    valid.as_name("name", "Zürich 2")
    valid.as_name("name", None, none=True)
    for name in ("a\nb", "a\x1b[31m", "a\u2028b", "a\ud800"):
        assert refused(valid.as_name, "name", name, kind=ValueError).startswith(
            "name: wanted a text in one line, of printable characters, got a str of"
        )
    assert "not empty" in refused(valid.as_name, "name", "", kind=ValueError)
    assert "not empty" in refused(valid.as_name, "name", b"eu", kind=TypeError)


def test_flags() -> None:
    """1 is not True."""
    valid.as_flag("enabled", True)
    assert refused(valid.as_flag, "enabled", 1, kind=TypeError) == (
        "enabled: wanted True or False, got 1"
    )


def test_several_names() -> None:
    """Any iterable is taken, once; a single text would be taken apart, a mapping lose its values."""
    assert valid.names("tags", iter(["a", "b"])) == ("a", "b")
    assert valid.names("tags", ()) == ()
    for value, shown in (("ab", "'ab'"), (b"ab", "a bytes"), ({"a": 1}, "a dict"), (5, "5")):
        assert refused(valid.names, "tags", value, kind=TypeError) == (
            f"tags: wanted an iterable of texts, got {shown}"
        )
    assert "not empty" in refused(valid.names, "tags", ["a", ""], kind=ValueError)
    assert "not empty" in refused(valid.names, "tags", ["a", None], kind=TypeError)


def test_maps_of_names() -> None:
    """The caller's mapping is copied; keys and values are looked at."""
    given = {"fast": "gpt-4o-mini"}
    taken = valid.name_map("models", given)
    assert taken == given
    assert taken is not given
    assert refused(valid.name_map, "models", [("a", "b")], kind=TypeError) == (
        "models: wanted a mapping from text to text, got a list"
    )
    assert refused(valid.name_map, "models", {"a": 5}, kind=TypeError) == (
        "models['a']: wanted a text that is not empty, got 5"
    )
    assert refused(valid.name_map, "models", {5: "a"}, kind=TypeError) == (
        "models key: wanted a text that is not empty, got 5"
    )


def test_unique_names() -> None:
    """The one that stands twice is named."""
    valid.unique_names("deployments", ["a", "b"])
    assert refused(valid.unique_names, "deployments", ["a", "b", "a"], kind=ValueError) == (
        "deployments: wanted unique names, got 'a' twice"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("round-robin", "'round-robin'"),
        ("http://x", "'http://x'"),
        ("", "''"),
        ("sk-1", "a str of 4 characters"),
        ("a" * 25, "a str of 25 characters"),
        ("abcdef0123456789", "a str of 16 characters"),
        ("https://user:pw@x.example", "a str of 25 characters"),
        ("?key=abc", "a str of 8 characters"),
        ("line\nbreak", "a str of 10 characters"),
        # Too long for Python to write.
        pytest.param(10**5000, "an int of 16610 bits", id="giant"),
        pytest.param(-(10**5000), "an int of 16610 bits", id="giant, negative"),
        (object(), "a object"),
        (dict, "the class dict"),
    ],
)
def test_what_is_shown_of_a_wrong_value(value: object, shown: str) -> None:
    """Of a text only what can hardly be a key or a prompt; of a number never more than a line."""
    assert valid.describe(value) == shown
    assert refused(valid.refuse, "field", "x", value, kind=ValueError).endswith(f"got {shown}")


class Shouting(str):
    """A str whose repr says more than its text."""

    def __repr__(self) -> str:
        return "SECRET" * 100


def test_a_value_with_a_repr_of_its_own() -> None:
    """It is not asked."""
    assert valid.describe(Shouting("abc")) == "'abc'"


@pytest.mark.parametrize("value", ["short", 12345, 4.5])
def test_a_wrong_value_that_is_private(value: object) -> None:
    """Its type alone is shown; other values are described as ever."""
    said = refused(valid.refuse, "api_key", "x", value, kind=ValueError, private=True)
    assert said == f"api_key: wanted x, got a {type(value).__name__}"
    said = refused(valid.refuse, "provider", "x", dict, kind=ValueError, private=True)
    assert said == "provider: wanted x, got the class dict"


@attrs.frozen
class Settings:
    """One field for each kind of check."""

    seconds: Any = attrs.field(default=1, validator=valid.seconds())
    pause: Any = attrs.field(default=0, validator=valid.seconds(zero=True, none=True))
    count: Any = attrs.field(default=1, validator=valid.count(1, none=True))
    number: Any = attrs.field(default=1, validator=valid.number(most=2))
    text: Any = attrs.field(default="a", validator=valid.text(none=True))
    name: Any = attrs.field(default="a", validator=valid.name(none=True))
    flag: Any = attrs.field(default=True, validator=valid.flag())


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("seconds", None, TypeError),
        ("pause", -1, ValueError),
        ("count", 0, ValueError),
        ("number", 3, ValueError),
        ("text", "", ValueError),
        ("name", "\n", ValueError),
        ("flag", None, TypeError),
    ],
)
def test_checks_of_fields(field: str, value: object, kind: type[Exception]) -> None:
    """They name the field."""
    Settings(pause=None, count=None, text=None, name=None)
    assert refused(Settings, kind=kind, **{field: value}).startswith(f"{field}: wanted ")
