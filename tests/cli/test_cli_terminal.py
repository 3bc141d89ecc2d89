"""Lines and pages on terminals, and on what is none."""

from __future__ import annotations

import io

import pytest
from terminal_double import FakeTerminal

from llmpool.commands import _terminal
from llmpool.commands._terminal import Screen, Span, is_coloured, is_drawable, render

XTERM = {"TERM": "xterm-256color"}


def test_a_line_with_colours() -> None:
    """A tone is switched on before its text and off after it."""
    line = [Span("a "), Span("b", "bad"), Span("", "good")]
    assert render(line) == "a b"
    assert render(line, coloured=True) == "a \x1b[31mb\x1b[0m"


def test_a_line_that_is_too_long() -> None:
    """It is cut off by what is seen of it; sequences take no room."""
    line = [Span("abc", "bold"), Span("def", "dim"), Span("ghi")]
    assert render(line, width=4) == "abcd"
    assert render(line, width=4, coloured=True) == "\x1b[1mabc\x1b[0m\x1b[2md\x1b[0m"


@pytest.mark.parametrize(
    ("environ", "drawable", "coloured"),
    [
        (XTERM, True, True),
        (XTERM | {"NO_COLOR": "1"}, True, False),
        (XTERM | {"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
    ],
)
def test_what_a_terminal_takes(environ: dict[str, str], drawable: bool, coloured: bool) -> None:
    """NO_COLOR with any value switches colours off and nothing else; a dumb one takes lines."""
    assert is_drawable(FakeTerminal(), environ) is drawable
    assert is_coloured(FakeTerminal(), environ) is coloured


def test_what_is_no_terminal() -> None:
    """A file or a pipe gets plain lines; so does a Windows console, which needs a call first."""
    assert not is_drawable(io.StringIO(), XTERM)
    assert not is_coloured(io.StringIO(), XTERM)
    assert not _terminal._understands(FakeTerminal(), XTERM, platform="win32")


@pytest.mark.parametrize(("columns", "rows"), [(47, 24), (80, 11)])
def test_a_terminal_that_is_too_small(
    columns: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets plain lines, in colours."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(rows))
    assert not is_drawable(FakeTerminal(), XTERM)
    assert is_coloured(FakeTerminal(), XTERM)


def test_a_page_drawn_over_itself() -> None:
    """The last page is what is seen, also where it is shorter; the cursor is back at the end."""
    terminal = FakeTerminal()
    terminal.write("$ llmpool demo\n")
    with Screen(terminal, coloured=True) as screen:
        screen.draw([[Span("one", "good")], [Span("two")], [Span("three")]])
        assert not terminal.cursor_shown
        screen.draw([[Span("1")], [Span("2")]])
    assert terminal.cursor_shown
    assert terminal.shown == ["$ llmpool demo", "1", "2", ""]


def test_a_page_larger_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut off in both directions, one short of each, so that nothing scrolls or wraps."""
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv("LINES", "4")
    terminal = FakeTerminal()
    with Screen(terminal, coloured=False) as screen:
        screen.draw([[Span("x" * 30)]] * 9)
    assert terminal.shown == ["x" * 9] * 3 + [""]


def test_a_terminal_that_is_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page begins anew on a cleared screen, for its old lines may be anywhere."""
    out = io.StringIO()
    with Screen(out, coloured=False) as screen:
        screen.draw([[Span("one")]])
        monkeypatch.setenv("COLUMNS", "70")
        screen.draw([[Span("two")]])
    assert out.getvalue().count("\x1b[2J\x1b[H") == 1


def test_a_page_never_drawn() -> None:
    """Nothing was hidden, and nothing is written."""
    terminal = FakeTerminal()
    with Screen(terminal, coloured=True):
        pass
    assert terminal.getvalue() == ""


def test_ctrl_c_while_a_page_is_shown() -> None:
    """The cursor is back all the same."""
    terminal = FakeTerminal()
    screen = Screen(terminal, coloured=True)

    def show() -> None:
        with screen:
            screen.draw([[Span("one")]])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        show()
    assert terminal.cursor_shown
