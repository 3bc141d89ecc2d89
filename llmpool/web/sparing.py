"""Keeping what is costly to make for as long as it takes to be cheap."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

_T = TypeVar("_T")

CHEAP = 0.05
"""Seconds of the processor's time that a value may cost and still be made anew each time."""
REST = 10.0
"""What costs more is kept for so many times as long."""
LONGEST = 10.0
"""Seconds that a value is kept at most, and for which another may be at making the next."""


@attrs.frozen
class _Kept(Generic[_T]):
    key: object
    value: _T
    until: float


class Sparing(Generic[_T]):
    """
    A value made on demand, a costly one seldom, and mostly by one thread at a time.

    So whoever asks for the page of a thousand deployments over and over takes little of the processor
    from the calls.

    Threads: every method from any. There is no lock, so that a fork can leave none held: fields are only
    ever replaced, and two threads that meet make the value twice.
    """

    def __init__(
        self, now: Callable[[], float], spent: Callable[[], float] = time.thread_time
    ) -> None:
        self._now = now
        self._spent = spent
        self._kept: _Kept[_T] | None = None
        self._making_until = -math.inf

    def give(self, key: object, make: Callable[[], _T]) -> _T:
        """Give what *make* makes, or made a short while ago for the same *key*."""
        kept = self._kept
        if kept is not None and kept.key == key:
            now = self._now()
            if now < max(kept.until, min(self._making_until, kept.until + LONGEST)):
                return kept.value
            self._making_until = now + LONGEST
        before = self._spent()
        try:
            value = make()
        finally:
            self._making_until = -math.inf
        cost = self._spent() - before
        until = self._now() + min(cost * REST, LONGEST)
        self._kept = _Kept(key, value, until) if cost > CHEAP else None
        return value

    def forget(self) -> None:
        """Make it anew the next time."""
        self._kept = None
