"""The fields of a request that the pool reads, and the one that it writes, byte for byte otherwise."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs

_decoder = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_BOUNDARY = re.compile(r'multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]+)"|([^\s;"]+))', re.I)
_FIELD = re.compile(rb'content-disposition:[^\r\n]*[; ]name="?([^";\r\n]*)"?', re.I)
_LONGEST = 1024  # bytes of a field that can be of interest here


@attrs.frozen
class Fields:
    """
    A request's JSON object: its members, and where in its text the model's name stands.

    ``spans`` are the places of the values called ``model``, the last of which counts.
    """

    text: str = attrs.field(repr=False)
    members: dict[str, Any] = attrs.field(repr=False)
    spans: tuple[tuple[int, int], ...]
    opening: int

    @property
    def model(self) -> str | None:
        """The name of the model; None where there is none, or nothing that is a name."""
        named = self.members.get("model")
        return named if isinstance(named, str) and named else None

    def with_model(self, model: str) -> bytes:
        """Write it with another name for the model, and all else as it was."""
        written = json.dumps(model)
        text = self.text
        for start, end in reversed(self.spans):
            text = text[:start] + written + text[end:]
        if not self.spans:
            comma = "," if self.members else ""
            text = f'{text[: self.opening]}"model":{written}{comma}{text[self.opening :]}'
        return text.encode()


@attrs.frozen
class Form:
    """A request's multipart form: its fields that are texts, and where the model's name stands."""

    body: bytes = attrs.field(repr=False)
    members: dict[str, Any] = attrs.field(repr=False)
    span: tuple[int, int] | None

    @property
    def model(self) -> str | None:
        """The name of the model; None where there is none."""
        named: str | None = self.members.get("model")
        return named or None

    def with_model(self, model: str) -> bytes:
        """Write it with another name for the model, and all else as it was."""
        if self.span is None:
            return self.body
        start, end = self.span
        return self.body[:start] + model.encode() + self.body[end:]


def read_form(body: bytes | None, content_type: str) -> Form | None:
    """Read a form; None for what is none."""
    named = _BOUNDARY.search(content_type)
    if named is None or not body:
        return None
    mark = b"--" + (named[1] or named[2]).encode()
    members: dict[str, Any] = {}
    span = None
    place = body.find(mark)
    while place >= 0:
        start = body.find(b"\r\n\r\n", place) + 4
        end = body.find(b"\r\n" + mark, start)
        if start < 4 or end < 0:
            break
        field = _FIELD.search(body, place, start)
        if field is not None and end - start <= _LONGEST and b"filename" not in body[place:start]:
            name = field[1].decode("latin-1")
            members[name] = body[start:end].decode("utf-8", "replace")
            span = (start, end) if name == "model" else span
        place = end + 2
    return Form(body, members, span)


def read_fields(body: bytes | None) -> Fields | None:
    """Read a body; None for one that is no JSON object."""
    try:
        return _read((body or b"").decode())
    except (ValueError, RecursionError):
        return None


def _read(text: str) -> Fields:
    place = opening = _expect(text, _skip(text, 0), "{")
    members: dict[str, Any] = {}
    spans = []
    place = _skip(text, place)
    while text[place : place + 1] != "}":
        if members:
            place = _skip(text, _expect(text, place, ","))
        name, place = _decoder.raw_decode(text, place)
        if not isinstance(name, str):
            raise ValueError("a name that is no text")
        start = _skip(text, _expect(text, _skip(text, place), ":"))
        members[name], place = _decoder.raw_decode(text, start)
        if name == "model":
            spans.append((start, place))
        place = _skip(text, place)
    if _skip(text, place + 1) != len(text):
        raise ValueError("more than one value")
    return Fields(text, members, tuple(spans), opening)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None  # nothing is a space too
    return found.end()


def _expect(text: str, place: int, sign: str) -> int:
    if text[place : place + 1] != sign:
        raise ValueError(f"no {sign}")
    return place + 1
