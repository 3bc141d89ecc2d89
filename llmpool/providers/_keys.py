"""API keys: from a text, the environment or a function; shown to nobody."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

from llmpool._validators import refuse

Key = str | Callable[[], str] | None

_WANTED = "a key, 'env:NAME', a function that gives a key, or None for a server without keys"


class Secret:
    """
    A key that no ``repr``, pickle or JSON shows.

    A text that begins with ``env:`` names a variable of the environment, which is read once, here. A
    function is asked at each use, so that it can rotate keys; what it gave is remembered for as long as
    it serves to keep the key out of messages.

    Raises:
        ValueError: it is empty, or the variable is not set.
        TypeError: it is none of these.
    """

    __slots__ = ("_ask", "_last")

    def __init__(self, given: Key, field: str = "api_key") -> None:
        self._ask: Callable[[], str] | None = None
        self._last: str | None = None
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
        self._last = _checked(given.strip(), field)

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
            return self._last
        given = self._ask()
        if not isinstance(given, str):
            raise TypeError(
                f"api_key: wanted a str from its function, got a {type(given).__name__}"
            )
        self._last = _checked(given.strip(), "api_key")
        return self._last

    def known(self) -> tuple[str, ...]:
        """Give the key in use, so that it can be taken out of a message."""
        return () if self._last is None else (self._last,)

    def __repr__(self) -> str:
        return "Secret(…)" if self._last is not None or self._ask is not None else "Secret(None)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled; build the provider in each process")


def _checked(key: str, field: str) -> str:
    if not key:
        raise ValueError(f"{field}: wanted a key that is not empty, got an empty text")
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"{field}: wanted printable ASCII, got other characters")
    return key
