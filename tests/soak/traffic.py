"""Callers that ask without end, know what answer is theirs, and keep account of each call."""

from __future__ import annotations

import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from account import Account, Limits

from llmpool import LLMPoolError, StreamInterrupted
from llmpool.testing.answers import embed

PAUSE = 0.25
"""Seconds between two calls of one caller, at most."""
_KINDS = ("complete",) * 10 + ("stream",) * 6 + ("embed",) * 3 + ("lease",)


class Crowd:
    """
    Threads that call one pool in all its ways.

    Threads: the condition guards the two fields below it.

    Args:
        pool: the pool, or a saboteur in its place.
    """

    def __init__(
        self, pool: Any, account: Account, limits: Limits, callers: int, seed: int
    ) -> None:
        self._pool = pool
        self._account = account
        self._limits = limits
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._open = False
        self._waiting = 0
        self._seed = seed
        self.threads = [
            threading.Thread(
                target=self._work, args=(number,), name=f"caller-{number}", daemon=True
            )
            for number in range(callers)
        ]
        for thread in self.threads:
            thread.start()

    def go(self) -> None:
        """Let all call."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def halt(self) -> None:
        """Let none begin another call, and wait until the last has ended."""
        limits = self._limits
        patience = limits.timeout + limits.slack + limits.settle
        with self._changed:
            self._open = False
            everybody = len(self.threads)
            if not self._changed.wait_for(lambda: self._waiting == everybody, patience):
                stuck = everybody - self._waiting
                self._account.note(f"{stuck} calls did not end:\n{_stacks()}")

    def stop(self) -> None:
        """End the threads, between two calls."""
        self._stopped.set()
        self.go()
        end = time.monotonic() + self._limits.timeout + self._limits.slack
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                self._account.note(f"{thread.name} did not end")

    def _work(self, number: int) -> None:
        rng = random.Random(self._seed + number)
        turn = 0
        while not self._stopped.is_set():
            self._wait_at_the_gate()
            turn += 1
            self._call(
                rng.choice(_KINDS),
                f"caller {number} asks {turn} and wants it back: {rng.random()}",
                rng,
            )
            self._stopped.wait(rng.uniform(0.0, PAUSE))

    def _wait_at_the_gate(self) -> None:
        with self._changed:
            if not self._open:
                self._waiting += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._open)
                self._waiting -= 1

    def _call(self, kind: str, said: str, rng: random.Random) -> None:
        """Make one call, and note how it ended."""
        ways: dict[str, Callable[[str, random.Random], tuple[str, str]]] = {
            "complete": self._complete,
            "stream": self._stream,
            "embed": self._embed,
            "lease": self._lease,
        }
        account = self._account
        account.begin(kind)
        began = time.monotonic()
        by = ""
        try:
            end, by = ways[kind](said, rng)
        except LLMPoolError as error:
            end = type(error).__name__
            account.attempted(getattr(error, "attempts", ()))
            if isinstance(error, StreamInterrupted):
                self._compare(error.partial, f"echo: {said}"[: len(error.partial)])
        except BaseException:
            end = "no error of ours"
            account.note(f"{kind} ended with no error of ours:\n{traceback.format_exc()}")
        account.end(kind, time.monotonic() - began, end, by)

    # -- the ways to call -------------------------------------------------------------------

    def _complete(self, said: str, rng: random.Random) -> tuple[str, str]:
        answer = self._pool.complete(said, timeout=self._limits.timeout)
        self._account.attempted(answer.attempts)
        self._compare(answer.text, f"echo: {said}")
        return "answered", str(answer.deployment)

    def _stream(self, said: str, rng: random.Random) -> tuple[str, str]:
        stream = self._pool.stream(said, timeout=self._limits.timeout, gap_timeout=1.0)
        patience = rng.choice((None, None, None, 1, 3))
        for number, _ in enumerate(stream, 1):
            if number == patience:
                self._compare(stream.text, f"echo: {said}"[: len(stream.text)])
                attempts = stream.response.attempts
                if rng.random() < 0.5:
                    stream.close()
                else:
                    attempts = attempts[:-1]  # it is forgotten, and then no request at all
                self._account.attempted(attempts)
                return "let go", stream.deployment
        self._account.attempted(stream.response.attempts)
        self._compare(stream.text, f"echo: {said}")
        return "answered", stream.deployment

    def _embed(self, said: str, rng: random.Random) -> tuple[str, str]:
        answer = self._pool.embed([said, said[::-1]], timeout=self._limits.timeout)
        self._account.attempted(answer.attempts)
        self._compare([list(vector) for vector in answer.vectors], [embed(said), embed(said[::-1])])
        return "answered", str(answer.deployment)

    def _lease(self, said: str, rng: random.Random) -> tuple[str, str]:
        failed = True
        name = ""
        try:
            with self._pool.lease(timeout=self._limits.timeout) as lease:
                name = lease.deployment.name
                lease.client.ping(lease.remaining)
                failed = False
        finally:
            if name:
                self._account.leased(name, failed=failed)
        return "answered", name

    def _compare(self, given: object, wanted: object) -> None:
        if given != wanted:
            self._account.note(f"the wrong answer: {given!r}, not {wanted!r}")


def _stacks() -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(ident, ident)}\n{''.join(traceback.format_stack(frame, 12))}"
        for ident, frame in sys._current_frames().items()
    )[:20_000]
