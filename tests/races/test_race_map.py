"""``pool.map`` under many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from crowd import PATIENCE, Inside, caught, crowd, give_way

from llmpool import batch
from llmpool._threads import DaemonExecutor
from llmpool.bell import Bell

MAPS, WORKERS, REQUESTS = 8, 8, 40


class TwoSections(batch.Ends[Any]):
    """The broken twin of what the ends arrive in: it reads, and then writes."""

    def put(self, future: Future[Any]) -> None:
        """Add to what was read before, whatever has been written since."""
        known = self._ended.copy()
        give_way()
        known.append(future)
        self._ended = known
        self._bell.set()

    def take(self) -> Future[Any]:
        """Give the next; an end that never arrives is lost."""
        for _ in range(4):
            bell = self._bell = Bell()
            if not self._ended:
                bell.wait(0.25)
            known = self._ended.copy()
            if known:
                first = known.popleft()
                give_way()
                self._ended = known
                return first
        raise LookupError("an end was lost")


def run(one: Callable[[Any], Any], requests: list[Any], workers: int = WORKERS) -> list[Any]:
    """Map."""
    return batch.run_all(
        one, requests, name="race", max_workers=workers, progress=False, return_errors=False
    )


def hammer() -> list[str]:
    """Run eight maps of eight workers each; give what is wrong with what they give."""
    inside = Inside(dict.fromkeys(range(MAPS), WORKERS))

    def one(request: tuple[int, int]) -> str:
        with inside(request[0]):
            return f"answer to {request}"

    def map_all(number: int) -> None:
        requests = [(number, turn) for turn in range(REQUESTS)]
        assert run(one, requests) == [f"answer to {request}" for request in requests]
        assert inside.passed[number] == REQUESTS

    return crowd(map_all, threads=MAPS) + inside.problems


def test_a_crowd_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is done once, its answer at its place; where an end can get lost it shows."""
    assert hammer() == []
    monkeypatch.setattr(batch, "Ends", TwoSections)
    assert caught(hammer)


class Hasty(DaemonExecutor):
    """An executor that is done before it has been left."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Do it, whatever comes of it."""
        future = super().submit(fn, *args, **options)
        future.exception(PATIENCE)
        return future


def test_requests_that_end_before_they_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their answers get to their places all the same."""
    monkeypatch.setattr(batch, "DaemonExecutor", Hasty)
    assert run(str, list(range(9)), workers=3) == [str(number) for number in range(9)]


def test_requests_that_end_all_at_once() -> None:
    """No end is lost when every worker brings one in the same moment."""
    together = threading.Barrier(WORKERS)

    def one(request: int) -> int:
        together.wait(PATIENCE)
        return -request

    requests = list(range(5 * WORKERS))
    assert run(one, requests) == [-request for request in requests]
