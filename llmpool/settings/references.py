"""Values that stand elsewhere: ``env:NAME`` in the environment, ``file:PATH`` in a file."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable, Mapping

import attrs

from llmpool._validators import describe

STAND_IN = "http://stand.in.invalid/v1"
"""Takes the place of what is not looked up; fit for a URL, a key and a header."""

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_MOST_BYTES = 65_536


class KeyFile:
    """
    A key in a file, read again when the file is another one, as a mounted secret is after a rotation.

    Threads: any.

    Raises:
        ValueError: there is no such file, or nothing fit in it.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        # Replaced as one, so that no lock is needed: a change that is seen twice is read twice.
        self._held = (self._mark(), _key(path))

    def __call__(self) -> str:
        """Give the key; the last one while the file cannot be read."""
        mark = self._mark()
        mark_held, content = self._held
        if mark is None or mark == mark_held:
            return content
        try:
            content = _key(self._path)
        except ValueError:
            return content
        self._held = (mark, content)
        return content

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            now = os.stat(self._path)
        except OSError:
            return None
        return now.st_mtime_ns, now.st_size, now.st_ino

    def __repr__(self) -> str:
        return "KeyFile(…)"


def _named(path: pathlib.Path) -> str:
    shown = path if any(sign in str(path) for sign in "/\\.") else describe(str(path))
    return f"the file {shown}"


def _key(path: pathlib.Path) -> str:
    content = _content(path)
    if not (content.isascii() and content.isprintable()):
        raise ValueError(f"{_named(path)}, which holds more than a line of printable ASCII")
    return content


def _content(path: pathlib.Path) -> str:
    shown = _named(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES).decode("utf-8-sig").strip()
    except OSError as error:
        raise ValueError(f"{shown}: {error.strerror or type(error).__name__}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{shown}, which is no UTF-8 text") from None
    if not content:
        raise ValueError(f"{shown}, which is empty")
    return content


@attrs.frozen
class References:
    """
    Looks up what a text refers to.

    Attributes:
        folder: what a relative path of a file begins with.
        reveal: False looks nothing up and gives a stand-in.
    """

    folder: pathlib.Path = attrs.field(factory=pathlib.Path)
    environ: Mapping[str, str] = attrs.field(factory=lambda: os.environ, repr=False)
    reveal: bool = True

    def follow(self, text: str, *, live: bool = False) -> str | Callable[[], str]:
        """
        Give what *text* refers to, or itself; where *live*, of a file a function that reads it again.

        Raises:
            ValueError: nothing is there; the message tells where.
        """
        kind, _, name = text.partition(":")
        if kind not in ("env", "file"):
            return text
        if not name.strip():
            raise ValueError(f"{kind}: without a name behind it")
        if not self.reveal:
            return STAND_IN
        if kind == "env":
            return self._variable(name.strip())
        path = self.folder / pathlib.Path(name.strip()).expanduser()
        return KeyFile(path) if live else _content(path)

    def _variable(self, name: str) -> str:
        found = self.environ.get(name, "").strip()
        if not found:
            # A key is sometimes put in the place of a name; those are seldom in capitals.
            shown = f"{name}, which" if _VARIABLE.fullmatch(name) else "of that name, which"
            raise ValueError(f"the environment variable {shown} is not set, or empty")
        return found


def is_reference(value: object) -> bool:
    """Tell whether *value* is a text that names where the true one stands."""
    return isinstance(value, str) and value.startswith(("env:", "file:"))
