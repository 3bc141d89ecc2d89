"""Leave to make one attempt."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmpool.config import Deployment
from llmpool.entries import Entry
from llmpool.outcomes import Outcome
from llmpool.wishes import Refusal, Wish

if TYPE_CHECKING:
    from llmpool.ledger import HealthLedger
    from llmpool.messages import Usage
    from llmpool.quota import Quota


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
    quota: Quota | None = None  # what it drew on
    usage: Usage | None = None  # what the answer took; set before it is settled
    first_content: float | None = None  # seconds until a stream's

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

    def __init__(self, ledger: HealthLedger, wish: Wish) -> None:
        super().__init__(ledger, wish)
        ledger.watches[self.token] = Watch(self, ledger.lost.put)


class Watch(weakref.ref["LastingClaim"]):
    """
    What is left of a forgotten claim: its fields.

    The note is put by code in C alone, which takes no lock. From a finaliser in Python a Ctrl-C would
    be swallowed, and the place with it.
    """

    __slots__ = ("facts",)

    facts: dict[str, Any]

    def __new__(cls, claim: LastingClaim, callback: Callable[[Any], None]) -> Watch:
        """Watch *claim*."""
        self = super().__new__(cls, claim, callback)
        self.facts = claim.__dict__
        return self
