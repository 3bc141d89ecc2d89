"""Streams that fail: before their first content, after it, at their end, and in their reader's hands."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pytest
from scene import ANSWER, PATIENCE, PROMPT, Stage, deployment, hits, in_a_hurry, states, verdicts

from llmpool import CompletionStream, RateLimited, StreamInterrupted
from llmpool.testing import (
    Cut,
    EndEarly,
    ErrorInStream,
    Exchange,
    Hang,
    Ok,
    Overloaded,
    PingsOnly,
    Reset,
    Stall,
)

OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}


def read(stream: CompletionStream) -> tuple[str, StreamInterrupted]:
    """Read a stream until it breaks off; give what was read and the error."""
    pieces: list[str] = []
    with pytest.raises(StreamInterrupted) as caught:
        pieces.extend(chunk.text for chunk in stream)
    return "".join(pieces), caught.value


# -- before the first content -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "verdict", "state"),
    [
        (ErrorInStream(), "fault", "healthy"),
        (ErrorInStream(role=False), "fault", "healthy"),
        (ErrorInStream(metadata=True), "fault", "healthy"),
        (ErrorInStream(event_name="error"), "fault", "healthy"),
        (ErrorInStream(error=OVERLOADED), "busy", "cooling"),
        (
            ErrorInStream(error={"code": "rate_limit_exceeded", "message": "x"}),
            "rate_limited",
            "cooling",
        ),
        (ErrorInStream(error={"code": "insufficient_quota", "message": "x"}), "config", "disabled"),
        (EndEarly(after_chunks=0), "fault", "healthy"),
        (EndEarly(after_chunks=0, by="close"), "fault", "healthy"),
        (Cut(after="headers"), "fault", "healthy"),
        (Cut(after=0), "fault", "healthy"),
        (Reset(after=0), "fault", "healthy"),
        (Overloaded(status=529), "busy", "cooling"),
    ],
    ids=repr,
)
def test_failure_before_any_content(stage: Stage, behaviour: Any, verdict: str, state: str) -> None:
    """Nothing has been delivered: another deployment's stream is what the caller gets."""
    eu, us = stage.server("eu", behaviour), stage.server("us")
    pool = stage.timed(eu, us)
    with pool.stream(PROMPT) as stream:
        assert "".join(chunk.text for chunk in stream) == ANSWER
    assert stream.deployment == "us"
    assert verdicts(stream.response) == [("eu", verdict), ("us", "ok")]
    assert states(pool) == {"eu": state, "us": "healthy"}
    assert hits(eu, us) == [1, 1]


@pytest.mark.parametrize("behaviour", [Hang(), Hang(after=0), PingsOnly(0.02)], ids=repr)
def test_silence_before_any_content(stage: Stage, behaviour: Any) -> None:
    """The clock of the first content, when it is set, sends the caller elsewhere; pings do not stop it."""
    eu, us = stage.server("eu", behaviour), stage.server("us")
    pool = stage.pool(deployment(eu, timeout=0.15), us)
    with pool.stream(PROMPT) as stream:
        assert "".join(chunk.text for chunk in stream) == ANSWER
    assert verdicts(stream.response) == [("eu", "fault"), ("us", "ok")]

    def act(seconds: float) -> None:
        pool = stage.pool(eu, us)
        with pool.stream(PROMPT, first_content_timeout=seconds, timeout=2 * PATIENCE) as stream:
            assert "".join(chunk.text for chunk in stream) == ANSWER
        assert stream.deployment == "us"

    in_a_hurry(act)


# -- after it ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (ErrorInStream(after_chunks=2), "The server had an error."),
        (ErrorInStream(after_chunks=2, event_name="error"), "The server had an error."),
        (Cut(after=2), "without its last chunk"),
        (Reset(after=2), "the connection was reset"),
        (EndEarly(after_chunks=2), "without its end mark"),
        (EndEarly(after_chunks=2, by="close"), "without its end mark"),
    ],
    ids=repr,
)
def test_failure_after_content(stage: Stage, behaviour: Any, words: str) -> None:
    """The caller gets what came and then one error, of one class; the deployment is never switched."""
    eu, us = stage.server("eu", behaviour), stage.server("us")
    pool = stage.timed(eu, us)
    text, error = read(pool.stream(PROMPT))
    assert text
    assert ANSWER.startswith(text)
    assert text != ANSWER
    assert (error.partial, error.deployment, error.sent) == (text, "eu", "answered")
    assert words in str(error)
    assert text not in str(error)
    assert verdicts(error) == [("eu", "fault")]
    assert (error.__cause__, error.__context__) == (None, None)
    status = pool.health("eu")
    assert (status.total_requests, status.total_errors, status.state) == (1, 1, "healthy")
    assert hits(eu, us) == [1, 0]
    again = pickle.loads(pickle.dumps(error))
    assert (again.partial, again.deployment, verdicts(again)) == (text, "eu", [("eu", "fault")])


def test_failures_after_content_three_times(stage: Stage) -> None:
    """They count like any fault: the third in a row takes the deployment out."""
    eu, us = stage.server("eu", EndEarly()), stage.server("us")
    pool = stage.timed(eu, us)
    for expected in ("healthy", "healthy", "unhealthy"):
        read(pool.stream(PROMPT))
        assert states(pool)["eu"] == expected
    with pool.stream(PROMPT) as stream:
        assert "".join(chunk.text for chunk in stream) == ANSWER
    assert hits(eu, us) == [3, 1]


@pytest.mark.parametrize(
    ("error", "verdict", "state"),
    [
        (OVERLOADED, "busy", "cooling"),
        ({"code": "server_is_overloaded", "message": "no"}, "busy", "cooling"),
        ({"code": "rate_limit_exceeded", "message": "no"}, "rate_limited", "cooling"),
        ({"code": 402, "message": "no"}, "config", "disabled"),
        ({"code": "content_filter", "message": "no"}, "caller", "healthy"),
        ({"code": 502, "message": "no"}, "fault", "healthy"),
    ],
)
def test_error_event_after_content(
    stage: Stage, error: dict[str, Any], verdict: str, state: str
) -> None:
    """Its verdict is taken from its own body, although the status was 200."""
    eu = stage.server("eu", ErrorInStream(after_chunks=2, error=error))
    pool = stage.timed(eu)
    _, caught = read(pool.stream(PROMPT))
    assert verdicts(caught) == [("eu", verdict)]
    assert states(pool) == {"eu": state}


def test_overload_after_content(stage: Stage) -> None:
    """It cools the deployment, and is no fault of it: three in a row are no sentence."""
    eu = stage.server("eu", ErrorInStream(after_chunks=2, error=OVERLOADED))
    pool = stage.timed(eu)
    for seconds in (1.0, 2.0, 4.0, 8.0):
        read(pool.stream(PROMPT))
        status = pool.health("eu")
        assert (status.state, status.cooldown_remaining) == ("cooling", seconds)
        assert status.consecutive_failures == 0
        stage.clock.advance(seconds)


# -- clocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", [Stall(2), PingsOnly(0.02, after_chunks=2)], ids=repr)
def test_silence_after_content(stage: Stage, behaviour: Any) -> None:
    """The clock between two events ends it, and it is the deployment's fault; pings do not count."""

    def act(seconds: float) -> None:
        pool = stage.pool(stage.server("eu", behaviour))
        text, error = read(pool.stream(PROMPT, gap_timeout=seconds, timeout=2 * PATIENCE))
        assert (error.partial, verdicts(error)) == (text, [("eu", "fault")])
        assert pool.health("eu").consecutive_failures == 1

    in_a_hurry(act)


def test_silence_after_content_until_the_calls_own_deadline(stage: Stage) -> None:
    """A caller whose time is over is told so, and nobody is blamed."""

    def act(seconds: float) -> None:
        pool = stage.pool(stage.server("eu", Stall(2)))
        began = time.monotonic()
        _, error = read(pool.stream(PROMPT, timeout=min(seconds, 4.0)))  # five would be fair
        assert time.monotonic() - began < PATIENCE
        assert verdicts(error) == [("eu", "ignored")]
        assert pool.health("eu").total_errors == 0

    in_a_hurry(act)


def test_reader_slower_than_the_clock(stage: Stage) -> None:
    """Time that the reader takes is not the deployment's: its clock stands still meanwhile."""
    eu = stage.server("eu")
    pool = stage.timed(eu)
    text = ""
    with pool.stream(PROMPT, gap_timeout=5.0) as stream:
        for chunk in stream:
            text += chunk.text
            stage.clock.advance(30.0)
    assert (text, verdicts(stream.response)) == (ANSWER, [("eu", "ok")])


# -- ends that are whole ----------------------------------------------------------------------


def test_usage_alone_in_the_last_event(stage: Stage) -> None:
    """An event without choices is no error, and what it tells of tokens is kept."""
    pool = stage.timed(stage.server("eu"))
    with pool.stream(PROMPT) as stream:
        chunks = list(stream)
    assert chunks[-1].raw["choices"] == []
    assert stream.response.usage is not None
    assert stream.response.usage.completion_tokens == len(ANSWER.split())
    assert pool.health("eu").total_errors == 0


@pytest.mark.parametrize("by", ["chunked", "close"])
def test_end_with_a_finish_reason_and_no_end_mark(stage: Stage, by: Any) -> None:
    """The finish reason is an end mark too."""
    pool = stage.timed(stage.server("eu", EndEarly(after_chunks=99, by=by, finish_reason=True)))
    with pool.stream(PROMPT) as stream:
        assert "".join(chunk.text for chunk in stream) == ANSWER
    assert stream.response.finish_reason == "stop"
    assert verdicts(stream.response) == [("eu", "ok")]


def test_end_by_the_connections_end(stage: Stage) -> None:
    """As HTTP/1.0 servers end it."""
    pool = stage.timed(stage.server("eu", Ok(framing="close")))
    with pool.stream(PROMPT) as stream:
        assert "".join(chunk.text for chunk in stream) == ANSWER
    assert verdicts(stream.response) == [("eu", "ok")]


def test_end_mark_in_the_same_packet_as_an_error(stage: Stage) -> None:
    """What stands before an error is delivered before it, however the bytes were packed."""

    def burst(exchange: Exchange) -> None:
        delta = b'data: {"choices": [{"delta": {"content": "two words"}}]}\n\n'
        error = b'data: {"error": {"message": "broken"}}\n\n'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        exchange.send_bytes(head + delta + error)

    pool = stage.timed(stage.server("eu", burst))
    text, error = read(pool.stream(PROMPT))
    assert (text, error.partial) == ("two words", "two words")


def test_rate_limit_before_a_stream_everywhere(stage: Stage) -> None:
    """An error before any content is the plain error, and no interrupted stream."""
    error = {"code": "rate_limit_exceeded", "message": "slow down"}
    pool = stage.timed(stage.server("eu", ErrorInStream(error=error)))
    with pytest.raises(RateLimited, match="slow down"):
        pool.stream(PROMPT, retry=False)
