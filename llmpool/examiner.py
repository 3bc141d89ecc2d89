"""Checks under way: each on a worker of its own, under a deadline that is kept from outside."""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import attrs

from llmpool import checks
from llmpool._threads import DaemonExecutor
from llmpool.bell import Bell
from llmpool.clock import Clock
from llmpool.config import HealthCheckConfig
from llmpool.entries import Entry
from llmpool.ledger import HealthLedger
from llmpool.outcomes import Outcome, Verdict
from llmpool.status import HealthCheckResult

if TYPE_CHECKING:
    from llmpool.announcer import Announcer

_log = logging.getLogger("llmpool.checker")
_NAP = 0.5
"""Seconds of one wait: on Windows before 3.14 a longer one ignores Ctrl-C."""
_NO_THREAD = "no thread can be started"


@attrs.define(eq=False)
class Job:
    """
    One check of one deployment.

    ``done`` is set once the check has been booked, or dropped without a result. The examiner's lock
    guards the other fields while the check is open.
    """

    begun: tuple[Entry, int, float]
    worker: int | None = None
    overdue: bool = False  # failed at its deadline; what it says later is dropped
    result: HealthCheckResult | None = None
    done: threading.Event = attrs.field(factory=Bell)

    @property
    def entry(self) -> Entry:
        """The record it speaks of: a removed deployment's is not that of a new one of its name."""
        return self.begun[0]


class Examiner:
    """
    Asks deployments, and books what they say.

    A check that hangs is a failed check at its deadline. Its worker is written off, so that it starves
    nobody; its deployment is not asked again until it ends.

    Threads: any method from any thread. Real time alone bounds a check, whatever the pool's clock says.
    """

    def __init__(
        self,
        ledger: HealthLedger,
        announcer: Announcer,
        clock: Clock,
        config: HealthCheckConfig,
        check: checks.Check,
        name: str,
    ) -> None:
        self._ledger = ledger
        self._announcer = announcer
        self._now = clock.now
        self._utc = clock.utc
        self._timeout = config.timeout
        self._check = check
        self._name = name
        self._workers = DaemonExecutor(config.max_workers, f"llmpool-check-{name}")
        # Guards the fields below it and those of open jobs. It re-enters for one reason alone, as the
        # ledger's: a signal handler that calls the pool on the thread that holds it.
        self._lock = threading.RLock()
        self._open: dict[Entry, Job] = {}
        self._running: dict[Job, float] = {}  # since when, the longest first; no overdue ones
        self._vetoed: set[str] = set()
        self._degraded = False

    def begin(self, name: str) -> Job | None:
        """
        Begin to ask *name*, or join the check that is open there; None when there is no such deployment.

        Where the last check still hangs, that is booked as one more failed check.
        """
        try:
            begun = self._ledger.check_begun(name, self._check.evidence)
        except KeyError:
            return None
        job = Job(begun)
        with self._lock:  # critical section
            known = self._open.get(job.entry)
            hangs = known is not None and known.overdue
            if known is None:
                self._open[job.entry] = job
        if known is None:
            self._send(job)
            return job
        if not hangs:
            return known
        # A success of live traffic since the check began to hang is newer than its failure.
        job.begun = (begun[0], begun[1], known.begun[2])
        outcome = checks.late(self._timeout)
        self.aside(self._book, job, outcome, "the last check still hangs", 0.0)
        return job

    def expire(self) -> None:
        """Fail the checks whose time is over, and let others take their workers' places."""
        now = time.monotonic()
        over = []
        with self._lock:  # critical section
            for job, since in list(self._running.items()):
                if now - since < self._timeout:
                    break
                del self._running[job]
                job.overdue = True
                over.append(job)
        for job in over:
            assert job.worker is not None
            self._workers.write_off(job.worker)
            outcome = checks.late(self._timeout)
            self.aside(self._book, job, outcome, outcome.reason, self._timeout)

    def patience(self) -> float:
        """Give the seconds until a check may be over its time; infinity when none is open."""
        with self._lock:  # critical section
            if not self._running:
                return self._timeout if self._open else math.inf
            since = next(iter(self._running.values()))
        return max(0.001, since + self._timeout - time.monotonic())

    def wait(self, jobs: Iterable[Job]) -> None:
        """Wait until all *jobs* are done; each is, by its deadline at the latest."""
        worker = self._workers.worker()
        if worker is not None:
            # A check or a listener waits for other checks: they may need its place.
            self._workers.write_off(worker)
        for job in jobs:
            while not job.done.wait(min(self.patience(), _NAP)):
                self.expire()

    def aside(self, act: Callable[..., None], *args: Any) -> Future[None] | None:
        """
        Do what may change a state, on a worker if there are listeners, for these may block.

        The metronome must not wait for one. Such work goes before the checks that are queued.
        """
        if self._announcer.listening:
            try:
                future = self._workers.submit_first(act, *args)
            except RuntimeError:
                pass  # without threads the listeners are told here, come what may
            else:
                future.add_done_callback(_read)
                return future
        act(*args)
        return None

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, where no worker lives."""
        self._lock = threading.RLock()
        self._workers.reset_after_fork()
        self._open.clear()
        self._running.clear()

    def _send(self, job: Job) -> None:
        try:
            future = self._workers.submit(self._run, job)
        except RuntimeError:
            self._give_up(job)
            return
        future.add_done_callback(functools.partial(self._ended, job))
        with self._lock:  # critical section
            news = self._degraded
            self._degraded = False
        if news:
            self._announcer.tell_of_checker("degraded", "running", None, self._now())

    def _run(self, job: Job) -> None:
        """Ask, on a worker."""
        try:
            # Anew, for it may have waited for its worker.
            begun = self._ledger.check_begun(job.entry.name, self._check.evidence)
        except KeyError:
            return
        worker = self._workers.worker()
        began = time.monotonic()
        with self._lock:  # critical section
            if begun[0] is not job.entry:
                return
            job.begun = begun
            job.worker = worker
            self._running[job] = began
        outcome, error, given = checks.run(self._check, job.entry.deployment, self._timeout)
        latency = time.monotonic() - began
        with self._lock:  # critical section
            if job.overdue:
                return
            self._running.pop(job, None)
            self._open.pop(job.entry, None)
        self._book(job, outcome, error, latency, given)

    def _ended(self, job: Job, future: Future[None]) -> None:
        """Let go of a job whose worker is done with it, or that no worker ever took."""
        with self._lock:  # critical section
            if self._open.get(job.entry) is job:
                del self._open[job.entry]
            self._running.pop(job, None)
            unheard = job.result is None and not job.overdue
        if future.cancelled():
            self._give_up(job)
            return
        _read(future)
        if unheard:
            job.done.set()

    def _give_up(self, job: Job) -> None:
        """Book nothing for a check that no thread can be had for, and tell of it once."""
        with self._lock:  # critical section
            self._open.pop(job.entry, None)
            news = not self._degraded
            self._degraded = True
        error = f"not checked: {_NO_THREAD}"
        job.result = HealthCheckResult(job.entry.name, False, 0.0, error, self._utc())
        job.done.set()
        if news:
            self._announcer.tell_of_checker("running", "degraded", _NO_THREAD, self._now())

    def _book(
        self,
        job: Job,
        outcome: Outcome,
        error: str | None,
        latency: float,
        given: HealthCheckResult | None = None,
    ) -> None:
        good = outcome.verdict is Verdict.OK
        result = given or HealthCheckResult(job.entry.name, good, latency, error, self._utc())
        try:
            counted = self._ledger.check_settled(job.begun, self._check.evidence, outcome, result)
            self._note_veto(job.entry.name, result, vetoed=not counted)
            self._announcer.tell_of_check(result)
        finally:
            job.result = result
            job.done.set()

    def _note_veto(self, name: str, result: HealthCheckResult, *, vetoed: bool) -> None:
        """Warn of checks that fail under working traffic: once, until one succeeds again."""
        with self._lock:  # critical section
            news = vetoed and name not in self._vetoed
            if news:
                self._vetoed.add(name)
            elif result.healthy:
                self._vetoed.discard(name)
        if news:
            fact = "fails its check while its calls succeed, and stays in"
            _log.warning("pool %s: %s %s: %s", self._name, name, fact, result.error)


def _read(future: Future[None]) -> None:
    """Say what went wrong on a worker, outside the check itself."""
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.error("the booking of a check raised %s", type(error).__name__)
