"""Many requests at once, their answers in order."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from llmpool import errors
from llmpool._threads import DaemonExecutor

_T = TypeVar("_T")


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
    Call *one* for each request, side by side.

    Raises:
        MapInterrupted: Ctrl-C; it carries what is done. What still runs ends in the background.
        Exception: the first error in the order of the requests, unless *return_errors*.
    """
    given = list(requests)
    results: list[Any] = [None] * len(given)
    failed: dict[int, Exception] = {}
    executor = DaemonExecutor(max_workers, f"llmpool-map-{name}")
    bar = _bar(len(given)) if progress else None
    try:
        places = {executor.submit(one, request): at for at, request in enumerate(given)}
        for future in concurrent.futures.as_completed(places):
            at = places[future]
            error = future.exception()
            if error is None:
                results[at] = future.result()
            elif isinstance(error, Exception):
                results[at] = failed[at] = error
            else:
                raise error
            if bar is not None:
                bar.update(1)
            if failed and not return_errors:
                break
    except KeyboardInterrupt:
        done = sum(result is not None for result in results)
        raise errors.MapInterrupted(
            f"interrupted with {done} of {len(given)} done", results
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        if bar is not None:
            bar.close()
    if failed and not return_errors:
        raise failed[min(failed)]
    return results


def _bar(total: int) -> Any:
    """Give a progress bar where tqdm is importable; on a stream that is no terminal it shows nothing."""
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm(total=total, unit="call", disable=None)
