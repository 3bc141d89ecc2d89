"""API keys: from a text, the environment or a function; shown to nobody."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from llmpool._validators import refuse

Key = str | Callable[[], str] | None

REMEMBERED = 4
_WANTED = "a key, 'env:NAME', a function that gives a key, or None for a server without keys"


class Secret:
    """
    A key that no ``repr``, pickle or JSON shows.

    A text that begins with ``env:`` names a variable of the environment, which is read once, here. A
    function is asked at each use, so that it can rotate keys; the last few that it gave are remembered,
    to keep them out of messages.

    Raises:
        ValueError: it is empty, or the variable is not set.
        TypeError: it is none of these.
    """

    __slots__ = ("_ask", "_recent")

    def __init__(self, given: Key, field: str = "api_key") -> None:
        self._ask: Callable[[], str] | None = None
        # The one in use is the last. Its appends and its copies may come from any thread.
        self._recent: deque[str] = deque(maxlen=REMEMBERED)
        if given is None:
            return
        if callable(given):
            self._ask = given
            return
        if not isinstance(given, str):
            refuse(field, _WANTED, type(given), kind=TypeError)
        if given.startswith("env:"):
            name = given[4:]
            found = os.environ.get(name, "")
            if not found.strip():
                raise ValueError(
                    f"{field}: wanted a key, got nothing from the environment variable {name}"
                )
            given = found
        self._recent.append(_checked(given.strip(), field))

    @property
    def renewable(self) -> bool:
        """Whether asking again can give another key."""
        return self._ask is not None

    def reveal(self) -> str | None:
        """
        Give the key, for one request.

        Raises:
            TypeError: the user's function gave no text.
        """
        if self._ask is None:
            return self._recent[-1] if self._recent else None
        given = self._ask()
        if not isinstance(given, str):
            raise TypeError(
                f"api_key: wanted a str from its function, got a {type(given).__name__}"
            )
        key = _checked(given.strip(), "api_key")
        if key not in self.known():
            self._recent.append(key)
        return key

    def known(self) -> tuple[str, ...]:
        """Give the keys that have been in use of late, so that they can be taken out of a message."""
        return tuple(self._recent.copy())

    def __repr__(self) -> str:
        return "Secret(…)" if self._recent or self._ask is not None else "Secret(None)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled; build the provider in each process")


def _checked(key: str, field: str) -> str:
    if not key:
        raise ValueError(f"{field}: wanted a key that is not empty, got an empty text")
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"{field}: wanted printable ASCII, got other characters")
    return key
