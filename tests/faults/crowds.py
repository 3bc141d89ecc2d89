"""Crowds: threads that call, and servers that hold what they are asked until they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from scene import ANSWER, PATIENCE, Reader

from llmpool.testing import Exchange, Ok


class Turnstile:
    """A server's behaviour: each request is held until it is let through, and is then answered."""

    def __init__(self) -> None:
        self._through = threading.Semaphore(0)

    def __call__(self, exchange: Exchange) -> None:
        while not self._through.acquire(timeout=0.02):
            if exchange.wait(0.0):
                exchange.close()  # the server ends, or behaves in another way
        Ok(ANSWER)(exchange)

    def let(self, number: int = 1) -> None:
        """Let so many through."""
        self._through.release(number)


def until(condition: Callable[[], Any]) -> None:
    """Wait until *condition* holds, which other threads are to bring about."""
    pause, end = threading.Event(), time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        pause.wait(0.002)


def crowd(number: int, act: Callable[[], Any]) -> list[Reader]:
    """Let so many threads do *act*, all at the same moment."""
    together = threading.Barrier(number)

    def one() -> Any:
        together.wait(PATIENCE)
        return act()

    return [Reader(one) for _ in range(number)]
