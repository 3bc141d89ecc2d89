"""Answers under HTTP 200 that are none, and one that is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scene import ANSWER, PROMPT, Stage, deployment, hits, states, verdicts

from llmpool import MalformedResponse, QuotaExhausted, ServerFault
from llmpool.testing import ContentFilter, EmptyChoices, ErrorBody, Html, Ok, WrongBody

PAGE = b"<!doctype html><html><body>Sign in to the network</body></html>"

NO_ANSWERS = {
    "a page": Html(),
    "a page that says it is JSON": WrongBody(PAGE),
    "nothing that says it is JSON": WrongBody(b""),
    "spaces that say they are JSON": WrongBody(b" \r\n"),
    "half of a JSON": WrongBody(b'{"choices": [{"mess'),
    "text": WrongBody(b"OK", "text/plain"),
    "no type and no JSON": WrongBody(b"OK", ""),
    "JSON of the wrong encoding": WrongBody('{"choices": "ä"}'.encode("latin-1")),
    "JSON nested without end": WrongBody(b"[" * 100_000),
    "a number too long to read": WrongBody(b"1" * 10_000),
    "a text": WrongBody(b'"fine"'),
    "a list": WrongBody(b'[{"choices": []}]'),
    "null": WrongBody(b"null"),
    "an empty object": WrongBody(b"{}"),
    "no choices": EmptyChoices(),
    "choices that are none": WrongBody(b'{"choices": null}'),
    "choices in a mapping": WrongBody(b'{"choices": {"0": {}}}'),
    "a choice that is none": WrongBody(b'{"choices": [null]}'),
    "a choice without a message": WrongBody(b'{"choices": [{"index": 0}]}'),
    "a message that is a text": WrongBody(b'{"choices": [{"message": "hi"}]}'),
}

each_no_answer = pytest.mark.parametrize("behaviour", NO_ANSWERS.values(), ids=NO_ANSWERS)


@each_no_answer
def test_success_that_is_no_answer(stage: Stage, behaviour: Any) -> None:
    """It never reaches the caller: it is a fault, and another deployment answers."""
    eu, us = stage.server("eu", behaviour), stage.server("us")
    pool = stage.timed(eu, us)
    answer = pool.complete(PROMPT)
    assert (answer.text, verdicts(answer)) == (ANSWER, [("eu", "fault"), ("us", "ok")])
    failed = answer.attempts[0]
    assert (failed.error or "").startswith("MalformedResponse: ")
    assert (failed.status, failed.sent) == (None, "answered")
    assert hits(eu, us) == [1, 1]


@each_no_answer
def test_stream_that_is_no_stream(stage: Stage, behaviour: Any) -> None:
    """Asked for a stream it is as much of a fault, which the caller does not see either."""
    eu, us = stage.server("eu", behaviour), stage.server("us")
    pool = stage.timed(eu, us)
    with pool.stream(PROMPT) as stream:
        assert "".join(chunk.text for chunk in stream) == ANSWER
    assert verdicts(stream.response) == [("eu", "fault"), ("us", "ok")]


@pytest.mark.parametrize(
    "behaviour",
    [
        Html(),
        WrongBody(b""),
        WrongBody(b"{}"),
        EmptyChoices(),
        WrongBody(b'{"data": [{"embedding": "text"}]}'),
        WrongBody(b'{"data": [{"index": 0}]}'),
        WrongBody(b'{"data": [{"embedding": [0.5]}, {"embedding": [0.5]}]}'),
    ],
    ids=repr,
)
def test_embedding_that_is_none(stage: Stage, behaviour: Any) -> None:
    """No vectors, no numbers, or more vectors than texts are a fault."""
    eu, us = stage.server("eu", behaviour), stage.server("us")
    answer = stage.timed(eu, us).embed([PROMPT])
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    assert len(answer.vectors) == 1


def test_wrong_answers_everywhere(stage: Stage) -> None:
    """The error is ours and tells what came, without showing it."""
    pool = stage.timed(stage.server("eu", Html()))
    with pytest.raises(MalformedResponse) as caught:
        pool.complete(PROMPT, retry=False)
    assert str(caught.value) == "eu: HTML under HTTP 200 (text/html; charset=utf-8)"
    assert "Sign in" not in repr(caught.value)


def test_three_wrong_answers_in_a_row(stage: Stage) -> None:
    """Which no ping finds: only a completion lets the deployment in again."""
    eu, us = stage.server("eu"), stage.server("us")
    eu.behave(EmptyChoices(), on="chat")
    pool = stage.timed(eu, us)
    for expected in ("healthy", "healthy", "unhealthy"):
        assert pool.complete(PROMPT).deployment == "us"
        assert states(pool)["eu"] == expected
    for _ in range(5):
        pool.check_now()
    assert states(pool) == {"eu": "unhealthy", "us": "healthy"}


@pytest.mark.parametrize(
    ("error", "verdict", "state", "kind"),
    [
        ({"message": "Provider returned error", "code": 502}, "fault", "healthy", "ServerFault"),
        ({"message": "Provider returned error", "code": "502"}, "fault", "healthy", "ServerFault"),
        ({"message": "no"}, "fault", "healthy", "ServerFault"),
        ({"message": "no money", "code": 402}, "config", "disabled", "QuotaExhausted"),
        ({"message": "who?", "code": 401}, "config", "disabled", "AuthenticationFailed"),
        ({"message": "slow", "code": 429}, "rate_limited", "cooling", "RateLimited"),
        ({"type": "overloaded_error", "message": "no"}, "busy", "cooling", "ServerFault"),
        ({"code": "server_is_overloaded", "message": "no"}, "busy", "cooling", "ServerFault"),
        ({"code": "insufficient_quota", "message": "no"}, "config", "disabled", "QuotaExhausted"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_error_under_a_success(
    stage: Stage, error: dict[str, Any], verdict: str, state: str, kind: str, streamed: bool
) -> None:
    """It is what its own code says, and another deployment answers."""
    eu, us = stage.server("eu", ErrorBody(error)), stage.server("us")
    pool = stage.timed(eu, us)
    if streamed:
        with pool.stream(PROMPT) as stream:
            list(stream)
        answer = stream.response
    else:
        answer = pool.complete(PROMPT)
    assert verdicts(answer) == [("eu", verdict), ("us", "ok")]
    assert (answer.attempts[0].error or "").startswith(f"{kind}: ")
    assert states(pool) == {"eu": state, "us": "healthy"}
    assert hits(eu, us) == [1, 1]


def test_errors_under_a_success_everywhere(stage: Stage) -> None:
    """The most actionable is raised, whatever the order of asking."""
    upstream = stage.server("eu", ErrorBody({"message": "broken", "code": 502}))
    broke = stage.server("us", ErrorBody({"message": "no money", "code": 402}))
    for members in ([upstream, broke], [broke, upstream]):
        with pytest.raises(QuotaExhausted) as caught:
            stage.timed(*members).complete(PROMPT)
        assert (caught.value.deployment, caught.value.status) == ("us", 402)


def test_error_that_is_only_a_word(stage: Stage) -> None:
    """Some servers put a text where the object belongs; an empty one is no error at all."""
    pool = stage.timed(stage.server("eu", WrongBody(b'{"error": "model runner has stopped"}')))
    with pytest.raises(ServerFault, match="model runner has stopped"):
        pool.complete(PROMPT, retry=False)
    fine = {"error": None, "choices": [{"message": {"content": "fine"}}]}
    pool = stage.timed(stage.server("us", WrongBody(json.dumps(fine).encode())))
    assert pool.complete(PROMPT).text == "fine"


def test_answer_that_a_filter_took_away(stage: Stage) -> None:
    """Without text and with the reason why it is an answer: a success, returned as it is."""
    eu, us = stage.server("eu", ContentFilter()), stage.server("us")
    pool = stage.timed(eu, us)
    answer = pool.complete(PROMPT)
    assert (answer.text, answer.finish_reason) == ("", "content_filter")
    assert verdicts(answer) == [("eu", "ok")]
    assert answer.raw["choices"][0]["message"]["content"] is None
    status = pool.health("eu")
    assert (status.total_requests, status.total_errors, status.state) == (1, 0, "healthy")
    with pool.stream(PROMPT) as stream:
        list(stream)
    assert verdicts(stream.response) == [("eu", "ok")]
    assert stream.response.finish_reason == "content_filter"


def test_answer_of_another_model(stage: Stage) -> None:
    """It is returned, and tells which model it is from."""
    eu = stage.server("eu", Ok(model="somebody-else"))
    answer = stage.timed(deployment(eu, model="tiny")).complete(PROMPT)
    assert (answer.text, answer.model) == (ANSWER, "somebody-else")
    assert eu.requests[0].json["model"] == "tiny"
