"""Rate limits: how long, from which header, shared by whom, waited for by whom."""

from __future__ import annotations

import threading
from email.utils import formatdate
from typing import Any

import attrs
import pytest
from scene import ANSWER, PATIENCE, PROMPT, Reader, Stage, deployment, hits, states, verdicts

from llmpool import NoHealthyDeployment, RateLimited
from llmpool.testing import Exchange, FailFirst, Overloaded, Sequence, Status
from llmpool.testing import RateLimited as Limit

WEDNESDAY = 1_800_000_000  # POSIX seconds, some day in 2027


def date(seconds: float) -> str:
    """Write an HTTP date so many seconds after that day's noon."""
    return formatdate(WEDNESDAY + seconds, usegmt=True)


def cooldown(stage: Stage, *headers: tuple[str, str], body: Any = None) -> float:
    """Give the seconds for which one 429 with these headers cools a deployment."""
    pool = stage.timed(stage.server("eu", Status(429, body, headers)), stage.server("us"))
    answer = pool.complete(PROMPT)
    assert verdicts(answer) == [("eu", "rate_limited"), ("us", "ok")]
    assert states(pool) == {"eu": "cooling", "us": "healthy"}
    return pool.health("eu").cooldown_remaining


def test_limit_without_a_word_on_when(stage: Stage) -> None:
    """It cools for a second, then for two, and so on to a minute; another serves meanwhile."""
    eu, us = stage.server("eu", Limit()), stage.server("us")
    pool = stage.timed(eu, us)
    for times, seconds in enumerate((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0), 1):
        assert verdicts(pool.complete(PROMPT)) == [("eu", "rate_limited"), ("us", "ok")]
        status = pool.health("eu")
        assert (status.state, status.cooldown_remaining) == ("cooling", seconds)
        assert verdicts(pool.complete(PROMPT)) == [("us", "ok")]
        assert hits(eu) == [times]
        stage.clock.advance(seconds)
    assert pool.health("eu").consecutive_failures == 0


def test_limit_that_has_passed(stage: Stage) -> None:
    """A completion that began after it starts the count anew."""
    eu = stage.server("eu", Limit())
    pool = stage.timed(eu, stage.server("us"))
    for seconds in (1.0, 2.0):
        pool.complete(PROMPT)
        stage.clock.advance(seconds)
    eu.restore()
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
    eu.behave(Limit())
    pool.complete(PROMPT)
    assert pool.health("eu").cooldown_remaining == 1.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("Retry-After", "5")], 5.0),
        ([("Retry-After", "0.5")], 0.5),
        ([("Retry-After", " 7 ")], 7.0),
        ([("retry-after-ms", "250")], 0.25),
        ([("x-ms-retry-after-ms", "1500")], 1.5),
        ([("retry-after-ms", "250"), ("Retry-After", "9")], 0.25),
        ([("retry-after-ms", "soon"), ("Retry-After", "9")], 9.0),
        ([("Retry-After", "0.001")], 0.1),
        ([("Retry-After", "86400")], 3600.0),
        ([("Retry-After", "1e2")], 100.0),
    ],
)
def test_limit_that_says_when(stage: Stage, headers: list[tuple[str, str]], seconds: float) -> None:
    """The server's own delay counts, from a tenth of a second to an hour."""
    assert cooldown(stage, *headers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "said",
    [
        "0",
        "-5",
        "-0.5",
        "",
        "soon",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1_000",
        "٥",
        "５",
        "0x10",
        "5 seconds",
        "5,",
        "1;2",
        "Wed, 99 Foo 2027 99:99:99 GMT",
        "9" * 400,
    ],
)
def test_limit_that_says_nonsense(stage: Stage, said: str) -> None:
    """It is as if nothing had been said."""
    raw = (("Retry-After", said.encode().decode("latin-1")),)

    def answer(exchange: Exchange) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in raw)
        head = f"HTTP/1.1 429 Slow down\r\n{lines}Content-Length: 0\r\n\r\n"
        exchange.send_bytes(head.encode("latin-1"))

    eu, us = stage.server("eu", answer), stage.server("us")
    pool = stage.timed(eu, us)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "rate_limited"), ("us", "ok")]
    assert pool.health("eu").cooldown_remaining == 1.0


def test_limit_that_says_two_things(stage: Stage) -> None:
    """Two header lines are no number."""
    assert cooldown(stage, ("Retry-After", "5"), ("Retry-After", "7")) == 1.0


@pytest.mark.parametrize(
    ("until", "now", "seconds"),
    [
        (date(30), date(0), 30.0),
        (date(30), date(3600 * 24), 1.0),  # past: as if absent
        (date(0), date(0), 1.0),
        (date(3600 * 24 * 365 * 70), date(0), 3600.0),
        ("Wednesday, 08-Nov-28 08:49:37 GMT", "Wed, 08 Nov 2028 08:49:30 GMT", 7.0),
        ("Wed Nov  8 08:49:37 2028", "Wed, 08 Nov 2028 08:49:30 GMT", 7.0),
    ],
)
def test_limit_until_a_date(stage: Stage, until: str, now: str, seconds: float) -> None:
    """It is taken relative to the answer's own date, so a wrong clock here changes nothing."""
    assert cooldown(stage, ("Retry-After", until), ("Date", now)) == pytest.approx(seconds)


def test_limit_that_lasts_longer_than_is_believed(stage: Stage) -> None:
    """The deployment is tried again after an hour; the caller is told what the server said."""
    pool = stage.timed(stage.server("eu", Limit(86_400)))
    with pytest.raises(RateLimited) as caught:
        pool.complete(PROMPT)
    assert caught.value.retry_after == 86_400.0
    assert caught.value.attempts[0].retry_after == 86_400.0
    assert pool.health("eu").cooldown_remaining == 3600.0


def test_shorter_limit_after_a_longer_one(stage: Stage) -> None:
    """Two calls that were under way together are refused: the longer delay holds."""
    longer, shorter = threading.Event(), threading.Event()

    @attrs.define
    class OutOfOrder:
        def __call__(self, exchange: Exchange) -> None:
            if exchange.request.prompt == "shorter":
                assert shorter.wait(PATIENCE)
                Limit(2)(exchange)
            else:
                assert longer.wait(PATIENCE)
                Limit(40)(exchange)

    eu = stage.server("eu", OutOfOrder())
    pool = stage.timed(eu, stage.server("us"))
    calls = [Reader(lambda p=prompt: pool.complete(p)) for prompt in ("longer", "shorter")]
    assert eu.wait_for(2)
    longer.set()
    assert calls[0].result().deployment == "us"
    assert pool.health("eu").cooldown_remaining == 40.0
    shorter.set()
    assert calls[1].result().deployment == "us"
    assert pool.health("eu").cooldown_remaining == 40.0


def test_limit_that_is_shared(stage: Stage) -> None:
    """Deployments of one quota cool together, after one request."""
    eu, us, sa = (stage.server(name) for name in ("eu", "us", "sa"))
    eu.behave(Limit(20))
    pool = stage.timed(
        deployment(eu, quota_group="one key"), deployment(us, quota_group="one key"), sa
    )
    assert verdicts(pool.complete(PROMPT)) == [("eu", "rate_limited"), ("sa", "ok")]
    assert states(pool) == {"eu": "cooling", "us": "cooling", "sa": "healthy"}
    assert pool.health("us").cooldown_remaining == 20.0
    assert "one key" in (pool.health("us").reason or "")
    assert hits(eu, us, sa) == [1, 0, 1]


# -- when everybody is at their limit ---------------------------------------------------------


def test_limit_everywhere_that_ends_in_time(stage: Stage) -> None:
    """The call waits for the earliest, which is asked next, and no longer than that."""
    eu = stage.server("eu", FailFirst(1, Limit(2)))
    us = stage.server("us", FailFirst(1, Limit(9)))
    pool = stage.timed(eu, us)
    began = stage.clock.now()
    answer = pool.complete(PROMPT, timeout=10.0)
    assert verdicts(answer) == [("eu", "rate_limited"), ("us", "rate_limited"), ("eu", "ok")]
    assert stage.clock.now() - began == pytest.approx(2.0)
    assert hits(eu, us) == [2, 1]


def test_crowd_after_a_limit(stage: Stage) -> None:
    """For the first second after it one call at a time goes, so that the crowd does not return at once."""
    eu = stage.server("eu", FailFirst(1, Limit(2)))
    pool = stage.timed(eu)
    with pytest.raises(RateLimited):
        pool.complete(PROMPT, retry=False)
    gate = threading.Event()

    def held(exchange: Exchange) -> None:
        assert gate.wait(PATIENCE)
        exchange.send(exchange.answer())

    eu.behave(held)
    eu.forget()
    stage.clock.advance(2.0)
    first = Reader(lambda: pool.complete(PROMPT))
    assert eu.wait_for(1)
    told = pool.explain()["eu"]
    assert (told.eligible, told.why) == (False, "healthy: no free place of 1")
    gate.set()
    assert first.result().text == ANSWER
    assert pool.explain()["eu"].eligible


def test_limit_everywhere_that_ends_too_late(stage: Stage) -> None:
    """The call ends at once and says how long it would be; the next one asks nobody."""
    eu, us = stage.server("eu", Limit(60)), stage.server("us", Limit(90))
    pool = stage.timed(eu, us)
    began = stage.clock.now()
    with pytest.raises(RateLimited) as caught:
        pool.complete(PROMPT, timeout=10.0)
    assert caught.value.retry_after == 60.0
    assert verdicts(caught.value) == [("eu", "rate_limited"), ("us", "rate_limited")]
    with pytest.raises(NoHealthyDeployment) as nobody:
        pool.complete(PROMPT, timeout=10.0)
    assert nobody.value.retry_after == pytest.approx(60.0)
    assert set(nobody.value.reasons) == {"eu", "us"}
    assert stage.clock.now() == began
    assert hits(eu, us) == [1, 1]


def test_limit_is_never_passed_by(stage: Stage) -> None:
    """However long it is, no call goes to a deployment that is known to be at its limit."""
    eu = stage.server("eu", Limit(30))
    pool = stage.timed(eu)
    for _ in range(20):
        with pytest.raises((RateLimited, NoHealthyDeployment)):
            pool.complete(PROMPT, timeout=1.0)
    assert hits(eu) == [1]


# -- rushes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "seconds"),
    [
        (Overloaded(), 1.0),
        (Overloaded(status=529), 1.0),
        (Status(500, headers=[("Retry-After", "3")]), 3.0),
        (Status(502, headers=[("Retry-After", "3")]), 3.0),
        (Status(503, headers=[("Retry-After", "3")]), 3.0),
        (Overloaded(retry_after=3), 3.0),
    ],
    ids=repr,
)
def test_rush(stage: Stage, behaviour: Any, seconds: float) -> None:
    """A server with too much to do cools; it is not ill, and another answers."""
    eu, us = stage.server("eu", behaviour), stage.server("us")
    pool = stage.timed(eu, us)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "busy"), ("us", "ok")]
    status = pool.health("eu")
    assert (status.state, status.consecutive_failures) == ("cooling", 0)
    assert status.healthy
    assert status.cooldown_remaining == seconds


def test_rush_that_lasts(stage: Stage) -> None:
    """When nothing has succeeded for a minute it is a fault too, and the third such takes it out."""
    eu, us = stage.server("eu", Overloaded(retry_after=30)), stage.server("us")
    pool = stage.timed(eu, us)
    seen = []
    for _ in range(5):
        pool.complete(PROMPT)
        seen.append((states(pool)["eu"], pool.health("eu").consecutive_failures))
        stage.clock.advance(30.0)
    assert seen == [
        ("cooling", 0),
        ("cooling", 0),
        ("cooling", 1),
        ("cooling", 2),
        ("unhealthy", 3),
    ]


def test_rush_and_then_an_answer(stage: Stage) -> None:
    """A call that finds everybody busy for a moment waits and is answered."""
    eu = stage.server("eu", Sequence([Overloaded(retry_after=1), Overloaded(retry_after=2)]))
    pool = stage.timed(eu)
    began = stage.clock.now()
    assert verdicts(pool.complete(PROMPT)) == [("eu", "busy"), ("eu", "busy"), ("eu", "ok")]
    assert stage.clock.now() - began == pytest.approx(3.0)
