"""Waiting in turn: real threads, which meet on a clock turned by hand."""

from __future__ import annotations

import sys
import threading

import pytest
from stand import PATIENCE, Caller, HandClock, Stand, deployment, end

from llmpool.claims import Claim
from llmpool.health import Limits
from llmpool.ledger import HealthLedger


def queue_up(stand: Stand, *wishes: dict[str, object]) -> list[Caller]:
    """Let one thread for each wish wait, one after the other."""
    callers = []
    for number, wish in enumerate(wishes, 1):
        callers.append(Caller(stand.claim(**wish)))
        stand.clock.until_asleep(number)  # type: ignore[attr-defined]
    return callers


def test_first_come_first_served() -> None:
    """Each place that becomes free goes to the one who has waited longest, and wakes nobody else."""
    stand = Stand(deployment("eu", max_concurrent=1), clock=HandClock())
    held = stand.take()
    callers = queue_up(stand, *[{}] * 4)

    for number, caller in enumerate(callers):
        held.settle(end("ok"))
        assert caller.answer() == "eu"
        stand.clock.until_asleep(3 - number)
        held = caller.claim

    held.release()
    assert stand.in_flight() == {"eu": 0}


def test_a_newcomer_does_not_overtake() -> None:
    """A place that becomes free is given to a waiter before anybody else can see it."""
    stand = Stand(deployment("eu", max_concurrent=1), clock=HandClock())
    held = stand.take()
    (caller,) = queue_up(stand, {})

    held.settle(end("ok"))
    refusal = stand.refusal(max_wait=0.0)

    assert refusal.reasons == {"eu": "healthy: no free place of 1"}
    assert caller.answer() == "eu"
    caller.claim.release()


def test_the_longest_waiting_who_can_use_it() -> None:
    """A place is no use to the first in the queue: the second gets it, the first keeps its turn."""
    stand = Stand(
        deployment("eu", max_concurrent=1, tags=("eu",)),
        deployment("us", max_concurrent=1, tags=("us",)),
        clock=HandClock(),
    )
    eu, us = stand.take(tags=("eu",)), stand.take(tags=("us",))
    first, second, third = queue_up(stand, {"tags": ("eu",)}, {"tags": ("us",)}, {})

    us.settle(end("ok"))
    assert second.answer() == "us"
    stand.clock.until_asleep(2)
    eu.settle(end("ok"))
    assert first.answer() == "eu"
    second.claim.settle(end("ok"))
    assert third.answer() == "us"
    for caller in (first, third):
        caller.claim.release()


def test_a_newcomer_takes_what_no_waiter_can_use() -> None:
    """The queue holds up nobody who is not in its way."""
    stand = Stand(
        deployment("eu", max_concurrent=1, tags=("eu",)), deployment("us"), clock=HandClock()
    )
    held = stand.take(tags=("eu",))
    (caller,) = queue_up(stand, {"tags": ("eu",)})

    assert stand.where() == "us"
    held.release()
    assert caller.answer() == "eu"
    caller.claim.release()


def test_waiting_in_vain() -> None:
    """At max_wait, or at its deadline, a waiter is refused, and leaves the queue."""
    stand = Stand(deployment("eu", max_concurrent=1), clock=HandClock())
    held = stand.take()
    patient, hurried = queue_up(stand, {"max_wait": 3.0}, {"timeout": 2.0})

    stand.clock.advance(2.0)
    assert hurried.answer().why == "late"  # type: ignore[union-attr]
    stand.clock.until_asleep(1)
    stand.clock.advance(1.0)
    assert patient.answer().why == "nobody"  # type: ignore[union-attr]

    held.release()
    assert stand.where(max_wait=0.0) == "eu"


def test_a_pool_that_closes() -> None:
    """Those who wait are told at once."""
    stand = Stand(deployment("eu", max_concurrent=1), clock=HandClock())
    held = stand.take()
    callers = queue_up(stand, {}, {})

    stand.ledger.close()

    assert [caller.answer().why for caller in callers] == ["closed", "closed"]  # type: ignore[union-attr]
    assert stand.refusal().why == "closed"
    held.settle(end("ok"))


def test_a_waiter_who_gives_up() -> None:
    """What breaks off its wait takes it out of the queue."""
    clock = Breaking()
    stand = Stand(deployment("eu", max_concurrent=1), clock=clock)
    held = stand.take()
    claim = stand.claim()

    with pytest.raises(KeyboardInterrupt):
        claim.take()
    claim.release()

    held.release()
    assert stand.where(max_wait=0.0) == "eu"
    assert claim.entry is None


class Breaking(HandClock):
    """A clock on which every wait is broken off."""

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        raise KeyboardInterrupt


def test_served_between_asking_and_waiting() -> None:
    """A place that comes just before the wait begins is seen."""
    stand = Stand(deployment("eu", max_concurrent=1))
    held = stand.take()
    claim = stand.claim()
    original = HealthLedger._try

    def served(ledger: HealthLedger, *args: object) -> object:
        answer = original(ledger, *args)
        if args[0] is claim and answer is not None:
            held.settle(end("ok"))  # as another thread may, in just this gap
        return answer

    HealthLedger._try = served  # type: ignore[method-assign, assignment]
    try:
        assert claim.take() is None
    finally:
        HealthLedger._try = original  # type: ignore[method-assign]
    claim.release()


def test_one_goes_first_after_a_cool_down() -> None:
    """Of many who wait for its end one is let through; its success lets the others follow."""
    stand = Stand(deployment("eu"), clock=HandClock())
    stand.ask("eu", "429:2")
    callers = queue_up(stand, *[{}] * 8)

    stand.clock.advance(2.0)
    assert callers[0].answer() == "eu"
    stand.clock.until_asleep(7)
    assert stand.in_flight() == {"eu": 1}
    callers[0].claim.settle(end("ok"))

    for caller in callers[1:]:
        assert caller.answer() == "eu"
    assert stand.in_flight() == {"eu": 7}
    for caller in callers[1:]:
        caller.claim.release()


def test_recovery_before_a_crowd() -> None:
    """Fifty who wait are let through one, then two, then four at a time."""
    stand = Stand(deployment("eu"), clock=HandClock(), limits=Limits(failure_threshold=1))
    stand.ask("eu", "500")
    stand.clock.advance(5.0)
    held = stand.take()
    callers = queue_up(stand, *[{}] * 49)
    running, waiting = [held], [caller.claim for caller in callers]

    for room in (2, 4, 8, 16, 32, 32):
        running.pop(0).settle(end("ok"))
        while len(running) < room:
            assert callers[len(callers) - len(waiting)].answer() == "eu"
            running.append(waiting.pop(0))
        stand.clock.until_asleep(len(waiting))  # type: ignore[attr-defined]
        assert stand.in_flight() == {"eu": room}

    stand.ledger.close()
    for caller in callers:
        caller.answer()
        caller.claim.release()


def test_two_threads_race_for_the_trial() -> None:
    """Exactly one gets it, every time."""
    stand = Stand(deployment("eu"), limits=Limits(failure_threshold=1))
    barrier = threading.Barrier(2)
    won: list[Claim] = []

    def race() -> None:
        for _ in range(300):
            barrier.wait(PATIENCE)
            claim = stand.claim(max_wait=0.0)
            if claim.take() is None:
                won.append(claim)
            barrier.wait(PATIENCE)
            if barrier.wait(PATIENCE) == 0:
                assert len(won) == 1
                won.pop().release()
            barrier.wait(PATIENCE)

    stand.ask("eu", "500")
    stand.clock.advance(5.0)
    threads = [threading.Thread(target=race, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
        assert not thread.is_alive()
    assert not barrier.broken


def test_a_crowd_of_threads() -> None:
    """After all of them nothing is in flight, everything was counted, and no limit was broken."""
    limits = {"eu": 3, "us": 2}
    stand = Stand(*(deployment(name, max_concurrent=most) for name, most in limits.items()))
    lock = threading.Lock()
    inside = dict.fromkeys(limits, 0)
    broken: list[str] = []
    interval = sys.getswitchinterval()

    def call() -> None:
        for number in range(150):
            claim = stand.claim(timeout=1e9, max_wait=1e9)
            assert claim.take() is None
            name = claim.deployment.name
            with lock:
                inside[name] += 1
                if inside[name] > limits[name]:
                    broken.append(name)
            with lock:
                inside[name] -= 1
            if number % 7:
                claim.settle(end("ok"), 0.001)
            else:
                claim.release()

    threads = [threading.Thread(target=call, daemon=True) for _ in range(12)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60.0)
            assert not thread.is_alive()
    finally:
        sys.setswitchinterval(interval)

    assert not broken
    assert stand.in_flight() == {"eu": 0, "us": 0}
    counted = sum(status.total_requests for status in stand.ledger.status().values())
    assert counted == 12 * sum(1 for number in range(150) if number % 7)
