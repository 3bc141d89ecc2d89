"""``manage.py llmpool``: look at a pool of the project, check it, ask it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from llmpool.commands import chat, check, status
from llmpool.commands._arguments import Unusable, count_to, number_from
from llmpool.contrib.django import pools
from llmpool.errors import LLMPoolError
from llmpool.pool import ProviderPool

_INTERRUPTED, _UNUSABLE = 130, 2
_EXITS = {
    "status": "Exit status: 0 all are healthy; 1 some are; 2 none is, or the settings make no pool.",
    "check": "Exit status: 0 all are healthy; 1 some are; 2 none is, or the settings make no pool.",
    "chat": "Exit status: 0 answered; 1 the call failed; 2 no question, or the settings make no pool.",
}


class Command(BaseCommand):  # type: ignore[misc]
    """``status``, ``check`` and ``chat``, which end with the exit statuses of ``llmpool``."""

    help = "Look at a pool of settings.LLMPOOL, check it, or ask it."
    # What they would tell of this app is told here too, with the command's own exit status; and the rest
    # of a project need not be well for a look at its pools.
    requires_system_checks = ()

    def add_arguments(self, parser: Any) -> None:
        """Say what can be asked for."""
        which = parser.add_subparsers(dest="action", required=True, metavar="status|check|chat")
        for name, told in (
            ("status", "check each deployment and show them as a table"),
            ("check", "check each deployment once, a line for each"),
            ("chat", "ask a question, or converse"),
        ):
            inner = which.add_parser(name, help=told, description=told, epilog=_EXITS[name])
            inner.add_argument(
                "--pool",
                default="default",
                metavar="NAME",
                help="its name in settings.LLMPOOL (default)",
            )
            inner.add_argument("--json", action="store_true", help="print JSON")
            if name == "status":
                _add_status(inner)
            elif name == "chat":
                _add_chat(inner)

    def handle(self, *, action: str, **options: Any) -> None:
        """
        Do it, and end with its exit status.

        Raises:
            CommandError: nothing could be done.
            SystemExit: it was done, and all was not well.
        """
        if options["no_color"]:
            os.environ["NO_COLOR"] = "1"
        # A part of an answer is no line.
        self.stdout.ending = ""
        # A server may say anything, and the terminal may be unable to show it.
        with contextlib.suppress(AttributeError):
            self.stdout.reconfigure(errors="replace")
        act: Callable[[dict[str, Any]], int] = getattr(self, f"_{action}")
        try:
            number = act(options)
        except KeyboardInterrupt:
            number = _INTERRUPTED
        except (ImproperlyConfigured, LLMPoolError, Unusable) as error:
            raise CommandError(str(error), returncode=_UNUSABLE) from None
        if number:
            sys.exit(number)

    def _status(self, options: dict[str, Any]) -> int:
        pool = _pool(options)
        if options["watch"] is not None:
            status.watch(pool, options["watch"], as_json=options["json"], out=self.stdout)
        return status.show(pool, as_json=options["json"], out=self.stdout)

    def _check(self, options: dict[str, Any]) -> int:
        return check.report(_pool(options), as_json=options["json"], out=self.stdout)

    def _chat(self, options: dict[str, Any]) -> int:
        question = chat.question_of(options["question"])
        wishes = chat.Wishes(
            options["model"], options["system"], options["max_tokens"], options["timeout"]
        )
        return chat.talk(_pool(options), question, wishes, as_json=options["json"], out=self.stdout)


def _pool(options: dict[str, Any]) -> ProviderPool:
    try:
        return pools[options["pool"]]
    except KeyError as error:
        raise Unusable(error.args[0]) from None


def _add_status(parser: Any) -> None:
    parser.add_argument(
        "--watch",
        nargs="?",
        const=2.0,
        type=number_from(0.0, 3600.0),
        metavar="S",
        help="do so every S seconds (2), until Ctrl-C; JSON is then one line each time",
    )


def _add_chat(parser: Any) -> None:
    parser.add_argument("question", nargs="*", metavar="QUESTION", help="its words")
    parser.add_argument("--model", metavar="M", help="as callers name it; else each one's own")
    parser.add_argument("--system", metavar="TEXT", help="a system message to begin with")
    parser.add_argument(
        "--max-tokens", type=count_to(1_000_000), metavar="N", help="the longest answer"
    )
    parser.add_argument(
        "--timeout", type=number_from(0.0, 86400.0), metavar="S", help="seconds for a whole call"
    )
