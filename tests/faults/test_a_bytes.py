"""Faults after a connection stands: resets, cuts, drips, silence, stale connections, redirects."""

from __future__ import annotations

import time
from typing import Any

import pytest
from scene import ANSWER, PATIENCE, PROMPT, Stage, deployment, hits, in_a_hurry, states, verdicts

from llmpool import DeadlineExceeded, ServerFault
from llmpool.testing import (
    CloseAfterReply,
    Cut,
    Drip,
    Exchange,
    Hang,
    Redirect,
    Reset,
)

LONG = "word " * 400


@pytest.mark.parametrize(
    ("behaviour", "words", "sent"),
    [
        (Reset(after="accept"), "the connection was reset", "maybe"),
        (Reset(after="request"), "the connection was reset", "maybe"),
        (Reset(after="mid-headers"), "the connection was reset", "answered"),
        (Reset(after="headers"), "the connection was reset", "answered"),
        (Reset(after="body"), "the connection was reset", "answered"),
        (Cut(after="accept"), "closed without an answer", "maybe"),
        (Cut(after="request"), "closed without an answer", "maybe"),
        (Cut(after="mid-headers"), "cut off in its head", "answered"),
        (Cut(after="headers"), "the answer was cut off", "answered"),
        (Cut(after="body"), "the answer was cut off", "answered"),
    ],
    ids=repr,
)
def test_connection_broken_at_any_point(
    stage: Stage, behaviour: Any, words: str, sent: str
) -> None:
    """Nothing was delivered, so another deployment answers; it is told how far the first one came."""
    eu, us = stage.server("eu", behaviour), stage.server("us")
    pool = stage.timed(eu, us)
    answer = pool.complete(PROMPT)
    assert (answer.text, verdicts(answer)) == (ANSWER, [("eu", "fault"), ("us", "ok")])
    failed = answer.attempts[0]
    assert (failed.error or "").startswith("ConnectionFailed: ")
    # The system tells a connection's end and its reset apart only if the reset comes late.
    assert words in (failed.error or "") or behaviour.after == "accept"
    assert failed.sent == sent or behaviour.after == "accept"
    assert hits(us) == [1]
    assert (pool.health("eu").total_errors, states(pool)["eu"]) == (1, "healthy")


def test_connections_broken_three_times(stage: Stage) -> None:
    """The third fault in a row takes the deployment out."""
    eu, us = stage.server("eu", Reset(after="body")), stage.server("us")
    pool = stage.timed(eu, us)
    for expected in ("healthy", "healthy", "unhealthy"):
        assert pool.complete(PROMPT).deployment == "us"
        assert states(pool)["eu"] == expected
    assert hits(eu) == [3]


# -- slow -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["body", "headers"])
def test_answer_that_drips(stage: Stage, what: Any) -> None:
    """Each byte comes in time and the whole would take a minute; the call ends at its deadline."""

    def act(seconds: float) -> None:
        eu = stage.server("eu", Drip(0.05, what), reply=lambda _: LONG)
        pool = stage.pool(eu)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            pool.complete(PROMPT, timeout=seconds)
        assert seconds <= time.monotonic() - began < PATIENCE
        assert verdicts(caught.value) == [("eu", "ignored")]
        assert caught.value.attempts[0].sent == "answered"
        assert hits(eu) == [1]

    in_a_hurry(act)


@pytest.mark.parametrize("what", ["body", "headers"])
def test_answer_that_drips_past_an_attempts_time(stage: Stage, what: Any) -> None:
    """The attempt ends at its own time-out, which is the deployment's fault, and another answers."""
    eu = stage.server("eu", Drip(0.05, what), reply=lambda _: LONG)
    us = stage.server("us")
    pool = stage.pool(deployment(eu, timeout=0.2), us)
    answer = pool.complete(PROMPT, timeout=PATIENCE)
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    assert (answer.attempts[0].error or "").startswith("DeadlineExceeded: ")


@pytest.mark.parametrize("after", ["accept", "request", "mid-headers", "headers", "body"])
def test_silence_from_any_point_on(stage: Stage, after: Any) -> None:
    """A deployment that had its own time-out in full is to blame, and another answers."""

    def act(seconds: float) -> None:
        eu, us = stage.server("eu", Hang(after=after)), stage.server("us")
        pool = stage.pool(deployment(eu, timeout=seconds), us)
        answer = pool.complete(PROMPT, timeout=2 * PATIENCE)
        assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
        assert answer.attempts[0].latency >= seconds
        answered = after not in ("accept", "request")
        assert answer.attempts[0].sent == ("answered" if answered else "maybe")

    in_a_hurry(act)


def test_silence_three_times(stage: Stage) -> None:
    """Three time-outs in a row take it out, after which no call waits for it."""

    def act(seconds: float) -> None:
        eu, us = stage.server("eu", Hang()), stage.server("us")
        pool = stage.pool(deployment(eu, timeout=seconds), us)
        for expected in ("healthy", "healthy", "unhealthy"):
            assert verdicts(pool.complete(PROMPT)) == [("eu", "fault"), ("us", "ok")]
            assert states(pool)["eu"] == expected
        assert verdicts(pool.complete(PROMPT)) == [("us", "ok")]
        assert hits(eu) == [3]

    in_a_hurry(act)


def test_silence_under_a_deadline_too_short_to_be_fair(stage: Stage) -> None:
    """A caller in a hurry gets its time-out, and nobody is blamed for it."""

    def act(seconds: float) -> None:
        eu = stage.server("eu", Hang())
        pool = stage.pool(eu)
        with pytest.raises(DeadlineExceeded) as caught:
            pool.complete(PROMPT, timeout=min(seconds, 4.0))  # five would be fair
        assert isinstance(caught.value, TimeoutError)
        assert verdicts(caught.value) == [("eu", "ignored")]
        assert (pool.health("eu").total_errors, states(pool)) == (0, {"eu": "healthy"})
        assert hits(eu) == [1]

    in_a_hurry(act)


# -- connections used again -------------------------------------------------------------------


@pytest.mark.parametrize("when", ["at once", "next request"])
def test_idle_connection_that_the_server_has_closed(stage: Stage, when: Any) -> None:
    """The request goes out again over a fresh one, at the same deployment, and counts for nothing."""
    eu, us = stage.server("eu", CloseAfterReply(when)), stage.server("us")
    pool = stage.timed(eu, us)
    for _ in range(4):
        assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
    status = pool.health("eu")
    assert (status.total_requests, status.total_errors) == (4, 0)
    assert eu.connections == 4
    assert hits(us) == [0]


def test_server_restarted_between_two_calls(stage: Stage) -> None:
    """After a restart every idle connection is stale; no call notices."""
    eu = stage.server("eu")
    pool = stage.timed(eu)
    pool.complete(PROMPT)
    port = eu.port
    eu.close()
    stage.server("eu", port=port)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
    assert pool.health("eu").total_errors == 0


def test_fresh_connection_closed_before_an_answer(stage: Stage) -> None:
    """On a connection that was not used before it is a fault like any other: one request, no second."""
    eu, us = stage.server("eu", Cut(after="request")), stage.server("us")
    pool = stage.timed(eu, us)
    assert verdicts(pool.complete(PROMPT)) == [("eu", "fault"), ("us", "ok")]
    assert hits(eu) == [1]


# -- redirects --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_a_login_page(stage: Stage, status: int) -> None:
    """It is not followed, so neither key nor prompt goes anywhere else, and another answers."""
    trap, us = stage.server("trap"), stage.server("us")
    eu = stage.server("eu", Redirect(f"http://127.0.0.1:{trap.port}/v1/chat/completions", status))
    pool = stage.timed(eu, us)
    answer = pool.complete(PROMPT)
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    failed = answer.attempts[0]
    assert (failed.error or "").startswith("ServerFault: unexpected redirect: ")
    assert failed.status == status
    assert (hits(eu, us), trap.hits()) == ([1, 1], 0)


def test_redirect_to_itself(stage: Stage) -> None:
    """A loop of redirects is one request."""
    eu = stage.server("eu", Redirect("/v1/chat/completions", 307))
    pool = stage.timed(eu)
    with pytest.raises(ServerFault, match="unexpected redirect"):
        pool.complete(PROMPT, retry=False)
    assert hits(eu) == [1]


def test_redirect_that_repeats_the_prompt(stage: Stage) -> None:
    """Where a redirect leads is in no message: servers put into it what they were asked."""
    eu, us = stage.server("eu"), stage.server("us")

    def redirect(exchange: Exchange) -> None:
        key = exchange.request.headers["authorization"]
        prompt = " ".join(exchange.request.prompt.encode("ascii", "replace").decode().split())
        Redirect(f"/login?next={key}&q={prompt}")(exchange)

    eu.behave(redirect)
    answer = stage.timed(eu, us).complete(PROMPT)
    assert (answer.attempts[0].error or "").endswith("a redirect (302), which is not followed")
