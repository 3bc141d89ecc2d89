"""Claims: who gets one, where, and what their ends do to everybody's health."""

from __future__ import annotations

import gc
import random

import pytest
from stand import Caller, HandClock, Stand, deployment, end

from llmpool.config import RetryPolicy
from llmpool.entries import UNKNOWN_MODEL
from llmpool.health import Evidence, Limits
from llmpool.status import HealthCheckResult
from llmpool.strategies import Candidate
from llmpool.wishes import ANY, Wish

ONE_FAULT = Limits(failure_threshold=1)


# -- places ---------------------------------------------------------------------------------


def test_a_claim_and_its_end() -> None:
    """A claim takes a place, its end gives it back and is counted."""
    stand = Stand(deployment("eu"))

    claim = stand.take(timeout=20.0)
    assert claim.timeout == 20.0
    assert stand.in_flight() == {"eu": 1}
    claim.settle(end("ok"), 0.25)

    status = stand.ledger.status()["eu"]
    assert (status.requests_in_flight, status.total_requests, status.total_errors) == (0, 1, 0)
    assert status.latency_p50_ms == pytest.approx(250, rel=0.05)


def test_a_claim_settled_twice() -> None:
    """Only the first end counts."""
    stand = Stand(deployment("eu"), deployment("us"))
    claims = [stand.take(), stand.take()]

    claims[0].settle(end("ok"))
    claims[0].settle(end("500"))
    claims[0].release()
    claims[1].release()
    claims[1].settle(end("500"))

    totals = [(it.total_requests, it.total_errors) for it in stand.ledger.status().values()]
    assert totals == [(1, 0), (0, 0)]


def test_a_claim_never_taken() -> None:
    """Its end, or giving it back, does nothing."""
    stand = Stand(deployment("eu"))
    claim = stand.claim(lasting=True)

    claim.settle(end("500"))
    claim.release()
    del claim

    assert stand.ledger.status()["eu"].total_requests == 0


def test_a_released_claim_blames_nobody() -> None:
    """The place comes back; nothing is counted."""
    stand = Stand(deployment("eu"), limits=ONE_FAULT)

    stand.take().release()

    assert stand.ledger.status()["eu"].total_requests == 0
    assert stand.in_flight() == {"eu": 0}


def test_a_forgotten_claim() -> None:
    """A claim in a ring of garbage gives its place back once collected, though nobody says so."""
    stand = Stand(deployment("eu", max_concurrent=1))
    claim = stand.take(lasting=True)
    ring = [claim]
    ring.append(ring)  # type: ignore[arg-type]
    del claim, ring

    gc.collect()

    assert stand.in_flight() == {"eu": 0}
    assert stand.where(max_wait=0.0) == "eu"


def test_a_forgotten_claim_and_one_who_waits() -> None:
    """A waiter finds the place by itself, though no call comes by."""
    stand = Stand(deployment("eu", max_concurrent=1), clock=HandClock())
    held = [stand.take(lasting=True)]
    caller = Caller(stand.claim())
    stand.clock.until_asleep(1)
    held.clear()
    gc.collect()
    stand.clock.advance(0.5)

    assert caller.answer() == "eu"
    caller.claim.release()


def test_many_calls_at_a_time() -> None:
    """max_concurrent bounds them, and a full one is passed over."""
    stand = Stand(deployment("eu", max_concurrent=2), deployment("us", max_concurrent=1))

    claims = [stand.take() for _ in range(3)]

    assert stand.in_flight() == {"eu": 2, "us": 1}
    assert stand.refusal(max_wait=0.0, fail_open=False).reasons == {
        "eu": "healthy: no free place of 2",
        "us": "healthy: no free place of 1",
    }
    for claim in claims:
        claim.release()


# -- who may serve whom ---------------------------------------------------------------------


def test_tiers() -> None:
    """The next tier is asked only when the one above has nobody to ask."""
    stand = Stand(
        deployment("spare", priority=1),
        deployment("eu", max_concurrent=1),
        deployment("last", priority=2),
        deployment("us"),
    )

    assert stand.all_asked() == {"eu", "us"}
    stand.ask("us", "500", "500", "500")
    assert {stand.where() for _ in range(9)} == {"eu"}
    held = stand.take()
    assert stand.where() == "spare"
    stand.ask("spare", "429:5")
    assert stand.where() == "last"
    held.release()
    assert stand.where() == "eu"


def test_tags() -> None:
    """Only those that carry all the tags are asked."""
    stand = Stand(
        deployment("eu", tags=("gdpr", "fast")),
        deployment("us", tags=("fast",)),
    )

    assert stand.where(tags=("gdpr", "fast")) == "eu"
    assert stand.all_asked(tags=("fast",)) == {"eu", "us"}
    refusal = stand.refusal(tags=("cheap",))
    assert set(refusal.reasons.values()) == {
        "does not carry the tags, or has another upstream model"
    }


def test_models() -> None:
    """With a model named, only those that know it are asked; an empty map knows every name."""
    stand = Stand(
        deployment("eu", models={"small": "gpt-4o-mini"}),
        deployment("us", models={"large": "gpt-4o"}),
        deployment("local"),
    )

    assert stand.all_asked(model="small") == {"eu", "local"}
    assert stand.all_asked(model="odd") == {"local"}
    assert stand.all_asked() == {"eu", "us", "local"}


def test_nobody_knows_the_model() -> None:
    """The refusal says so of each."""
    stand = Stand(deployment("eu", models={"small": "s"}), deployment("us", models={"large": "l"}))

    assert stand.refusal(model="odd").reasons == {"eu": UNKNOWN_MODEL, "us": UNKNOWN_MODEL}


def test_vectors_of_one_model() -> None:
    """A call bound to an upstream model goes only where that model is."""
    stand = Stand(
        deployment("eu", models={"m": "ada-2"}),
        deployment("us", models={"m": "ada-3"}),
        deployment("asia", model="ada-2"),
    )

    assert stand.all_asked(model="m", upstream="ada-2") == {"eu"}
    assert stand.all_asked(upstream="ada-2") == {"asia"}
    assert "us" in stand.refusal(upstream="ada-9").reasons


def test_a_model_that_a_deployment_does_not_have() -> None:
    """It is remembered for a minute, for that name alone; nobody's health is touched."""
    stand = Stand(deployment("eu"), deployment("us"))
    others = {"us"}
    claim = stand.take(model="odd", avoid=others, barred=others)
    claim.settle(end("unknown"))

    assert stand.state("eu") == "healthy"
    assert stand.all_asked(model="odd") == {"us"}
    assert stand.all_asked(model="even") == {"eu", "us"}
    stand.clock.advance(59.9)
    assert stand.all_asked(model="odd") == {"us"}
    stand.clock.advance(0.1)
    assert stand.all_asked(model="odd") == {"eu", "us"}


def test_an_unknown_model_among_other_alarms() -> None:
    """Other things that are due before the minute is over do not keep it from ending."""
    stand = Stand(deployment("eu"), deployment("us"))
    stand.ask("eu", "500")
    stand.clock.advance(1.0)
    claim = stand.take(model="odd", avoid={"us"}, barred={"us"})
    claim.settle(end("unknown"))

    stand.clock.advance(30.0)
    stand.ledger.tick()
    stand.clock.advance(30.0)

    assert stand.all_asked(model="odd") == {"eu", "us"}


def test_a_thousand_kinds_of_calls() -> None:
    """What is remembered of them is bounded."""
    stand = Stand(deployment("eu"))

    for number in range(1000):
        assert stand.where(model=f"m{number}") == "eu"

    assert len(stand.ledger._roster.groups) <= 256


# -- what an end does -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "counted", "error"),
    [
        ("ok", 1, 0),
        ("400", 1, 0),
        ("501", 1, 0),
        ("unknown", 1, 0),
        ("short", 1, 0),
        ("429:5", 1, 1),
        ("401", 1, 1),
        ("529:5", 1, 1),
        ("500", 1, 1),
        ("foreign", 0, 0),
    ],
)
def test_what_is_counted(word: str, counted: int, error: int) -> None:
    """Attempts are counted, the caller's own exceptions are not; errors are the deployment's alone."""
    stand = Stand(deployment("eu"), deployment("us"))

    stand.ask("eu", word)

    status = stand.ledger.status()["eu"]
    assert (status.total_requests, status.total_errors) == (counted, error)
    assert (status.last_error is not None) == bool(error)
    assert status.error_rate == (error if counted else 0.0)


def test_a_thousand_bad_requests() -> None:
    """They are the caller's own, and touch nobody."""
    stand = Stand(deployment("eu"), limits=ONE_FAULT)

    stand.ask("eu", *["400"] * 1000)

    assert stand.state("eu") == "healthy"
    assert stand.told() == []


def test_checks_are_not_requests() -> None:
    """They move health, and count nowhere."""
    stand = Stand(deployment("eu"), deployment("us"))

    assert stand.check("eu", "500")
    stand.check("us", "ok")

    assert stand.states() == "unhealthy healthy"
    assert stand.ledger.status()["eu"].total_requests == 0
    assert stand.ledger.status()["eu"].last_check is not None
    assert stand.ledger.status()["eu"].last_error == "broke"
    assert stand.ledger.status()["us"].last_error is None


@pytest.mark.parametrize(
    ("word", "state"), [("429:5", "cooling"), ("529:5", "cooling"), ("401", "disabled")]
)
def test_a_check_may_find_what_is_no_fault(word: str, state: str) -> None:
    """It goes through the same door as a call."""
    stand = Stand(deployment("eu"), deployment("us"), limits=ONE_FAULT)

    stand.check("eu", word)

    assert stand.state("eu") == state


def test_a_check_that_finds_a_long_rush() -> None:
    """Nothing but busy for a minute is a failed check."""
    stand = Stand(deployment("eu"), limits=ONE_FAULT)

    stand.check("eu", "529:1")
    stand.clock.advance(61.0)
    stand.check("eu", "529:1")

    assert stand.state("eu") == "unhealthy"


def test_a_long_rush() -> None:
    """Nothing but busy for a minute is a fault."""
    stand = Stand(deployment("eu"), deployment("us"), limits=ONE_FAULT)

    stand.ask("eu", "529:1")
    stand.clock.advance(61.0)
    stand.ask("eu", "529:1")

    assert stand.state("eu") == "unhealthy"


def test_time_outs_that_were_unfair() -> None:
    """Three without a success between are one fault."""
    stand = Stand(deployment("eu"), limits=ONE_FAULT)

    stand.ask("eu", "short", "short")
    assert stand.state("eu") == "healthy"
    stand.ask("eu", "short")
    assert stand.state("eu") == "unhealthy"


def test_a_blocked_health_page() -> None:
    """A newer success vetoes a failed check; the ledger says so, for a warning."""
    stand = Stand(deployment("eu"))
    begun = stand.ledger.check_begun("eu")
    stand.ask("eu", "ok")

    result = HealthCheckResult("eu", False)
    assert not stand.ledger.check_settled(begun, Evidence.PING, end("500"), result)
    assert stand.state("eu") == "healthy"


@pytest.mark.parametrize(
    ("evidence", "row"), [(Evidence.PING, 1), (Evidence.COMPLETION, 3)], ids=["ping", "probe"]
)
def test_a_rate_limit_that_a_check_meets(evidence: Evidence, row: int) -> None:
    """Within a cool-down a refused completion is one refusal more; a page that is refused is none."""
    stand = Stand(deployment("eu"))
    stand.ask("eu", "429:5")
    for _ in range(2):
        stand.clock.advance(1.0)
        assert stand.check("eu", "429", evidence)

    assert stand.state("eu") == "cooling"
    assert stand.ledger._roster.entries["eu"].health.cooldown.rate_row == row
    stand.clock.advance(1.0)
    stand.check("eu", "ok", evidence)
    assert stand.state("eu") == ("cooling" if evidence is Evidence.PING else "healthy")


def test_late_news() -> None:
    """What began before a deployment was taken out neither saves nor sinks it."""
    stand = Stand(deployment("eu"), deployment("us"))
    early = [stand.take(avoid={"us"}) for _ in range(3)]
    begun = stand.ledger.check_begun("eu")
    stand.ask("eu", "500", "500", "500")

    early[0].settle(end("ok"))
    assert stand.state("eu") == "unhealthy"
    stand.ledger.check_settled(begun, Evidence.COMPLETION, end("ok"), HealthCheckResult("eu", True))
    assert stand.state("eu") == "unhealthy"
    stand.clock.advance(5.0)
    assert stand.state("eu") == "recovering"
    early[1].settle(end("500"))
    assert stand.state("eu") == "recovering"
    early[2].settle(end("401"))
    assert stand.state("eu") == "recovering"
    assert stand.ledger.status()["eu"].total_requests == 6


def test_late_news_of_a_limit() -> None:
    """A cool-down is a fact about the server, whenever the call began."""
    stand = Stand(deployment("eu"), deployment("us"))
    early = [stand.take(avoid={"us"}) for _ in range(2)]
    stand.ask("eu", "500", "500", "500")

    early[0].settle(end("429:60"))
    stand.clock.advance(30.0)
    assert stand.state("eu") == "cooling"
    early[1].settle(end("529:90"))
    stand.clock.advance(60.0)
    assert stand.state("eu") == "cooling"


def test_events() -> None:
    """Each change of state is told once, with its reason, and only outside the lock."""
    free = []

    def listen(change: object) -> None:
        free.append(Caller(stand.claim(fail_open=True)))
        stand.changes.append(change)

    stand = Stand(deployment("eu"), deployment("us"), listener=listen)

    stand.ask("eu", "500", "500", "500", "500")
    stand.clock.advance(5.0)
    assert stand.state("eu") == "recovering"
    stand.ask("eu", *["ok"] * 32)

    change = stand.changes[0]
    assert (change.reason, change.at) == ("broke", 1000.0)
    assert stand.told() == [
        ("eu", "healthy", "unhealthy"),
        ("eu", "unhealthy", "recovering"),
        ("eu", "recovering", "healthy"),
    ]
    for caller in free:
        assert caller.answer() in ("eu", "us")
        caller.claim.release()


def test_a_wrong_key_is_told_once() -> None:
    """However often its minute's try fails."""
    stand = Stand(deployment("eu"), deployment("us"))

    for _ in range(9):
        stand.ask("eu", "401")
        stand.clock.advance(3600.0)

    assert stand.told() == [("eu", "healthy", "disabled")]


# -- rate limits ----------------------------------------------------------------------------


def test_a_quota_shared() -> None:
    """Deployments of one quota group cool together; others do not."""
    stand = Stand(
        deployment("a", quota_group="acme"),
        deployment("b", quota_group="acme"),
        deployment("c", quota_group="other"),
        deployment("d"),
    )

    stand.ask("a", "429:7")

    assert stand.states() == "cooling cooling healthy healthy"
    assert stand.ledger.explain()["b"].why == "cooling: shares the quota 'acme' with a"
    stand.clock.advance(7.0)
    assert stand.states() == "healthy healthy healthy healthy"


def test_a_quota_shared_and_no_header() -> None:
    """The doubling pause belongs to the group, not to each member."""
    stand = Stand(
        deployment("a", quota_group="acme"),
        deployment("b", quota_group="acme"),
        rng=Longest(),
    )
    for number, name in enumerate(["a", "b", "a", "b", "a"]):
        stand.ask(name, "429")
        assert stand.ledger.status()["a"].cooldown_remaining == 2.0**number
        stand.clock.advance(2.0**number)


class Longest(random.Random):
    """Draws the most each time."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_end_of_a_cool_down() -> None:
    """One call goes first; the others follow its success, or a second later."""
    stand = Stand(deployment("eu"))
    stand.ask("eu", "429:5")
    stand.clock.advance(5.0)

    first = stand.take()
    assert "no free place" in stand.refusal(max_wait=0.0).reasons["eu"]
    first.settle(end("ok"))
    claims = [stand.take() for _ in range(9)]

    assert stand.in_flight() == {"eu": 9}
    for claim in claims:
        claim.release()


def test_a_cool_down_within_reach() -> None:
    """A call waits for it, exactly as long as it lasts."""
    stand = Stand(deployment("eu"), deployment("us"))
    stand.ask("eu", "429:9")
    stand.ask("us", "429:2")

    assert stand.where(timeout=10.0) == "us"
    assert stand.clock.now() == pytest.approx(1002.0)


def test_a_cool_down_out_of_reach() -> None:
    """A call does not wait in vain: it is refused at once, and told when to come back."""
    stand = Stand(deployment("eu"), deployment("us"))
    stand.ask("eu", "429:60")
    stand.ask("us", "429:70")

    for limits in ({"timeout": 10.0}, {"max_wait": 59.0}):
        refusal = stand.refusal(**limits)
        assert stand.clock.now() == 1000.0
        assert refusal.retry_after == 60.0
        assert refusal.reasons["eu"] == "cooling: slow down, for 60.0 s"


# -- nothing is eligible --------------------------------------------------------------------


def test_the_unhealthy_ones() -> None:
    """They are tried one call at a time each, soonest to recover first, and nobody waits for one."""
    stand = Stand(*map(deployment, ["a", "b", "c"]), limits=ONE_FAULT)
    for name in ("b", "c", "a"):
        stand.ask(name, "500")
        stand.clock.advance(0.5)

    claims = [stand.take() for _ in range(3)]

    waits = {name: it.cooldown_remaining for name, it in stand.ledger.status().items()}
    names = [claim.deployment.name for claim in claims]
    assert names == sorted(names, key=waits.__getitem__)
    began = stand.clock.now()
    refusal = stand.refusal()
    assert stand.clock.now() == began
    assert refusal.why == "nobody"
    assert refusal.retry_after == min(waits.values())
    for claim in claims:
        claim.release()


def test_failing_closed() -> None:
    """With fail_open off the unhealthy ones are left alone."""
    stand = Stand(deployment("eu"), limits=ONE_FAULT)
    stand.ask("eu", "500")

    refusal = stand.refusal(fail_open=False)

    assert refusal.reasons["eu"].startswith("unhealthy: broke, for ")
    assert refusal.retry_after is not None
    assert 2.5 <= refusal.retry_after <= 5.0


def test_what_is_never_tried() -> None:
    """The disabled, the drained and the cooling are not asked even when nobody else is there."""
    stand = Stand(
        deployment("disabled"),
        deployment("drained"),
        deployment("cooling"),
        deployment("both"),
        deployment("idle", weight=0),
        limits=ONE_FAULT,
    )
    stand.ask("both", "500", "429:60")
    stand.ask("disabled", "quota")
    stand.ask("cooling", "429:60")
    stand.ledger.drain("drained")

    refusal = stand.refusal()

    assert refusal.reasons == {
        "disabled": "disabled: no money, for 60.0 s",
        "drained": "drained by the user",
        "cooling": "cooling: slow down, for 60.0 s",
        "both": "unhealthy: broke, for 60.0 s",
        "idle": "weight 0",
    }
    assert refusal.retry_after == 60.0


def test_a_success_with_the_last_resort() -> None:
    """It opens the way back at once."""
    stand = Stand(deployment("eu"), limits=ONE_FAULT)

    stand.ask("eu", "500", "ok")

    assert stand.state("eu") == "recovering"
    assert stand.ledger.status()["eu"].healthy


def test_the_trial() -> None:
    """After its sentence one call is let through, then two, then four."""
    stand = Stand(deployment("eu"), limits=ONE_FAULT)
    stand.ask("eu", "500")
    stand.clock.advance(5.0)

    for room in (1, 2, 4, 8):
        claims = [stand.take() for _ in range(room)]
        assert "no free trial" in stand.refusal(max_wait=0.0).reasons["eu"]
        claims[0].settle(end("ok"))
        for claim in claims[1:]:
            claim.release()


@pytest.mark.parametrize("word", ["ignored", "400", "short", "foreign"])
def test_a_trial_that_says_nothing(word: str) -> None:
    """It gives the trial back."""
    stand = Stand(deployment("eu"), limits=ONE_FAULT)
    stand.ask("eu", "500")
    stand.clock.advance(5.0)

    stand.take().settle(end(word))

    assert stand.where(max_wait=0.0) == "eu"
    assert stand.state("eu") == "recovering"


def test_a_trial_that_never_ends() -> None:
    """Its lease runs out, and the next may try."""
    stand = Stand(deployment("eu"), limits=ONE_FAULT)
    stand.ask("eu", "500")
    stand.clock.advance(5.0)
    lost = stand.take(timeout=20.0)

    stand.clock.advance(20.0)
    assert "no free trial" in stand.refusal(max_wait=0.0).reasons["eu"]
    stand.clock.advance(1.0)
    assert stand.where(max_wait=0.0) == "eu"
    lost.release()


def test_the_trial_under_every_strategy() -> None:
    """Whoever is on the way back is given its trial, whatever chooses."""
    for strategy in ("round_robin", "least_latency", "least_connections", "weighted", "random"):
        stand = Stand(deployment("eu"), deployment("us"), strategy=strategy, limits=ONE_FAULT)
        stand.ask("us", "ok")
        stand.ask("eu", "500")
        stand.clock.advance(40.0)
        asked = set()
        for _ in range(40):
            claim = stand.take()
            asked.add(claim.deployment.name)
            claim.settle(end("ok"), 0.1)
        assert asked == {"eu", "us"}, strategy


def test_the_one_try_of_a_period() -> None:
    """A disabled deployment is asked once each period, by one call."""
    stand = Stand(deployment("eu"), deployment("us", priority=1))
    stand.ask("eu", "quota")
    asked = []

    for _ in range(600):
        claim, other = stand.take(), stand.take()
        asked += [it for it in (claim, other) if it.deployment == "eu"]
        claim.settle(end("quota" if claim.deployment == "eu" else "ok"))
        other.settle(end("quota" if other.deployment == "eu" else "ok"))
        stand.clock.advance(1.0)

    assert [round(claim.started_at - 1000.0) for claim in asked] == [60, 180, 420]


def test_a_disabled_one_that_is_being_tried() -> None:
    """Others do not count on it: no healthy one is merely full."""
    stand = Stand(deployment("eu"))
    stand.ask("eu", "quota")
    stand.clock.advance(60.0)
    trial = stand.take()

    began = stand.clock.now()
    assert stand.refusal().why == "nobody"
    assert stand.clock.now() == began
    trial.release()


def test_no_time_left() -> None:
    """A deadline already past gets no claim."""
    stand = Stand(deployment("eu"))

    assert stand.refusal(timeout=0.0).why == "late"


def test_explaining() -> None:
    """Of each it is told whether it would be asked, why, and until when."""
    stand = Stand(
        deployment("well"),
        deployment("sick"),
        deployment("full", max_concurrent=1),
        deployment("idle", weight=0),
        limits=ONE_FAULT,
    )
    stand.ask("sick", "500")
    held = stand.take(avoid={"well", "sick"})

    told = stand.ledger.explain()

    assert [it.eligible for it in told.values()] == [True, False, False, False]
    assert [it.why for it in told.values()] == [
        "healthy",
        "unhealthy: broke",
        "healthy: no free place of 1",
        "weight 0",
    ]
    assert told["sick"].until is not None
    assert told["well"].until is None
    held.release()


# -- whose network it is --------------------------------------------------------------------


def test_our_own_network_is_down() -> None:
    """Names are found for nobody: no one is sentenced, however long it lasts."""
    stand = Stand(deployment("eu"), deployment("us"))

    for _ in range(20):
        stand.ask("eu", "dns")
        stand.ask("us", "dns")

    assert stand.states() == "healthy healthy"


def test_the_network_is_back_for_one() -> None:
    """From the first success on it is the other's own fault."""
    stand = Stand(deployment("eu"), deployment("us"))
    for _ in range(5):
        stand.ask("eu", "dns")
        stand.ask("us", "dns")

    stand.ask("eu", "ok")
    stand.ask("us", "dns", "dns", "dns")

    assert stand.states() == "healthy unhealthy"


@pytest.mark.parametrize("worked", ["call", "check", "late call"])
def test_the_network_has_worked_since(worked: str) -> None:
    """After anybody's success nobody's older failure speaks for a failure of our own network."""
    stand = Stand(deployment("eu"), deployment("us"), deployment("ap"))
    late = stand.take(avoid={"us", "ap"})
    stand.ask("eu", "dns", "dns", "dns")
    stand.ask("ap", "dns")
    if worked == "call":
        stand.ask("us", "ok")
    elif worked == "check":
        stand.check("us", "ok")
    else:
        late.settle(end("ok"))

    stand.ask("us", "dns")
    assert stand.states() == "unhealthy healthy healthy"
    stand.ask("ap", "dns")
    stand.check("eu", "dns")

    assert stand.states() == "unhealthy healthy healthy"
    late.release()


def test_a_sentence_before_it_was_known_whose_network_it_is() -> None:
    """It is lifted when the last deployment fails alike."""
    stand = Stand(deployment("eu"), deployment("us"))
    stand.ask("eu", "dns", "dns", "dns")
    assert stand.states() == "unhealthy healthy"

    stand.ask("us", "dns")

    assert stand.states() == "healthy healthy"
    assert stand.told() == [("eu", "healthy", "unhealthy"), ("eu", "unhealthy", "healthy")]


def test_checks_without_a_network() -> None:
    """They sentence nobody either."""
    stand = Stand(deployment("eu"), deployment("us"))

    for _ in range(5):
        stand.check("eu", "dns")
        stand.check("us", "dns")

    assert stand.states() == "healthy healthy"


def test_an_old_sentence_when_the_network_fails() -> None:
    """It stands: what a deployment did itself is not pardoned."""
    stand = Stand(deployment("eu"), deployment("us"))
    stand.ask("eu", "500", "500", "500", "dns")

    stand.ask("us", "dns", "dns", "dns")

    assert stand.states() == "unhealthy healthy"


def test_refused_everywhere() -> None:
    """A refused connection is never our network."""
    stand = Stand(deployment("eu"), deployment("us"))

    for name in ("eu", "us"):
        stand.ask(name, "refused", "refused", "refused")

    assert stand.states() == "unhealthy unhealthy"


def test_one_deployment_alone_without_a_network() -> None:
    """With nobody to compare, it is taken for its fault."""
    stand = Stand(deployment("eu"))

    stand.ask("eu", "dns", "dns", "dns")

    assert stand.states() == "unhealthy"


# -- taking back, load, budget --------------------------------------------------------------


def test_faults_taken_back() -> None:
    """They leave no trace, unless a sentence has followed."""
    stand = Stand(deployment("eu"), deployment("us"))
    claims = [stand.take(avoid={"us"}) for _ in range(4)]
    for claim in claims[:2]:
        claim.settle(end("500"))

    stand.ledger.take_back([*claims[:2], claims[3], stand.claim()])
    stand.ledger.take_back(claims[:2])

    status = stand.ledger.status()["eu"]
    assert status.consecutive_failures == 0
    stand.ask("eu", "500", "500")
    assert stand.state("eu") == "healthy"
    claims[2].settle(end("500"))
    stand.ledger.take_back([claims[2]])
    assert stand.state("eu") == "unhealthy"
    assert stand.ledger.status()["eu"].consecutive_failures == 3
    claims[3].release()


def test_a_deployment_that_fails_fast() -> None:
    """It does not look idle: before it is taken out it gets no more than its share."""
    policy = RetryPolicy()
    stand = Stand(*map(deployment, ["a", "b", "c"]), policy=policy, limits=Limits(10**6))
    for name in "abc":
        stand.ask(name, *["ok"] * 1000)
    ends: list[tuple[float, int, object]] = []
    asked = dict.fromkeys("abc", 0)

    for number in range(3000):
        now = stand.clock.now()
        for finished in [it for it in ends if it[0] <= now]:
            ends.remove(finished)
            claim = finished[2]
            claim.settle(end("500" if claim.deployment == "a" else "ok"))
        claim = stand.take()
        name = claim.deployment.name
        asked[name] += 1
        ends.append((now + (0.05 if name == "a" else 2.0), number, claim))
        stand.clock.advance(0.1)

    for _, _, claim in ends:
        claim.release()
    assert asked["a"] <= 1000


def test_the_budget_for_retries() -> None:
    """Three, or a fifth of the calls in flight, may be retries after faults at a time."""
    stand = Stand(deployment("eu"), deployment("us"))
    retries = [stand.take(budgeted=True, avoid={"gone"}) for _ in range(3)]
    assert stand.refusal(budgeted=True, avoid={"gone"}).why == "budget"

    calls = [stand.take() for _ in range(14)]
    retries.append(stand.take(budgeted=True, avoid={"gone"}))
    assert stand.refusal(budgeted=True, avoid={"gone"}).why == "budget"
    for claim in [*calls, *retries]:
        claim.settle(end("ok"))

    retries = [stand.take(budgeted=True, avoid={"gone"}) for _ in range(3)]
    retries[0].release()
    stand.take(budgeted=True, avoid={"gone"}).release()
    for claim in retries:
        claim.release()


def test_what_an_end_tells_the_call() -> None:
    """A claim knows whether its end took the deployment out: leaving that one adds no load."""
    stand = Stand(deployment("eu"), deployment("us"), limits=Limits(2))
    first, second = (stand.take(avoid={"us"}) for _ in range(2))

    first.settle(end("500"))
    second.settle(end("500"))

    assert (first.taken_out, second.taken_out) == (False, True)


def test_time_for_an_attempt() -> None:
    """While others remain, one attempt does not eat the call; a time-out of its own rules."""
    stand = Stand(deployment("eu"), deployment("us"), deployment("own", timeout=7.0, priority=1))

    def seconds(**wish: object) -> float:
        claim = stand.take(**wish)
        claim.release()
        return claim.timeout

    both = {"eu", "us"}
    assert seconds(avoid=both, barred=both) == 7.0
    assert seconds(avoid=both, barred=both, timeout=3.0) == 3.0
    assert seconds(timeout=600.0) == 200.0, "a third, with two more attempts to come"
    assert seconds(timeout=60.0) == 30.0, "unmeasured"
    assert seconds(timeout=20.0) == 10.0, "unmeasured, and half is left for another"
    assert seconds(timeout=60.0, attempts_left=1) == 60.0
    assert seconds(timeout=60.0, avoid={"us", "own"}, attempts_left=2) == 60.0, "nobody else"
    for name in ("eu", "us"):
        claim = stand.take(avoid={"eu", "us"} - {name})
        claim.settle(end("ok"), 4.0)
    assert seconds(timeout=60.0) == 20.0, "a third is more than three times its slowest"
    assert seconds(timeout=21.0) == pytest.approx(12.0, rel=0.1), "three times its slowest"
    assert seconds(timeout=9.0) == 9.0


# -- a user's own strategy ------------------------------------------------------------------


class Last:
    """Takes the last candidate, and remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[Candidate, ...]] = []

    def pick(self, candidates: tuple[Candidate, ...]) -> Candidate:
        self.seen.append(candidates)
        return candidates[-1]


def test_a_users_strategy() -> None:
    """It gets frozen views of the eligible ones of one tier, outside the lock."""
    strategy = Last()
    stand = Stand(
        deployment("eu", weight=2, region="fra", tags=("x",)),
        deployment("us"),
        deployment("spare", priority=1),
        strategy=strategy,
    )

    claims = [stand.take() for _ in range(2)]

    assert [claim.deployment.name for claim in claims] == ["us", "us"]
    assert strategy.seen[1] == (
        Candidate("eu", 2, 0, "fra", ("x",), 0, 0.0, None),
        Candidate("us", 1, 0, None, (), 1, 1.0, None),
    )
    assert stand.where(avoid={"us", "eu"}) == "spare"
    for claim in claims:
        claim.release()


class Slow:
    """Takes the first candidate, after something has happened."""

    def __init__(self) -> None:
        self.meanwhile: list[object] = []
        self.asked = 0

    def pick(self, candidates: tuple[Candidate, ...]) -> Candidate:
        self.asked += 1
        if self.meanwhile:
            self.meanwhile.pop(0)()  # type: ignore[operator]
        return candidates[0]


def test_a_choice_that_has_gone_meanwhile() -> None:
    """The strategy is asked again; one that always chooses too late is asked no more."""
    strategy = Slow()
    stand = Stand(deployment("eu"), deployment("us"), deployment("asia"), strategy=strategy)
    strategy.meanwhile = [lambda: stand.ledger.drain("eu"), lambda: stand.ledger.remove("us")]

    assert stand.where() == "asia"
    assert strategy.asked == 3
    strategy.meanwhile = [
        step
        for _ in range(9)
        for step in (lambda: (stand.ledger.resume("eu"), stand.ledger.drain("eu")),)
    ]
    stand.ledger.resume("eu")
    assert stand.where() == "asia"
    assert strategy.asked == 5


def test_a_strategy_that_never_is_in_time() -> None:
    """After eight choices that had gone, one of ours is made."""
    stand = Stand(deployment("eu"), deployment("us"), strategy=Fickle())
    stand.ledger._foreign.ledger = stand.ledger  # type: ignore[union-attr]

    assert stand.where() in ("eu", "us")


class Fickle:
    """Takes the first candidate, and drains it."""

    ledger: object = None
    last: str | None = None

    def pick(self, candidates: tuple[Candidate, ...]) -> Candidate:
        if self.last is not None:
            self.ledger.resume(self.last)  # type: ignore[attr-defined]
        self.last = candidates[0].name
        self.ledger.drain(self.last)  # type: ignore[attr-defined]
        return candidates[0]


def test_a_strategy_that_chooses_none_of_them() -> None:
    """It is told what was wanted of it."""

    class Wrong:
        def pick(self, candidates: tuple[Candidate, ...]) -> object:
            return "eu"

    stand = Stand(deployment("eu"), strategy=Wrong())

    with pytest.raises(TypeError, match=r"strategy: wanted one of the candidates .* got a str"):
        stand.take()
    assert stand.in_flight() == {"eu": 0}


def test_a_strategy_and_nobody_to_choose_from() -> None:
    """It is not asked; the call waits, or falls back on the unhealthy, as any other."""
    stand = Stand(deployment("eu"), strategy=Last(), limits=ONE_FAULT)
    stand.ask("eu", "500")

    assert stand.where() == "eu"
    assert stand.ledger._foreign.seen == [(Candidate("eu", 1, 0, None, (), 0, 0.0, None),)]  # type: ignore[union-attr]


def test_a_wish_says_what_it_wants() -> None:
    """Its key is what decides, health apart, who may serve it."""
    wish = Wish("m", frozenset({"x"}), 1.0, 1.0, True, 3)

    assert wish.key == ("m", frozenset({"x"}), ANY)
