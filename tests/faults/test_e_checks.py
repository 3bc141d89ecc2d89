"""Checks that hang, raise, lie, or cannot be made; and the thread that makes them."""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import Any

import pytest
from checking import Hand, Questions
from crowds import until
from scene import ANSWER, PATIENCE, PROMPT, Stage, deployment, hits, in_a_hurry, states, verdicts

from llmpool import Custom, Deployment, Event, HealthCheckConfig, HealthCheckResult
from llmpool.metronome import _run
from llmpool.testing import (
    Behaviour,
    FailFirst,
    Hang,
    Html,
    ManualClock,
    Reset,
    ScriptedProvider,
    Status,
)

QUICK = HealthCheckConfig(0.02, timeout=PATIENCE, unhealthy_interval=0.02, jitter=0.0)


def test_check_page_that_never_answers(stage: Stage) -> None:
    """Its deployment is out at the check's deadline, while the others are asked time and again."""
    eu, us, sa = stage.server("eu"), stage.server("us"), stage.server("sa")
    eu.behave(Hang(), on="models")
    config = HealthCheckConfig(0.05, timeout=0.5, unhealthy_interval=0.05, jitter=0.0)
    pool = stage.pool(eu, us, sa, health_check=config, fail_open=False)
    with pool.start():
        assert us.wait_for(3, PATIENCE, route="models")
        assert sa.wait_for(3, PATIENCE, route="models")
        until(lambda: not pool.health("eu").healthy)
        until(lambda: pool.health("us").healthy and pool.health("sa").healthy)
        assert pool.health_status().checker_alive
        assert pool.complete(PROMPT).deployment in ("us", "sa")
        eu.restore()
        until(lambda: pool.health("eu").healthy)


def test_answers_of_a_check_that_are_none(stage: Stage) -> None:
    """Whatever a check raises or returns, True and a good result alone are good; the checker lives."""
    answers: dict[str, Any] = {
        "raises": ValueError("no"),
        "exits": SystemExit(1),
        "interrupted": KeyboardInterrupt(),
        "ended": BaseException("no"),
        "late": TimeoutError("its own"),
        "none": None,
        "word": "yes",
        "one": 1,
        "bad": HealthCheckResult("bad", False),
        "true": True,
        "good": HealthCheckResult("good", True),
    }
    questions = Questions(**answers)
    pool = stage.pool(
        *(Deployment(name, ScriptedProvider("fine", repeat=True)) for name in answers),
        check=Custom(questions),
        health_check=QUICK,
    )
    with pool.start() as handle:
        until(lambda: all(questions.asked.count(name) >= 3 for name in answers))
        assert pool.health_status().checker_alive
    assert handle.stopped.is_set()
    well = {name for name, status in pool.all_health().items() if status.healthy}
    assert well == {"true", "good"}
    for name, status in pool.all_health().items():
        assert status.last_check is not None
        assert bool(status.last_check.error) is (name not in well)


def test_check_page_that_answers_while_completions_hang(stage: Stage) -> None:
    """However often it answers, the deployment gets one trial a sentence, and each sentence is longer."""

    def act(seconds: float) -> None:
        clock = ManualClock()
        eu, us = stage.server("eu"), stage.server("us")
        eu.behave(Hang(), on="chat")
        pool = stage.pool(deployment(eu, timeout=seconds), us, clock=clock)
        for _ in range(3):
            assert verdicts(pool.complete(PROMPT)) == [("eu", "fault"), ("us", "ok")]
        sentences = []
        for trials in range(1, 4):
            assert states(pool)["eu"] == "unhealthy"
            sentence = pool.health("eu").cooldown_remaining
            sentences.append(sentence)
            for _ in range(8):
                assert all(result.healthy for result in pool.check_now())
                assert pool.complete(PROMPT).deployment == "us"
                clock.advance(sentence / 10)
            assert hits(eu) == [2 + trials]
            clock.advance(sentence)
            assert not pool.health("eu").healthy
            assert verdicts(pool.complete(PROMPT)) == [("eu", "fault"), ("us", "ok")]
        assert sentences == [5.0, 10.0, 20.0]

    in_a_hurry(act)


@pytest.mark.parametrize("page", [Status(500), Reset(), Html(502)], ids=["500", "reset", "502"])
def test_check_page_that_fails_under_working_traffic(stage: Stage, page: Behaviour) -> None:
    """Calls that succeed meanwhile outweigh it: the deployment stays in."""
    eu = stage.server("eu")
    eu.behave(page, on="models")
    pool = stage.timed(eu)
    for _ in range(8):
        assert pool.complete(PROMPT).text == ANSWER
        stage.clock.advance(1.0)
        (result,) = pool.check_now()
        assert states(pool) == {"eu": "healthy"}
    assert result.error
    assert pool.health("eu").total_errors == 0


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
def test_server_without_a_check_page(stage: Stage, status: int) -> None:
    """To be told that there is none, or none for such a question, is to have reached the server."""
    eu = stage.server("eu")
    eu.behave(Status(status), on="models")
    pool = stage.timed(eu)
    for _ in range(4):
        (result,) = pool.check_now()
        assert result.healthy
    assert pool.complete(PROMPT).text == ANSWER


class Ending(threading.Event):
    """An event that cannot be waited for."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def wait(self, timeout: float | None = None) -> bool:
        """Raise."""
        raise self.error


@pytest.mark.parametrize("error", [MemoryError("no lock"), SystemExit()], ids=["memory", "exit"])
def test_checkers_thread_that_dies_in_its_sleep(stage: Stage, error: BaseException) -> None:
    """Status and listeners tell, and the next call starts another under the same handle."""
    events: list[Event] = []
    questions = Questions()
    pool = stage.timed(
        Deployment("eu", ScriptedProvider("fine", repeat=True)),
        check=Custom(questions),
        health_check=QUICK,
        listeners=[events.append],
    )
    handle = pool.start()
    assert questions.wait_for(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handle.stopped, "wait", Ending(error).wait)
        assert handle.join(PATIENCE)
    until(lambda: events)
    assert not pool.health_status().checker_alive
    assert not handle.stopped.is_set()
    stage.clock.advance(1.0)
    assert pool.complete(PROMPT).text == "fine"
    assert questions.wait_for(2)
    assert pool.health_status().checker_alive
    told = [(event.deployment, event.old, event.new) for event in events]
    assert told == [("", "running", "dead"), ("", "dead", "running")]
    assert events[0].reason == type(error).__name__
    assert pool._checker.handle is handle
    handle.stop()
    assert handle.join(PATIENCE)


def test_checkers_thread_that_dies_when_nobody_is_left_to_tell() -> None:
    """It ends in silence."""
    checker = weakref.ref(Questions())
    _run(checker, checker, Ending(MemoryError()))  # type: ignore[arg-type]


def test_no_checks_at_all(stage: Stage) -> None:
    """Sentence, trial and recovery come about by calls and by the time alone."""
    eu, us = stage.server("eu", FailFirst(4, Reset())), stage.server("us")
    pool = stage.timed(eu, us, health_check=HealthCheckConfig(enabled=False))
    for _ in range(3):
        assert verdicts(pool.complete(PROMPT)) == [("eu", "fault"), ("us", "ok")]
    assert states(pool) == {"eu": "unhealthy", "us": "healthy"}
    assert verdicts(pool.complete(PROMPT)) == [("us", "ok")]
    stage.clock.advance(5.0)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "fault"), ("us", "ok")]
    assert verdicts(pool.complete(PROMPT)) == [("us", "ok")]
    stage.clock.advance(10.0)
    for _ in range(32):
        assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
        assert pool.health("eu").healthy
    assert states(pool) == {"eu": "healthy", "us": "healthy"}
    assert not pool.health_status().checker_alive
    assert hits(eu) == [36]
    assert eu.hits("models") == us.hits("models") == 0


def test_five_hundred_deployments(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each keeps its interval, and a turn of the checker looks at those alone whose time has come."""
    names = [f"d{number}" for number in range(500)]
    questions = Questions()
    pool = stage.timed(
        *(Deployment(name, ScriptedProvider("fine", repeat=True)) for name in names),
        check=Custom(questions),
        health_check=HealthCheckConfig(),
    )
    pool._checker.idle = False  # turned by hand
    hand = Hand(pool)
    looked: list[str] = []
    wanted = pool._checker._wanted

    def noted(name: str, now: float) -> bool:
        looked.append(name)
        return wanted(name, now)

    monkeypatch.setattr(pool._checker, "_wanted", noted)
    times: dict[str, list[float]] = {name: [] for name in names}
    for second in range(100):
        for name in hand.tick(1.0):
            times[name].append(second)
    assert len(looked) == sum(map(len, times.values())) == len(questions.asked)
    for at in times.values():
        gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
        assert len(gaps) in (2, 3)
        assert all(27.0 - 1.0 <= gap <= 33.0 + 1.0 for gap in gaps)
