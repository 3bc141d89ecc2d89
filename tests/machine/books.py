"""The reference: what was asked and how it ended, kept beside the pool, with the rules each ask obeys."""

from __future__ import annotations

from typing import Any

import attrs
from words import IGNORED, UNKNOWN_MODEL, WORDS, Word

from llmpool import Deployment, ProviderPool
from llmpool.entries import Entry
from llmpool.health import Evidence, State

SOON = 1e-6
"""Seconds by which sums of floats may be off."""
LEASE_SLACK = 1.0
LONGEST_LEASE = 600.0
PERIOD_FIRST, PERIOD_MOST = 60.0, 3600.0


@attrs.define(eq=False)
class Account:
    """What one deployment was asked, from its addition to its removal."""

    deployment: Deployment
    requests: int = 0
    errors: int = 0
    last_error: str | None = None
    checked: bool = False
    draining: bool = False
    removed: bool = False
    holds: list[Hold] = attrs.field(factory=list)
    goods: list[float] = attrs.field(factory=list)  # starts of good completions since the last look
    named_since: float = 0.0  # the cool-down that a server has asked for by name
    named_until: float = 0.0
    seen_since: float = 0.0  # the cool-down at the last look
    seen_until: float = 0.0
    rests_until: float | None = None  # disabled, and not to be asked before that
    period: float = 0.0
    tried: bool = False  # asked since it rests, and no new period has come of that


@attrs.define(eq=False)
class Hold:
    """One attempt in flight. ``lease_end`` is when it holds up no trial any more."""

    account: Account
    generation: int
    started_at: float
    timeout: float
    model: str | None
    in_flight: bool = True

    @property
    def lease_end(self) -> float:
        """When it ceases to count as a trial."""
        return self.started_at + min(self.timeout, LONGEST_LEASE) + LEASE_SLACK


class Books:
    """
    The accounts of all deployments.

    The pool's records are read for what they say of *when* (a generation, the end of a sentence); every
    count is kept here, from what the servers were asked and what they said.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._pool: ProviderPool | None = None

    def over(self, pool: ProviderPool) -> None:
        """Keep the books of *pool* from now on."""
        self._pool = pool

    @property
    def now(self) -> float:
        """The time."""
        assert self._pool is not None
        return self._pool._clock.now()

    def record(self, name: str) -> Entry:
        """Give the pool's own record of a deployment."""
        assert self._pool is not None
        return self._pool._ledger._roster.entries[name]

    # -- who there is -----------------------------------------------------------------------

    def added(self, deployment: Deployment) -> None:
        """Open an account."""
        self.accounts[deployment.name] = Account(deployment)

    def removed(self, name: str) -> None:
        """Close an account; what is in flight there ends without effect."""
        self.accounts.pop(name).removed = True

    # -- attempts ---------------------------------------------------------------------------

    def granted(self, name: str, timeout: float, model: str | None) -> Hold:
        """Note an attempt that begins now, and hold it to the rules."""
        account = self.accounts[name]
        entry = self.record(name)
        health = entry.health
        now = self.now
        assert not account.draining
        assert account.deployment.weight
        assert now >= account.named_until, "asked while it cools"
        assert now >= health.cooldown.until, "asked while it cools"
        assert account.rests_until is None or now >= account.rests_until, "asked twice in a period"
        if health.state is State.UNHEALTHY and now < health.opens_at:
            assert self._pool is not None
            assert self._pool._terms.fail_open
            assert account.rests_until is None, "failed open to a disabled one"
        self._tried(account)
        hold = Hold(account, health.generation, now, timeout, model)
        account.holds.append(hold)
        most = account.deployment.max_concurrent
        assert most is None or len(account.holds) <= most
        fresh = [
            each
            for each in account.holds
            if each.generation == health.generation and each.lease_end > now
        ]
        assert len(fresh) <= self._allowed(account, entry), "more trials than are allowed"
        return hold

    def _tried(self, account: Account) -> None:
        """Note that one is asked: where it is disabled, that was all of this period."""
        if account.rests_until is not None:
            account.rests_until = self.now + account.period
            account.tried = True

    def looked(self, account: Account, evidence: Evidence, *, asks: bool) -> None:
        """Note whether the checker, whose turn it is, asks or not."""
        if account.rests_until is None:
            assert asks
        elif asks:
            assert self.now >= account.rests_until, "asked twice in a period"
            self._tried(account)
        else:
            # A ping that can find nothing leaves the try to a call.
            assert self.now < account.rests_until or evidence is Evidence.PING

    def told_to_check(self, account: Account, evidence: Evidence) -> None:
        """Note that a user has a deployment checked, which may be at any time."""
        due = account.rests_until is not None and self.now >= account.rests_until
        until = self.record(account.deployment.name).health.disabled_until
        if due and (evidence is Evidence.COMPLETION or until != account.rests_until):
            self._tried(account)

    def _allowed(self, account: Account, entry: Entry) -> float:
        health = entry.health
        most = float("inf")
        if account.rests_until is not None or health.state is State.UNHEALTHY:
            return 1
        if health.state is State.RECOVERING:
            most = 2 ** min(health.trials, 5)
        if account.named_until <= self.now < account.named_until + 1.0 or self.now < (
            health.cooldown.thaw_until
        ):
            return 1
        return most

    def fair(self, hold: Hold) -> bool:
        """Tell whether a time-out of *hold* now is the deployment's fault."""
        p99 = self.record(hold.account.deployment.name).latencies.quantile(0.99)
        least = 5.0 if p99 is None else max(1.0, 3.0 * p99)
        own = hold.account.deployment.timeout
        return hold.timeout >= (least if own is None else min(own, least))

    def meaning(self, hold: Hold, word: str, *, whole: bool = True) -> Word:
        """Give what *word* means for this attempt; a stream's break-off is not *whole*."""
        models = hold.account.deployment.models
        if word == "404" and whole and hold.model is not None and hold.model not in models:
            return UNKNOWN_MODEL
        if word == "hang" and whole and not hold.account.removed and not self.fair(hold):
            return IGNORED
        return WORDS[word]

    def ended(self, hold: Hold, meaning: Word) -> None:
        """Note an end that the pool is about to be told; whatever it is told after that is void."""
        account = hold.account
        assert hold.in_flight
        hold.in_flight = False
        account.holds.remove(hold)
        if account.removed:
            return
        requests, errors = meaning.counts
        account.requests += requests
        account.errors += errors
        if errors:
            assert meaning.make is not None
            account.last_error = str(meaning.make())
        stale = hold.generation != self.record(account.deployment.name).health.generation
        self._judge(account, meaning, hold.started_at, stale)

    def ended_check(
        self, account: Account, word: str, generation: int, started_at: float, *, deep: bool
    ) -> None:
        """Note the end of a check, likewise."""
        if account.removed:
            return
        meaning = WORDS[word]
        account.checked = True
        if meaning.make is not None:
            account.last_error = str(meaning.make())
        if generation != self.record(account.deployment.name).health.generation:
            return
        if meaning.verdict == "ok":
            if deep and not self._is_one_of_several(account):
                self._judge(account, meaning, started_at, stale=False)
        elif meaning.verdict != "fault":
            self._judge(account, meaning, started_at, stale=False)

    def _is_one_of_several(self, account: Account) -> bool:
        """Tell whether a good check will end no sentence, so that it clears nothing else either."""
        assert self._pool is not None
        health = self.record(account.deployment.name).health
        enough = self._pool._ledger._booking.limits.recovery_threshold
        return (
            health.state is State.UNHEALTHY
            and health.disabled_until is None
            and health.check_oks + 1 < enough
            and self.now < health.until
        )

    def _judge(self, account: Account, meaning: Word, started_at: float, stale: bool) -> None:
        now = self.now
        due = account.rests_until is not None and now >= account.rests_until
        if meaning.verdict == "ok" and not stale:
            account.goods.append(started_at)
            account.period = 0.0
            account.rests_until = None
            account.tried = False
            if started_at > account.named_since:
                account.named_until = 0.0
        elif meaning.verdict == "config" and not stale:
            if account.rests_until is None or account.tried or due:
                account.tried = False
                doubled = 2 * account.period if account.period else PERIOD_FIRST
                account.period = min(doubled, PERIOD_MOST)
                account.rests_until = now + account.period
        elif due and (
            meaning.verdict in ("rate_limited", "busy")
            or (meaning is not WORDS["fds"] and meaning.verdict == "fault" and not stale)
        ):
            account.rests_until = now + account.period
        if meaning.delay is not None:
            self._cool(account, meaning.delay, now)
            group = account.deployment.quota_group
            if group is not None and meaning.verdict == "rate_limited":
                for other in self.accounts.values():
                    if other.deployment.quota_group == group:
                        self._cool(other, meaning.delay, now)

    def _cool(self, account: Account, delay: float, now: float) -> None:
        until = now + max(0.1, delay)
        running = self.record(account.deployment.name).health.cooldown.until
        if until > max(account.named_until, running):
            account.named_since = now
        account.named_until = max(account.named_until, until)

    def gone(self, hold: Hold) -> None:
        """Note an attempt that ends without any outcome."""
        assert hold.in_flight
        hold.in_flight = False
        hold.account.holds.remove(hold)

    # -- the look ---------------------------------------------------------------------------

    def compare(self) -> None:
        """Hold the pool's status to the accounts, and each record to its past."""
        assert self._pool is not None
        shown = self._pool.all_health()
        assert list(shown) == list(self.accounts)
        for name, account in self.accounts.items():
            status = shown[name]
            assert status.total_requests == account.requests
            assert status.total_errors == account.errors
            assert status.requests_in_flight == len(account.holds)
            assert status.last_error == account.last_error
            assert (status.last_check is not None) == account.checked
            rate = account.errors / account.requests if account.requests else 0.0
            assert status.error_rate == rate
            drained = account.draining or not account.deployment.weight
            assert (status.state == "draining") == drained
            self._look(account)

    def _look(self, account: Account) -> None:
        health: Any = self.record(account.deployment.name).health
        if health.cooldown.until < account.seen_until:
            cleared = any(started > account.seen_since for started in account.goods)
            assert health.cooldown.until == 0.0, "a cool-down was shortened"
            assert cleared, "a cool-down was cleared by nothing"
        account.goods.clear()
        account.seen_since, account.seen_until = health.cooldown.since, health.cooldown.until
        assert health.cooldown.until >= account.named_until
        if health.disabled_until is None:
            # A ping may end what a ping can find; all else is in the books.
            assert account.rests_until is None or health.ping_enabled
            account.rests_until = None
            account.tried = False
        else:
            assert account.rests_until is not None
            assert health.disabled_until >= account.rests_until - SOON
            assert health.disabled_period == account.period
            account.rests_until = health.disabled_until
