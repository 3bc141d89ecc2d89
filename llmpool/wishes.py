"""What one call asks of the ledger, and why it may get nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from llmpool.telling import Story

ANY = object()
"""The upstream model of a wish that is not bound to one; None is a model that nobody named."""


class Wish:
    """
    What one call asks of the ledger; it changes as the call goes on. Times are monotonic seconds.

    ``max_wait`` is what it may still wait for a cool-down or a place, in all its attempts together.
    ``avoid`` are the deployments already tried; from ``return_at`` on they may be tried again, those
    in ``barred`` never. ``affinity`` names a conversation that had better stay where it was.
    ``tokens`` is how many an attempt is thought to take; ``fallback_on`` names the errors of the request's
    own after which others are asked. ``story`` tells observers of the call.
    """

    # Fields of their own only for what most calls change: an instance is made for every call.
    upstream: object = ANY
    avoid: frozenset[str] = frozenset()
    barred: frozenset[str] = frozenset()
    return_at: float | None = None
    budgeted = False
    affinity: str | None = None
    tokens = 0
    fallback_on: frozenset[str] = frozenset()
    story: Story | None = None

    def __init__(
        self,
        model: str | None,
        tags: frozenset[str],
        deadline_at: float,
        max_wait: float,
        fail_open: bool,
        attempts_left: int,
    ) -> None:
        self.model = model
        self.tags = tags
        self.deadline_at = deadline_at
        self.max_wait = max_wait
        self.fail_open = fail_open
        self.attempts_left = attempts_left

    def note_wait(self, since: float, now: float) -> None:
        """Take a wait off what the call may still wait; a pause before a return is none."""
        paused_until = since if self.return_at is None else min(max(since, self.return_at), now)
        self.max_wait = max(0.0, self.max_wait - (now - paused_until))

    @property
    def key(self) -> tuple[str | None, frozenset[str], object]:
        """Give what decides, health apart, who may serve it."""
        return self.model, self.tags, self.upstream

    def avoids(self, name: str, now: float) -> bool:
        """Tell whether *name* is to be left out at this moment."""
        return name in self.avoid and self.back_at(name, now) > now

    def back_at(self, name: str, now: float) -> float:
        """Give the time from which *name* may be asked: now, after a pause, or never again (inf)."""
        if name not in self.avoid:
            return now
        if self.return_at is None or name in self.barred:
            return math.inf
        return self.return_at


@attrs.frozen
class Refusal:
    """Why a call got no claim."""

    why: str  # "nobody", "late", "budget", "closed"
    reasons: dict[str, str] = attrs.field(factory=dict)
    retry_after: float | None = None
