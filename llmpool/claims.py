"""Leave to make one attempt."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from llmpool.config import Deployment
from llmpool.entries import Entry, Refusal, Wish
from llmpool.outcomes import Outcome

if TYPE_CHECKING:
    from llmpool.ledger import HealthLedger


class Claim:
    """
    Leave for one attempt on one deployment.

    It is made empty, then taken, then settled once. Released unsettled, or forgotten, it gives back its
    place and blames nobody. ``timeout`` is the seconds that the attempt may take.
    """

    # Fields of their own only for what most claims change: an instance is made for every attempt.
    entry: Entry | None = None
    event: threading.Event | None = None
    generation = 0
    in_rotation = True
    started_at = 0.0
    timeout = 0.0
    marked: int | None = None  # the generation in which a fault was booked
    taken_out = False  # in rotation when claimed, out when settled

    def __init__(self, ledger: HealthLedger, wish: Wish) -> None:
        self._ledger = ledger
        self.wish = wish
        self.token = next(ledger.tokens)

    @property
    def deployment(self) -> Deployment:
        """The deployment that may be asked."""
        assert self.entry is not None
        return self.entry.deployment

    def take(self) -> Refusal | None:
        """Wait for a place if need be; give None once there is one."""
        return self._ledger.take(self)

    def settle(self, outcome: Outcome, latency: float = 0.0) -> None:
        """Book what came of the attempt and give back the place; a second time does nothing."""
        self._ledger.settle(self, outcome, self._ledger.now(), latency)

    def release(self) -> None:
        """Give back the place, or the place in the queue, and blame nobody; no matter how often."""
        entry = self.entry
        held = self.event is not None if entry is None else self.token in entry.open
        if held:
            self._ledger.release(self)


class LastingClaim(Claim):
    """A claim that outlives the call that took it, a stream's or a lease's: it may be forgotten."""

    def __del__(self) -> None:
        # A finaliser takes no lock: it leaves a note for the next holder.
        entry = self.entry
        if entry is not None and self.token in entry.open:
            self._ledger.lost.put((entry, self.token))
