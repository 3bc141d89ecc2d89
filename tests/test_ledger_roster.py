"""Deployments that come and go, and a process that forks."""

from __future__ import annotations

import pytest
from stand import Caller, HandClock, Stand, deployment, end

from llmpool.health import Evidence, Limits
from llmpool.status import HealthCheckResult


def test_a_deployment_added() -> None:
    """It is asked from then on, and does not have to catch up on what the others have done."""
    stand = Stand(deployment("eu"))
    for _ in range(100):
        stand.where()

    stand.ledger.add(deployment("us"))

    assert stand.ledger.names() == ("eu", "us")
    asked = [stand.where() for _ in range(10)]
    assert 4 <= asked.count("us") <= 6


def test_a_name_that_is_taken() -> None:
    """It is refused, and nothing has changed."""
    stand = Stand(deployment("eu"))

    with pytest.raises(ValueError, match=r"deployments: wanted unique names, got 'eu' twice"):
        stand.ledger.add(deployment("eu"))
    assert stand.where() == "eu"


def test_one_added_for_those_who_wait() -> None:
    """They get it at once."""
    stand = Stand(deployment("eu", max_concurrent=1), clock=HandClock())
    held = stand.take()
    caller = Caller(stand.claim())
    stand.clock.until_asleep(1)  # type: ignore[attr-defined]

    stand.ledger.add(deployment("us"))

    assert caller.answer() == "us"
    caller.claim.release()
    held.release()


def test_draining() -> None:
    """Nothing more is sent there; its event is set once what was in flight has ended."""
    stand = Stand(deployment("eu"), deployment("us"))
    held = stand.take(avoid={"us"})

    idle = stand.ledger.drain("eu")
    assert not idle.is_set()
    assert {stand.where() for _ in range(9)} == {"us"}
    assert stand.state("eu") == "draining"
    held.settle(end("ok"))

    assert idle.is_set()
    assert stand.ledger.status()["eu"].total_requests == 1
    assert stand.ledger.drain("eu").is_set()


def test_draining_twice() -> None:
    """Both who drain are told."""
    stand = Stand(deployment("eu"), deployment("us"))
    held = stand.take(avoid={"us"})
    events = [stand.ledger.drain("eu"), stand.ledger.drain("eu")]

    held.release()

    assert [event.is_set() for event in events] == [True, True]


def test_resuming() -> None:
    """It is asked again; those who wait get it at once."""
    stand = Stand(deployment("eu"), deployment("us", max_concurrent=1), clock=HandClock())
    stand.ledger.drain("eu")
    held = stand.take()
    caller = Caller(stand.claim())
    stand.clock.until_asleep(1)  # type: ignore[attr-defined]

    stand.ledger.resume("eu")

    assert caller.answer() == "eu"
    caller.claim.release()
    held.release()
    assert stand.told() == [("eu", "healthy", "draining"), ("eu", "draining", "healthy")]


def test_one_drained_with_a_forgotten_claim() -> None:
    """It counts as idle once the claim has been found."""
    stand = Stand(deployment("eu"))
    claim = stand.take(lasting=True)
    idle = stand.ledger.drain("eu")
    del claim

    stand.ledger.tick()

    assert idle.is_set()


def test_removing() -> None:
    """It is gone; what is still in flight there ends without effect."""
    stand = Stand(deployment("eu"), deployment("us"), limits=Limits(failure_threshold=1))
    claims = [stand.take(avoid={"us"}) for _ in range(4)]
    begun = stand.ledger.check_begun("eu")

    removed = stand.ledger.remove("eu")
    assert removed == "eu"
    assert stand.ledger.names() == ("us",)
    for claim, word in zip(claims, ["ok", "500", "429:9"], strict=False):
        claim.settle(end(word))
    claims[3].release()
    assert stand.ledger.check_settled(
        begun, Evidence.PING, end("500"), HealthCheckResult("eu", False)
    )

    assert stand.told() == []
    assert stand.states() == "healthy"


def test_removed_and_added_again() -> None:
    """Under its old name it is a new one: nothing from before counts."""
    stand = Stand(deployment("eu"), deployment("us"), limits=Limits(failure_threshold=1))
    claims = [stand.take(avoid={"us"}) for _ in range(2)]
    begun = stand.ledger.check_begun("eu")
    stand.ask("eu", "500")
    stand.ledger.remove("eu")
    stand.ledger.add(deployment("eu"))
    assert stand.state("eu") == "healthy"

    claims[0].settle(end("500"))
    claims[1].settle(end("ok"))
    stand.ledger.check_settled(begun, Evidence.PING, end("500"), HealthCheckResult("eu", False))
    stand.ledger.take_back(claims)

    status = stand.ledger.status()["eu"]
    assert (status.state, status.total_requests, status.last_check) == ("healthy", 0, None)
    assert status.requests_in_flight == 0


@pytest.mark.parametrize("method", ["drain", "resume", "remove", "check_begun"])
def test_a_name_that_nobody_has(method: str) -> None:
    """It is a KeyError, and the lock is free."""
    stand = Stand(deployment("eu"))

    with pytest.raises(KeyError):
        getattr(stand.ledger, method)("odd")

    caller = Caller(stand.claim())
    assert caller.answer() == "eu"
    caller.claim.release()


def test_what_the_checker_asks_before_a_check() -> None:
    """The state, the end of a disabled period, if it may be asked, and if traffic succeeded lately."""
    stand = Stand(deployment("eu"), deployment("us"))
    stand.ask("eu", "ok")
    stand.ask("us", "401")

    due = stand.ledger.check_due
    assert due("eu", Evidence.PING, 999.0) == ("healthy", None, True, True)
    assert due("eu", Evidence.PING, 1000.0) == ("healthy", None, True, False)
    assert due("us", Evidence.PING, 0.0) == ("healthy", 1060.0, False, False)


def test_a_running_checker() -> None:
    """While it can be the trial, a sentence that is over waits for it."""
    stand = Stand(deployment("eu"))
    stand.ledger.checks_by(Evidence.PING, 15.0)
    stand.ask("eu", "refused", "refused", "refused")

    stand.clock.advance(5.0)
    assert stand.state("eu") == "unhealthy"
    stand.check("eu", "ok")
    assert stand.state("eu") == "recovering"


def test_a_forked_child() -> None:
    """It keeps what is known of health, and drops what the parent had in flight."""
    stand = Stand(deployment("eu"), deployment("us"))
    stand.ask("us", "500", "500", "500")
    held = stand.take(lasting=True)
    stand.ledger.drain("eu")

    stand.ledger.reset_after_fork()

    assert stand.states() == "draining unhealthy"
    assert stand.in_flight() == {"eu": 0, "us": 0}
    assert [it.total_requests for it in stand.ledger.status().values()] == [0, 0]
    held.settle(end("ok"))
    del held
    assert stand.ledger.status()["eu"].total_requests == 0
    stand.ledger.resume("eu")
    assert stand.where() == "eu"


def test_a_fork_under_the_lock() -> None:
    """The child does not wait for a thread that is not there."""
    stand = Stand(deployment("eu"))
    caller = Caller(stand.claim())
    assert caller.answer() == "eu"
    with stand.ledger._lock:
        other = stand.ledger._lock
        stand.ledger.reset_after_fork()
        assert stand.ledger._lock is not other
        second = Caller(stand.claim())
        assert second.answer() == "eu"
    second.claim.release()
    caller.claim.release()
