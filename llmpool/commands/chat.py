"""``llmpool chat``: one question, or a conversation, answered as it comes."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import attrs

from llmpool import CompletionResponse, LLMPoolError, Message, ProviderPool
from llmpool.clock import SystemClock
from llmpool.commands import _tables
from llmpool.commands._arguments import Unusable
from llmpool.commands._configured import pool_of
from llmpool.commands._terminal import Span, is_coloured, render

ANSWERED, FAILED = 0, 1
_PROMPT = "> "
_HELP = "/new begins a new conversation, /quit or Ctrl-D ends, Ctrl-C breaks an answer off."

_clock = SystemClock()


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Ask what stands on the command line, or on standard input, or converse; give the exit status."""
    question = question_of(options.prompt)
    with pool_of(options) as pool:
        wishes = Wishes(options.model, options.system, options.max_tokens, options.timeout)
        return talk(pool, question, wishes, as_json=options.json, out=out)


def question_of(words: Sequence[str]) -> str:
    """
    Give the question that is asked, of standard input where there are no *words*; "" for a conversation.

    Raises:
        Unusable: there is none, and nobody to converse with.
    """
    question = " ".join(words)
    if not question and not sys.stdin.isatty():
        question = _piped()
        if not question.strip():
            raise Unusable("chat: wanted a question, got nothing on standard input")
    return question


def talk(pool: ProviderPool, question: str, wishes: Wishes, *, as_json: bool, out: TextIO) -> int:
    """Ask *question*, or converse where it is ""; give the exit status."""
    chat = Chat(pool, wishes, out, as_json=as_json)
    if not question:
        return chat.converse(input)
    return ANSWERED if chat.ask(question) else FAILED


def _piped() -> str:
    try:
        question = sys.stdin.read()
        question.encode()  # in some locales other bytes come as halves of characters
    except UnicodeError:
        raise Unusable("chat: wanted UTF-8 text on standard input, got other bytes") from None
    return question


@attrs.frozen
class Wishes:
    """What every question is sent with."""

    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    timeout: float | None = None


class Chat:
    """A conversation, which stays where it was begun as long as that deployment may be asked."""

    def __init__(self, pool: ProviderPool, wishes: Wishes, out: TextIO, *, as_json: bool) -> None:
        self._pool = pool
        self._wishes = wishes
        self._out = out
        self._as_json = as_json
        self._coloured = is_coloured(out, _tables.environment())
        self._messages: list[Message] = []
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        system = self._wishes.system
        self._messages = [] if system is None else [Message("system", system)]
        self._number += 1

    def converse(self, read: Callable[[str], str]) -> int:
        """Ask what is typed, until the end of input."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - makes input() take arrow keys
        names = ", ".join(each.name for each in self._pool.deployments)
        self._say(f"{self._pool.name}: {names}. {_HELP}")
        while True:
            try:
                question = read(_PROMPT).strip()
            except (EOFError, KeyboardInterrupt):
                self._out.write("\n")
                return ANSWERED
            if question in ("/quit", "/exit"):
                return ANSWERED
            if question == "/new":
                self._begin()
            elif question.startswith("/"):
                self._say(_HELP)
            elif question:
                try:
                    self.ask(question)
                except KeyboardInterrupt:
                    self._out.write("\n")
                    self._say("broken off")

    def ask(self, question: str) -> bool:
        """Ask one question and write the answer as it comes; tell whether it came whole."""
        messages = [*self._messages, Message("user", question)]
        began = _clock.now()
        try:
            answer = self._answer(messages)
        except LLMPoolError as error:
            self._fail(error)
            return False
        except (TypeError, ValueError) as error:  # the pool's own: an argument that is none
            raise Unusable(f"chat: {error}") from None
        took = _clock.now() - began
        self._messages = [*messages, Message("assistant", answer.text)]
        if self._as_json:
            self._out.write(json.dumps(_record(answer, took)) + "\n")
        else:
            self._out.write("" if answer.text.endswith("\n") else "\n")
            self._say(_footing(answer, took))
        self._out.flush()
        return True

    def _answer(self, messages: list[Message]) -> CompletionResponse:
        wishes = self._wishes
        with self._pool.stream(
            messages,
            model=wishes.model,
            max_tokens=wishes.max_tokens,
            timeout=wishes.timeout,
            affinity_key=f"chat-{self._number}",
        ) as stream:
            for chunk in stream:
                if chunk.text and chunk.index == 0 and not self._as_json:
                    self._out.write(self._fit(chunk.text))
                    self._out.flush()
            return stream.response

    def _fit(self, text: str) -> str:
        """Keep from a terminal what would move its cursor."""
        if not self._out.isatty():
            return text
        return "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")

    def _fail(self, error: LLMPoolError) -> None:
        if self._as_json:
            told = {"error": type(error).__name__, "message": str(error)}
            self._out.write(json.dumps(told) + "\n")
            self._out.flush()
            return
        self._out.flush()
        sys.stderr.write(f"llmpool chat: {type(error).__name__}: {error}\n")

    def _say(self, text: str) -> None:
        """Tell what is no part of an answer, to a person only."""
        if self._out.isatty() and not self._as_json:
            self._out.write(render([Span(text, "dim")], coloured=self._coloured) + "\n")
            self._out.flush()


def _footing(answer: CompletionResponse, took: float) -> str:
    parts = [f"{answer.deployment}", f"{took:.2f} s"]
    if answer.usage is not None:
        parts.append(f"{answer.usage.completion_tokens} tokens")
    if len(answer.attempts) > 1:
        parts.append(f"{len(answer.attempts)} attempts")
    return f"({', '.join(parts)})"


def _record(answer: CompletionResponse, took: float) -> dict[str, Any]:
    usage = answer.usage
    return {
        "text": answer.text,
        "deployment": answer.deployment,
        "model": answer.model,
        "finish_reason": answer.finish_reason,
        "seconds": round(took, 3),
        "attempts": [attempt.deployment for attempt in answer.attempts],
        "usage": None
        if usage is None
        else {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        },
    }
