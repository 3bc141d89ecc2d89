"""Rate limits and rushes: what a deployment that works says when it wants to be left alone for a while."""

from __future__ import annotations

import math
import random

import attrs

from llmpool.outcomes import Outcome

COOL_LEAST = 0.1
COOL_MOST = 3600.0
RATE_MOST = 60.0
BUSY_MOST = 30.0
BUSY_PATIENCE = 60.0
THAW = 1.0
"""Seconds after a cool-down during which one call at a time goes first."""


@attrs.define(eq=False)
class CoolDown:
    """The cool-down of one deployment, and what makes the next one longer. Pure, as its record is."""

    since: float = -math.inf
    until: float = 0.0
    thaw_until: float = 0.0
    reason: str | None = None
    rate_row: int = 0
    busy_row: int = 0
    busy_since: float | None = None

    def runs(self, now: float) -> bool:
        """Tell whether it is not over."""
        return now < self.until

    def begin(self, delay: float, now: float, reason: str) -> None:
        """Begin, or lengthen the one that runs; a shorter one changes nothing."""
        until = now + min(max(delay, COOL_LEAST), COOL_MOST)
        if until <= self.until:
            return
        self.since = now
        self.until = until
        self.thaw_until = until + THAW
        self.reason = reason

    def clear(self, started_at: float) -> None:
        """End it by a completion, if that *started* after the cool-down began."""
        if started_at > self.since:
            self.until = self.thaw_until = 0.0
            self.rate_row = self.busy_row = 0
            self.busy_since = None

    def rate_limited(
        self, outcome: Outcome, started_at: float, now: float, rng: random.Random
    ) -> float:
        """
        Cool for a rate limit; give the seconds.

        One refusal more than the last is what began after that one's cool-down did: a completion that a
        check asked for.
        """
        again = self.runs(now) and started_at > self.since
        delay = outcome.retry_after
        if delay is None:
            delay = self._delay(RATE_MOST, self.rate_row, now, rng, again)
        if again or not self.runs(now):
            self.rate_row += 1
        self.begin(delay, now, outcome.reason)
        return delay

    def share(self, delay: float, limited: CoolDown, now: float, reason: str) -> None:
        """Cool with *limited*, which draws on the same quota."""
        self.rate_row = max(self.rate_row, limited.rate_row)
        self.begin(delay, now, reason)

    def busy(
        self, outcome: Outcome, now: float, rng: random.Random, last_success_at: float | None
    ) -> bool:
        """
        Cool for a rush.

        Returns:
            Whether it has lasted so long, with no success, that it is a fault too.
        """
        worked_at = -math.inf if last_success_at is None else last_success_at
        if self.busy_since is None or worked_at > self.busy_since:
            self.busy_since = now
        delay = outcome.retry_after
        if delay is None and outcome.loading:
            delay = rng.uniform(2.0, 5.0)
        elif delay is None:
            delay = self._delay(BUSY_MOST, self.busy_row, now, rng)
        if not self.runs(now):
            self.busy_row += 1
        self.begin(delay, now, outcome.reason)
        if outcome.loading:
            self.busy_since = None
            return False
        return now - self.busy_since >= BUSY_PATIENCE

    def _delay(
        self, most: float, row: int, now: float, rng: random.Random, again: bool = False
    ) -> float:
        # Calls that were in flight together are refused together: that is one refusal.
        if self.runs(now) and not again:
            return self.until - now
        return rng.uniform(0.0, min(most, 2.0 ** min(row, 10)))
