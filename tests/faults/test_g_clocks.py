"""Clocks that leap: the wall's, and the monotonic one over a machine's sleep."""

from __future__ import annotations

import datetime
import itertools
import time
from collections.abc import Iterator

import pytest
from checking import Hand, Hang, Questions
from crowds import Turnstile
from scene import ANSWER, PATIENCE, PROMPT, Reader, Stage, states, verdicts

from llmpool import ConnectionFailed, Custom, Deployment, HealthCheckConfig
from llmpool.testing import CloseAfterReply, FailFirst, ManualClock, Reset, ScriptedProvider
from llmpool.testing import RateLimited as Limit

HOUR = 3600.0
NIGHT = 10 * HOUR
LEAPS = (HOUR, -HOUR, 0.0, -2 * HOUR)


class Leaping(ManualClock):
    """A clock whose wall time leaps at each look."""

    def __init__(self) -> None:
        super().__init__()
        self._leaps = itertools.cycle(LEAPS)

    def utc(self) -> datetime.datetime:
        """Give the time on that wall."""
        return super().utc() + datetime.timedelta(seconds=next(self._leaps))


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine's wall time leap at each look, in a time zone far from where it was."""
    real, leaps = time.time, itertools.cycle(LEAPS)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + next(leaps))
        patch.setenv("TZ", "XST-12")
        if hasattr(time, "tzset"):
            time.tzset()
        yield
    if hasattr(time, "tzset"):
        time.tzset()


@pytest.mark.usefixtures("wall")
def test_the_walls_time_leaps(stage: Stage) -> None:
    """Cool-downs, sentences, trials, checks and deadlines are as long as ever."""
    eu, us = stage.server("eu", Limit(retry_after=5)), stage.server("us")
    pool = stage.pool(eu, us, clock=Leaping())
    assert verdicts(pool.complete(PROMPT)) == [("eu", "rate_limited"), ("us", "ok")]
    assert pool.health("eu").cooldown_remaining == 5.0
    clock = pool._clock
    assert isinstance(clock, Leaping)
    clock.advance(4.9)
    assert verdicts(pool.complete(PROMPT)) == [("us", "ok")]
    clock.advance(0.2)
    eu.behave(Reset())
    for _ in range(3):
        assert verdicts(pool.complete(PROMPT)) == [("eu", "fault"), ("us", "ok")]
        clock.advance(1.0)
    eu.restore()
    assert states(pool) == {"eu": "unhealthy", "us": "healthy"}
    assert pool.health("eu").cooldown_remaining == 4.0
    clock.advance(4.0)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
    assert [result.healthy for result in pool.check_now()] == [True, True]
    assert pool.health("eu").latency_p99_ms < 1000 * PATIENCE
    with pool.stream(PROMPT, timeout=PATIENCE) as stream:
        assert "".join(chunk.text for chunk in stream) == ANSWER


@pytest.mark.usefixtures("wall")
def test_the_walls_time_leaps_under_a_running_checker(stage: Stage) -> None:
    """It goes on asking, at the pace of the monotonic clock."""
    questions = Questions()
    pool = stage.pool(
        Deployment("eu", ScriptedProvider("fine", repeat=True)),
        check=Custom(questions),
        health_check=HealthCheckConfig(0.05, timeout=PATIENCE, jitter=0.0),
    )
    with pool.start():
        assert questions.wait_for(5)
        assert pool.health_status().checker_alive
        assert pool.health("eu").healthy


def test_a_night_asleep(stage: Stage) -> None:
    """The connections are dead and the clock has leapt: calls and checks go well, nobody is blamed."""
    servers = [stage.server(name, CloseAfterReply("next request")) for name in ("eu", "us", "sa")]
    pool = stage.timed(*servers, strategy="round_robin")
    for _ in range(3):
        assert pool.complete(PROMPT).text == ANSWER
    for _ in range(3):
        stage.clock.advance(NIGHT)
        assert all(result.healthy for result in pool.check_now())
        assert {pool.complete(PROMPT).deployment for _ in range(3)} == {"eu", "us", "sa"}
    assert set(states(pool).values()) == {"healthy"}
    assert all(status.total_errors == 0 for status in pool.all_health().values())


def test_a_night_in_the_midst_of_calls(stage: Stage) -> None:
    """What was under way breaks off and is asked again elsewhere; one fault each takes nobody out."""
    held = Turnstile()
    eu, us = stage.server("eu", held), stage.server("us")
    pool = stage.timed(eu, us)
    callers = [Reader(lambda: pool.complete(PROMPT, timeout=2 * NIGHT)) for _ in range(2)]
    assert eu.wait_for(2, PATIENCE, route="chat")
    stage.clock.advance(NIGHT)
    eu.behave(Reset())  # as the network finds it in the morning: what was held is cut
    for caller in callers:
        assert verdicts(caller.result()) == [("eu", "fault"), ("us", "ok")]
    eu.restore()
    assert states(pool) == {"eu": "healthy", "us": "healthy"}
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]


def test_a_night_in_the_midst_of_a_trial(stage: Stage) -> None:
    """Its lease has run out, so the next caller may try; what the first one finds changes nothing."""
    held = Turnstile()
    eu, us = stage.server("eu", FailFirst(3, Reset())), stage.server("us")
    pool = stage.timed(eu, us)
    for _ in range(3):
        assert pool.complete(PROMPT).deployment == "us"
    stage.clock.advance(5.0)
    eu.behave(held)
    trial = Reader(lambda: pool.complete(PROMPT, timeout=2 * NIGHT))
    assert eu.wait_for(4, PATIENCE, route="chat")
    assert verdicts(pool.complete(PROMPT)) == [("us", "ok")]
    stage.clock.advance(NIGHT)
    held.let(2)
    assert pool.complete(PROMPT).deployment == "eu"
    assert trial.result().text == ANSWER
    assert pool.health("eu").healthy


def test_a_night_in_the_midst_of_checks(stage: Stage) -> None:
    """Late answers of the evening are booked or dropped, and sentence nobody; each is asked anew once."""
    hangs = {name: Hang() for name in ("eu", "us", "sa")}
    questions = Questions(**hangs)
    pool = stage.timed(
        *(Deployment(name, ScriptedProvider("fine", repeat=True)) for name in hangs),
        check=Custom(questions),
        health_check=HealthCheckConfig(jitter=0.0, timeout=6 * PATIENCE),
    )
    pool._checker.idle = False  # turned by hand
    evening = Reader(pool.check_now)
    assert questions.wait_for(3)
    stage.clock.advance(NIGHT)
    for hang in hangs.values():
        hang.open.set()
    assert len(evening.result()) == 3
    hand = Hand(pool)
    assert sorted(hand.tick()) == ["eu", "sa", "us"]
    assert hand.tick() == []
    assert set(states(pool).values()) == {"healthy"}


def test_a_sentence_over_a_night(stage: Stage) -> None:
    """It is over in the morning, and makes nobody healthy by itself: one trial goes first."""
    eu = stage.server("eu", FailFirst(4, Reset()))
    pool = stage.timed(eu, fail_open=False)
    for _ in range(3):
        with pytest.raises(ConnectionFailed):
            pool.complete(PROMPT, retry=False)
    stage.clock.advance(NIGHT)
    assert states(pool) == {"eu": "recovering"}
    assert not pool.health("eu").healthy
    with pytest.raises(ConnectionFailed):
        pool.complete(PROMPT, retry=False)
    assert states(pool) == {"eu": "unhealthy"}
    assert pool.health("eu").cooldown_remaining <= 120.0
