"""The command line's arguments, and the exit status of each way of ending."""

from __future__ import annotations

import io
import os
import runpy
import subprocess
import sys
from typing import Any

import pytest

import llmpool
from llmpool import cli
from llmpool.commands import check, demo

URL = "http://127.0.0.1:9/v1"


class Ends:
    """A command that ends in a given way, and remembers what it was asked."""

    def __init__(self, ending: int | BaseException) -> None:
        self.ending = ending
        self.asked: tuple[Any, ...] = ()
        self.options: dict[str, Any] = {}

    def __call__(self, *asked: Any, **options: Any) -> int:
        self.asked = asked
        self.options = options
        if isinstance(self.ending, BaseException):
            raise self.ending
        return self.ending


def demo_ends(monkeypatch: pytest.MonkeyPatch, ending: int | BaseException) -> Ends:
    double = Ends(ending)
    monkeypatch.setattr(demo, "run", double)
    return double


def test_asked_for_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the package's, with status 0."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"llmpool {llmpool.__version__}\n"


def test_asked_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The help goes to standard error, and the status is 2."""
    assert cli.main([]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert "demo" in written.err
    assert "check" in written.err


COMMANDS = [
    ["demo"],
    ["check"],
    ["status"],
    ["explain"],
    ["chat"],
    ["bench"],
    ["config", "validate"],
    ["config", "schema"],
    ["config", "example"],
    ["doctor"],
    ["import-litellm"],
]


@pytest.mark.parametrize("command", [[], *COMMANDS])
def test_asked_for_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It fits in 80 columns and tells of the exit status where that has a meaning."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    assert ended.value.code == 0
    written = capsys.readouterr().out
    assert max(map(len, written.splitlines())) <= 80
    assert not command or "xit status" in written


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        (["--seconds", "0.5"], "wanted a number from 1 to 3600, got '0.5'"),
        (["--seconds", "nan"], "wanted a number from 1 to 3600, got 'nan'"),
        (["--seconds", "soon"], "wanted a number from 1 to 3600, got 'soon'"),
        (["--threads", "0"], "wanted a whole number from 1 to 64, got '0'"),
        (["--threads", "few"], "wanted a whole number from 1 to 64, got 'few'"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_wrong_argument(
    argument: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, with what is wanted and what came; the status is 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", *argument])
    assert ended.value.code == 2
    assert wanted in capsys.readouterr().err


def test_a_group_of_commands_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Its own help goes to standard error, and the status is 2."""
    assert cli.main(["config"]) == 2
    assert "validate" in capsys.readouterr().err


def test_a_time_of_nothing_for_a_check(capsys: pytest.CaptureFixture[str]) -> None:
    """A check needs time; a tenth of a second is time."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", URL, "--timeout", "0"])
    assert ended.value.code == 2
    assert "wanted a number above 0, up to 3600, got '0'" in capsys.readouterr().err


def test_the_options_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach the command as numbers; without any it takes 15 s, as lines for people."""
    double = demo_ends(monkeypatch, 0)
    assert cli.main(["demo", "--seconds", "2.5", "--threads", "4", "--json"]) == 0
    assert (double.asked, double.options["as_json"]) == ((2.5, 4), True)
    assert cli.main(["demo"]) == 0
    assert (double.asked, double.options["as_json"]) == ((15.0, 6), False)


def test_the_options_of_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach the command, one deployment for each URL."""
    double = Ends(1)
    monkeypatch.setattr(check, "run", double)
    monkeypatch.setenv("SOME_KEY", "secret")
    arguments = ["check", URL, "http://127.0.0.1:9/v2", "--key-env", "SOME_KEY", "--model", "m"]
    assert cli.main([*arguments, "--probe", "--json", "--timeout", "0.1"]) == 1
    deployments, question, timeout = double.asked
    assert [each.name for each in deployments] == [URL, "http://127.0.0.1:9/v2"]
    assert question.name == "probe"
    assert timeout == 0.1


def test_a_command_that_reports_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the program's."""
    demo_ends(monkeypatch, 1)
    assert cli.main(["demo"]) == 1


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 130 and nothing is complained of."""
    demo_ends(monkeypatch, KeyboardInterrupt())
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(24, "Too many open files"), "llmpool error: Too many open files\n"),
        (OSError("of ours"), "llmpool error: OSError in test_cli_arguments:"),
        (RuntimeError("a key, perhaps"), "llmpool error: RuntimeError in test_cli_arguments:"),
    ],
)
def test_what_nobody_foresaw(
    error: Exception,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line tells kind and place, no traceback and no message of unknown contents; status 2."""
    demo_ends(monkeypatch, error)
    assert cli.main(["demo"]) == 2
    written = capsys.readouterr().err
    assert written.startswith(told)
    assert written.count("\n") == 1
    assert "perhaps" not in written


def test_an_error_that_was_never_raised() -> None:
    """It has no place to tell."""
    assert cli._trouble(KeyError("x")) == "error: KeyError"


def test_a_reader_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is that of a broken pipe, and what is still to be written goes nowhere."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)

        def run(*_: object, **__: object) -> int:
            sys.stdout.write("a line")
            return 0

        monkeypatch.setattr(demo, "run", run)
        assert cli.main(["demo"]) == 141
        out.write("the rest")  # closing writes it, and must not fail


def test_an_output_that_cannot_be_reconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything that takes text is good enough, as in a notebook."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    demo_ends(monkeypatch, 0)
    assert cli.main(["demo"]) == 0


def test_run_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``python -m llmpool`` is the same program; importing the module runs nothing."""
    monkeypatch.setattr(sys, "argv", ["llmpool", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("llmpool", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("llmpool ")
    runpy.run_module("llmpool.__main__", run_name="imported")


def test_importing_the_package() -> None:
    """It loads neither the command line nor the local servers, and the command line no command."""
    source = (
        "import sys, llmpool; before = [n for n in sys.modules if n.startswith('llmpool.')];"
        "import llmpool.cli; after = [n for n in sys.modules if n.startswith('llmpool.')];"
        "print(*before, '|', *sorted(set(after) - set(before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True
    )
    before, _, added = done.stdout.partition("|")
    assert "llmpool.cli" not in before.split()
    assert "llmpool.testing" not in before.split()
    assert added.split() == ["llmpool.cli", "llmpool.commands", "llmpool.commands._arguments"]
