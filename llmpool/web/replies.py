"""What the site answers, as values that any framework can send."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

NO_STORE = ("Cache-Control", "no-store")

# Nothing may come from elsewhere, nothing inline may run, and nobody may frame or submit anything.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFETY = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # Not "no-referrer": with it browsers may send "Origin: null" even to the page's own site.
    ("Referrer-Policy", "same-origin"),
)


@attrs.frozen
class Reply:
    """A whole HTTP answer; ``headers`` are complete, Content-Length among them."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def reply(
    status: int, content_type: str, body: bytes, *headers: tuple[str, str], sized: bool = True
) -> Reply:
    """Make a Reply with the headers that keep a browser from doing more with it than it should."""
    length = (("Content-Length", str(len(body))),) if sized else ()
    return Reply(status, (("Content-Type", content_type), *length, *headers, *_SAFETY), body)


def of_json(status: int, value: Mapping[str, Any], *headers: tuple[str, str]) -> Reply:
    """Make a Reply of plain values; it is not to be kept by anybody."""
    return json_text(status, dump(value), *headers)


def json_text(status: int, body: bytes, *headers: tuple[str, str]) -> Reply:
    """Make a Reply of JSON; it is not to be kept by anybody."""
    return reply(status, "application/json", body, NO_STORE, *headers)


def dump(value: Mapping[str, Any]) -> bytes:
    """Write JSON in ASCII, so that no sign of it can be read as anything else."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def of_text(status: int, line: str, *headers: tuple[str, str]) -> Reply:
    """Make a Reply of one line."""
    body = f"{line}\n".encode()
    return reply(status, "text/plain; charset=utf-8", body, NO_STORE, *headers)


def refusal(status: int, why: str, *headers: tuple[str, str]) -> Reply:
    """Make a Reply of JSON that tells why something is not done."""
    return of_json(status, {"error": why}, *headers)


def without_body(answer: Reply) -> Reply:
    """Make of the answer to GET the one to HEAD."""
    return attrs.evolve(answer, body=b"")
