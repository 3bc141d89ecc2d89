"""Tables: by rich where it can be imported and a person looks on, else as plain lines."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import attrs

from llmpool.commands._terminal import Line, Span, is_coloured, render, size

_BETWEEN = 2
_STYLES = {"good": "green", "warn": "yellow", "bad": "red", "dim": "dim", "bold": "bold"}


@attrs.frozen
class Table:
    """Titles and rows; a title that ends in ``>`` has its column to the right."""

    titles: tuple[str, ...]
    rows: tuple[tuple[Span, ...], ...]

    def lines(self) -> list[Line]:
        """Draw it as plain lines, as wide as it is."""
        heads = [Span(title.rstrip(">"), "dim") for title in self.titles]
        whole = [tuple(heads), *self.rows]
        widths = [max(len(row[at].text) for row in whole) for at in range(len(heads))]
        return [self._line(row, widths) for row in whole]

    def _line(self, row: Sequence[Span], widths: Sequence[int]) -> Line:
        spans = []
        for title, span, width in zip(self.titles, row, widths, strict=True):
            right = title.endswith(">")
            text = span.text.rjust(width) if right else span.text.ljust(width)
            spans += [Span(text, span.tone), Span(" " * _BETWEEN)]
        return spans


def write(out: TextIO, parts: Sequence[Table | Line], environ: Mapping[str, str]) -> None:
    """Write tables and lines one below another; on a terminal in its width."""
    coloured = is_coloured(out, environ)
    rich = _rich() if out.isatty() and environ.get("TERM", "dumb") != "dumb" else None
    width = size()[0] - 1 if out.isatty() else None
    for part in parts:
        if isinstance(part, Table) and rich is not None:
            _write_rich(rich, out, part, coloured=coloured)
            continue
        # A line that is too long is wrapped by the terminal, a row of a table would be unreadable.
        if isinstance(part, Table):
            lines = [render(line, width=width, coloured=coloured) for line in part.lines()]
        else:
            lines = [render(part, coloured=coloured)]
        out.write("".join(f"{line}\n" for line in lines))
    out.flush()


def write_whole(out: TextIO, lines: Sequence[Line], environ: Mapping[str, str]) -> None:
    """Write lines that may be longer than a terminal is wide, and lose nothing of them."""
    coloured = is_coloured(out, environ)
    out.write("".join(render(line, coloured=coloured) + "\n" for line in lines))
    out.flush()


def environment() -> Mapping[str, str]:
    """Give the environment that tells what a terminal takes."""
    return os.environ


def printable(text: str) -> str:
    """Make a text of another's fit for a line on a terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _rich() -> Any:
    try:
        return tuple(
            importlib.import_module(f"rich.{name}") for name in ("console", "table", "text", "box")
        )
    except ImportError:
        return None


def _write_rich(rich: Any, out: TextIO, table: Table, *, coloured: bool) -> None:
    console, tables, text, box = rich
    drawn = tables.Table(box=box.ROUNDED, header_style="bold" if coloured else "none")
    for title in table.titles:
        drawn.add_column(
            title.rstrip(">"), justify="right" if title.endswith(">") else "left", overflow="fold"
        )
    for row in table.rows:
        cells = [text.Text(span.text, style=_STYLES.get(span.tone or "", "")) for span in row]
        drawn.add_row(*cells)
    to = console.Console(
        file=out, no_color=not coloured, width=size()[0], highlight=False, markup=False
    )
    to.print(drawn)
