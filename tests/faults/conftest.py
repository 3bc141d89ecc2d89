"""
What holds at the end of every test of a fault.

Nothing is in flight, no trial is held, nobody is in the queue, no thread and no socket is left, and
neither key nor prompt stands in the log, in what the pools show, in an error or in its pickle.
"""

from __future__ import annotations

import functools
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from leftovers import (
    carried_by,
    left_in,
    logged,
    open_sockets,
    shown_by,
    sockets_left,
    threads_left,
)
from scene import Stage

from llmpool import CompletionStream, ProviderPool

_CALLS = ("complete", "stream", "embed", "call", "map", "check_now")


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Give the test servers and pools."""
    with Stage() as stage:
        yield stage


@pytest.fixture(autouse=True, scope="module")
def begins_clean() -> None:
    """Collect what earlier tests left in cycles: their sockets are not to be counted here."""
    gc.collect()


@pytest.fixture(autouse=True)
def ends_clean(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hold every test to what this module promises."""
    caplog.set_level(logging.DEBUG)
    sockets = open_sockets()
    threads = set(threading.enumerate())
    pools: list[ProviderPool] = []
    problems: list[str] = []
    _watch(monkeypatch, pools, problems)
    yield
    try:
        for pool in pools:
            problems += left_in(pool)
            problems += shown_by(pool)
    finally:
        for pool in pools:
            pool.close()
    for phase in ("setup", "call", "teardown"):
        problems += logged(caplog.get_records(phase))  # type: ignore[arg-type]
    problems += threads_left(threads)
    problems += sockets_left(sockets)
    assert not problems, "\n".join(problems)


def _watch(monkeypatch: pytest.MonkeyPatch, pools: list[ProviderPool], problems: list[str]) -> None:
    """Note every pool made, and look into whatever a call on it raises."""
    make = ProviderPool.__init__

    @functools.wraps(make)
    def noted(self: ProviderPool, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        pools.append(self)

    monkeypatch.setattr(ProviderPool, "__init__", noted)
    for name in _CALLS:
        monkeypatch.setattr(ProviderPool, name, _inspected(getattr(ProviderPool, name), problems))
    read = CompletionStream.__next__
    monkeypatch.setattr(CompletionStream, "__next__", _inspected(read, problems))


def _inspected(call: Callable[..., Any], problems: list[str]) -> Callable[..., Any]:
    @functools.wraps(call)
    def inspected(*args: Any, **options: Any) -> Any:
        try:
            return call(*args, **options)
        except StopIteration:
            raise
        except BaseException as error:
            problems.extend(carried_by(error))
            raise

    return inspected
