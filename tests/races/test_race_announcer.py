"""Telling of changes that many threads make."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from crowd import PATIENCE, NoLock, caught, crowd, give_way
from stand import Stand, deployment, end

from llmpool.announcer import Announcer
from llmpool.clock import SystemClock
from llmpool.config import RetryPolicy
from llmpool.health import Limits
from llmpool.ledger import HealthLedger
from llmpool.roster import Roster
from llmpool.status import Event
from llmpool.strategies import LeastConnections

NAMES = ("eu", "us", "ap", "sa")


class Slow(Roster):
    """A roster that gives way after each look at its news."""

    @property
    def news(self) -> list[Any]:  # type: ignore[override]
        """The changes to be told."""
        found: list[Any] = self.__dict__["news"]
        give_way()
        return found

    @news.setter
    def news(self, news: list[Any]) -> None:
        self.__dict__["news"] = news


def hammer(broken: bool) -> list[str]:
    """Have 64 threads drain and resume; give what is wrong with what is told."""
    told: list[Event] = []
    rng = random.Random(1)
    ledger = HealthLedger(
        map(deployment, NAMES),
        strategy=LeastConnections(rng),
        limits=Limits(),
        policy=RetryPolicy(),
        clock=SystemClock(),
        rng=rng,
        listener=Announcer("race", [told.append]),
    )
    ledger._roster.__class__ = Slow
    if broken:
        ledger._lock = NoLock()  # type: ignore[assignment]
        ledger._held = lambda: False

    def change(number: int) -> None:
        for turn in range(6):
            name = NAMES[(number + turn) % len(NAMES)]
            if turn % 2:
                ledger.drain(name)
            else:
                ledger.resume(name)

    problems = crowd(change)
    balance = Counter[tuple[str, str]]()
    for event in told:
        if event.old == event.new:
            problems.append(f"{event} is no change")
        balance[event.deployment, event.old] -= 1
        balance[event.deployment, event.new] += 1
    for name, status in ledger.status().items():
        # Each change leaves one state and enters another: what remains is the way from the first.
        way = {(name, "healthy"): -1, (name, status.state): 1}
        wanted = way if status.state != "healthy" else {}
        found = {key: count for key, count in balance.items() if key[0] == name and count}
        if found != wanted:
            problems.append(f"{found} were told, which do not lead to {status.state}")
    return problems


def test_a_crowd_changes_states() -> None:
    """Each change is told once; where news is read and taken in two sections it shows."""
    assert hammer(broken=False) == []
    assert caught(lambda: hammer(broken=True))


class Leaving:
    """A lock at whose door somebody else comes in as soon as one has left."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.acquire = lock.acquire
        self.next: list[Callable[[], object]] = []

    def release(self) -> None:
        """Let go, and let the next one in."""
        self._lock.release()
        while self.next:
            thread = threading.Thread(target=self.next.pop())
            thread.start()
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_a_change_as_another_leaves_without_one() -> None:
    """It is told by whom it is made, and not once more by the other."""
    stand = Stand(*map(deployment, NAMES))
    lock = Leaving(stand.ledger._lock)
    stand.ledger._lock = lock  # type: ignore[assignment]
    lock.next.append(lambda: stand.ledger.drain("eu"))
    stand.ledger.tick()
    assert stand.told() == [("eu", "healthy", "draining")]


def test_two_changes_at_once() -> None:
    """Both are told at once, each in the thread that made it: nobody holds the lock meanwhile."""
    together = threading.Barrier(2)
    told: dict[str, str] = {}

    def listen(event: Event) -> None:
        together.wait(PATIENCE)
        told[event.deployment] = f"{event.new} in {threading.current_thread().name}"

    fleet = [deployment(name) for name in ("eu", "us")]
    stand = Stand(*fleet, limits=Limits(failure_threshold=1), listener=Announcer("p", [listen]))
    threads = [
        threading.Thread(target=stand.ask, args=(name, "500"), name=f"caller-{name}")
        for name in ("eu", "us")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert told == {"eu": "unhealthy in caller-eu", "us": "unhealthy in caller-us"}
    assert stand.states() == "unhealthy unhealthy"
    assert end("500").reason == stand.ledger.status()["eu"].reason
