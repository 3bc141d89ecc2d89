"""Daemon threads that nothing has to wait for."""

from __future__ import annotations

import itertools
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")
_NAP = 0.5
"""Seconds of one join: on Windows before 3.14 a longer one ignores Ctrl-C."""


def daemon(name: str, target: Callable[..., None], *args: Any) -> threading.Thread:
    """Make a daemon thread, to be started by :func:`start`."""
    return threading.Thread(target=target, args=args, name=name, daemon=True)


def start(thread: threading.Thread) -> None:
    """
    Start *thread*.

    Raises:
        RuntimeError: no more threads can be started, or none that is started ever runs.
    """
    # Before 3.12 a start in a finaliser at the interpreter's end waits for ever: the new thread can
    # never run to say that it has begun.
    if sys.is_finalizing():
        raise RuntimeError("can't start new thread at interpreter shutdown")
    thread.start()
    if thread.ident is None:
        # A host that embeds Python and never runs threads: what waits for this one would wait for ever.
        raise RuntimeError("threads do not run here")


def join_all(threads: Iterable[threading.Thread], timeout: float | None) -> list[str]:
    """
    Join *threads*, all under one time-out; name those still alive.

    The current thread is never joined, and one that was never started counts as ended.
    """
    end = math.inf if timeout is None else time.monotonic() + timeout
    late = []
    for thread in threads:
        if thread.ident is None:
            continue
        while thread.is_alive() and thread is not threading.current_thread():
            left = end - time.monotonic()
            if left <= 0.0:
                break
            thread.join(min(left, _NAP))
        if thread.is_alive():
            late.append(thread.name)
    return late


class DaemonExecutor(ThreadPoolExecutor):
    """
    A ThreadPoolExecutor whose hung worker can hold up nothing.

    The stock one joins its workers at interpreter exit, even daemons and after ``shutdown(wait=False)``,
    and refuses work during it. Here workers are daemons that nobody joins, they end as soon as nothing is
    queued, and one that hangs can be written off, so that another takes its place.

    Threads: any method from any thread.
    """

    def __init__(self, max_workers: int, thread_name_prefix: str) -> None:
        super().__init__(max_workers, thread_name_prefix)
        self._most = max_workers
        self._prefix = thread_name_prefix
        self._numbers = itertools.count(1)
        # Guards the three fields below it. It re-enters for a signal handler that submits on the
        # thread that holds it.
        self._guard = threading.RLock()
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._counted: set[int] = set()  # workers that count towards the most
        self._at_work: dict[int, int] = {}  # thread identity: worker's number

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """
        Queue a call.

        Raises:
            RuntimeError: no thread can be started, and none is there to run it.
        """
        return self._enqueue(lambda: fn(*args, **kwargs), first=False)

    def submit_first(self, fn: Callable[..., _T], /, *args: Any) -> Future[_T]:
        """
        Queue a call before all others.

        Raises:
            RuntimeError: as :meth:`submit`.
        """
        return self._enqueue(lambda: fn(*args), first=True)

    def _enqueue(self, call: Callable[[], _T], *, first: bool) -> Future[_T]:
        future: Future[_T] = Future()
        with self._guard:  # critical section
            if first:
                self._jobs.appendleft((future, call))
            else:
                self._jobs.append((future, call))
            number = self._admit()
        if number is not None:
            error = self._hire(number)
            if error is not None and future.cancelled():
                raise error
        return future

    def worker(self) -> int | None:
        """Give the number of the worker that the current thread is, or None."""
        with self._guard:  # critical section
            return self._at_work.get(threading.get_ident())

    def write_off(self, worker: int) -> None:
        """
        Count a worker no longer, and let another take its place; it ends once its call does.

        When no thread can be started for what is queued, and no worker is left to run it, the queued
        futures are cancelled.
        """
        with self._guard:  # critical section
            self._counted.discard(worker)
            number = self._admit() if self._jobs else None
        if number is not None:
            self._hire(number)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Drop what is queued, if asked to; never wait, and go on taking work."""
        if cancel_futures:
            self._drop()

    def reset_after_fork(self) -> None:
        """Forget the workers, none of which lives in a forked child, and what they were to do."""
        self._guard = threading.RLock()
        self._jobs.clear()
        self._counted.clear()
        self._at_work.clear()

    def _admit(self) -> int | None:
        if len(self._counted) >= self._most:
            return None
        number = next(self._numbers)
        self._counted.add(number)
        return number

    def _hire(self, number: int) -> RuntimeError | None:
        """Start a worker, or give the reason why none can be; what nobody is left to run is cancelled."""
        try:
            start(daemon(f"{self._prefix}-{number}", self._work, number))
        except RuntimeError as error:
            with self._guard:  # critical section
                self._counted.discard(number)
                stranded = not self._counted
            if stranded:
                self._drop()
            return error
        return None

    def _drop(self) -> None:
        with self._guard:  # critical section
            dropped = list(self._jobs)
            self._jobs.clear()
        for future, _ in dropped:
            future.cancel()

    def _work(self, number: int) -> None:
        me = threading.get_ident()
        with self._guard:  # critical section
            self._at_work[me] = number
        while (job := self._next(number, me)) is not None:
            _perform(*job)
            # Kept until the next one comes, it would keep alive what it was about.
            del job

    def _next(self, number: int, me: int) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._guard:  # critical section
            if self._jobs and number in self._counted:
                return self._jobs.popleft()
            self._counted.discard(number)
            self._at_work.pop(me, None)
            return None


def _perform(future: Future[_T], call: Callable[[], _T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - handed to whoever reads the future
        future.set_exception(error)
    else:
        future.set_result(result)
