"""``llmpool status`` and ``llmpool explain`` over local servers."""

from __future__ import annotations

import json
import pathlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from terminal_double import FakeTerminal

from llmpool import cli
from llmpool.commands import _tables
from llmpool.commands._tables import Table
from llmpool.commands._terminal import Span
from llmpool.testing import LocalServer, Refuse

needs_toml = pytest.mark.needs(*(() if sys.version_info >= (3, 11) else ("tomli",)))
Configure = Callable[..., None]


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """Give a server that behaves."""
    with LocalServer("eu") as running:
        yield running


@pytest.fixture
def us() -> Iterator[LocalServer]:
    """Give another."""
    with LocalServer("us") as running:
        yield running


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, double: FakeTerminal) -> FakeTerminal:
    """Put *double* in the place of standard output, as if rich were not installed."""
    # Not by a fixture: between set-up and test pytest puts its own there.
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys, "stdout", double)
    return double


def test_nothing_configured(capsys: pytest.CaptureFixture[str]) -> None:
    """One line tells what to do, and the status is 2."""
    assert cli.main(["status"]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("llmpool error: there is no llmpool.toml here. `llmpool config")
    assert written.err.count("\n") == 1


def test_a_configuration_with_mistakes(
    eu: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is a line on standard error, and the status is 2; so is what only the pool finds."""
    configure(eu, EU__WIGHT="1", EU__TIMEOUT="x")
    assert cli.main(["status"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "llmpool error: LLMPOOL_EU__WIGHT: unknown key; did you mean weight?",
        "llmpool error: LLMPOOL_EU__TIMEOUT: wanted a number or none, got another text",
    ]


def test_a_configuration_that_makes_no_pool(
    eu: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """What only the pool finds out is told like the rest."""
    configure(eu, EU__WEIGHT="0")
    assert cli.main(["status"]) == 2
    assert "error: environment: deployments: wanted at least one" in capsys.readouterr().err


def test_all_healthy(
    eu: LocalServer, us: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each, plain on what is no terminal; the status is 0."""
    configure(eu, us, US__PRIORITY="1", US__WEIGHT="2.5")
    assert cli.main(["status"]) == 0
    head, first, second, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["deployment", "state", "check", "ms", "tier", "weight", "why"]
    assert first.split()[:2] == ["eu", "healthy"]
    assert second.split()[3:] == ["1", "2.5"]
    assert last == "2 of 2 healthy"


def test_some_and_none_healthy(
    eu: LocalServer, us: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 1, then 2, and the line tells why."""
    configure(eu, us)
    us.behave(Refuse())
    assert cli.main(["status"]) == 1
    assert "refused" in capsys.readouterr().out
    eu.behave(Refuse())
    assert cli.main(["status", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["pool"].startswith("pool-")
    assert (told["total_deployments"], told["healthy_deployments"]) == (2, 0)
    assert [each["state"] for each in told["deployments"]] == ["unhealthy", "unhealthy"]


@needs_toml
def test_a_file_and_its_folder(
    eu: LocalServer, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one of this folder is read, or the one named."""
    text = f'[[deployment]]\nname="eu"\nprovider="openai"\nbase_url="{eu.url}"\napi_key=false\n'
    (tmp_path / "llmpool.toml").write_text(text)
    assert cli.main(["status"]) == 0
    (tmp_path / "llmpool.toml").rename(tmp_path / "other.toml")
    assert cli.main(["status", "--config", "other.toml"]) == 0
    assert cli.main(["status", "--config", "none.toml"]) == 2
    assert capsys.readouterr().err == "llmpool error: none.toml: No such file or directory\n"


def test_over_local_servers(capsys: pytest.CaptureFixture[str]) -> None:
    """``--demo`` needs no configuration."""
    assert cli.main(["status", "--demo"]) == 0
    assert capsys.readouterr().out.endswith("3 of 3 healthy\n")


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rich, colours and plain columns."""
    terminal = on_a_terminal(monkeypatch, FakeTerminal())
    assert cli.main(["status", "--demo"]) == 0
    assert {"2", "32", "1"} <= terminal.tones
    assert terminal.shown[0].startswith("deployment  state")


def test_watching_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is drawn over itself until Ctrl-C; the cursor is back, the status is 130."""
    terminal = on_a_terminal(monkeypatch, FakeTerminal(interrupt_at=3))
    assert cli.main(["status", "--demo", "--watch", "0.01"]) == 130
    seen = "\n".join(terminal.shown)
    assert seen.count("deployment") == 1
    assert "every 0.01 s, Ctrl-C ends it" in seen
    assert terminal.cursor_shown


@pytest.mark.parametrize("as_json", [True, False])
def test_watching_elsewhere(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of JSON, or a table, each time."""

    class Pipe(FakeTerminal):
        def isatty(self) -> bool:
            return False

    pipe = Pipe(interrupt_at=4)
    on_a_terminal(monkeypatch, pipe)
    arguments = ["status", "--demo", "--watch", "0.01", *(["--json"] if as_json else [])]
    assert cli.main(arguments) == 130
    lines = pipe.getvalue().splitlines()
    if as_json:
        assert len(lines) == 3
        assert all(json.loads(line)["healthy_deployments"] == 3 for line in lines)
    else:
        assert lines[1].startswith("deployment")


def test_explained(
    eu: LocalServer, us: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who would be asked, who not and why; 0 while there is anybody, else 2."""
    configure(eu, us)
    us.behave(Refuse())
    assert cli.main(["explain"]) == 0
    _, good, bad, last = capsys.readouterr().out.splitlines()
    assert good.split()[:2] == ["eu", "yes"]
    assert bad.split()[:2] == ["us", "no"]
    assert float(bad.split()[2]) > 0
    assert last == "1 of 2 would be asked now"
    eu.behave(Refuse())
    assert cli.main(["explain", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert [each["eligible"] for each in told["deployments"]] == [False, False]


def rich_double(seen: list[Any]) -> dict[str, types.ModuleType]:
    """Give modules that note what is asked of them."""

    class Drawn:
        def __init__(self, **options: Any) -> None:
            self.options = options
            self.columns: list[tuple[str, str]] = []
            self.rows: list[list[tuple[str, str]]] = []

        def add_column(self, title: str, *, justify: str, overflow: str) -> None:
            self.columns.append((title, justify))

        def add_row(self, *cells: tuple[str, str]) -> None:
            self.rows.append(list(cells))

    class Console:
        def __init__(self, **options: Any) -> None:
            self.options = options

        def print(self, drawn: Drawn) -> None:
            seen.append((self.options, drawn))

    modules = {
        name: types.ModuleType(f"rich.{name}") for name in ("console", "table", "text", "box")
    }
    modules["console"].Console = Console  # type: ignore[attr-defined]  # a double's own
    modules["table"].Table = Drawn  # type: ignore[attr-defined]  # a double's own
    modules["text"].Text = lambda text, style: (text, style)  # type: ignore[attr-defined]  # same
    modules["box"].ROUNDED = "rounded"  # type: ignore[attr-defined]  # a double's own
    return {"rich": types.ModuleType("rich"), **{f"rich.{n}": m for n, m in modules.items()}}


@pytest.mark.parametrize("no_colour", [True, False])
def test_with_rich(no_colour: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws the table on a terminal; NO_COLOR switches its colours off."""
    seen: list[Any] = []
    for name, module in rich_double(seen).items():
        monkeypatch.setitem(sys.modules, name, module)
    table = Table(("a", "b>"), ((Span("x", "good"), Span("y")),))
    out = FakeTerminal()
    environ = {"TERM": "xterm", **({"NO_COLOR": "1"} if no_colour else {})}
    _tables.write(out, [table, [Span("end")]], environ)
    ((options, drawn),) = seen
    assert options["no_color"] is no_colour
    assert drawn.columns == [("a", "left"), ("b", "right")]
    assert drawn.rows == [[("x", "green"), ("y", "")]]
    assert out.shown[0] == "end"


@pytest.mark.needs("rich")
def test_with_the_real_rich() -> None:
    """A frame, and every cell whole."""
    out = FakeTerminal()
    table = Table(("name", "ms>"), ((Span("eu", "bold"), Span("12")),))
    _tables.write(out, [table], {"TERM": "xterm", "NO_COLOR": "1"})
    assert "eu" in out.getvalue()
    assert "│" in out.getvalue()


def test_a_table_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are cut off, other lines are not; a reader that is no terminal gets all of it."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    table = Table(("a",), ((Span("x" * 200),),))
    out = FakeTerminal()
    _tables.write(out, [table, [Span("y" * 200)]], {"TERM": "xterm", "NO_COLOR": "1"})
    assert [len(line) for line in out.shown] == [1, 79, 200, 0]
