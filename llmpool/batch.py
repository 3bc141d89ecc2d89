"""Many requests at once, their answers in order."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from llmpool import errors
from llmpool._threads import DaemonExecutor
from llmpool.bell import Bell

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
) -> list[Any]:
    """
    Call *one* for each request, side by side, each in a copy of the caller's context.

    Where no thread can be started, the caller's own does the work.

    Raises:
        MapInterrupted: Ctrl-C; it carries what is done. What still runs ends in the background.
        Exception: the first error that comes, unless *return_errors*; what is queued is dropped.
    """
    given = list(requests)
    results: list[Any] = [None] * len(given)
    finished = 0
    ended: Ends[_T] = Ends()
    places: dict[Future[_T], int] = {}
    executor = DaemonExecutor(max_workers, f"llmpool-map-{name}")
    bar = _bar(len(given)) if progress else None
    try:
        for at, request in enumerate(given):
            future = _begin(executor, one, request)
            places[future] = at
            future.add_done_callback(ended.put)
        while finished < len(given):
            future = ended.take()
            error = future.exception()
            if error is not None and not (return_errors and isinstance(error, Exception)):
                raise error
            results[places[future]] = future.result() if error is None else error
            finished += 1
            if bar is not None:
                bar.update(1)
    except KeyboardInterrupt:
        raise errors.MapInterrupted(
            f"interrupted with {finished} of {len(given)} done", results
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        if bar is not None:
            bar.close()
    return results


def _begin(executor: DaemonExecutor, one: Callable[[Any], _T], request: Any) -> Future[_T]:
    context = contextvars.copy_context()
    try:
        return executor.submit(context.run, one, request)
    except RuntimeError:  # no thread: the limit is reached, or the interpreter ends
        future: Future[_T] = Future()
        try:
            future.set_result(context.run(one, request))
        except Exception as error:  # noqa: BLE001 - handed to whoever reads the future
            future.set_exception(error)
        return future


def _bar(total: int) -> Any:
    """Give a progress bar where tqdm is importable; on a stream that is no terminal it shows nothing."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(total=total, unit="call", disable=None)
