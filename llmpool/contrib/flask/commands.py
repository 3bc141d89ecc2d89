"""``flask llmpool``: the commands of the command line on the application's own pool."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

import click
from flask.cli import AppGroup

from llmpool.commands._arguments import Unusable
from llmpool.contrib.flask import registered
from llmpool.errors import LLMPoolError

_INTERRUPTED = 130
_UNUSABLE = 2

_SECONDS = click.FloatRange(0.0, 86400.0, min_open=True)
_COUNT = click.IntRange(1, 1_000_000)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

commands = AppGroup("llmpool", help="Look at the application's pool, and ask it.")


@commands.command("status")
@click.option(
    "--watch",
    type=_SECONDS,
    is_flag=False,
    flag_value="2",
    metavar="[S]",
    help="Do so every S seconds (2), until Ctrl-C; JSON is then one line each time.",
)
@_json
def status(watch: float | None, as_json: bool) -> None:
    """
    Check each deployment and show them as a table.

    Exit status: 0 all are healthy; 1 some are; 2 none is.
    """
    # Here and below: a process that serves needs none of these.
    from llmpool.commands import status as command

    def run(out: TextIO) -> int:
        pool = registered.pool()
        if watch is not None:
            command.watch(pool, watch, as_json=as_json, out=out)
        return command.show(pool, as_json=as_json, out=out)

    _end_with(run)


@commands.command("check")
@_json
def check(as_json: bool) -> None:
    """
    Check each deployment once, a line for each.

    Exit status: 0 all are healthy; 1 some are; 2 none is.
    """
    from llmpool.commands import check as command

    _end_with(lambda out: command.report(registered.pool(), as_json=as_json, out=out))


@commands.command("chat")
@click.argument("words", nargs=-1, metavar="[QUESTION]...")
@click.option("--model", metavar="M", help="As callers name it; else each one's own.")
@click.option("--system", metavar="TEXT", help="A system message to begin with.")
@click.option("--max-tokens", type=_COUNT, metavar="N", help="The longest answer.")
@click.option("--timeout", type=_SECONDS, metavar="S", help="Seconds for a whole call.")
@_json
def chat(words: tuple[str, ...], as_json: bool, **wishes: Any) -> None:
    """
    Ask a question, or converse.

    Without a question it is read from standard input; on a terminal a conversation begins.

    Exit status: 0 answered; 1 the call failed; 2 there was no question.
    """
    from llmpool.commands import chat as command

    def run(out: TextIO) -> int:
        question = command.question_of(words)
        asked = command.Wishes(**wishes)
        return command.talk(registered.pool(), question, asked, as_json=as_json, out=out)

    _end_with(run)


def _end_with(run: Callable[[TextIO], int]) -> None:
    """End the command with the exit status that *run* gives, as ``llmpool`` does."""
    # A server may say anything, and the terminal may be unable to show it.
    getattr(sys.stdout, "reconfigure", dict)(errors="replace")
    try:
        number = run(sys.stdout)
    except KeyboardInterrupt:
        number = _INTERRUPTED
    except (Unusable, LLMPoolError) as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        number = _UNUSABLE
    click.get_current_context().exit(number)
