"""An HTTP answer that can be sent whole, in pieces, or up to a chosen point."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from email.utils import format_datetime
from http.client import responses as _PHRASES
from typing import Any, Literal

import attrs

from llmpool._validators import refuse

Framing = Literal["length", "chunked", "close"]
Point = Literal["accept", "request", "mid-headers", "headers", "body"] | int
Headers = Mapping[str, str] | Sequence[tuple[str, str]]

_POINTS = ("accept", "request", "mid-headers", "headers", "body")


def to_pairs(headers: Headers) -> tuple[tuple[str, str], ...]:
    """Return headers as pairs; a sequence of pairs may name one header twice."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((str(name), str(value)) for name, value in pairs)


def to_parts(parts: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the parts of a body as a tuple."""
    return tuple(parts)


def check_point(instance: Any, attribute: Any, value: Any) -> None:
    """Refuse a point of an answer that does not exist."""
    counted = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not counted and value not in _POINTS:
        wanted = ", ".join(map(repr, _POINTS))
        refuse(attribute.name, f"{wanted} or a number of stream chunks", value)


@attrs.frozen
class Reply:
    """
    One answer.

    ``parts`` are the pieces of the body in the order of sending: the whole body in
    one, or one for each event of a stream. A stream tells further how many of its
    events come before the first content (``lead``), carry content (``contents``) and
    name a finish reason (``finishes``), so that a fault can be put between them.

    ``framing`` says how the client finds the body's end: by its length, by chunks, or
    by the connection's end as in HTTP/1.0.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=to_pairs)
    parts: tuple[bytes, ...] = attrs.field(default=(), converter=to_parts, repr=False)
    framing: Framing = "length"
    streamed: bool = False
    lead: int = 0
    contents: int = 0
    finishes: int = 0

    def with_headers(self, headers: Headers) -> Reply:
        """Return the same answer with headers added, in place of those of the same name."""
        added = to_pairs(headers)
        names = {name.lower() for name, _ in added}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in names)
        return attrs.evolve(self, headers=kept + added)

    def gzipped(self) -> Reply:
        """Return the same answer compressed; each event of a stream can be read at once."""
        packer = zlib.compressobj(wbits=31)
        parts = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in self.parts]
        packed = self.with_headers({"Content-Encoding": "gzip"})
        return attrs.evolve(packed, parts=(*parts, packer.flush()))

    def first_chunks(self, count: int) -> tuple[bytes, ...]:
        """Return the parts up to and with the given number of content events."""
        return self.parts[: self.lead + min(count, self.contents)]

    def head(self, *, keep_alive: bool = True) -> bytes:
        """Render status line and headers; a header given by hand wins over the usual one."""
        usual = [("Date", format_datetime(datetime.now(timezone.utc), usegmt=True))]
        if self.framing == "length":
            usual.append(("Content-Length", str(sum(map(len, self.parts)))))
        elif self.framing == "chunked":
            usual.append(("Transfer-Encoding", "chunked"))
        kept = keep_alive and self.framing != "close"
        usual.append(("Connection", "keep-alive" if kept else "close"))
        given = {name.lower() for name, _ in self.headers}
        pairs = [pair for pair in usual if pair[0].lower() not in given]
        lines = [f"{name}: {value}\r\n" for name, value in (*pairs, *self.headers)]
        version = "1.0" if self.framing == "close" else "1.1"
        phrase = _PHRASES.get(self.status, "Unknown")
        return f"HTTP/{version} {self.status} {phrase}\r\n{''.join(lines)}\r\n".encode()

    def frame(self, part: bytes) -> bytes:
        """Return one part as it goes over the wire."""
        if self.framing == "chunked" and part:
            return b"%x\r\n%s\r\n" % (len(part), part)
        return part

    def end(self) -> bytes:
        """Return what goes over the wire after the last part."""
        return b"0\r\n\r\n" if self.framing == "chunked" else b""

    def body_until(self, point: Point) -> list[bytes]:
        """
        Return the framed parts of the body that lie before a point.

        A number counts content events of a stream; in an answer that is no stream it
        means the middle of the body.
        """
        if point in ("accept", "request", "mid-headers", "headers"):
            return []
        if self.streamed and isinstance(point, int):
            return [self.frame(part) for part in self.first_chunks(point)]
        wire = b"".join(map(self.frame, self.parts))
        return [wire[: len(wire) // 2]]


def json_reply(body: object, status: int = 200, headers: Headers = ()) -> Reply:
    """Build an answer with a JSON body."""
    raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(status, (("Content-Type", "application/json"),), (raw,)).with_headers(headers)


def body_reply(body: object, status: int = 200, headers: Headers = ()) -> Reply:
    """Build an answer from JSON data, from text, or from bytes as they are."""
    if isinstance(body, bytes):
        return Reply(status, headers, (body,))
    if isinstance(body, str):
        plain = (("Content-Type", "text/plain; charset=utf-8"),)
        return Reply(status, plain, (body.encode(),)).with_headers(headers)
    return json_reply(body, status, headers)


def event(data: object, name: str | None = None) -> bytes:
    """Render one server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    line = f"event: {name}\n" if name else ""
    return f"{line}data: {text}\n\n".encode()
