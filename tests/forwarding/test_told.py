"""What observers are told of the requests of clients: each attempt once, each request as one call."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest
from witness import PLAIN, STREAMED, Witness

from llmpool import Deployment, OpenAIProvider, ProviderPool, RetryPolicy, errors
from llmpool.forwarding.answers import Answer
from llmpool.testing import EndEarly, Hang, LocalServer, Status

KEY = "sk-of-the-deployment-0123456789"
PROMPT = "what the user wants to know"
JSON = ("Content-Type", "application/json")
CHAT = "/v1/chat/completions"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server."""
    with LocalServer("eu", api_keys=[KEY]) as made:
        yield made


@pytest.fixture
def pool(server: LocalServer) -> Iterator[ProviderPool]:
    """A pool of two deployments there, the first of which is asked first."""
    with ProviderPool(
        [Deployment(each, OpenAIProvider(server.url, api_key=KEY, model="tiny")) for each in "ab"],
        name="main",
        strategy="primary",
        health_check=None,
        retry=RetryPolicy(backoff_initial=0.0, max_wait=0.0),
    ) as made:
        yield made


@pytest.fixture
def witness(pool: ProviderPool) -> Witness:
    """Its observer."""
    made = Witness()
    pool.observe(made)
    return made


def post(
    pool: ProviderPool, target: str = CHAT, timeout: float | None = None, **body: Any
) -> Answer:
    """Post what a client would."""
    asked = {"model": "tiny", "messages": [{"role": "user", "content": PROMPT}], **body}
    return pool.forward("POST", target, [JSON], json.dumps(asked).encode(), timeout=timeout)


def test_a_whole_answer(pool: ProviderPool, witness: Witness, server: LocalServer) -> None:
    """One attempt, one call, and the facts of the answer."""
    post(pool)
    assert witness.names() == PLAIN
    [(attempt, facts)] = witness.of("attempt_ended")
    assert (attempt.deployment, str(attempt.verdict)) == ("a", "ok")
    assert (facts.kind, facts.model, facts.stream, facts.provider) == (
        *("chat", "tiny", False),
        "OpenAIProvider",
    )
    assert (facts.address, facts.port) == ("127.0.0.1", server.port)
    end = witness.end()
    assert (end.error, end.complete) == (None, True)
    assert end.usage is not None
    assert end.usage.total_tokens > 0
    assert PROMPT not in repr(witness.seen)
    assert KEY not in repr(witness.seen)


@pytest.mark.parametrize(
    ("target", "kind", "body"),
    [
        ("/v1/embeddings", "embeddings", {"input": "hello"}),
        ("/v1/completions", "text_completion", {"prompt": "hello"}),
        ("/v1/responses", "chat", {"input": "hello"}),
    ],
)
def test_the_kinds(
    pool: ProviderPool, witness: Witness, target: str, kind: str, body: dict[str, Any]
) -> None:
    """By the page that is asked for."""
    post(pool, target, **body)
    assert witness.names()[0] == "call_started"
    assert [call.kind for call in witness.of("call_started")] == [kind]


def test_a_page_that_is_got(pool: ProviderPool, witness: Witness) -> None:
    """It proves nothing of the deployment, and is an answer all the same."""
    answer = pool.forward("GET", "/v1/models", [], None)
    assert witness.names() == PLAIN
    assert witness.verdicts() == [("a", "ignored")]
    assert (witness.end().error, witness.end().complete) == (None, True)
    assert [call.kind for call in witness.of("call_started")] == ["other"]
    b"".join(answer)
    assert witness.names() == PLAIN


def test_a_failover(pool: ProviderPool, witness: Witness, server: LocalServer) -> None:
    """Each attempt is told of; an error that the client is answered is the call's."""
    server.behave(Status(503))
    assert post(pool).status == 503
    assert witness.verdicts()[:2] == [("a", "fault"), ("b", "fault")]
    assert len(witness.of("attempt_started")) == len(witness.of("attempt_ended"))
    assert (witness.end().error, witness.end().complete) == ("ServerFault", False)
    assert witness.names()[-2:] == ["call_ended", "call_returned"]


def test_nobody_to_ask(pool: ProviderPool, witness: Witness) -> None:
    """It is a call without an attempt."""
    pool.drain("a", timeout=0.0)
    pool.drain("b", timeout=0.0)
    post(pool)
    assert witness.of("attempt_ended") == []
    assert witness.end().error == "NoHealthyDeployment"


def test_the_clients_time(pool: ProviderPool, witness: Witness, server: LocalServer) -> None:
    """What is raised is told."""
    server.behave(Hang())
    with pytest.raises(errors.DeadlineExceeded):
        post(pool, timeout=0.2)
    assert witness.end().error == "DeadlineExceeded"
    assert len(witness.of("attempt_started")) == len(witness.of("attempt_ended"))


def test_a_stream(pool: ProviderPool, witness: Witness) -> None:
    """It ends with its last byte."""
    answer = post(pool, stream=True, stream_options={"include_usage": True})
    assert witness.names() == STREAMED[:3]
    assert list(answer)
    assert witness.names() == STREAMED
    [(attempt, facts)] = witness.of("attempt_ended")
    assert (str(attempt.verdict), facts.stream) == ("ok", True)
    assert facts.first_content is not None
    assert facts.usage is not None
    assert witness.end().complete is True


def test_a_stream_that_is_cut(pool: ProviderPool, witness: Witness, server: LocalServer) -> None:
    """It is interrupted."""
    server.behave(EndEarly())
    with pytest.raises(errors.StreamInterrupted):
        list(post(pool, stream=True))
    assert witness.names() == STREAMED
    assert (witness.end().error, witness.end().complete) == ("StreamInterrupted", False)


def test_a_stream_that_is_closed(pool: ProviderPool, witness: Witness) -> None:
    """Nobody is blamed."""
    post(pool, stream=True).close()
    assert witness.names() == STREAMED
    assert witness.verdicts() == [("a", "ignored")]


def test_a_stream_that_is_forgotten(pool: ProviderPool, witness: Witness) -> None:
    """The next who asks the pool tells of it."""
    post(pool, stream=True)
    gc.collect()
    pool.health_status()
    assert witness.names() == STREAMED
    assert witness.verdicts() == [("a", "ignored")]
