"""A deployment's states over the last hour, with the times at which they began."""

from __future__ import annotations

import math
from collections import deque

MOST = 512
"""So many are kept at most."""
FINEST = 1.0
"""Seconds for which a state is shown at least; twice as long, and again, where there are too many."""

_GRAVITY = {
    name: place
    for place, name in enumerate(
        ("healthy", "recovering", "draining", "cooling", "unhealthy", "disabled")
    )
}


class Spells:
    """
    States and when each began, in monotonic seconds, oldest first.

    Of states in quick succession the worst stands for all, and is shown for *shortest* seconds. So however
    fast a deployment goes in and out, its trouble is seen, and takes no more than so much room.

    Not thread-safe: the history's lock guards it.
    """

    __slots__ = ("_free_at", "_shortest", "_spells", "_told_at", "state")

    def __init__(self, shortest: float = FINEST) -> None:
        self._shortest = shortest
        self._spells: deque[tuple[float, str]] = deque()
        self._free_at = -math.inf  # the newest was shown for long enough by then
        self._told_at = -math.inf
        self.state: str | None = None  # the newest that was told of

    def note(self, state: str, at: float) -> None:
        """Take in a change, which may be told of late."""
        for began, shown in self._pending(at):
            self._begin(shown, began)
        if at >= self._told_at:
            self._told_at = at
            self.state = state
        if at >= self._free_at:
            self._begin(state, at)
        elif _gravity(state) > _gravity(self._spells[-1][1]):
            began, _ = self._spells.pop()
            if not self._spells or self._spells[-1][1] != state:
                self._spells.append((began, state))
        while len(self._spells) > MOST:
            self._coarsen()

    def _begin(self, state: str, at: float) -> None:
        if not self._spells or self._spells[-1][1] != state:
            self._spells.append((at, state))
            self._free_at = at + self._shortest

    def _coarsen(self) -> None:
        """Show each for twice as long."""
        self._shortest *= 2
        coarser = Spells(self._shortest)
        for at, state in self._spells:
            coarser.note(state, at)
        self._spells, self._free_at = coarser._spells, coarser._free_at

    def _pending(self, now: float) -> list[tuple[float, str]]:
        """Give what had to wait until the one before it was shown for long enough."""
        if self.state is None or self.state == self._spells[-1][1] or now < self._free_at:
            return []
        return [(self._free_at, self.state)]

    def forget(self, before: float) -> None:
        """Drop what was over before a time."""
        while len(self._spells) > 1 and self._spells[1][0] <= before:
            self._spells.popleft()
        if len(self._spells) < MOST // 8:
            self._shortest = FINEST

    def shown(self, since: float, now: float) -> list[tuple[float, str]]:
        """Give them; the first is cut off at *since*."""
        spells = [*self._spells, *self._pending(now)]
        ends = [*(began for began, _ in spells[1:]), math.inf][: len(spells)]
        return [
            (max(began, since), state)
            for (began, state), end in zip(spells, ends, strict=True)
            if end > since and began <= now
        ]


def _gravity(state: str) -> int:
    # One that is not known here is nothing to hide.
    return _GRAVITY.get(state, len(_GRAVITY))
