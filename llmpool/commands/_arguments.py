"""What each command can be told; the command itself is loaded when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Callable

_Commands = argparse._SubParsersAction  # what add_subparsers() gives, which has no public name

_WHICH_POOL = """\
The pool is that of --config, else of the environment (LLMPOOL_CONFIG or
LLMPOOL_DEPLOYMENTS), else of llmpool.toml in this folder.
"""
_STATUS_EXITS = """\
exit status:
  0 all are healthy; 1 some are; 2 none is, or there is no usable configuration
"""
_EXPLAIN_EXITS = """\
exit status:
  0 a call would find somebody to ask; 2 it would not, or there is no usable
  configuration
"""
_CHAT_EXITS = """\
exit status:
  0 answered; 1 the call failed; 2 there is no usable configuration
"""
_BENCH_EXITS = """\
exit status:
  0 no call failed; 1 some did; 2 there is no usable configuration

Real deployments bill what is sent to them. --demo costs nothing.
"""
_VALIDATE_EXITS = """\
exit status:
  0 it is valid, warnings or not; 2 it is not
"""
_DOCTOR_EXITS = """\
exit status:
  0 all is well; 1 there are warnings; 2 there are problems

It asks no server; `llmpool status` does.
"""
_IMPORT_EXITS = """\
exit status:
  0 it is written, and what is not carried over is listed; 2 it is not written
"""


class Unusable(Exception):
    """What a command was given cannot be used; the message is for its user and holds no key."""


def add_configured(commands: _Commands[argparse.ArgumentParser]) -> None:
    """Add the commands that work with a configured pool, or with the configuration."""
    _add_status(commands)
    _add_explain(commands)
    _add_chat(commands)
    _add_bench(commands)
    _add_config(commands)
    _add_doctor(commands)
    _add_import_litellm(commands)


def _add(
    commands: _Commands[argparse.ArgumentParser],
    name: str,
    module: str,
    function: str,
    *,
    help: str,
    description: str,
    epilog: str,
    as_json: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def run(options: argparse.Namespace) -> int:
        command = importlib.import_module(f"llmpool.commands.{module}")
        status: int = getattr(command, function)(options, sys.stdout)
        return status

    parser.set_defaults(run=run)
    return parser


def _add_pool(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", metavar="PATH", help="the TOML file to read")
    which.add_argument(
        "--demo", action="store_true", help="three local servers instead; no network, no key"
    )


def _add_status(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "status",
        "status",
        "run",
        help="check the configured deployments and show them",
        description="Check each configured deployment, side by side, and show a line for each.",
        epilog=f"{_WHICH_POOL}\n{_STATUS_EXITS}",
    )
    _add_pool(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--watch",
        nargs="?",
        const=2.0,
        type=number_from(0.0, 3600.0),
        metavar="S",
        help="do so every S seconds (2), until Ctrl-C; JSON is then one line each time",
    )
    how.add_argument("--web", action="store_true", help="serve the status page, until Ctrl-C")
    parser.add_argument("--host", metavar="H", help="where --web listens (127.0.0.1)")
    parser.add_argument(
        "--port", type=port, metavar="N", help="the port of --web (8321); 0 takes a free one"
    )
    parser.add_argument(
        "--control", action="store_true", help="let the page of --web drain and resume"
    )


def _add_explain(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "explain",
        "status",
        "explain",
        help="tell which deployments a call would be sent to, and why not to the others",
        description="Check each configured deployment once, then tell of each whether a call\n"
        "would be sent there now, why, and for how long.",
        epilog=f"{_WHICH_POOL}\n{_EXPLAIN_EXITS}",
    )
    _add_pool(parser)


def _add_chat(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "chat",
        "chat",
        "run",
        help="ask a question, or converse",
        description="Ask the pool a question and write the answer as it comes. Without a question\n"
        "it is read from standard input; on a terminal a conversation begins.",
        epilog=f"{_WHICH_POOL}\n{_CHAT_EXITS}",
    )
    parser.add_argument("prompt", nargs="*", metavar="QUESTION", help="its words")
    _add_pool(parser)
    _add_call(parser, None)
    parser.add_argument("--system", metavar="TEXT", help="a system message to begin with")


def _add_bench(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "bench",
        "bench",
        "run",
        help="make many calls side by side and show times, failures and shares",
        description="Make a number of calls from several threads, and show how long they took, how\n"
        "many failed, and which deployments answered.",
        epilog=f"{_WHICH_POOL}\n{_BENCH_EXITS}",
    )
    _add_pool(parser)
    parser.add_argument(
        "--calls", type=count_to(1_000_000), default=50, metavar="N", help="calls in all (50)"
    )
    parser.add_argument(
        "--threads", type=count_to(256), default=8, metavar="N", help="calls at a time (8)"
    )
    parser.add_argument("--prompt", default="Say hello.", metavar="TEXT", help="what is asked")
    _add_call(parser, 16)
    parser.add_argument(
        "--stream", action="store_true", help="stream, and time the first content too"
    )


def _add_call(parser: argparse.ArgumentParser, most: int | None) -> None:
    parser.add_argument("--model", metavar="M", help="as callers name it; else each one's own")
    told = "" if most is None else f" ({most})"
    parser.add_argument(
        "--max-tokens",
        type=count_to(1_000_000),
        default=most,
        metavar="N",
        help=f"the longest answer{told}",
    )
    parser.add_argument(
        "--timeout", type=number_from(0.0, 86400.0), metavar="S", help="seconds for a whole call"
    )


def _add_config(commands: _Commands[argparse.ArgumentParser]) -> None:
    config = commands.add_parser(
        "config",
        help="validate a configuration, print its schema, or one to begin with",
        description="Work with configuration files.",
    )
    config.set_defaults(parser=config)
    inner = config.add_subparsers(metavar="WHAT")
    validate = _add(
        inner,
        "validate",
        "config",
        "validate",
        help="read a file and name everything that is wrong in it",
        description="Read a file as a pool would, and name everything that is wrong in it. No\n"
        "server is asked.",
        epilog=_VALIDATE_EXITS,
    )
    validate.add_argument("path", nargs="?", metavar="PATH", help="llmpool.toml if not named")
    validate.add_argument(
        "--without-secrets",
        action="store_true",
        help="do not look up env:NAME and file:PATH, as where they are not set",
    )
    for name, function, told in (
        ("schema", "write_schema", "print the JSON Schema of the file, for editors"),
        ("example", "write_example", "print a file to begin with"),
    ):
        _add(
            inner,
            name,
            "config",
            function,
            help=told,
            description=f"{told[0].upper()}{told[1:]}.",
            epilog="exit status: 0",
            as_json=False,
        )


def _add_doctor(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "doctor",
        "doctor",
        "run",
        help="look at what on this machine decides how a pool works",
        description="Look at versions, clocks, processes, limits, netrc, certificates, proxies and\n"
        "the configuration.",
        epilog=_DOCTOR_EXITS,
    )
    parser.add_argument("--config", metavar="PATH", help="the TOML file to read")


def _add_import_litellm(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "import-litellm",
        "import_litellm",
        "run",
        help="write a llmpool.toml out of a LiteLLM configuration",
        description="Write a llmpool.toml out of a LiteLLM configuration, and list each key of it\n"
        "that is not carried over.",
        epilog=_IMPORT_EXITS,
    )
    parser.add_argument("path", metavar="CONFIG.YAML", help="LiteLLM's file")
    parser.add_argument(
        "--output",
        "-o",
        default="llmpool.toml",
        metavar="PATH",
        help="what to write (llmpool.toml); - for standard output",
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")


def number_from(least: float, most: float) -> Callable[[str], float]:
    """Read a number in (0, most], and not below *least*."""
    wanted = f"a number {f'from {least:g}' if least else 'above 0, up'} to {most:g}"

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (0.0 < number <= most and number >= least):
            raise argparse.ArgumentTypeError(f"wanted {wanted}, got {text!r}")
        return number

    return read


def port(text: str) -> int:
    """Read the number of a port; 0 is any."""
    return 0 if text == "0" else count_to(65535)(text)


def count_to(most: int) -> Callable[[str], int]:
    """Read a whole number from 1 to *most*."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = 0
        if not 1 <= number <= most:
            raise argparse.ArgumentTypeError(
                f"wanted a whole number from 1 to {most}, got {text!r}"
            )
        return number

    return read
