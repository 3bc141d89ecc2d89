"""Header fields, found under any spelling of their names."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterable, Iterator, Mapping

_FRAMING = ("content-length", "transfer-encoding", "connection", "expect", "upgrade")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]+")
_UNFIT = re.compile(r"[^\t\x20-\x7e\xa0-\xff]")


class Headers(Mapping[str, str]):
    """
    Read-only header fields; lines of one name are joined by commas.

    Iterating gives the names as they were written.
    """

    __slots__ = ("_fields",)

    def __init__(self, lines: Iterable[tuple[str, str]] = ()) -> None:
        fields: dict[str, tuple[str, str]] = {}
        for name, value in lines:
            key = name.lower()
            earlier = fields.get(key)
            fields[key] = (name, value) if earlier is None else (name, f"{earlier[1]}, {value}")
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._fields.values()))

    def items(self) -> ItemsView[str, str]:
        """Give the fields, each under its name as it was written."""
        # Its base's own looks up each value by its name: this is gone through twice for each request.
        return dict(self._fields.values()).items()

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self)}>"  # names alone, for values may be keys

    def replaced(self, lines: Iterable[tuple[str, str]]) -> Headers:
        """Copy it with these fields in the place of those of the same names."""
        copy = Headers()
        copy._fields = {**self._fields, **{name.lower(): (name, value) for name, value in lines}}
        return copy

    @classmethod
    def read(cls, lines: Iterable[tuple[str, str]]) -> Headers:
        """Take fields from the wire: folded lines become one, control characters spaces."""
        return cls((name, _plain(value)) for name, value in lines)


def _plain(value: str) -> str:
    """Put one space in the place of control characters and the blanks around them."""
    if _CONTROLS.search(value) is None:
        return value.strip(" \t")
    # Not by one expression with the blanks in it, which a line of blanks would keep busy for seconds.
    parts = (part.strip(" \t") for part in _CONTROLS.split(value))
    return " ".join(part for part in parts if part)


def check_fields(fields: Iterable[tuple[object, object]]) -> str | None:
    """Say which header field is unfit to be sent, without showing its value."""
    for name, value in fields:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return "headers: wanted a name of letters, digits and dashes, got another"
        if name.lower() in _FRAMING:
            return f"headers: {name} is set by the client itself"
        if not isinstance(value, str):
            return f"headers: wanted text for {name}, got {type(value).__name__}"
        if _UNFIT.search(value):
            return f"headers: the value for {name} has a character that a header cannot carry"
    return None
