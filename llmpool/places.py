"""Who has a place and who waits for one; the ledger's lock guards all of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from llmpool.bell import Bell
from llmpool.claims import Claim, Watch
from llmpool.config import RetryPolicy
from llmpool.entries import Entry
from llmpool.roster import Roster
from llmpool.wishes import Refusal, Wish

LEASE_SLACK = 1.0
LONGEST_LEASE = 600.0
"""Seconds after which a trial that never ends keeps nobody else from trying."""


class Places:
    """
    The places that are taken, and the queue for those that are not yet free.

    Not thread-safe.
    """

    def __init__(self, roster: Roster, policy: RetryPolicy) -> None:
        self.queue: dict[int, Claim] = {}  # in the order of arrival
        self.retrying: set[int] = set()  # the tokens of retries under the budget
        self.watches: dict[int, Watch] = {}  # over claims that may be forgotten
        self._roster = roster
        self._policy = policy

    # -- taking -----------------------------------------------------------------------------

    def find(self, claim: Claim, now: float, give_up_at: float) -> Refusal | float | None:
        """Grant *claim* (None), or refuse it, or give the time until which it may wait in the queue."""
        wish = claim.wish
        if now >= wish.deadline_at:
            return self.leave(claim, Refusal("late"))
        if wish.budgeted and not self.has_budget():
            return self.leave(claim, Refusal("budget"))
        if self.queue:
            self.serve(now)
            if claim.entry is not None:
                return None
        waits = claim.token in self.queue or self._is_behind(wish, now)
        entry = None if waits else self._roster.choose(wish, now)
        wait_until = None
        if entry is None:
            wait_until = self._roster.worth_waiting(wish, now, give_up_at)
            if wait_until is None and wish.fail_open:
                entry = self._roster.least_bad(wish, now)
                wait_until = self._roster.worth_pausing(wish, now)
        if entry is not None:
            self.queue.pop(claim.token, None)
            if claim.entry is None:  # else a guest has served it
                self.grant(claim, entry, now, self._roster.others(entry, wish))
            return None
        if wait_until is None:
            return self.leave(claim, self._roster.refusal(wish, now))
        if claim.event is None:
            claim.event = Bell()
        # Again, if an interrupt fell between its leaving the queue and its being served.
        self.queue[claim.token] = claim
        return wait_until

    def _is_behind(self, wish: Wish, now: float) -> bool:
        """
        Tell whether somebody like it waits already.

        Who waits for many tokens would wait for ever, were those served first who want few.
        """
        if not (self.queue and self._roster.limited):
            return False
        key = _key(wish)
        others = [claim.wish for claim in self.queue.values()]
        return any(now < other.deadline_at and _key(other) == key for other in others)

    def has_budget(self) -> bool:
        """Tell whether one more retry may be in flight."""
        in_flight = sum(entry.in_flight for entry in self._roster.entries.values())
        policy = self._policy
        return len(self.retrying) < max(policy.budget_min, policy.budget_ratio * in_flight)

    def grant(self, claim: Claim, entry: Entry, now: float, others: bool) -> None:
        """Give *claim* a place; *others* tells whether it leaves somebody else to ask."""
        wish = claim.wish
        claim.generation = generation = entry.health.generation
        claim.started_at = now
        claim.timeout = timeout = entry.time_for(wish, now, others)
        claim.entry = entry
        # By min() it would take five times as long.
        lease = timeout if timeout < LONGEST_LEASE else LONGEST_LEASE
        entry.open[claim.token] = (generation, now + lease + LEASE_SLACK)
        entry.in_flight = len(entry.open)
        entry.load += 1
        entry.turns += entry.stride
        if claim.event is not None:
            claim.event.set()
        if wish.budgeted:
            self.retrying.add(claim.token)
        if entry.delicate or not entry.eligible:
            claim.in_rotation = entry.eligible
            entry.health.begin_try(now)
            if entry.quota is not None:
                entry.quota.take(wish.tokens, now)
                claim.quota = entry.quota
            self._roster.refresh(entry, now)

    def serve(self, now: float) -> None:
        """Give what is free to those who wait, the longest waiting first."""
        idle: set[Any] = set()
        for token, claim in list(self.queue.items()):
            wish = claim.wish
            if now >= wish.deadline_at:
                continue  # too late for it, which it will find by itself
            key = _key(wish)
            if key in idle:
                continue
            entry = self._roster.choose(wish, now)
            if entry is None:
                idle.add(key)
            elif self.queue.pop(token, None) is not None:  # else a guest has served it
                self.grant(claim, entry, now, self._roster.others(entry, wish))

    def wake(self) -> None:
        """Let everybody who waits look again."""
        for claim in list(self.queue.values()):
            assert claim.event is not None  # who waits has one
            claim.event.set()

    # -- giving back ------------------------------------------------------------------------

    def leave(self, claim: Claim, refusal: Refusal) -> Refusal:
        """Take a claim that gets no place out of the queue."""
        self.queue.pop(claim.token, None)
        claim.event = None
        return refusal

    def release(self, claim: Claim, now: float) -> None:
        """Give back what *claim* holds: a place, or a place in the queue."""
        self.queue.pop(claim.token, None)
        claim.event = None
        entry = claim.entry
        if entry is not None and self.give_back(entry, claim.token, now):
            self.serve(now)

    def collect(self, facts: Mapping[str, Any], now: float) -> None:
        """Take back the place of a claim that was forgotten, whose fields were *facts*."""
        token, entry, story = facts["token"], facts.get("entry"), facts["wish"].story
        if entry is not None:
            if story is not None and token in entry.open:
                told = facts.get("usage"), facts.get("first_content")
                self._roster.news.append(functools.partial(story.forgotten, *told))
            self.give_back(entry, token, now)
        self.watches.pop(token, None)  # at last: by its watch a claim is found again

    def give_back(self, entry: Entry, token: int, now: float) -> bool:
        """Take back a place whose claim never came to an outcome, if it was still taken."""
        if entry.open.pop(token, None) is None:
            return False
        self.close(entry, token)
        self._roster.refresh(entry, now)
        return True

    def close(self, entry: Entry, token: int) -> None:
        """Count anew after a claim's end."""
        entry.in_flight = len(entry.open)
        entry.load = entry.in_flight + len(entry.health.penalties)
        if self.retrying:
            self.retrying.discard(token)
        if self.watches:
            self.watches.pop(token, None)
        if entry.idle is not None and not entry.open:
            entry.idle.set()

    # -- mishaps ----------------------------------------------------------------------------

    def mend(self, now: float) -> None:
        """Derive every count anew from the open claims, after an interrupt broke something off."""
        live: set[int] = set()
        for entry in list(self._roster.entries.values()):
            live.update(list(entry.open))
            self._roster.refresh(entry, now)
            if entry.idle is not None and not entry.open:
                entry.idle.set()
        self.retrying &= live

    def clear(self, now: float) -> None:
        """Forget who has a place and who waits, in a child that has none of their threads."""
        self.queue.clear()
        self.retrying.clear()
        self.watches.clear()
        for entry in self._roster.entries.values():
            entry.open = {}
            entry.requests = entry.errors = 0
            entry.idle = None
            self._roster.refresh(entry, now)


def _key(wish: Wish) -> tuple[Any, ...]:
    """Give what decides whether a claim can be served: who is like one that cannot be is not tried."""
    return *wish.key, wish.avoid, wish.barred, wish.return_at
