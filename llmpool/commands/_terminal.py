"""Lines with colours, and a page that is drawn over itself on a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

import attrs

_TONES = {"good": "32", "warn": "33", "bad": "31", "dim": "2", "bold": "1"}
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_WHOLE_SCREEN = "\x1b[2J\x1b[H"
_REST_OF_LINE, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"

LEAST_COLUMNS, LEAST_ROWS = 48, 12
"""A page does not fit on less."""


@attrs.frozen
class Span:
    """A piece of a line; *tone* is good, warn, bad, dim or bold."""

    text: str
    tone: str | None = None


Line = Sequence[Span]


def render(line: Line, *, width: int | None = None, coloured: bool = False) -> str:
    """Write a line, cut off at *width* columns."""
    left = width
    written = []
    for span in line:
        text = span.text if left is None else span.text[:left]
        if left is not None:
            left -= len(text)
        if coloured and span.tone is not None and text:
            text = f"\x1b[{_TONES[span.tone]}m{text}\x1b[0m"
        written.append(text)
    return "".join(written).rstrip()


def is_coloured(out: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether colours are understood and wanted (https://no-color.org)."""
    return _understands(out, environ) and not environ.get("NO_COLOR")


def is_drawable(out: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether a page can be drawn there over and over."""
    columns, rows = size()
    return _understands(out, environ) and columns >= LEAST_COLUMNS and rows >= LEAST_ROWS


def _understands(out: TextIO, environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    # A Windows console takes escape sequences only after a call to its own interface.
    return out.isatty() and environ.get("TERM", "dumb") != "dumb" and platform != "win32"


def size() -> tuple[int, int]:
    """Give the terminal's columns and rows; it may be resized at any time."""
    found = shutil.get_terminal_size()
    return found.columns, found.lines


class Screen:
    """
    A page drawn over itself, without a cursor while it is shown.

    The cursor is back after the ``with`` block, however that ends, and stands below the page.
    """

    def __init__(self, out: TextIO, *, coloured: bool) -> None:
        self._out = out
        self._coloured = coloured
        self._drawn = 0
        self._size = (0, 0)

    def __enter__(self) -> Screen:
        return self

    def draw(self, page: Sequence[Line]) -> None:
        """Draw *page* where the last one stood; what does not fit is cut off."""
        columns, rows = size()
        move = _HIDE
        if self._drawn:
            # After a resize nobody knows where the lines of the last page are.
            same = (columns, rows) == self._size
            move = f"\x1b[{self._drawn}A" if same else _WHOLE_SCREEN
        # A letter in the last column, or a line in the last row, would move everything.
        lines = [
            render(line, width=columns - 1, coloured=self._coloured) + _REST_OF_LINE + "\n"
            for line in page[: rows - 1]
        ]
        self._out.write(f"{move}\r{''.join(lines)}{_REST_OF_SCREEN}")
        self._out.flush()
        self._drawn = len(lines)
        self._size = (columns, rows)

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._out.write(_SHOW)
            self._out.flush()
