"""Errors that vendors and local servers have of their own: models, daily quotas, loading, queues."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scene import ANSWER, PROMPT, Stage, hits, states, verdicts

from llmpool import InvalidRequest
from llmpool.testing import Loading, QueueFull, Reset, Status


def body(message: str, **facts: Any) -> dict[str, Any]:
    """Write an error in OpenAI's shape."""
    return {"error": {"message": message, **facts}}


# -- models -----------------------------------------------------------------------------------


def test_deployment_that_was_just_created(stage: Stage) -> None:
    """Its own model is not found yet: it is out for a minute, then up."""
    missing = body(
        "The API deployment for this resource does not exist. If you created the deployment "
        "within the last 5 minutes, please wait a moment and try again.",
        code="DeploymentNotFound",
    )
    eu, us = stage.server("eu", Status(404, missing)), stage.server("us")
    pool = stage.timed(eu, us)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "config"), ("us", "ok")]
    assert pool.health("eu").state == "disabled"
    assert pool.health("eu").cooldown_remaining == 60.0
    eu.restore()
    assert verdicts(pool.complete(PROMPT)) == [("us", "ok")]
    stage.clock.advance(60.0)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
    assert states(pool) == {"eu": "healthy", "us": "healthy"}


def test_model_that_the_caller_made_up(stage: Stage) -> None:
    """Each is asked once a minute for that name; it is the caller's error, and nobody is ill."""
    eu, us = stage.server("eu", strict_model=True), stage.server("us", strict_model=True)
    pool = stage.timed(eu, us)
    for _ in range(3):
        with pytest.raises(InvalidRequest, match="model"):
            pool.complete(PROMPT, model="gpt-99")
    assert hits(eu, us) == [1, 1]
    assert states(pool) == {"eu": "healthy", "us": "healthy"}
    assert pool.complete(PROMPT, model="tiny").text == ANSWER
    stage.clock.advance(60.0)
    with pytest.raises(InvalidRequest):
        pool.complete(PROMPT, model="gpt-99")
    assert hits(eu, us) == [3, 2]


# -- Gemini -----------------------------------------------------------------------------------


def gemini(quota: str, delay: str, message: str = "You exceeded your current quota") -> Any:
    """Write a 429 as Gemini does through its OpenAI-compatible face: in a list."""
    google = "type.googleapis.com/google.rpc"
    details = [
        {"@type": f"{google}.QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": f"{google}.RetryInfo", "retryDelay": delay},
    ]
    error = {
        "code": 429,
        "message": message,
        "status": "RESOURCE_EXHAUSTED",
        "details": details,
    }
    return Status(429, json.dumps([{"error": error}]).encode())


def test_quota_of_a_day(stage: Stage) -> None:
    """Its delay of 19 s lies: the deployment is out until its period's one try succeeds."""
    daily = gemini("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "19s")
    eu, us = stage.server("eu", daily), stage.server("us")
    pool = stage.timed(eu, us)
    for _ in range(6):
        assert pool.complete(PROMPT).deployment == "us"
        stage.clock.advance(19.0)
    assert hits(eu) == [2]
    assert states(pool) == {"eu": "disabled", "us": "healthy"}
    eu.restore()
    stage.clock.advance(120.0)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]


def test_quota_of_nothing(stage: Stage) -> None:
    """A limit of 0 is none that a wait of ten hours lifts."""
    none = gemini("GenerateRequestsPerMinute", "36000s", "Quota exceeded for metric: x, limit: 0")
    eu, us = stage.server("eu", none), stage.server("us")
    pool = stage.timed(eu, us)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "config"), ("us", "ok")]
    assert states(pool) == {"eu": "disabled", "us": "healthy"}


def test_quota_of_a_minute(stage: Stage) -> None:
    """It is a rate limit, and its delay is believed."""
    eu, us = stage.server("eu", gemini("GenerateRequestsPerMinute", "3.700s")), stage.server("us")
    pool = stage.timed(eu, us)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "rate_limited"), ("us", "ok")]
    assert pool.health("eu").cooldown_remaining == pytest.approx(3.7)


# -- local servers ----------------------------------------------------------------------------


def test_server_that_loads_its_model(stage: Stage) -> None:
    """It is busy for as long as that takes, is no fault, and is used within five seconds of its end."""
    eu, us = stage.server("eu", Loading()), stage.server("us")
    pool = stage.timed(eu, us)
    loaded_at = stage.clock.now() + 40.0
    found_at = 0.0
    while not found_at:
        if stage.clock.now() >= loaded_at:
            eu.restore()
        if pool.complete(PROMPT).deployment == "eu":
            found_at = stage.clock.now()
        status = pool.health("eu")
        assert status.state in ("cooling", "healthy")
        assert status.consecutive_failures == 0
        assert status.cooldown_remaining <= 5.0
        stage.clock.advance(0.25)
    assert found_at - loaded_at <= 5.0


def test_server_whose_queue_is_full(stage: Stage) -> None:
    """Busy is not absent: it cools, and it is not ill."""
    eu, us = stage.server("eu", QueueFull()), stage.server("us")
    pool = stage.timed(eu, us)
    for _ in range(4):
        assert pool.complete(PROMPT).deployment == "us"
        status = pool.health("eu")
        assert (status.state, status.consecutive_failures) == ("cooling", 0)
        stage.clock.advance(status.cooldown_remaining)


def test_answer_broken_off_after_its_status(stage: Stage) -> None:
    """A reset is a reset, whatever the head said: no answer came."""
    pool = stage.timed(stage.server("eu", Reset(after="headers")), stage.server("us"))
    assert verdicts(pool.complete(PROMPT)) == [("eu", "fault"), ("us", "ok")]
