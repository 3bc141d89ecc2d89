"""What a server may not have repeated: the keys of a provider, the texts of one request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs

from llmpool.privacy import KEY_RUN, RUN

_SAID = frozenset(
    {
        "content",
        "contents",
        "input",
        "messages",
        "prompt",
        "requests",
        "system",
        "systemInstruction",
    }
)
"""Fields that hold what somebody said, of which the shortest text is private too."""
_NAMED = frozenset({"id", "model", "name", "role", "tool_call_id", "type"})
"""Fields that name things; what an error says of these is what its reader needs."""
_START = 4096
_SECRET = re.compile(r"auth|cookie|credential|key|pass|secret|sig|token|\bcode\b", re.I)


@attrs.frozen
class Private:
    """
    What is to be kept out of the messages of one request's errors.

    Both are functions, since all of it is of use only once something has failed.
    """

    secrets: Callable[[], tuple[str, ...]] = attrs.field(repr=False)
    texts: Callable[[], tuple[str, ...]] = attrs.field(repr=False)


def texts_in(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the texts in the body of a request."""
    return tuple(
        text
        for field, value in body.items()
        if field not in _NAMED
        for text in _leaves(value)
        if field in _SAID or len(text) >= RUN
    )


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        start = value[:_START]
        # An image of ten megabytes: to look for every part of it costs a second and protects nothing.
        is_data = len(value) > _START and start.isascii() and " " not in start
        yield start if is_data else value
    elif isinstance(value, Mapping):
        for field, inner in value.items():
            if field not in _NAMED:
                yield from _leaves(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _leaves(inner)


def keys_in(headers: Mapping[str, str] | None, url: str) -> tuple[str, ...]:
    """Give what may be a key among the headers of one's own and in the query of a URL."""
    given = [*(headers or {}).items(), *parse_qsl(urlsplit(url).query)]
    return tuple(
        word
        for name, value in given
        if _SECRET.search(name)
        for word in value.split()
        if len(word) >= KEY_RUN
    )
