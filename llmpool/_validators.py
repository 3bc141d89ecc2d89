"""Named checks of what a caller passes in: each message holds the field, what is wanted, what came."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

Check = Callable[[Any, Any, Any], None]
"""What attrs calls after construction: instance, attribute, value."""

_SHORT = re.compile(r"(?!sk-)[\w .,:/+-]{0,24}")
_KEYISH = re.compile(r"(?=.*\d)(?=.*[A-Za-z])\S{16,}")


def refuse(
    field: str,
    wanted: str,
    got: object,
    *,
    kind: type[Exception] = ValueError,
    private: bool = False,
) -> NoReturn:
    """
    Raise *kind*: the field, what is wanted, what came; of a *private* text or number its type alone.

    Raises:
        ValueError: or *kind*; always.
    """
    hidden = private and isinstance(got, (str, int, float))
    shown = f"a {type(got).__name__}" if hidden else describe(got)
    raise kind(f"{field}: wanted {wanted}, got {shown}")


def describe(got: object) -> str:
    """Show a wrong value in one short line; of a text only what can hardly be a key or a prompt."""
    if isinstance(got, str):
        if _SHORT.fullmatch(got) and not _KEYISH.fullmatch(got):
            return repr(str(got))
        return f"a str of {len(got)} characters"
    if isinstance(got, int) and got.bit_length() > 64:
        return f"an int of {got.bit_length()} bits"
    if isinstance(got, (bool, int, float)) or got is None:
        return repr(got)
    if isinstance(got, type):
        return f"the class {got.__name__}"
    return f"a {type(got).__name__}"


def _number(field: str, wanted: str, value: object) -> float:
    """Give *value* as a float that is not negative, if it is a number at all."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        refuse(field, wanted, value, kind=TypeError)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        refuse(field, wanted, value)
    return number


def as_seconds(field: str, value: object, *, zero: bool = False, none: bool = False) -> None:
    """Demand a finite number of seconds, above zero unless *zero*; ``None`` only where *none*."""
    wanted = "seconds " + (">= 0" if zero else "> 0") + (" or None" if none else "")
    if value is None and none:
        return
    if _number(field, wanted, value) == 0 and not zero:
        refuse(field, wanted, value)


def as_count(field: str, value: object, *, least: int = 0, none: bool = False) -> None:
    """Demand a whole number of at least *least*; ``None`` only where *none*."""
    wanted = f"a whole number >= {least}" + (" or None" if none else "")
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(field, wanted, value, kind=TypeError)
    if value < least:
        refuse(field, wanted, value)


def as_number(field: str, value: object, *, most: float | None = None) -> None:
    """Demand a finite number from 0 to *most*."""
    wanted = "a number >= 0" if most is None else f"a number from 0 to {most:g}"
    given = _number(field, wanted, value)
    if most is not None and given > most:
        refuse(field, wanted, value)


def as_text(field: str, value: object, *, none: bool = False) -> None:
    """Demand a text that is not empty; ``None`` only where *none*."""
    wanted = "a text that is not empty" + (" or None" if none else "")
    if value is None and none:
        return
    if not isinstance(value, str):
        refuse(field, wanted, value, kind=TypeError)
    if not value.strip():
        refuse(field, wanted, value)


def as_name(field: str, value: object, *, none: bool = False) -> None:
    """Demand a text fit for a log: not empty, printable, in one line."""
    as_text(field, value, none=none)
    if isinstance(value, str) and not value.isprintable():
        refuse(field, "a text in one line, of printable characters", value)


def as_flag(field: str, value: object) -> None:
    """Demand True or False."""
    if not isinstance(value, bool):
        refuse(field, "True or False", value, kind=TypeError)


def seconds(*, zero: bool = False, none: bool = False) -> Check:
    """Check an attrs field with :func:`as_seconds`."""
    return lambda _, attribute, value: as_seconds(attribute.name, value, zero=zero, none=none)


def count(least: int = 0, *, none: bool = False) -> Check:
    """Check an attrs field with :func:`as_count`."""
    return lambda _, attribute, value: as_count(attribute.name, value, least=least, none=none)


def number(*, most: float | None = None) -> Check:
    """Check an attrs field with :func:`as_number`."""
    return lambda _, attribute, value: as_number(attribute.name, value, most=most)


def text(*, none: bool = False) -> Check:
    """Check an attrs field with :func:`as_text`."""
    return lambda _, attribute, value: as_text(attribute.name, value, none=none)


def name(*, none: bool = False) -> Check:
    """Check an attrs field with :func:`as_name`."""
    return lambda _, attribute, value: as_name(attribute.name, value, none=none)


def flag() -> Check:
    """Check an attrs field with :func:`as_flag`."""
    return lambda _, attribute, value: as_flag(attribute.name, value)


def names(field: str, value: object) -> tuple[str, ...]:
    """Take an iterable of texts as a tuple; a single text is refused, for it would be taken apart."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        refuse(field, "an iterable of texts", value, kind=TypeError)
    taken = tuple(value)
    for entry in taken:
        as_text(field, entry)
    return taken


def name_map(field: str, value: object) -> dict[str, str]:
    """Take a mapping from text to text as a dict of its own."""
    if not isinstance(value, Mapping):
        refuse(field, "a mapping from text to text", value, kind=TypeError)
    for key, entry in value.items():
        as_text(f"{field} key", key)
        as_text(f"{field}[{describe(key)}]", entry)
    return dict(value)


def unique_names(field: str, given: Iterable[str]) -> None:
    """Demand that no name stands twice."""
    seen: set[str] = set()
    for entry in given:
        if entry in seen:
            raise ValueError(f"{field}: wanted unique names, got {entry!r} twice")
        seen.add(entry)
