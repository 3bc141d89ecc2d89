"""Writing outcomes into the records: which rule of health each verdict calls; the ledger's lock guards it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from llmpool.claims import Claim
from llmpool.entries import Entry
from llmpool.health import Evidence, Limits, State
from llmpool.outcomes import Origin, Outcome, Verdict
from llmpool.roster import Roster
from llmpool.status import HealthCheckResult

UNKNOWN_MODEL_MEMORY = 60.0

_ERRORS = frozenset({Verdict.RATE_LIMITED, Verdict.CONFIG, Verdict.BUSY, Verdict.FAULT})


class Booking:
    """
    The one door into the records, for calls and checks alike.

    Not thread-safe.
    """

    def __init__(self, roster: Roster, limits: Limits, rng: random.Random) -> None:
        self.limits = limits
        self.adrift = False  # somebody's network has failed since the last success of anybody's
        self._roster = roster
        self._rng = rng

    def book_call(
        self, claim: Claim, entry: Entry, outcome: Outcome, now: float, latency: float
    ) -> None:
        """Count what came of a call's attempt, and move the record as it asks."""
        if outcome.foreign or entry.removed:
            return
        entry.requests += 1
        health = entry.health
        if outcome.verdict is Verdict.OK:
            entry.latency = entry.latencies.add(latency, now)
            if claim.generation == health.generation:
                health.call_ok(claim.started_at, now)
            self.note_success()
        else:
            self._book_failure(claim, entry, outcome, now)

    def _book_failure(self, claim: Claim, entry: Entry, outcome: Outcome, now: float) -> None:
        health = entry.health
        verdict = outcome.verdict
        stale = claim.generation != health.generation
        if verdict in _ERRORS:
            entry.errors += 1
            entry.last_error = outcome.reason
        if verdict is Verdict.RATE_LIMITED:
            self._rate_limit(entry, outcome, claim.started_at, now)
        elif verdict is Verdict.UNKNOWN_MODEL and claim.wish.model is not None:
            entry.unknown[claim.wish.model] = now + UNKNOWN_MODEL_MEMORY
            self._roster.forget_groups()
            self._roster.alarm(entry, now + UNKNOWN_MODEL_MEMORY)
        elif verdict is Verdict.BUSY:
            if health.busy(outcome, now, self._rng) and not stale:
                self._fault(entry, outcome, claim.started_at, now)
        elif stale:
            return
        elif verdict is Verdict.CONFIG:
            health.disable(outcome, now)
        elif verdict is Verdict.FAULT:
            claim.marked = health.generation  # a trip ends it, and the mark with it
            self._fault(entry, outcome, claim.started_at, now)
        elif not outcome.fair and health.short_timeout():
            self._fault(entry, outcome, claim.started_at, now)

    def correct(self, claim: Claim, outcome: Outcome, now: float) -> None:
        """Put the true figure in the place of the estimate, as far as it is known."""
        assert claim.quota is not None
        thought = claim.wish.tokens
        unsent = outcome.sent == "no"
        if claim.usage is not None:
            used = claim.usage.total_tokens
        elif unsent or outcome.refused or outcome.verdict is Verdict.CALLER:
            used = 0  # a refusal costs no tokens, though it may count as a request
        else:
            used = thought
        claim.quota.settle(thought, used, now, sent=not unsent)

    def _rate_limit(self, entry: Entry, outcome: Outcome, started_at: float, now: float) -> None:
        delay = entry.health.rate_limited(outcome, started_at, now, self._rng)
        group = entry.deployment.quota_group
        if group is None:
            return
        for other in self._roster.entries.values():
            if other is not entry and other.deployment.quota_group == group:
                reason = f"shares the quota {group!r} with {entry.name}"
                other.health.cooldown.share(delay, entry.health.cooldown, now, reason)
                self._roster.refresh(other, now)

    def note_success(self) -> None:
        """Take the network for a working one from here on: what it did before is none of our own's."""
        if not self.adrift:
            return
        self.adrift = False
        for entry in list(self._roster.entries.values()):
            entry.health.network = False
            entry.health.former = None

    def _fault(self, entry: Entry, outcome: Outcome, started_at: float, now: float) -> None:
        entry.health.call_fault(outcome, started_at, now, self.limits, self._rng)
        if outcome.origin is Origin.NETWORK:
            self._pardon_if_ours(now)

    def _pardon_if_ours(self, now: float) -> None:
        """Sentence nobody for a network that fails for every deployment at once: it is our own."""
        self.adrift = True
        judged = [
            entry
            for entry in self._roster.entries.values()
            if not entry.draining
            and entry.health.disabled_until is None
            and (entry.health.state is not State.UNHEALTHY or entry.health.network)
        ]
        if len(judged) < 2 or not all(entry.health.network for entry in judged):
            return
        for entry in judged:
            entry.health.pardon(now)
            self._roster.refresh(entry, now)

    def take_back(self, claims: Iterable[Claim], now: float) -> None:
        """Take back the faults that *claims* booked, where no sentence has followed from them."""
        for claim in claims:
            entry = claim.entry
            if entry is not None and claim.marked == entry.health.generation:
                entry.health.take_back(now)
                claim.marked = None
                self._roster.refresh(entry, now)

    def book_check(
        self,
        begun: tuple[Entry, int, float],
        evidence: Evidence,
        outcome: Outcome,
        result: HealthCheckResult,
        now: float,
    ) -> bool:
        """
        Book what a check found.

        Returns:
            False when a newer success of live traffic vetoed a failure.
        """
        entry, generation, started_at = begun
        if entry.removed:
            return True
        entry.last_check = result
        if outcome.verdict is Verdict.OK:
            self.note_success()
        else:
            entry.last_error = outcome.reason
        counted = True
        if generation == entry.health.generation:
            counted = self._book_fresh_check(entry, started_at, evidence, outcome, now)
        self._roster.refresh(entry, now)
        return counted

    def _book_fresh_check(
        self, entry: Entry, started_at: float, evidence: Evidence, outcome: Outcome, now: float
    ) -> bool:
        health = entry.health
        verdict = outcome.verdict
        if verdict is Verdict.OK:
            health.check_ok(evidence, started_at, now, self.limits)
        elif verdict is Verdict.RATE_LIMITED:
            # What cannot end a cool-down does not lengthen it either.
            speaks = evidence is Evidence.COMPLETION
            self._rate_limit(entry, outcome, started_at if speaks else -math.inf, now)
        elif verdict is Verdict.CONFIG:
            health.checked = True
            health.disable(outcome, now)
        elif verdict is not Verdict.BUSY or health.busy(outcome, now, self._rng):
            counted = health.check_fault(outcome, evidence, started_at, now, self.limits, self._rng)
            if outcome.origin is Origin.NETWORK:
                self._pardon_if_ours(now)
            return counted
        return True
