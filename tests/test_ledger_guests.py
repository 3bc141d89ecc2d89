"""Guests, who come while their own thread holds the lock, and interrupts: at moments chosen by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from stand import Caller, Stand, deployment, end

from llmpool.claims import Claim
from llmpool.health import Evidence, Limits
from llmpool.strategies import BuiltIn


class Visited(BuiltIn):
    """Takes the first candidate, after a visit: a signal handler's, in the midst of the section."""

    visits: list[Callable[[], object]]

    def fresh(self, rng: Any) -> BuiltIn:
        self.visits = []
        return self

    def pick(self, candidates: Sequence[Any]) -> Any:
        if self.visits:
            self.visits.pop(0)()
        return candidates[0]


def interrupt() -> None:
    """Be Ctrl-C."""
    raise KeyboardInterrupt


def queued(stand: Stand, **wish: Any) -> Claim:
    """Put a claim into the queue, whose thread does not look at it for now."""
    claim = stand.claim(**wish)
    now = stand.clock.now()
    assert isinstance(stand.ledger._try(claim, now, now + 30.0), float)
    return claim


def test_a_guest_who_calls() -> None:
    """It gets what is free and is not kept waiting; what it does counts."""
    strategy = Visited()
    stand = Stand(deployment("eu"), deployment("us", max_concurrent=1), strategy=strategy)
    held = stand.take(avoid={"eu"})
    seen: list[Any] = []

    def visit() -> None:
        first, second = stand.claim(), stand.claim(avoid={"us"})
        seen.extend([first.take(), second.take()])
        first.settle(end("ok"), 0.5)
        second.settle(end("500"))
        second.settle(end("500"))
        seen.append(stand.claim(avoid={"eu"}).take())
        seen.append(stand.ledger.status()["eu"].total_errors)

    strategy.visits.append(visit)
    claim = stand.take()

    assert seen[:2] == [None, None]
    assert seen[2].reasons["us"] == "healthy: no free place of 1"
    assert seen[3] == 1
    assert stand.ledger.status()["eu"].total_requests == 2
    assert stand.ledger.status()["eu"].latency_p50_ms == pytest.approx(500, rel=0.05)
    assert stand.in_flight() == {"eu": 1, "us": 1}
    claim.release()
    held.release()


def test_a_guest_who_serves_those_who_wait() -> None:
    """Its host does not serve them once more."""
    strategy = Visited()
    stand = Stand(
        deployment("eu", max_concurrent=1), deployment("us", max_concurrent=1), strategy=strategy
    )
    held = [stand.take(), stand.take()]
    waiter = queued(stand)
    strategy.visits.append(lambda: held[1].settle(end("ok")))

    held[0].settle(end("ok"))

    assert waiter.deployment == "eu"
    assert stand.in_flight() == {"eu": 1, "us": 0}
    waiter.settle(end("ok"))


class VisitedQueue(dict[int, Claim]):
    """A queue that is visited before something leaves it."""

    def __init__(self, visit: Callable[[], object]) -> None:
        super().__init__()
        self._visits = [visit]

    def pop(self, *args: Any) -> Any:
        if self._visits:
            self._visits.pop()()
        return super().pop(*args)


def test_a_guest_who_serves_its_host() -> None:
    """The host takes what it was given, not a second place."""
    stand = Stand(deployment("eu", max_concurrent=1), limits=Limits(failure_threshold=1))
    held = stand.take()
    waiter = queued(stand)
    held.settle(end("500"))
    places = stand.ledger._places
    queue = VisitedQueue(lambda: stand.ledger.add(deployment("us")))
    queue.update(places.queue)
    places.queue = stand.ledger._queue = queue

    assert waiter.take() is None

    assert waiter.deployment == "us"
    assert stand.in_flight() == {"eu": 0, "us": 1}
    waiter.settle(end("ok"))


def test_an_interrupt_in_a_choice() -> None:
    """Nothing is taken, and the lock is free."""
    strategy = Visited()
    stand = Stand(deployment("eu"), strategy=strategy)
    claim = stand.claim()
    for _ in range(2):
        strategy.visits.append(interrupt)
        with pytest.raises(KeyboardInterrupt):
            claim.take()
        claim.release()

    caller = Caller(stand.claim())
    assert caller.answer() == "eu"
    caller.claim.release()
    assert stand.in_flight() == {"eu": 0}


def test_an_interrupt_while_handing_on() -> None:
    """The place is back, and the one who waits finds it himself."""
    strategy = Visited()
    stand = Stand(deployment("eu", max_concurrent=1), strategy=strategy)
    held = stand.take()
    waiter = queued(stand)
    strategy.visits.append(interrupt)

    with pytest.raises(KeyboardInterrupt):
        held.settle(end("ok"))

    assert stand.in_flight() == {"eu": 0}
    assert waiter.take() is None
    waiter.settle(end("ok"))


class Sticking:
    """A lock whose section an interrupt ends just before it lets go."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.sticks = 0
        self.acquire = self._lock.acquire
        self._is_owned: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]

    def release(self) -> None:
        """Let go, if it does not stick."""
        if self.sticks:
            self.sticks -= 1
            raise KeyboardInterrupt
        self._lock.release()

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("act", ["take", "settle", "status"])
def test_an_interrupt_between_a_section_and_its_lock(act: str) -> None:
    """The lock is let go, for all others wait for it."""
    stand = Stand(deployment("eu"))
    lock = Sticking()
    stand.ledger._lock = lock  # type: ignore[assignment]
    stand.ledger._held = lock._is_owned
    claim = stand.claim() if act == "take" else stand.take()
    lock.sticks = 1

    with pytest.raises(KeyboardInterrupt):
        {
            "take": claim.take,
            "settle": lambda: claim.settle(end("ok")),
            "status": stand.ledger.status,
        }[act]()
    claim.release()

    caller = Caller(stand.claim())
    assert caller.answer() == "eu"
    caller.claim.release()
    assert stand.in_flight() == {"eu": 0}


def test_a_drain_broken_off() -> None:
    """Whoever waits for the last call to end is told when counts are put right."""
    strategy = Visited()
    stand = Stand(deployment("eu"), deployment("us"), strategy=strategy)
    claim = stand.take(avoid={"us"})
    idle = stand.ledger.drain("eu")
    del stand.ledger._roster.entries["eu"].open[claim.token]  # as broken off in mid-settle
    strategy.visits.append(interrupt)

    with pytest.raises(KeyboardInterrupt):
        stand.take()

    assert idle.is_set()


# -- what else serves those who wait --------------------------------------------------------


def test_time_serves_those_who_wait() -> None:
    """A tick does, where no call comes by."""
    stand = Stand(deployment("eu"))
    stand.ask("eu", "429:5")
    waiter = queued(stand)
    stand.clock.advance(5.0)

    stand.ledger.tick()

    assert waiter.deployment == "eu"
    waiter.release()


def test_a_check_serves_those_who_wait() -> None:
    """A good probe makes more places for a deployment that is on its way back."""
    stand = Stand(deployment("eu"), limits=Limits(failure_threshold=1))
    stand.ask("eu", "500")
    stand.clock.advance(5.0)
    stand.ask("eu", "ok")
    held = [stand.take(), stand.take()]
    waiter = queued(stand)

    stand.check("eu", "ok", Evidence.COMPLETION)

    assert waiter.deployment == "eu"
    for claim in (waiter, *held):
        claim.settle(end("ok"))


def test_a_place_given_back_by_two_threads_at_once() -> None:
    """It is one place."""
    stand = Stand(deployment("eu"))
    claim, other = stand.take(), stand.take()

    stand.ledger.release(claim)
    stand.ledger.release(claim)

    assert stand.in_flight() == {"eu": 1}
    other.release()
