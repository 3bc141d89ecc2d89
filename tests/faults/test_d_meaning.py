"""Errors that mean something: no money, a wrong key, a bad request, a model that is not there."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from scene import ANSWER, KEY, PROMPT, Stage, deployment, hits, states, verdicts

from llmpool import (
    AuthenticationFailed,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    NoHealthyDeployment,
    ProviderError,
    QuotaExhausted,
    ServerFault,
)
from llmpool.testing import (
    ContentFilter,
    ContextTooLong,
    FailWhen,
    Status,
)
from llmpool.testing import QuotaExhausted as NoMoney


def body(message: str, **facts: Any) -> dict[str, Any]:
    """Write an error in OpenAI's shape."""
    return {"error": {"message": message, **facts}}


def log_of(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Give the lines that were logged at one level."""
    return [record.getMessage() for record in caplog.records if record.levelno == level]


# -- money ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (429, body("x", type="insufficient_quota", code="credit_balance_exhausted")),
        (429, body("x", type="insufficient_quota", code="insufficient_quota")),
        (429, body("x", type="insufficient_quota", code="project_spend_limit_exceeded")),
        (429, body("x", type="insufficient_quota", code="organization_spend_limit_exceeded")),
        (429, body("x", type="insufficient_quota", code="organization_usage_limit_exceeded")),
        (402, body("x")),
        (402, {"type": "error", "error": {"type": "billing_error", "message": "x"}}),
        (400, body("Your credit balance is too low to access the API.")),
        (400, {"error": {"code": 400, "message": "x", "status": "FAILED_PRECONDITION"}}),
    ],
)
def test_quota_that_is_used_up(stage: Stage, status: int, answer: Any) -> None:
    """Waiting does not cure it: one request, then the deployment is out for a minute."""
    eu, us = stage.server("eu", Status(status, answer)), stage.server("us")
    pool = stage.timed(eu, us)
    for _ in range(5):
        assert pool.complete(PROMPT).deployment == "us"
    assert hits(eu) == [1]
    state = pool.health("eu")
    assert (state.state, state.healthy, state.cooldown_remaining) == ("disabled", False, 60.0)
    assert state.reason


def test_quota_that_is_used_up_everywhere(stage: Stage) -> None:
    """A disabled deployment is never asked for want of a better one."""
    eu = stage.server("eu", NoMoney())
    pool = stage.timed(eu)
    with pytest.raises(QuotaExhausted) as caught:
        pool.complete(PROMPT)
    assert (caught.value.code, caught.value.status) == ("credit_balance_exhausted", 429)
    for _ in range(5):
        with pytest.raises(NoHealthyDeployment) as nobody:
            pool.complete(PROMPT)
        assert nobody.value.retry_after == pytest.approx(60.0)
    assert hits(eu) == [1]


# -- keys -------------------------------------------------------------------------------------


def test_wrong_key(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """That deployment alone is out; it is told once, and tried again once a minute, then ever less."""
    eu = stage.server("eu", api_keys=["sk-another"])
    us = stage.server("us", api_keys=[KEY])
    pool = stage.timed(eu, us)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "config"), ("us", "ok")]
    assert states(pool) == {"eu": "disabled", "us": "healthy"}
    assert pool.health("eu").reason == ("HTTP 401: invalid_api_key: Incorrect API key provided.")
    asked = 1
    for period in (60.0, 120.0, 240.0):
        stage.clock.advance(period - 0.5)
        assert verdicts(pool.complete(PROMPT)) == [("us", "ok")]
        stage.clock.advance(0.5)
        assert verdicts(pool.complete(PROMPT)) == [("eu", "config"), ("us", "ok")]
        asked += 1
        assert hits(eu) == [asked]
    assert len(log_of(caplog, logging.ERROR)) == 1
    eu.use_keys(KEY)
    stage.clock.advance(480.0)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
    assert states(pool) == {"eu": "healthy", "us": "healthy"}
    assert pool.health("eu").healthy


def test_wrong_key_that_a_check_finds_mended(stage: Stage) -> None:
    """The page that showed the key to be wrong can show that it is right."""
    eu = stage.server("eu", api_keys=["sk-another"])
    pool = stage.timed(eu, stage.server("us"))
    pool.complete(PROMPT)
    assert not pool.check_now()[0].healthy
    assert states(pool)["eu"] == "disabled"
    eu.use_keys(KEY)
    assert pool.check_now()[0].healthy
    assert states(pool)["eu"] == "healthy"


def test_key_that_a_function_renews(stage: Stage) -> None:
    """After a 401 the function is asked once more, and the call notices nothing."""
    keys = iter(["sk-first-and-expired", KEY, KEY])
    eu = stage.server("eu", api_keys=[KEY])
    pool = stage.timed(deployment(eu, key=lambda: next(keys)))
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
    assert hits(eu) == [2]
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
    assert hits(eu) == [3]


def test_key_that_a_function_cannot_renew(stage: Stage) -> None:
    """Two requests and no third."""
    eu = stage.server("eu", api_keys=[KEY])
    pool = stage.timed(deployment(eu, key=lambda: "sk-still-the-old-one"))
    with pytest.raises(AuthenticationFailed):
        pool.complete(PROMPT)
    assert hits(eu) == [2]
    assert states(pool) == {"eu": "disabled"}


def test_permission_that_is_missing(stage: Stage) -> None:
    """A 403 of the permission kind disables; a page that works shows nothing about it."""
    eu, us = stage.server("eu"), stage.server("us")
    eu.behave(Status(403, body("Project has no access", code="permission_denied")), on="chat")
    pool = stage.timed(eu, us)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "config"), ("us", "ok")]
    assert pool.check_now()[0].healthy
    assert states(pool)["eu"] == "disabled"


# -- requests ---------------------------------------------------------------------------------


def test_one_flagged_prompt(stage: Stage) -> None:
    """A 403 about the prompt is the caller's, and says nothing about the key."""
    flagged = {
        "error": {
            "code": 403,
            "message": "Your chosen model requires moderation and your input was flagged",
            "metadata": {"reasons": ["violence"], "flagged_input": PROMPT, "provider_name": "x"},
        }
    }
    eu, us = stage.server("eu", FailWhen("Østerbø", Status(403, flagged))), stage.server("us")
    pool = stage.timed(eu, us)
    with pytest.raises(ContentFiltered) as caught:
        pool.complete(PROMPT)
    assert verdicts(caught.value) == [("eu", "caller")]
    assert states(pool) == {"eu": "healthy", "us": "healthy"}
    assert verdicts(pool.complete("something harmless")) == [("eu", "ok")]
    assert hits(eu, us) == [2, 0]


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Status(400), InvalidRequest),
        (Status(413), ContextLengthExceeded),
        (Status(422, {"detail": [{"loc": ["body", "n"], "msg": "not an int"}]}), InvalidRequest),
        (Status(400, body("bad schema", code="invalid_function_parameters")), InvalidRequest),
        (ContextTooLong(), ContextLengthExceeded),
        (ContentFilter(prompt=True), ContentFiltered),
    ],
    ids=repr,
)
def test_request_that_nobody_would_take(
    stage: Stage, behaviour: Any, kind: type[ProviderError]
) -> None:
    """It is refused once: nobody else is asked, and nobody is blamed."""
    eu, us = stage.server("eu", behaviour), stage.server("us")
    pool = stage.timed(eu, us)
    with pytest.raises(kind) as caught:
        pool.complete(PROMPT)
    assert type(caught.value) is kind
    assert verdicts(caught.value) == [("eu", "caller")]
    assert hits(eu, us) == [1, 0]
    status = pool.health("eu")
    assert (status.total_requests, status.total_errors, status.state) == (1, 0, "healthy")


def test_bad_requests_without_end(stage: Stage) -> None:
    """However many a caller sends, no deployment is affected."""
    eu, us = stage.server("eu", Status(400)), stage.server("us", Status(400))
    pool = stage.timed(eu, us, strategy="round_robin")
    for _ in range(200):
        with pytest.raises(InvalidRequest):
            pool.complete(PROMPT)
    assert hits(eu, us) == [100, 100]
    assert states(pool) == {"eu": "healthy", "us": "healthy"}
    assert all(status.consecutive_failures == 0 for status in pool.all_health().values())
    eu.restore()
    assert pool.complete(PROMPT).text == ANSWER


def test_request_that_brings_down_every_server(stage: Stage) -> None:
    """Three attempts at most, and nobody is convicted by it, however often it comes."""
    poison = FailWhen("Østerbø", Status(500))
    servers = [stage.server(name, poison) for name in ("eu", "sa", "us", "ap")]
    pool = stage.timed(*servers, strategy="round_robin")
    for call in range(1, 6):
        with pytest.raises(ServerFault) as caught:
            pool.complete(PROMPT)
        assert [verdict for _, verdict in verdicts(caught.value)] == ["fault"] * 3
        assert sum(hits(*servers)) == 3 * call
        assert set(states(pool).values()) == {"healthy"}
    for _ in range(8):
        assert pool.complete("something harmless").text == ANSWER


def test_server_that_fails_for_every_request(stage: Stage) -> None:
    """What one server alone does to every request is its own fault."""
    eu, us = stage.server("eu", Status(500)), stage.server("us")
    pool = stage.timed(eu, us)
    for expected in ("healthy", "healthy", "unhealthy"):
        assert verdicts(pool.complete(PROMPT)) == [("eu", "fault"), ("us", "ok")]
        assert states(pool)["eu"] == expected
