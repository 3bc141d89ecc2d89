"""The ledger under many threads."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

from crowd import PATIENCE, Inside, NoLock, caught, crowd, give_way
from stand import Stand, deployment, end

from llmpool.claims import Claim
from llmpool.clock import SystemClock
from llmpool.config import RetryPolicy
from llmpool.health import Limits
from llmpool.ledger import HealthLedger
from llmpool.strategies import LeastConnections
from llmpool.testing import ManualClock
from llmpool.wishes import Wish

LIMITS = {"eu": 3, "us": 2, "ap": 1}
CALLS = 12


class Dawdling(LeastConnections):
    """A strategy of ours that gives way between the choice and the claim."""

    def pick(self, candidates: Sequence[Any]) -> Any:
        """Choose, and dawdle."""
        chosen = super().pick(candidates)
        give_way()
        return chosen


class Unlocked(HealthLedger):
    """The broken twin: its sections are none."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lock = NoLock()  # type: ignore[assignment]
        self._held = lambda: False


def hammer(kind: type[HealthLedger]) -> list[str]:
    """Have 64 threads claim and settle on a ledger; give what is wrong with it then."""
    rng = random.Random(1)
    ledger = kind(
        [deployment(name, max_concurrent=most) for name, most in LIMITS.items()],
        strategy=Dawdling(rng),
        limits=Limits(),
        policy=RetryPolicy(),
        clock=SystemClock(),
        rng=rng,
        listener=lambda change: None,
    )
    inside = Inside(LIMITS)

    def call(number: int) -> None:
        for turn in range(CALLS):
            if inside.problems:
                return
            wish = Wish(None, frozenset(), ledger.now() + PATIENCE, PATIENCE, False, 1)
            claim = Claim(ledger, wish)
            assert claim.take() is None
            with inside(claim.deployment.name):
                pass
            if turn % 3:
                claim.settle(end("ok" if turn % 3 == 1 else "400"), 0.001)
            claim.release()

    problems = crowd(call) + inside.problems
    if problems:
        return problems
    status = ledger.status().values()
    settled = sum(1 for turn in range(CALLS) if turn % 3)
    wanted = 64 * settled
    if sum(each.total_requests for each in status) != wanted:
        problems.append(f"{[each.total_requests for each in status]}, not {wanted} in all")
    if any(each.requests_in_flight for each in status):
        problems.append("in flight at the end")
    return problems


def test_a_crowd_claims_and_settles() -> None:
    """No limit is passed, no place is lost, each end is counted once; without its lock it shows."""
    assert hammer(HealthLedger) == []
    assert caught(lambda: hammer(Unlocked))


class MeetingClock(ManualClock):
    """A clock at which two threads meet once they are to."""

    def __init__(self) -> None:
        super().__init__()
        self.meeting: threading.Barrier | None = None

    def now(self) -> float:
        """Give the time, both at once."""
        if self.meeting is not None:
            self.meeting.wait(PATIENCE)
        return super().now()


def test_two_threads_settle_one_claim() -> None:
    """Both have read the clock before either is in: one end counts, whichever it is."""
    clock = MeetingClock()
    stand = Stand(deployment("eu"), clock=clock)
    for turn in range(1, 51):
        claim = stand.take()
        clock.meeting = threading.Barrier(2)
        ends = [threading.Thread(target=claim.settle, args=(end(word),)) for word in ("ok", "400")]
        for thread in ends:
            thread.start()
        for thread in ends:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        clock.meeting = None
        status = stand.ledger.status()["eu"]
        assert (status.total_requests, status.requests_in_flight) == (turn, 0)


class Agreeing:
    """A user's strategy whose first two choices are made at once, and are the same."""

    def __init__(self) -> None:
        self._together = threading.Barrier(2)
        self.picks: list[list[str]] = []

    def pick(self, candidates: tuple[Any, ...]) -> Any:
        """Choose the first, together."""
        self.picks.append([each.name for each in candidates])
        if len(candidates) == 2:
            self._together.wait(PATIENCE)
        return candidates[0]


def test_two_callers_choose_the_last_place() -> None:
    """One gets it; the other is asked again, and of what is left."""
    strategy = Agreeing()
    fleet = [deployment(name, max_concurrent=1) for name in ("eu", "us")]
    stand = Stand(*fleet, strategy=strategy)
    claims = [stand.claim(), stand.claim()]
    threads = [threading.Thread(target=claim.take) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert strategy.picks == [["eu", "us"], ["eu", "us"], ["us"]]
    assert sorted(claim.deployment.name for claim in claims) == ["eu", "us"]
    for claim in claims:
        claim.release()
