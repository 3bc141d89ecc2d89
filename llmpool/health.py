"""
The health of one deployment, and the rules by which outcomes move it.

Pure: no lock, no clock, no I/O, no randomness of its own. Whoever holds the record passes the time,
the random numbers and the limits in, and makes sure that one thread at a time is here.
"""

from __future__ import annotations

import enum
import random
from typing import Any

import attrs

from llmpool.cooldowns import CoolDown
from llmpool.outcomes import Origin, Outcome
from llmpool.tally import Tally

SENTENCE_FIRST = 5.0
SENTENCE_MOST = 120.0
DISABLED_FIRST = 60.0
DISABLED_MOST = 3600.0
TALLY_LEAST = 10
FULL_AFTER = 32
PENALTY = 30.0
"""Seconds for which a fault counts as load."""
UNMEASURED = 1 << 30


class State(str, enum.Enum):
    """Where a deployment stands by faults alone; cool-downs and disabling lie over it."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    RECOVERING = "recovering"


_HEALTHY = State.HEALTHY  # by way of its class it takes ten times as long, in every good call


class Evidence(enum.Enum):
    """What a check finds things by."""

    PING = "ping"
    COMPLETION = "completion"


@attrs.frozen
class Limits:
    """The numbers of a pool that the rules need."""

    failure_threshold: int = 3
    recovery_threshold: int = 2
    hold: float = 0.0
    """Seconds past a sentence for which a running checker's answer is awaited, before a user's call
    is spent as the trial."""
    checks: Evidence | None = None
    """What the pool's checker finds things by; None when none runs."""


@attrs.define(eq=False)
class Health:
    """The record of one deployment. Times are monotonic seconds."""

    state: State = State.HEALTHY
    reason: str | None = None
    generation: int = 0

    faults: int = 0  # live faults in a row
    fault_began: float = 0.0  # when the latest call of that row did
    oks: int = 0
    row_server: int = 0  # those of the row that no ping finds
    check_faults: int = 0
    check_oks: int = 0
    checked: bool = False
    last_success_at: float | None = None
    short: int = 0  # time-outs under unfair deadlines since the last success
    network: bool = False  # since anybody's last success the network failed here, perhaps ours
    tally: Tally = attrs.field(factory=Tally)
    penalties: list[float] = attrs.field(factory=list)  # few; an empty deque takes 0.7 KiB

    until: float = 0.0  # end of the sentence
    opens_at: float = 0.0  # end of the sentence, or of waiting for a check to be the trial
    exponent: int = 0
    healthy_since: float = 0.0
    ping_clears: bool = False
    trial_failed: bool = False
    trials: int = 0
    proven: bool = False
    former: tuple[Any, ...] | None = None  # what a sentence for a failing network replaced

    cooldown: CoolDown = attrs.field(factory=CoolDown)

    disabled_until: float | None = None
    disabled_period: float = 0.0
    disabled_origin: Origin = Origin.SERVER
    disabled_reason: str | None = None
    tried: bool = False  # the period's try was begun, and has not come to a new period
    ping_enabled: bool = False  # a ping ended the last period, and no completion has borne it out
    ping_enables: bool = True

    def cooling(self, now: float) -> bool:
        """Tell whether it waits out a rate limit or a rush."""
        return self.cooldown.runs(now)

    @property
    def healthy(self) -> bool:
        """Tell whether it is known, or may be presumed, to work."""
        if self.disabled_until is not None:
            return False
        return self.state is State.HEALTHY or (self.state is State.RECOVERING and self.proven)

    def name(self, now: float) -> str:
        """Give the state that users see."""
        if self.disabled_until is not None:
            return "disabled"
        if self.state is State.UNHEALTHY:
            return "unhealthy"
        if self.cooling(now):
            return "cooling"
        return str(self.state.value)

    def why(self, now: float) -> str | None:
        """Give the reason for the state that users see."""
        if self.disabled_until is not None:
            return self.disabled_reason
        if self.state is not State.UNHEALTHY and self.cooling(now):
            return self.cooldown.reason
        return self.reason if self.state is not State.HEALTHY else None

    def open_at(self, now: float) -> float:
        """Give the time from which calls may go there; not later than *now* when they may now."""
        at = self.cooldown.until
        if self.disabled_until is not None:
            at = max(at, self.disabled_until)
        if self.state is State.UNHEALTHY:
            at = max(at, self.opens_at)
        return at

    def allowance(self, now: float) -> int:
        """Give how many calls may be there at a time, by health alone."""
        if self.disabled_until is not None or self.state is State.UNHEALTHY:
            return 1
        most = UNMEASURED
        if self.state is State.RECOVERING:
            most = min(1 << min(self.trials, 5), FULL_AFTER)
        if now < self.cooldown.thaw_until:
            most = min(most, 1)
        return most

    def next_change(self, now: float) -> float | None:
        """Give the next time at which something changes by itself."""
        times = [self.cooldown.until, self.cooldown.thaw_until]
        if self.disabled_until is not None:
            times.append(self.disabled_until)
        if self.state is State.UNHEALTHY:
            times.append(self.opens_at)
        if self.penalties:
            times.append(self.penalties[0] + PENALTY)
        ahead = [time for time in times if time > now]
        return min(ahead) if ahead else None

    def tick(self, now: float) -> None:
        """Let time pass: a served sentence opens the way for a trial."""
        while self.penalties and self.penalties[0] + PENALTY <= now:
            del self.penalties[0]
        if self.state is State.UNHEALTHY and now >= self.opens_at:
            self._recover(trials=0, proven=False)

    # -- outcomes of calls ------------------------------------------------------------------

    def call_ok(self, started_at: float, now: float) -> None:
        """Book a success of a live call."""
        # A good answer to what was asked before a fault says nothing of the server since.
        if started_at >= self.fault_began:
            self.faults = self.row_server = 0
        self.oks += 1
        self.check_faults = 0
        self.short = 0
        self.network = False
        self.last_success_at = now
        self.tally.add(now)
        # Plain traffic ends here, for nothing else is to be cleared.
        if self.state is _HEALTHY and self.cooldown.until == 0.0 and self.disabled_period == 0.0:
            return
        self._completed(started_at, now)

    def call_fault(
        self,
        outcome: Outcome,
        started_at: float,
        now: float,
        limits: Limits,
        rng: random.Random,
    ) -> None:
        """Book a fault of a live call."""
        if outcome.origin is Origin.LOCAL:
            return
        deep = outcome.origin not in _FOUND_BY_PING
        self.penalties.append(now)
        self.oks = 0
        self.network = outcome.origin is Origin.NETWORK
        self.faults += 1
        self.fault_began = max(self.fault_began, started_at)
        self.row_server += deep
        self.tally.add_fault(now, deep)
        total, faults, deep_faults = self.tally.totals(now)
        if self.disabled_until is not None:
            self._try_used(now)
        elif self.state is State.UNHEALTHY:
            self.trial_failed = self.trial_failed or deep
        elif self.state is State.RECOVERING:
            self.trial_failed = True
            self._trip(outcome, now, limits, rng, ping_clears=not self.row_server)
        elif self.faults >= limits.failure_threshold:
            self._trip(outcome, now, limits, rng, ping_clears=not self.row_server)
        elif total >= TALLY_LEAST and faults * 2 >= total:
            self._trip(outcome, now, limits, rng, ping_clears=not deep_faults)

    def short_timeout(self) -> bool:
        """Book a time-out too short to blame; every third without a success between is a fault."""
        self.short += 1
        if self.short < 3:
            return False
        self.short = 0
        return True

    def take_back(self, now: float) -> None:
        """Take one live fault back, of the kind that no ping finds."""
        self.faults = max(0, self.faults - 1)
        self.row_server = max(0, self.row_server - 1)
        if self.penalties:
            self.penalties.pop()
        self.tally.take_back()

    # -- outcomes of checks -----------------------------------------------------------------

    def check_ok(self, evidence: Evidence, started_at: float, now: float, limits: Limits) -> None:
        """Book a good check."""
        self.checked = True
        self.check_faults = 0
        self.check_oks += 1
        self.network = False
        if evidence is Evidence.COMPLETION:
            self._checked_by_completion(started_at, now, limits)
        else:
            self._checked_by_ping(now, limits)

    def _checked_by_completion(self, started_at: float, now: float, limits: Limits) -> None:
        if self.state is State.UNHEALTHY and self.disabled_until is None:
            if self.check_oks < limits.recovery_threshold and now < self.until:
                return
            self._recover(trials=0, proven=True)
        self._completed(started_at, now)

    def _checked_by_ping(self, now: float, limits: Limits) -> None:
        if self.disabled_until is not None:
            if self.disabled_origin is Origin.KEY and self.ping_enables:
                self.ping_enabled = True
                self._enable(now)
            return
        if not self.ping_clears or self.trial_failed:
            return
        enough = self.check_oks >= limits.recovery_threshold
        if self.state is State.UNHEALTHY and (enough or now >= self.until):
            self._recover(trials=0, proven=enough)
        elif self.state is State.RECOVERING and enough:
            self._prove()

    def check_fault(
        self,
        outcome: Outcome,
        evidence: Evidence,
        started_at: float,
        now: float,
        limits: Limits,
        rng: random.Random,
    ) -> bool:
        """
        Book a failed check.

        Returns:
            False when a newer success of live traffic vetoes it.
        """
        if outcome.origin is Origin.LOCAL:
            return True
        first = not self.checked and self.last_success_at is None
        self.checked = True
        if self.last_success_at is not None and self.last_success_at >= started_at:
            return False
        self.network = outcome.origin is Origin.NETWORK
        self.check_oks = 0
        self.check_faults += 1
        clears = evidence is Evidence.PING or outcome.origin in _FOUND_BY_PING
        if self.disabled_until is not None:
            if evidence is Evidence.COMPLETION or self.disabled_origin is Origin.KEY:
                self._try_used(now)
        elif self.state is State.UNHEALTHY:
            self._failed_in_sentence(outcome, evidence, now, limits, rng)
        elif self.state is State.RECOVERING:
            self.trial_failed = self.trial_failed or evidence is Evidence.COMPLETION
            clears = clears and self.ping_clears
            self._trip(outcome, now, limits, rng, ping_clears=clears)
        elif first or self.check_faults >= limits.failure_threshold:
            self._trip(outcome, now, limits, rng, ping_clears=clears)
        return True

    def _failed_in_sentence(
        self,
        outcome: Outcome,
        evidence: Evidence,
        now: float,
        limits: Limits,
        rng: random.Random,
    ) -> None:
        if evidence is Evidence.COMPLETION:
            if now >= self.until:  # this check was the trial
                self._trip(outcome, now, limits, rng, ping_clears=False)
        elif outcome.origin in _FOUND_BY_PING and self._awaits(limits):
            # A server that cannot be reached answers no trial either. A page that fails says less:
            # it may be the page alone, and must not keep a working server out for ever.
            self.opens_at = max(self.opens_at, now + limits.hold)

    # -- the try of a disabled one ----------------------------------------------------------

    def begin_try(self, now: float) -> None:
        """Take the one try of a disabled one's period: whatever comes of it, the next is a period later."""
        if self.disabled_until is not None:
            self.disabled_until = max(now, self.disabled_until) + self.disabled_period
            self.tried = True

    def begin_check(self, evidence: Evidence, now: float) -> bool:
        """
        Take the try for a check, where there is one to be taken and the check could enable it.

        Returns:
            Whether the checker is to ask: a try that a check would waste is left to a call.
        """
        if self.disabled_until is None:
            return True
        by_ping = self.disabled_origin is Origin.KEY and self.ping_enables
        if now < self.disabled_until or not (evidence is Evidence.COMPLETION or by_ping):
            return False
        self.begin_try(now)
        return True

    # -- verdicts that are no fault ---------------------------------------------------------

    def rate_limited(
        self, outcome: Outcome, started_at: float, now: float, rng: random.Random
    ) -> float:
        """Book a rate limit; give the seconds to cool."""
        self._try_used(now)
        return self.cooldown.rate_limited(outcome, started_at, now, rng)

    def busy(self, outcome: Outcome, now: float, rng: random.Random) -> bool:
        """
        Book a rush.

        Returns:
            Whether it has lasted so long that it is a fault too.
        """
        self._try_used(now)
        return self.cooldown.busy(outcome, now, rng, self.last_success_at)

    def disable(self, outcome: Outcome, now: float) -> bool:
        """
        Book a wrong key, an empty purse, a missing model.

        Returns:
            Whether that is news.
        """
        news = self.disabled_until is None
        self.ping_enables = self.ping_enables and not self.ping_enabled
        self.disabled_origin = outcome.origin
        self.disabled_reason = outcome.reason
        self.generation += 1
        if self.disabled_until is None or self.tried or now >= self.disabled_until:
            self.tried = False
            period = self.disabled_period * 2 if self.disabled_period else DISABLED_FIRST
            self.disabled_period = min(period, DISABLED_MOST)
            self.disabled_until = now + self.disabled_period
        return news

    # -- transitions ------------------------------------------------------------------------

    def _try_used(self, now: float) -> None:
        if self.disabled_until is not None and now >= self.disabled_until:
            self.disabled_until = now + self.disabled_period

    def _completed(self, started_at: float, now: float) -> None:
        """A completion went well: clear all that it could have found."""
        self.cooldown.clear(started_at)
        if self.disabled_until is not None:
            self._enable(now)
        self.disabled_period = 0.0
        self.ping_enabled = False
        self.ping_enables = True
        if self.state is State.UNHEALTHY:
            self._recover(trials=1, proven=True)
        elif self.state is State.RECOVERING:
            self.trials += 1
            self._prove()
            if self.trials >= FULL_AFTER:
                self._heal(now)

    def _recover(self, *, trials: int, proven: bool) -> None:
        self.state = State.RECOVERING
        self.trials = trials
        if proven:
            self._prove()
        else:
            self.proven = False

    def _prove(self) -> None:
        """Presume that it works: what it did wrong before keeps no calls from it any more."""
        self.proven = True
        self.penalties.clear()

    def _heal(self, now: float) -> None:
        self.state = State.HEALTHY
        self.reason = None
        self.faults = self.row_server = self.check_faults = 0
        self.trial_failed = False
        self.healthy_since = now
        self.tally = Tally()

    def _enable(self, now: float) -> None:
        self.disabled_until = None
        self.disabled_reason = None
        self.tried = False
        self.healthy_since = now
        self.generation += 1

    def _trip(
        self,
        outcome: Outcome,
        now: float,
        limits: Limits,
        rng: random.Random,
        *,
        ping_clears: bool,
    ) -> None:
        if outcome.origin is not Origin.NETWORK:
            self.former = None
        elif self.state is not State.UNHEALTHY:
            self.former = tuple(getattr(self, field) for field in _FORMER)
        if self.state is State.HEALTHY:
            served = int((now - self.healthy_since) // 60.0)
            self.exponent = max(0, self.exponent - served)
        length = min(SENTENCE_MOST, SENTENCE_FIRST * 2.0**self.exponent)
        self.exponent = min(self.exponent + 1, 5)
        self.state = State.UNHEALTHY
        self.reason = outcome.reason
        self.generation += 1
        self.until = now + length / 2 + rng.uniform(0.0, length / 2)
        self.ping_clears = ping_clears
        self.opens_at = self.until + (limits.hold if self._awaits(limits) else 0.0)
        self.trials = 0
        self.proven = False
        self.check_oks = 0
        self.tally = Tally()

    def pardon(self, now: float) -> None:
        """Take back what rested on a network that was ours; an older sentence stands."""
        self.faults = self.row_server = self.check_faults = 0
        self.tally = Tally()
        if self.former is None or self.state is not State.UNHEALTHY:
            return
        for field, value in zip(_FORMER, self.former, strict=True):
            setattr(self, field, value)
        self.former = None
        self.generation += 1

    def _awaits(self, limits: Limits) -> bool:
        """Tell whether the checker can be the trial, so that no user's call has to be."""
        if limits.checks is Evidence.COMPLETION:
            return True
        return limits.checks is Evidence.PING and self.ping_clears and not self.trial_failed


_FOUND_BY_PING = frozenset({Origin.REACH, Origin.NETWORK, Origin.KEY})

_FORMER = ("state", "reason", "exponent", "trials", "proven", "ping_clears", "trial_failed")
"""What a pardon restores."""
