"""The health of all deployments, and leave to ask one of them: the only shared mutable health."""

from __future__ import annotations

import functools
import itertools
import math
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

import attrs

from llmpool.bell import Bell
from llmpool.booking import Booking
from llmpool.claims import Claim, Watch
from llmpool.clock import Clock
from llmpool.config import Deployment, RetryPolicy
from llmpool.entries import Entry
from llmpool.health import Evidence, Limits
from llmpool.outcomes import OK, Outcome
from llmpool.places import Places
from llmpool.roster import Change, News, Roster
from llmpool.status import DeploymentStatus, Explanation, HealthCheckResult
from llmpool.strategies import BuiltIn, Candidate, LeastConnections, RoutingStrategy
from llmpool.turnstile import come_back
from llmpool.wishes import Refusal, Wish

LONGEST_NAP = 0.5
"""Seconds a waiter sleeps at most before it looks after the queue itself: what a dead caller left
behind is then found even if no call comes by."""

_T = TypeVar("_T")


def _section(method: Callable[..., _T]) -> Callable[..., _T]:
    """
    Run *method* under the ledger's lock, then tell what it changed.

    Broken off by an interrupt, at whatever bytecode, or by an error, it leaves no lock held and no count
    wrong: both are put right from the open claims before the exception goes on. So the lock is let go by
    hand on each way out, for a ``finally`` has a bytecode before it at which nothing holds.
    """

    @functools.wraps(method)
    def section(self: HealthLedger, *args: Any) -> _T:
        if self._held():
            # A guest: a signal handler or a finaliser on the very thread that holds the lock. Its
            # host tells the news, and mends what is broken off.
            return method(self, *args)
        lock = self._lock
        try:  # critical section
            if not lock.acquire(False):
                come_back(lock)
            result = method(self, *args)
            # Not the list itself when it is empty: the next holder writes to that.
            news = self._roster.news or ()
            if news:
                self._roster.news = []
            lock.release()
        except BaseException:
            self._mend()
            raise
        if news:
            self._announce(news)
        return result

    return section


class HealthLedger:
    """
    Every deployment's record, and the queue of those who wait.

    Threads: any method from any thread. Only :meth:`take` and :meth:`wait_idle` wait, and never under
    the lock.
    """

    def __init__(
        self,
        deployments: Iterable[Deployment],
        *,
        strategy: BuiltIn | RoutingStrategy,
        limits: Limits,
        policy: RetryPolicy,
        clock: Clock,
        rng: random.Random,
        listener: Callable[[Change], None],
    ) -> None:
        built_in = strategy if isinstance(strategy, BuiltIn) else LeastConnections(rng)
        # The lock guards every field below it and every field of every entry. It re-enters for one
        # reason alone: a signal handler or a finaliser that calls the pool on the thread that holds it.
        self._lock = threading.RLock()
        self._held: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]
        self._roster = Roster(built_in.pick, clock.now())
        self._booking = Booking(self._roster, limits, rng)
        self._places = Places(self._roster, policy)
        self._queue = self._places.queue
        self._closed = False
        self._plain = built_in is strategy

        # Never changed after construction, or safe by themselves; the flag only ever rises, and a call
        # that has just missed it is one without an estimate.
        self.limited = False
        self.tokens: Iterator[int] = itertools.count(1)
        self.lost: SimpleQueue[Watch] = SimpleQueue()
        self.watches = self._places.watches
        self._foreign = None if isinstance(strategy, BuiltIn) else strategy
        self._pick = built_in.pick
        self._clock = clock
        self.now = clock.now
        self._listener = listener
        for deployment in deployments:
            self.add(deployment)

    # -- claims -----------------------------------------------------------------------------

    def take(self, claim: Claim) -> Refusal | None:
        """
        Get *claim* a deployment; wait in turn where waiting helps.

        Returns:
            None, or why there is none.
        """
        now = self.now()
        wish = claim.wish
        if self._held():
            # A guest does not wait: it would keep everybody else from the lock.
            answer = self._try(claim, now, now)
            assert not isinstance(answer, float)
            return answer
        lock = self._lock
        try:  # critical section
            if not lock.acquire(False):
                come_back(lock)
            # By far most calls: nothing is due, nobody waits, and somebody is free.
            roster = self._roster
            if (
                self._plain
                and now < roster.due_at
                and now < wish.deadline_at
                and not (wish.avoid or wish.affinity or self._queue)
            ):
                group = roster.groups.get((wish.model, wish.tags, wish.upstream))
                if group is not None and group.tiers:
                    first = group.tiers[0]
                    entry: Entry = self._pick(first) if group.many else first[0]
                    if entry.in_flight < entry.limit:
                        self._places.grant(claim, entry, now, group.many)
                        lock.release()
                        return None
            lock.release()
        except BaseException:
            self._mend()
            raise
        give_up_at = min(wish.deadline_at, now + wish.max_wait)
        if self._foreign is not None and wish.affinity is None:
            self._ask_strategy(claim)
            if claim.entry is not None:
                return None
            now = self.now()
        while True:
            answer = self._try(claim, now, give_up_at)
            if answer is None or isinstance(answer, Refusal):
                return answer
            assert claim.event is not None  # set by whoever grants a place meanwhile
            since = now
            self._clock.wait(claim.event, min(answer - since, LONGEST_NAP))
            now = self.now()
            wish.note_wait(since, now)

    @_section
    def _try(self, claim: Claim, now: float, give_up_at: float) -> Refusal | float | None:
        """Grant *claim*, or refuse it, or give the time until which it may wait in the queue."""
        self._catch_up(now)
        if claim.entry is not None:
            return None
        if self._closed:
            return self._places.leave(claim, Refusal("closed"))
        return self._places.find(claim, now, give_up_at)

    def _ask_strategy(self, claim: Claim) -> None:
        """Let a user's strategy choose, outside the lock; ask again if its choice has gone meanwhile."""
        assert self._foreign is not None
        for _ in range(8):
            views = self._candidates(claim.wish)
            if not views:
                return
            chosen = self._foreign.pick(views)
            if chosen not in views:
                raise TypeError(
                    f"strategy: wanted one of the candidates from pick(), got a "
                    f"{type(chosen).__name__}"
                )
            if self._take_named(claim, chosen.name):
                return

    @_section
    def _candidates(self, wish: Wish) -> tuple[Candidate, ...]:
        now = self._clock.now()
        self._catch_up(now)
        if self._queue or self._closed or not self._in_time(wish, now):
            return ()  # who waits goes first; the rest is decided by the common way
        return tuple(entry.candidate() for entry in self._roster.free(wish, now))

    @_section
    def _take_named(self, claim: Claim, name: str) -> bool:
        now = self._clock.now()
        wish = claim.wish
        entry = self._roster.entries.get(name)
        if entry is None or not self._in_time(wish, now):
            return False
        if entry not in self._roster.free(wish, now):
            return False
        self._places.grant(claim, entry, now, self._roster.others(entry, wish))
        return True

    def _in_time(self, wish: Wish, now: float) -> bool:
        return now < wish.deadline_at and not (wish.budgeted and not self._places.has_budget())

    # -- outcomes ---------------------------------------------------------------------------

    def settle(self, claim: Claim, outcome: Outcome, now: float, latency: float) -> None:
        """Book *outcome*, give back the place, serve those who wait."""
        entry = claim.entry
        if entry is None:
            return
        if self._held():  # a guest
            if entry.open.pop(claim.token, None) is not None:
                self._places.close(entry, claim.token)
                if claim.usage is not None:
                    entry.spend(claim.usage)
                self._settle_rest(claim, entry, outcome, now, latency)
            return
        lock = self._lock
        try:  # critical section
            if not lock.acquire(False):
                come_back(lock)
            if entry.open.pop(claim.token, None) is None:
                lock.release()
                return
            self._places.close(entry, claim.token)
            if claim.usage is not None:
                entry.spend(claim.usage)
            health = entry.health
            booked = outcome is OK and claim.generation == health.generation
            if booked:
                entry.requests += 1
                entry.latency = entry.latencies.add(latency, now)
                health.call_ok(claim.started_at, now)
                if not (entry.delicate or self._queue or self._booking.adrift):
                    lock.release()
                    return
            self._settle_rest(claim, entry, outcome, now, latency, booked)
            news, self._roster.news = self._roster.news, []
            lock.release()
        except BaseException:
            self._mend()
            raise
        if news:
            self._announce(news)

    def _settle_rest(
        self,
        claim: Claim,
        entry: Entry,
        outcome: Outcome,
        now: float,
        latency: float,
        booked: bool = False,
    ) -> None:
        """Book what is no plain success, and see what follows from it."""
        if booked:
            self._booking.note_success()
        else:
            self._booking.book_call(claim, entry, outcome, now, latency)
        if claim.quota is not None:
            self._booking.correct(claim, outcome, now)
        self._roster.refresh(entry, now)
        claim.taken_out = claim.in_rotation and not entry.eligible
        if self._queue:
            self._places.serve(now)

    @_section
    def take_back(self, claims: Iterable[Claim]) -> None:
        """Take back the faults that *claims* booked, where no sentence has followed from them."""
        self._booking.take_back(claims, self._clock.now())

    @_section
    def release(self, claim: Claim) -> None:
        """Give back what *claim* holds: a place, or a place in the queue."""
        self._places.release(claim, self._clock.now())

    # -- time -------------------------------------------------------------------------------

    def _catch_up(self, now: float) -> None:
        """Do what is due: places that were forgotten, states that end by time."""
        while not self.lost.empty():
            self._places.collect(self.lost.get_nowait().facts, now)
        if now >= self._roster.due_at:
            self._roster.catch_up(now)

    @_section
    def tick(self) -> None:
        """Let time pass where no call does it."""
        now = self._clock.now()
        self._catch_up(now)
        if self._queue:
            self._places.serve(now)

    # -- checks -----------------------------------------------------------------------------

    @_section
    def check_begun(self, name: str, evidence: Evidence | None = None) -> tuple[Entry, int, float]:
        """
        Note the record that a check will speak of; *evidence* is what the check finds things by.

        Raises:
            KeyError: there is no deployment of that name.
        """
        entry = self._roster.entries[name]
        now = self._clock.now()
        if evidence is not None:
            self._may_check(entry, evidence, now)
        return entry, entry.health.generation, now

    def _may_check(self, entry: Entry, evidence: Evidence, now: float) -> bool:
        may = entry.health.begin_check(evidence, now)
        if entry.health.disabled_until is not None:
            self._roster.refresh(entry, now)
        return may

    @_section
    def check_settled(
        self,
        begun: tuple[Entry, int, float],
        evidence: Evidence,
        outcome: Outcome,
        result: HealthCheckResult,
    ) -> bool:
        """
        Book a check's outcome, through the same rules as a call's.

        Returns:
            False when a newer success of live traffic vetoed a failure.
        """
        now = self._clock.now()
        counted = self._booking.book_check(begun, evidence, outcome, result, now)
        if self._queue:
            self._places.serve(now)
        return counted

    @_section
    def checks_by(self, evidence: Evidence | None, hold: float) -> None:
        """Note by what a running checker finds things, or that none runs."""
        self._booking.limits = attrs.evolve(self._booking.limits, checks=evidence, hold=hold)

    @_section
    def check_due(
        self, name: str, evidence: Evidence, since: float
    ) -> tuple[str, float | None, bool, bool]:
        """
        Take the try of a disabled one, if it is there to be taken.

        Returns:
            The state, the end of a disabled one's period, whether it may be asked, and whether traffic
            succeeded after *since*.

        Raises:
            KeyError: there is no deployment of that name.
        """
        entry = self._roster.entries[name]
        health = entry.health
        may = self._may_check(entry, evidence, self._clock.now())
        fresh = health.last_success_at is not None and health.last_success_at > since
        return health.state.value, health.disabled_until, may, fresh

    # -- the roster -------------------------------------------------------------------------

    @_section
    def add(self, deployment: Deployment) -> None:
        """
        Take in a deployment.

        Raises:
            ValueError: its name is taken, or its limits are not those of its quota group.
        """
        if deployment.name in self._roster.entries:
            raise ValueError(f"deployments: wanted unique names, got {deployment.name!r} twice")
        now = self._clock.now()
        entry = Entry(deployment, now)
        entry.shown = entry.state(now)
        self._roster.add(entry, now)
        if self._roster.limited:
            self._plain = False
            self.limited = True
        self._places.serve(now)

    @_section
    def drain(self, name: str) -> threading.Event:
        """
        Send nothing more there.

        Returns:
            An event that is set once nothing is in flight there.

        Raises:
            KeyError: there is no deployment of that name.
        """
        entry = self._roster.entries[name]
        entry.draining = True
        if entry.idle is None:
            entry.idle = Bell()
        if not entry.open:
            entry.idle.set()
        self._roster.refresh(entry, self._clock.now())
        return entry.idle

    def wait_idle(self, idle: threading.Event, timeout: float | None) -> bool:
        """Wait for what :meth:`drain` gave; tell whether it came within *timeout* seconds."""
        end = math.inf if timeout is None else self.now() + timeout
        while not idle.is_set():
            left = end - self.now()
            if left <= 0.0:
                return False
            self._clock.wait(idle, min(left, LONGEST_NAP))
            self.tick()  # a forgotten stream's place is found here
        return True

    @_section
    def resume(self, name: str) -> None:
        """
        Send to a drained one again.

        Raises:
            KeyError: there is no deployment of that name.
        """
        entry = self._roster.entries[name]
        now = self._clock.now()
        entry.draining = False
        if entry.idle is not None:
            entry.idle.set()  # whoever waits for it to be empty need not any longer
            entry.idle = None
        self._roster.refresh(entry, now)
        self._places.serve(now)

    @_section
    def remove(self, name: str) -> Deployment:
        """
        Forget a deployment; what is in flight there ends without effect.

        Raises:
            KeyError: there is no deployment of that name.
        """
        return self._roster.remove(name, self._clock.now()).deployment

    @_section
    def close(self) -> None:
        """Refuse everything from now on, and wake those who wait."""
        self._catch_up(self._clock.now())  # nobody may come by any more
        self._closed = True
        self._plain = False
        self._places.wake()

    # -- views ------------------------------------------------------------------------------

    @_section
    def names(self) -> tuple[str, ...]:
        """Give the names, in the order in which they were added."""
        return tuple(self._roster.entries)

    @_section
    def deployments(self) -> tuple[Deployment, ...]:
        """Give the deployments, in the order in which they were added."""
        return tuple(entry.deployment for entry in self._roster.entries.values())

    @_section
    def fair_time(self, claim: Claim) -> float:
        """Give the shortest seconds after which a time-out is the deployment's fault."""
        assert claim.entry is not None
        return claim.entry.fair_time()

    @_section
    def status(self, only: str | None = None) -> dict[str, DeploymentStatus]:
        """Show every deployment at one moment, or that of one name if it is there."""
        now = self._clock.now()
        self._catch_up(now)
        entries = list(self._roster.entries.values())
        return {
            entry.name: entry.status(now) for entry in entries if only is None or entry.name == only
        }

    @_section
    def explain(self) -> dict[str, Explanation]:
        """Tell of every deployment whether it would be asked now."""
        now = self._clock.now()
        self._catch_up(now)
        return {entry.name: entry.explain(now) for entry in list(self._roster.entries.values())}

    # -- mishaps ----------------------------------------------------------------------------

    def _announce(self, news: Iterable[News]) -> None:
        rest = iter(news)
        try:
            for piece in rest:
                if isinstance(piece, Change):
                    self._listener(piece)
                else:
                    piece()
        except BaseException:
            # An interrupt in somebody's ear: the next to come tells the others.
            with self._lock:  # critical section
                self._roster.news[:0] = rest
            raise

    def _mend(self) -> None:
        """Free the lock if an interrupt left it held, and derive every count anew."""
        # An interrupt between the body and the release leaves the lock held by this thread.
        while self._held():
            self._lock.release()
        with self._lock:  # critical section
            for watch in list(self.watches.values()):
                if watch() is None:
                    self.lost.put(watch)  # its note may have been taken, and not been followed
            self._places.mend(self._clock.now())
            self._roster.forget_groups()

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child: keep what is known of health, drop what was in flight."""
        self._lock = threading.RLock()
        self._held = self._lock._is_owned  # type: ignore[attr-defined]
        self.lost = SimpleQueue()
        self._roster.news = []
        self._places.clear(self._clock.now())
