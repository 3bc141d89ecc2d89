"""Many requests at once, their answers in order."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from llmpool import errors
from llmpool._threads import DaemonExecutor
from llmpool.bell import Bell
from llmpool.results import BatchResults

_T = TypeVar("_T")
_NAP = 0.5
"""Seconds of one wait: on Windows before 3.14 a longer one ignores Ctrl-C."""


class Ends(Generic[_T]):
    """
    Futures in the order in which they end.

    A ``SimpleQueue`` forgets the time-out of its ``get`` when a signal handler outlasts it (before 3.13),
    and would not wake for Ctrl-C any more where only naps do.

    Threads: any may put; one takes.
    """

    def __init__(self) -> None:
        self._ended: deque[Future[_T]] = deque()
        self._bell = Bell()

    def put(self, future: Future[_T]) -> None:
        """Add one; a future calls this when it ends."""
        self._ended.append(future)
        self._bell.set()

    def take(self) -> Future[_T]:
        """Wait for the next one."""
        while not self._ended:
            bell = self._bell = Bell()
            # Who ended before the new bell hung there has rung the old one.
            if not self._ended:
                bell.wait(_NAP)
        return self._ended.popleft()


def run_all(
    one: Callable[[Any], _T],
    requests: Iterable[Any],
    *,
    name: str,
    max_workers: int,
    progress: bool,
    return_errors: bool,
) -> BatchResults:
    """
    Call *one* for each request, side by side, each in a copy of the caller's context.

    Where no thread can be started, the caller's own does the work.

    Raises:
        MapInterrupted: Ctrl-C; it carries what is done. What still runs ends in the background.
        Exception: the first error that comes, unless *return_errors*; what is queued is dropped.
    """
    given = list(requests)
    results: list[Any] = [None] * len(given)
    over = threading.Event()

    def ask(at: int) -> None:
        if over.is_set():
            return
        # Kept here: a Ctrl-C may fall between any two steps of the thread that waits.
        try:
            results[at] = one(given[at])
        except Exception as error:
            if not return_errors:
                over.set()
                raise
            results[at] = error

    executor = DaemonExecutor(max_workers, f"llmpool-map-{name}")
    try:
        try:
            _ask_all(ask, executor, _bar(len(given)) if progress else None, len(given))
        finally:
            over.set()
            executor.shutdown(wait=False, cancel_futures=True)
        return BatchResults(results)
    except KeyboardInterrupt:
        # A second one may have cut short what comes above; the first has to be told all the same.
        over.set()
        done = BatchResults(results)
        number = len(done) - len(done.missing)
        raise errors.MapInterrupted(
            f"interrupted with {number} of {len(done)} done", done
        ) from None


def _ask_all(ask: Callable[[int], None], executor: DaemonExecutor, bar: Any, number: int) -> None:
    ended: Ends[None] = Ends()
    try:
        for at in range(number):
            _begin(executor, ask, at).add_done_callback(ended.put)
        for _ in range(number):
            ended.take().result()
            if bar is not None:
                bar.update(1)
    finally:
        if bar is not None:
            bar.close()


def _begin(executor: DaemonExecutor, ask: Callable[[int], None], at: int) -> Future[None]:
    context = contextvars.copy_context()
    try:
        return executor.submit(context.run, ask, at)
    except RuntimeError:  # no thread: the limit is reached, or the interpreter ends
        future: Future[None] = Future()
        try:
            future.set_result(context.run(ask, at))
        except Exception as error:  # noqa: BLE001 - handed to whoever reads the future
            future.set_exception(error)
        return future


def _bar(total: int) -> Any:
    """Give a progress bar where tqdm is importable; on a stream that nobody watches it shows nothing."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    # A kernel's streams are no terminals, and shown all the same.
    return tqdm(total=total, unit="call", disable=False if _in_a_kernel() else None)


def _in_a_kernel() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
