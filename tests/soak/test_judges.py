"""The soak finds what it is there to find: each fault of a pool, planted, is named in its verdict."""

from __future__ import annotations

import collections
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from account import Limits
from holdings import Holdings, growth
from soak import soak

from llmpool import CompletionResponse, CompletionStream, ProviderPool

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="reads what the process holds from /proc"
)

BRIEF = Limits(timeout=3.0, slack=1.0, settle=2.0, linger=0.1)
"""What a saboteur does is found at the end of a patience; legitimate calls may overstep these."""
EVERY = 5
"""So many calls go well before one is spoilt."""


class Saboteur:
    """A pool, but for the one thing that is wrong with it."""

    def __init__(self, pool: ProviderPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()  # guards the count
        self._count = 0
        self.kept: list[Any] = []
        self.released = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def complete(self, said: str, *, timeout: float) -> CompletionResponse | None:
        """Ask the pool; every now and then spoil what comes of it."""
        with self._lock:
            self._count += 1
            spoil = self._count % EVERY == 0
        answer = self._pool.complete(said, timeout=timeout)
        return self.spoil(said, answer) if spoil else answer

    def spoil(self, said: str, answer: CompletionResponse) -> CompletionResponse | None:
        """Do it."""
        raise NotImplementedError

    def clear_away(self) -> None:
        """Close what was leaked."""
        self.released.set()
        for one in self.kept:
            end = getattr(one, "join", None) or one.close
            end()


class Swapping(Saboteur):
    """Gives one caller the answer of another."""

    def __init__(self, pool: ProviderPool) -> None:
        super().__init__(pool)
        self._spare: collections.deque[str] = collections.deque(["echo: somebody else's"])

    def spoil(self, said: str, answer: CompletionResponse) -> CompletionResponse:
        """Exchange it for the last one."""
        self._spare.append(answer.text)
        return attrs.evolve(answer, text=self._spare.popleft())


class Losing(Saboteur):
    """Never comes back from a call."""

    def spoil(self, said: str, answer: CompletionResponse) -> CompletionResponse:
        """Wait until all is over."""
        self.released.wait(60.0)
        return answer


class Silent(Saboteur):
    """Comes back with neither answer nor error of ours."""

    def spoil(self, said: str, answer: CompletionResponse) -> None:
        """Give nothing."""


class LeakingSockets(Saboteur):
    """Leaves a descriptor open."""

    def spoil(self, said: str, answer: CompletionResponse) -> CompletionResponse:
        """Open one."""
        self.kept.append(socket.socket())
        return answer


class LeakingThreads(Saboteur):
    """Leaves a thread behind."""

    def spoil(self, said: str, answer: CompletionResponse) -> CompletionResponse:
        """Start one."""
        thread = threading.Thread(target=self.released.wait, args=(60.0,), name="leaked")
        self.kept.append(thread)
        thread.start()
        return answer


class KeepingPlaces(Saboteur):
    """Holds on to a place."""

    def spoil(self, said: str, answer: CompletionResponse) -> CompletionResponse:
        """Begin a stream that nobody reads."""
        stream: CompletionStream = self._pool.stream(said, timeout=3.0)
        self.kept.append(stream)
        return answer


class Miscounting(Saboteur):
    """Asks twice and tells of one."""

    def spoil(self, said: str, answer: CompletionResponse) -> CompletionResponse:
        """Ask again."""
        self._pool.complete(said, timeout=3.0)
        return answer


def test_growth() -> None:
    """What each call leaves behind is told from what chance adds."""
    first = Holdings(10.0, 60.0, 150_000, 50_000, (), 8)
    assert growth(first, attrs.evolve(first, in_use=11.0, resident=120.0, objects=52_000)) == []
    for leak in ({"in_use": 40.0}, {"resident": 300.0}, {"blocks": 180_000}, {"objects": 56_000}):
        assert growth(first, attrs.evolve(first, **leak)), leak


@pytest.fixture
def saboteurs() -> Iterator[list[Saboteur]]:
    """Clear away what the saboteurs of a test have leaked."""
    made: list[Saboteur] = []
    yield made
    for one in made:
        one.clear_away()


@pytest.mark.parametrize(
    ("saboteur", "said"),
    [
        (Swapping, "the wrong answer: "),
        (Losing, " calls did not end:"),
        (Silent, "no error of ours:"),
        (LeakingSockets, "descriptors left: "),
        (LeakingThreads, "threads left: "),
        (KeepingPlaces, "in flight while nobody calls: "),
        (Miscounting, " the pool counted "),
    ],
)
def test_a_planted_fault(
    saboteur: Callable[[ProviderPool], Saboteur],
    said: str,
    seed: int,
    caplog: pytest.LogCaptureFixture,
    saboteurs: list[Saboteur],
) -> None:
    """It is in the verdict."""
    caplog.set_level(logging.CRITICAL)
    print(f"\nsabotaged by {saboteur}, --soak-seed={seed}", flush=True)

    def sabotage(pool: ProviderPool) -> Saboteur:
        saboteurs.append(saboteur(pool))
        return saboteurs[-1]

    problems = soak(seed, 3.0, 1, limits=BRIEF, sabotage=sabotage)
    assert [problem for problem in problems if said in problem], problems
