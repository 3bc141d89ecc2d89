"""A terminal in memory that shows what was written to it as a person would see it."""

from __future__ import annotations

import io
import re

_TOKEN = re.compile(r"\x1b\[(\??\d*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class FakeTerminal(io.StringIO):
    """
    Takes the few sequences the command line may send, and no others.

    *interrupt_at* raises Ctrl-C at the write of that number, once.
    """

    def __init__(self, columns: int = 80, rows: int = 24, interrupt_at: int | None = None) -> None:
        super().__init__()
        self.columns = columns
        self.rows = rows
        self.writes = 0
        self.cursor_shown = True
        self.tones: set[str] = set()
        self._interrupt_at = interrupt_at
        self._lines = [""]
        self._row = self._column = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes += 1
        if self.writes == self._interrupt_at:
            raise KeyboardInterrupt
        taken = 0
        for found in _TOKEN.finditer(text):
            assert found.start() == taken, f"unknown: {text[taken : found.start()]!r}"
            taken = found.end()
            number, letter, move, plain = found.groups()
            if letter:
                self._obey(number, letter)
            elif move:
                self._column = 0
                self._row += move == "\n"
                self._lines += [""] * (self._row + 1 - len(self._lines))
            else:
                self._put(plain)
        assert taken == len(text), f"unknown: {text[taken:]!r}"
        return super().write(text)

    def _put(self, plain: str) -> None:
        line = self._lines[self._row].ljust(self._column)
        self._lines[self._row] = line[: self._column] + plain + line[self._column + len(plain) :]
        self._column += len(plain)

    def _obey(self, number: str, letter: str) -> None:
        if letter == "m":
            self.tones.add(number)
        elif letter == "A":
            assert self._row >= int(number), "above the page"
            self._row -= int(number)
        elif letter == "K":
            self._lines[self._row] = self._lines[self._row][: self._column]
        elif letter == "J":
            self._lines[self._row] = self._lines[self._row][: self._column]
            del self._lines[self._row + 1 :]
        else:
            assert (number, letter) in (("?25", "l"), ("?25", "h")), (number, letter)
            self.cursor_shown = letter == "h"

    @property
    def shown(self) -> list[str]:
        """What stands there, line by line."""
        return list(self._lines)
