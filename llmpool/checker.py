"""The daemon thread that asks each deployment how it is."""

from __future__ import annotations

import math
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from llmpool import _validators as valid
from llmpool import checks, errors
from llmpool._threads import start
from llmpool.config import HealthCheckConfig
from llmpool.examiner import Examiner
from llmpool.ledger import HealthLedger
from llmpool.metronome import HealthCheckerHandle, metronome
from llmpool.schedule import Schedule
from llmpool.status import HealthCheckResult

if TYPE_CHECKING:
    from llmpool.announcer import Announcer
    from llmpool.pool import ProviderPool

as_check = checks.as_check
_T = TypeVar("_T")
ROSTER = 1.0
"""Seconds between two looks at who is in the pool: each costs as much as there are deployments."""
SHORTEST_NAP = 0.005
START_AGAIN = 1.0
"""Seconds after a thread could not be started during which no call tries it again."""
TARDY = 5.0
"""Seconds after which a thread that has not woken when it meant to does not count as running."""


class HealthChecker:
    """
    Asks a pool's deployments how they are.

    Made by the pool for itself; one made by hand takes that one's place when it is started.

    Threads: every method from any thread. One daemon thread sleeps on one event; each check runs on a
    worker of its own. None of them holds the pool, and the first ends when the pool is forgotten.
    """

    def __init__(
        self,
        pool: ProviderPool,
        config: HealthCheckConfig | None = None,
        check: checks.Check | None = None,
    ) -> None:
        config = HealthCheckConfig() if config is None else config
        if not isinstance(config, HealthCheckConfig):
            valid.refuse("config", "a HealthCheckConfig or None", config, kind=TypeError)
        self.config = config
        self.check = checks.as_check(check)
        self._pool = weakref.ref(pool)
        self._ledger: HealthLedger = pool._ledger
        self._announcer: Announcer = pool._announcer
        self._name = pool.name
        self._rng: random.Random = pool._rng
        self._now: Callable[[], float] = pool._clock.now
        self._examiner = Examiner(
            self._ledger, self._announcer, pool._clock, config, self.check, self._name
        )
        self._news: SimpleQueue[tuple[str, str, float]] = SimpleQueue()
        # Guards the fields below it. It re-enters for a signal handler that calls the pool on the
        # thread that holds it.
        self._lock = threading.RLock()
        self.handle: HealthCheckerHandle | None = None
        self.idle = True  # a call is to start the thread
        self._lost = False  # it died, or could not be started
        self._start_at = -math.inf
        self._awake_by = -math.inf  # real monotonic seconds
        self._schedule = Schedule()
        self._roster_at = -math.inf
        self._tending: Future[None] | None = None

    # -- the thread -------------------------------------------------------------------------

    def start(self) -> HealthCheckerHandle:
        """
        Start the thread in this process, in the place of the pool's present checker.

        With ``enabled=False`` nothing is started, and the handle is a stopped one.

        Raises:
            PoolClosed: the pool is closed.
        """
        pool = self._pool()
        if pool is None or pool._closed.is_set():
            raise errors.PoolClosed("the pool is closed")
        pool._adopt(self)
        handle = self._reserve(anew=True)
        if handle is not None:
            self._launch(pool, handle)
        assert self.handle is not None
        return self.handle

    def ensure(self) -> None:
        """Start the thread if it is not there against everybody's will; a pool does so before a call."""
        pool = self._pool()
        handle = self._reserve(anew=False) if pool is not None else None
        if pool is not None and handle is not None:
            self._launch(pool, handle)

    def retire(self) -> None:
        """Stop for good, for another has taken this one's place."""
        with self._lock:  # critical section
            self.idle = False
            handle = self.handle
        if handle is not None:
            handle.stop()

    @property
    def running(self) -> bool:
        """Whether its thread lives in this process, and wakes when it means to."""
        # Under a host that starts no threads, or never lets them run, is_alive() alone says True.
        handle = self.handle
        return handle is not None and handle.alive and time.monotonic() < self._awake_by

    def _reserve(self, *, anew: bool) -> HealthCheckerHandle | None:
        """Give the handle of a thread that the caller, and no other, is to start; None if none is."""
        now = self._now()
        with self._lock:  # critical section
            handle = self.handle
            wanted = self.idle and now >= self._start_at
            if anew:
                wanted = self.idle or handle is None or handle.stopped.is_set()
            if not wanted:
                return None
            if handle is None or handle.stopped.is_set():
                handle = self.handle = HealthCheckerHandle()
            self.idle = False
            self._start_at = now + START_AGAIN
            self._awake_by = time.monotonic() + TARDY
            return handle

    def _launch(self, pool: ProviderPool, handle: HealthCheckerHandle) -> None:
        if not self.config.enabled:
            handle.stop()
            return
        thread = handle._thread = metronome(self, pool, handle.stopped)
        try:
            start(thread)
        except RuntimeError as error:
            self._lose(str(error))
            return
        finally:
            if thread.ident is None:
                self.idle = True
        if pool._closed.is_set():
            handle.stop()  # closed meanwhile, and close() may not have seen this handle
        with self._lock:  # critical section
            news = self._lost
            self._lost = False
        if news:
            self._announcer.tell_of_checker("dead", "running", None, self._now())

    def _lose(self, reason: str) -> None:
        with self._lock:  # critical section
            self.idle = True
            self._awake_by = -math.inf
            news = not self._lost
            self._lost = True
        if news:
            self._announcer.tell_of_checker("running", "dead", reason, self._now())

    def died(self, error: BaseException) -> None:
        """Note that the thread ends against its will; the next call starts another."""
        self.rest()
        self._lose(type(error).__name__)

    def rest(self) -> None:
        """Note that checks find nothing from now on."""
        pool = self._pool()
        if pool is not None and pool._checker is self:
            self._ledger.checks_by(None, 0.0)

    # -- its work ---------------------------------------------------------------------------

    def tick(self) -> float:
        """
        Do what is due.

        Returns:
            Seconds until something is due again.
        """
        config = self.config
        hold = config.unhealthy_interval * (1.0 + config.jitter) + config.timeout
        self._ledger.checks_by(self.check.evidence, hold)
        if self._tending is None or self._tending.done():
            self._tending = self._examiner.aside(self._ledger.tick)
        self._examiner.expire()
        now = self._now()
        for name in self._due(now):
            if self._wanted(name, now):
                self._examiner.begin(name)
        with self._lock:  # critical section
            next_at = self._schedule.next_at()
        until_next = config.interval if next_at is None else next_at - now
        nap = min(until_next, config.unhealthy_interval, self._examiner.patience())
        nap = max(SHORTEST_NAP, nap)
        self._awake_by = time.monotonic() + nap + TARDY
        return nap

    def changed(self, name: str, state: str) -> None:
        """Note that a deployment's state has changed, and so when its next turn is."""
        if state in ("unhealthy", "recovering", "healthy"):
            self._news.put((name, state, self._now()))

    def check_once(self) -> tuple[HealthCheckResult, ...]:
        """
        Ask every deployment, side by side, and wait for the answers.

        It lasts as long as the slowest check, and no check longer than its time-out.
        """
        begun = [self._examiner.begin(name) for name in self._ledger.names()]
        jobs = [job for job in begun if job is not None]
        self._examiner.wait(jobs)
        return tuple(job.result for job in jobs if job.result is not None)

    def _due(self, now: float) -> list[str]:
        news = list(_drained(self._news))
        look = now >= self._roster_at
        deployments = self._ledger.deployments() if look else ()
        with self._lock:  # critical section
            if look:
                self._schedule.enroll(deployments, now)
                self._roster_at = now + ROSTER
            for name, state, at in news:
                self._schedule.put(name, at + self._period(state))
            return self._schedule.take(now)

    def _wanted(self, name: str, now: float) -> bool:
        """Plan the next turn of *name*, and tell whether it is to be asked in this one."""
        config = self.config
        try:
            state, disabled_until, may, fresh = self._ledger.check_due(
                name, self.check.evidence, now - config.interval
            )
        except KeyError:
            return False  # removed meanwhile
        rests_until = -math.inf
        if disabled_until is not None:
            state = "disabled"
            if not may:
                rests_until = disabled_until
        with self._lock:  # critical section
            self._schedule.put(name, max(rests_until, now + self._period(state)))
        skip = fresh and config.skip_after_traffic and self.check.skippable
        return may and not (skip and state == "healthy")

    def _period(self, state: str) -> float:
        config = self.config
        seconds = config.interval if state == "healthy" else config.unhealthy_interval
        return seconds * (1.0 + config.jitter * (2.0 * self._rng.random() - 1.0))

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, where no thread of the parent's lives."""
        self._lock = threading.RLock()
        self._news = SimpleQueue()
        self._schedule = Schedule()
        self._roster_at = self._start_at = self._awake_by = -math.inf
        self._tending = None
        self._examiner.reset_after_fork()
        if self.handle is not None:  # pragma: no branch - mostly runs in forked children
            self.handle._renew()
        # What somebody stopped in the parent stays stopped.
        self.idle = self.handle is None or not self.handle.stopped.is_set()
        self._ledger.checks_by(None, 0.0)

    def __repr__(self) -> str:
        return f"<HealthChecker of {self._name!r}, {'running' if self.running else 'at rest'}>"


def _drained(queue: SimpleQueue[_T]) -> Iterator[_T]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


__all__ = ["HealthChecker", "HealthCheckerHandle", "as_check"]
