"""When a deployment is asked, and what the answers make of it; the clock is turned by hand."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from checking import WALL, Hand, Hang, Questions, in_thread, pool_of, until

from llmpool import (
    Custom,
    Deployment,
    HealthCheckConfig,
    NoHealthyDeployment,
    Probe,
    ProviderPool,
)
from llmpool.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerFault,
)
from llmpool.schedule import Schedule
from llmpool.testing import ManualClock, ScriptedProvider

REFUSED = ConnectionFailed("refused", sent="no")


class Switch:
    """A provider whose pings and completions work or fail as it is set."""

    def __init__(self) -> None:
        self.pings: Exception | None = None
        self.completions: Exception | None = None

    def complete(self, request: Any, timeout: float) -> str:
        if self.completions is not None:
            raise self.completions
        return "fine"

    def ping(self, timeout: float) -> None:
        if self.pings is not None:
            raise self.pings


# -- the turns ----------------------------------------------------------------------------------


def test_turns() -> None:
    """Everybody is asked at once, then at the interval, measured from the beginning of the pass."""
    hand = Hand(pool_of(*"ab"))
    assert hand.tick() == ["a", "b"]
    assert hand.tick() == []
    assert hand.tick(after=29.9) == []
    assert hand.nap == pytest.approx(0.1)
    assert hand.tick(after=0.1) == ["a", "b"]
    assert hand.tick(after=31.0) == ["a", "b"]
    assert hand.tick(after=29.0) == []


def test_the_naps_in_between() -> None:
    """They are no longer than the shorter interval, so that what is new is seen in time."""
    hand = Hand(pool_of("a", interval=60.0, unhealthy_interval=7.0))
    hand.tick()
    assert hand.nap == 7.0
    hand.tick(after=59.9999)
    assert hand.nap == 0.005


def test_jitter_spreads_the_turns() -> None:
    """Each interval is within its share of the whole, and no two are the same."""
    pool = ProviderPool(
        [Deployment(name, ScriptedProvider()) for name in "abcdefgh"],
        clock=ManualClock(),
        rng=random.Random(7),
        health_check=HealthCheckConfig(interval=100.0, jitter=0.2),
    )
    hand = Hand(pool)
    assert len(hand.tick()) == 8
    times = hand.over(121.0, step=0.5)
    assert len(times) >= 8
    assert 80.0 <= times[0] < times[7] <= 120.5
    assert len(set(times[:8])) > 4


def test_an_unhealthy_deployment() -> None:
    """It is asked at the shorter interval until it is back."""
    switch = Switch()
    hand = Hand(pool_of(switch))
    switch.pings = REFUSED
    assert hand.tick() == ["a"]
    assert hand.over(20.0) == [5.0, 10.0, 15.0, 20.0]


def test_one_taken_out_by_traffic() -> None:
    """It is asked soon, not only at its next turn."""
    switch = Switch()
    pool = pool_of(switch, "b", failure_threshold=1)
    hand = Hand(pool)
    hand.tick()
    hand.clock.advance(1.0)
    switch.pings = switch.completions = REFUSED
    while pool.health("a").healthy:
        assert pool.complete("hello").text == "fine"
    assert hand.tick() == []
    assert hand.over(4.0) == []
    assert hand.tick(after=1.0) == ["a"]


def test_traffic_that_just_succeeded() -> None:
    """Whoever has shown within the interval that he works is not asked, unless that is wanted."""
    for skip, asked in ((True, ["b"]), (False, ["a", "b"])):
        pool = pool_of(
            "a", Deployment("b", ScriptedProvider(), priority=1), skip_after_traffic=skip
        )
        hand = Hand(pool)
        hand.tick()
        hand.clock.advance(15.0)
        pool.complete("hello")
        assert hand.tick(after=15.0) == asked
        assert hand.tick(after=30.0) == ["a", "b"]


def test_traffic_that_just_succeeded_and_a_check_of_the_users_own() -> None:
    """It is never skipped."""
    pool = pool_of("a", check=Custom(Questions()))
    hand = Hand(pool)
    hand.tick()
    for _ in range(3):
        hand.clock.advance(15.0)
        pool.complete("hello")
        assert hand.tick(after=15.0) == ["a"]


def test_a_disabled_deployment() -> None:
    """It is asked once per period, and the periods double."""
    switch = Switch()
    hand = Hand(pool_of(switch))
    switch.pings = AuthenticationFailed("who?", status=401)
    assert hand.tick() == ["a"]
    assert hand.pool.health("a").state == "disabled"
    assert hand.over(500.0) == [60.0, 180.0, 420.0]
    switch.pings = None
    assert hand.over(480.0) == [400.0, 405.0, 435.0, 465.0]
    assert hand.pool.health("a").state == "healthy"


def test_a_disabled_deployment_that_is_being_tried_by_a_call() -> None:
    """It is asked once per period, by a call or by a check."""
    switch = Switch()
    hand = Hand(pool_of(switch))
    switch.pings = AuthenticationFailed("who?", status=401)
    assert hand.tick() == ["a"]
    hand.clock.advance(60.0)
    with hand.pool.lease():
        assert hand.tick() == []
        assert hand.over(59.0) == []
    assert hand.pool.health("a").state == "healthy"


def test_a_disabled_deployment_that_is_being_tried_by_a_check() -> None:
    """No call goes there meanwhile, nor in all of the period."""
    hang = Hang(answer=False)
    pool = pool_of("a", check=Custom(Questions(a=hang)))
    lease = pool.lease()
    with pytest.raises(AuthenticationFailed), lease:
        raise AuthenticationFailed("who?", status=401)
    pool._clock.advance(60.0)  # type: ignore[attr-defined]
    thread, _ = in_thread(pool.check_now)
    assert hang.entered.acquire(timeout=WALL)
    with pytest.raises(NoHealthyDeployment):
        pool.complete("hello")
    hang.open.set()
    thread.join(WALL)
    pool._clock.advance(59.0)  # type: ignore[attr-defined]
    with pytest.raises(NoHealthyDeployment):
        pool.complete("hello")
    pool._clock.advance(1.0)  # type: ignore[attr-defined]
    assert pool.complete("hello").deployment == "a"


def test_a_disabled_deployment_that_no_ping_enables() -> None:
    """Its try is left to a call, and no ping goes there."""
    switch = Switch()
    hand = Hand(pool_of(switch))
    hand.tick()
    lease = hand.pool.lease()
    with pytest.raises(QuotaExhausted), lease:
        raise QuotaExhausted("no money", status=429)
    assert hand.over(200.0) == []
    assert hand.pool.complete("hello").deployment == "a"


def test_a_deployment_that_is_added() -> None:
    """It is asked within a second or so, though all others have been."""
    hand = Hand(pool_of("a"))
    hand.tick()
    hand.pool.add(Deployment("b", ScriptedProvider()))
    assert hand.tick(after=1.0) == ["b"]
    assert hand.over(29.0) == [29.0]
    assert hand.tick(after=1.0) == ["b"]


def test_a_deployment_that_is_removed() -> None:
    """It is asked no more; another of its name is asked anew."""
    hand = Hand(pool_of(*"ab"))
    hand.tick()
    hand.pool.remove("a")
    assert hand.tick(after=30.0) == ["b"]
    hand.pool.add(Deployment("a", ScriptedProvider()))
    assert hand.tick(after=1.0) == ["a"]
    hand.pool.remove("a")
    hand.pool.add(Deployment("a", ScriptedProvider()))
    assert hand.tick(after=1.0) == ["a"]


def test_a_deployment_that_is_removed_at_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone in between, it is passed over."""
    pool = pool_of(*"ab")
    roster = pool.deployments
    pool.remove("a")
    monkeypatch.setattr(pool._ledger, "deployments", lambda: roster)
    assert Hand(pool).tick() == ["b"]


def test_five_hundred_deployments() -> None:
    """Each is asked once per interval, on at most as many threads as there are workers."""
    most = 0
    inside = 0
    lock = threading.Lock()

    def count(deployment: Deployment) -> bool:
        nonlocal most, inside
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1
        return True

    pool = pool_of(*(f"d{n}" for n in range(500)), check=Custom(count), jitter=0.1)
    hand = Hand(pool)
    assert len(hand.tick()) == 500
    times = hand.over(33.0)
    assert len(times) >= 500
    assert times[0] >= 27.0
    assert most <= 32


def test_a_clock_that_leaps() -> None:
    """After a long sleep of the machine everybody is asked once, and nobody is taken out."""
    hand = Hand(pool_of(*"ab"))
    hand.tick()
    assert hand.tick(after=36_000.0) == ["a", "b"]
    assert hand.tick() == []
    assert hand.pool.healthy_count() == 2


def test_a_check_that_lasts_longer_than_the_interval() -> None:
    """It is not asked again while it is under way, and nobody else's turn is missed."""
    hang = Hang()
    questions = Questions(a=hang)
    pool = pool_of(*"ab", check=Custom(questions), interval=1.0)
    hand = Hand(pool)
    thread, _ = in_thread(hand.tick)
    assert hang.entered.acquire(timeout=WALL)
    for _ in range(3):
        hand.clock.advance(1.0)
        pool._checker.tick()
        count = questions.asked.count("b")
        assert questions.wait_for(count + 1)
    hang.open.set()
    thread.join(WALL)
    assert questions.asked.count("a") == 1


# -- what the answers make of it ----------------------------------------------------------------


def test_the_first_check_decides_alone() -> None:
    """Before anything else is known, one failure is enough."""
    switch = Switch()
    switch.pings = REFUSED
    hand = Hand(pool_of(switch))
    assert hand.pool.health("a").state == "healthy"
    hand.tick()
    assert hand.pool.health("a").state == "unhealthy"


def test_the_first_check_after_traffic() -> None:
    """It is one of several: traffic has shown more."""
    switch = Switch()
    hand = Hand(pool_of(switch, skip_after_traffic=False))
    hand.pool.complete("hello")
    switch.pings = REFUSED
    for state in ("healthy", "healthy", "unhealthy"):
        hand.tick(after=30.0)
        assert hand.pool.health("a").state == state


def test_a_blocked_health_page_under_working_traffic(caplog: pytest.LogCaptureFixture) -> None:
    """It stays in, with a warning, said once until the page answers again."""

    class Blocked(Switch):
        def ping(self, timeout: float) -> None:
            pool.complete("hello")  # newer than the check that is under way
            super().ping(timeout)

    blocked = Blocked()
    pool = pool_of(blocked, skip_after_traffic=False)
    hand = Hand(pool)
    blocked.pings = REFUSED
    for _ in range(5):
        hand.tick(after=30.0)
    assert pool.health("a").state == "healthy"
    blocked.pings = None
    hand.tick(after=30.0)
    blocked.pings = REFUSED
    hand.tick(after=30.0)
    told = [record for record in caplog.records if record.name == "llmpool.checker"]
    assert [record.levelname for record in told] == ["WARNING"] * 2
    assert told[0].getMessage() == (
        "pool main: a fails its check while its calls succeed, and stays in: refused"
    )


def test_a_dead_server_without_any_traffic() -> None:
    """Checks take it out and bring it back."""
    switch = Switch()
    pool = pool_of(switch, fail_open=False)
    hand = Hand(pool)
    hand.tick()
    switch.pings = switch.completions = REFUSED
    hand.over(90.0)
    assert pool.health("a").state == "unhealthy"
    with pytest.raises(NoHealthyDeployment):
        pool.complete("hello")
    switch.pings = switch.completions = None
    hand.over(20.0)
    status = pool.health("a")
    assert status.healthy
    assert status.state == "recovering"
    assert status.total_requests == 0
    assert pool.complete("hello").text == "fine"


def test_pings_answer_while_completions_fail() -> None:
    """They clear nothing that they could not have found: the sentence is served in full."""
    switch = Switch()
    pool = pool_of(switch, fail_open=False, failure_threshold=3)
    hand = Hand(pool)
    hand.tick()
    switch.completions = ServerFault("oh no", status=500)
    for _ in range(3):
        with pytest.raises((ServerFault, NoHealthyDeployment)):
            pool.complete("hello", retry=False)
    assert pool.health("a").state == "unhealthy"
    ends_at = hand.clock.now() + pool.health("a").cooldown_remaining
    assert ends_at > hand.clock.now()
    while pool.health("a").state == "unhealthy":
        hand.tick(after=0.25)
        assert not pool.health("a").healthy
    assert hand.clock.now() >= ends_at


def test_probes_answer_again() -> None:
    """They clear what only a completion can find."""
    switch = Switch()
    pool = pool_of(switch, check=Probe())
    hand = Hand(pool)
    switch.completions = ServerFault("oh no", status=500)
    hand.tick()
    assert pool.health("a").state == "unhealthy"
    switch.completions = None
    hand.over(10.0)
    assert pool.health("a").healthy


def test_a_server_without_a_ping_page() -> None:
    """It is healthy, whatever the thresholds."""
    hand = Hand(pool_of(ScriptedProvider(ping_steps=[ProviderError("no page", status=404)])))
    hand.tick()
    assert hand.pool.health("a").healthy


def test_states_change_without_calls() -> None:
    """A cool-down that is over is told of by the checker's turn, for no call comes by."""
    events: list[tuple[str, str]] = []
    limited = ScriptedProvider(RateLimited("slow down", status=429, retry_after=2.0))
    pool = pool_of(limited, listeners=[lambda event: events.append((event.old, event.new))])
    hand = Hand(pool)
    with pytest.raises(RateLimited):
        pool.complete("hello", retry=False)
    assert events == [("healthy", "cooling")]
    hand.tick(after=1.9)
    hand.tick(after=0.2)
    until(lambda: events[1:] == [("cooling", "healthy")])


# -- the schedule by itself ---------------------------------------------------------------------


def test_an_earlier_turn_stands() -> None:
    """A later one does not push it back; a stale entry is passed over."""
    schedule = Schedule()
    assert schedule.next_at() is None
    schedule.put("a", 10.0)
    schedule.put("a", 5.0)
    schedule.put("a", 20.0)
    assert schedule.next_at() == 5.0
    assert schedule.take(5.0) == ["a"]
    assert schedule.next_at() is None
    schedule.put("a", 30.0)
    assert schedule.take(10.0) == []
    assert schedule.take(30.0) == ["a"]


def test_a_name_that_is_gone() -> None:
    """Its turn is dropped with it."""
    schedule = Schedule()
    one, other = (Deployment(name, ScriptedProvider()) for name in "ab")
    schedule.enroll([one, other], 1.0)
    schedule.enroll([other], 2.0)
    assert schedule.take(9.0) == ["b"]
    schedule.enroll([other], 9.0)
    assert schedule.next_at() is None
