"""The command line: what can be asked for, and how each way of ending becomes an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from llmpool import __version__
from llmpool.commands._arguments import Unusable, add_configured, count_to, number_from

INTERRUPTED = 130
READER_GONE = 141
"""What a shell reports of a program that SIGPIPE ended."""
UNUSABLE = 2

_MOST_THREADS = 64  # one process is both sides; with more it is the machine that fails

_CHECK_HELP = """\
exit status:
  0 all are healthy; 1 some are; 2 none is, or the arguments are wrong

A ping costs nothing and tells that a server can be reached; only --probe tells
that it answers, by a completion of one token.

example:
  llmpool check https://api.openai.com/v1 --key-env OPENAI_API_KEY
"""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line; give its exit status.

    Raises:
        SystemExit: by argparse, for help, the version and wrong arguments.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    if options.run is None:
        # Of a group of commands, of which none was named, the group's own help.
        getattr(options, "parser", parser).print_help(sys.stderr)
        return UNUSABLE
    # A server may say anything, and the terminal may be unable to show it.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        status = run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return READER_GONE
    except Unusable as error:
        for line in str(error).splitlines():
            _complain(f"error: {line}")
        return UNUSABLE
    except Exception as error:  # noqa: BLE001 - the command line shows no traceback
        _complain(_trouble(error))
        return UNUSABLE
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmpool",
        description="A pool of LLM deployments that fails over, cools down and heals.",
    )
    parser.add_argument("--version", action="version", version=f"llmpool {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    _add_demo(commands)
    _add_check(commands)
    add_configured(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="see a pool at work over three local servers that fail in turn",
        description="Ask a pool of three local servers from several threads, while one server "
        "after another is killed, hangs, or refuses by rate limit, and is restored.",
        epilog="Needs no network and no key. Exit status 0 tells that no call failed.",
    )
    demo.add_argument(
        "--seconds",
        type=number_from(1.0, 3600.0),
        default=15.0,
        metavar="S",
        help="how long it lasts, faults and all (default: 15)",
    )
    demo.add_argument(
        "--threads",
        type=count_to(_MOST_THREADS),
        default=6,
        metavar="N",
        help="how many threads ask at a time (default: 6)",
    )
    demo.add_argument("--json", action="store_true", help="print one JSON object at the end")
    demo.set_defaults(run=_demo)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="check deployments once",
        description="Check each deployment once, side by side, and print a line for each.",
        epilog=_CHECK_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument(
        "urls", nargs="+", metavar="URL", help="where it is, such as https://api.openai.com/v1"
    )
    check.add_argument(
        "--key-env",
        metavar="NAME",
        help="the environment variable that holds the key for all of them; without it none is sent",
    )
    check.add_argument("--model", metavar="M", help="the model that --probe asks for")
    check.add_argument("--probe", action="store_true", help="demand a real answer, of one token")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.add_argument(
        "--timeout",
        type=number_from(0.0, 3600.0),
        default=10.0,
        metavar="S",
        help="seconds for each check (default: 10)",
    )
    check.set_defaults(run=_check)


def _demo(options: argparse.Namespace) -> int:
    from llmpool.commands import demo

    return demo.run(options.seconds, options.threads, as_json=options.json, out=sys.stdout)


def _check(options: argparse.Namespace) -> int:
    from llmpool.commands import check

    try:
        deployments = check.deployments(
            options.urls, options.key_env, options.model, options.timeout
        )
        question = check.question(options.model, probe=options.probe)
    except (TypeError, ValueError) as error:
        _complain(f"check: error: {error}")
        return UNUSABLE
    return check.run(deployments, question, options.timeout, as_json=options.json, out=sys.stdout)


def _complain(message: str) -> None:
    sys.stderr.write(f"llmpool {message}\n")


def _trouble(error: Exception) -> str:
    """Tell what went wrong and where; of the message only what the system says, for it holds no key."""
    if isinstance(error, OSError) and error.strerror:
        return f"error: {error.strerror}"
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" in {trace.tb_frame.f_globals['__name__']}:{trace.tb_lineno}"
    return f"error: {type(error).__name__}{where}"


def _silence_stdout() -> None:
    """Let what is still to be written go nowhere, for the interpreter writes it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
