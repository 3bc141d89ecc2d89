"""A checker's thread, and the handle that stops it."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING

from llmpool import _validators as valid
from llmpool._threads import daemon, join_all
from llmpool.bell import Bell

if TYPE_CHECKING:
    from llmpool.checker import HealthChecker
    from llmpool.pool import ProviderPool

_log = logging.getLogger("llmpool.checker")


class HealthCheckerHandle:
    """
    What stops a checker's thread.

    ``stopped`` is the one event on which the thread sleeps. As a context manager it stops and joins.
    """

    def __init__(self) -> None:
        # A Bell, for a signal handler may stop on the very thread that is about to.
        self.stopped: threading.Event = Bell()
        self._thread: threading.Thread | None = None

    def stop(self) -> None:
        """Tell the thread to end; from any thread, a check included, as often as you like."""
        self.stopped.set()

    def join(self, timeout: float | None = None) -> bool:
        """
        Wait for the thread's end at most *timeout* seconds; tell whether it has ended.

        From the checker's own thread, where a listener may run, it returns at once.
        """
        valid.as_seconds("timeout", timeout, zero=True, none=True)
        thread = self._thread
        return thread is None or not join_all([thread], timeout)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def __enter__(self) -> HealthCheckerHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.join(1.0)

    def __repr__(self) -> str:
        stopping = "stopping" if self.alive else "stopped"
        running = "running" if self.alive else "at rest"
        return f"<HealthCheckerHandle, {stopping if self.stopped.is_set() else running}>"

    def _renew(self) -> None:
        """Be the handle of a thread to come, in a forked child."""
        stopped = Bell()
        if self.stopped.is_set():
            stopped.set()
        self.stopped = stopped
        self._thread = None


def metronome(
    checker: HealthChecker, pool: ProviderPool, stopped: threading.Event
) -> threading.Thread:
    """Make a checker's thread, which wakes and ends when the checker or its pool is forgotten."""

    def wake(_: object) -> None:
        stopped.set()  # wherever a reference is dropped; a Bell may be rung anywhere

    refs = weakref.ref(checker, wake), weakref.ref(pool, wake)
    return daemon(f"llmpool-checker-{pool.name}", _run, *refs, stopped)


def _run(
    checker_ref: weakref.ref[HealthChecker],
    pool_ref: weakref.ref[ProviderPool],
    stopped: threading.Event,
) -> None:
    """Tick until stopped, or until nobody holds the checker or its pool any more."""
    try:
        _tick_on(checker_ref, pool_ref, stopped)
    except BaseException as error:  # noqa: BLE001 - the metronome's top
        # A pass that means to end the thread, or no memory left to go to sleep with.
        checker = checker_ref()
        if checker is not None:
            checker.died(error)


def _tick_on(
    checker_ref: weakref.ref[HealthChecker],
    pool_ref: weakref.ref[ProviderPool],
    stopped: threading.Event,
) -> None:
    nap = 0.0
    while not stopped.wait(nap if checker_ref() is not None else 0.0):
        checker = checker_ref()
        if checker is None or pool_ref() is None:
            return
        try:
            nap = checker.tick()
        except Exception:  # noqa: BLE001 - the metronome's top
            # Whatever is wrong with one pass, the next one comes.
            _log.exception("the pass of a checker failed")
            nap = 1.0
        del checker
    checker = checker_ref()
    if checker is not None:
        checker.rest()
