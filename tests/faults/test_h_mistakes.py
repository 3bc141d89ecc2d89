"""What callers do wrong, or in a hurry: nobody else is to suffer for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scene import ANSWER, KEY, PATIENCE, PROMPT, Stage, hits, states, verdicts

from llmpool import CompletionRequest, DeadlineExceeded, Lease, PoolClosed, ProviderPool
from llmpool.testing import Hang, Slow


def ask_to_embed(pool: ProviderPool, timeout: float) -> Any:
    """Ask for vectors."""
    return pool.embed([PROMPT], timeout=timeout)


WAYS: dict[str, Callable[[ProviderPool, float], Any]] = {
    "complete": lambda pool, timeout: pool.complete(PROMPT, timeout=timeout),
    "stream": lambda pool, timeout: pool.stream(PROMPT, timeout=timeout),
    "embed": ask_to_embed,
    "call": lambda pool, timeout: pool.call(lambda lease: lease.remaining, timeout=timeout),
}


@pytest.mark.parametrize("way", ["complete", "stream", "embed"])
def test_time_too_short_for_any_server(stage: Stage, way: str) -> None:
    """The call ends in time, twice; the deployment is not blamed, and answers those who can wait."""
    eu = stage.server("eu", Hang())
    pool = stage.pool(eu)
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            WAYS[way](pool, 0.2)
    status = pool.health("eu")
    assert (status.state, status.total_errors, status.consecutive_failures) == ("healthy", 0, 0)
    eu.behave(Slow(0.2))
    assert pool.complete(PROMPT, timeout=PATIENCE).text


@pytest.mark.parametrize("way", WAYS)
def test_time_that_is_over_before_the_call(stage: Stage, way: str) -> None:
    """Nothing is sent, not even a connection is made."""
    eu = stage.server("eu")
    pool = stage.pool(eu)
    with pytest.raises(DeadlineExceeded) as caught:
        WAYS[way](pool, 0.0)
    assert caught.value.sent == "no"
    assert (eu.hits(), eu.connections) == (0, 0)
    assert states(pool) == {"eu": "healthy"}


@pytest.mark.parametrize("mistake", [TypeError, ValueError, KeyError, AttributeError, RuntimeError])
def test_function_that_is_wrong_itself(stage: Stage, mistake: type[Exception]) -> None:
    """Its error passes through as it is, once, whatever the server has answered before."""
    eu, us = stage.server("eu"), stage.server("us")
    pool = stage.pool(eu, us)
    error = mistake("the caller's own")
    called = 0

    def ask(lease: Lease) -> None:
        nonlocal called
        called += 1
        assert lease.client.complete(CompletionRequest(PROMPT), lease.remaining)
        raise error

    with pytest.raises(mistake) as caught:
        pool.call(ask, timeout=PATIENCE)
    assert caught.value is error
    assert (called, hits(eu, us)) == (1, [1, 0])
    status = pool.health("eu")
    assert (status.total_requests, status.total_errors, status.state) == (0, 0, "healthy")


def count() -> Iterator[int]:
    """Count to three."""
    yield from range(3)


class Awaitable:
    """Something to wait for."""

    def __await__(self) -> Iterator[Any]:
        raise AssertionError("nobody awaits it here")


@pytest.mark.parametrize("make", [count, lambda: None, Awaitable, lambda: False, Exception])
def test_what_a_function_returns(stage: Stage, make: Callable[[], Any]) -> None:
    """It comes back as it is, untouched, and the call is over with it: only stream() makes streams."""
    pool = stage.pool(stage.server("eu"))
    given = make()
    assert pool.call(lambda lease: given) is given
    status = pool.health("eu")
    assert (status.total_requests, status.requests_in_flight) == (1, 0)
    if make is count:
        assert list(given) == [0, 1, 2]


def test_answer_kept_beyond_its_pool(stage: Stage) -> None:
    """It is a value: it stays good when the pool and the server are gone, and holds neither."""
    eu = stage.server("eu")
    pool = stage.pool(eu)
    answer = pool.complete(PROMPT)
    vectors = pool.embed([PROMPT])
    with pool.stream(PROMPT) as stream:
        text = "".join(chunk.text for chunk in stream)
    pool.close()
    eu.close()
    assert answer.text == text == stream.response.text == ANSWER
    assert verdicts(answer) == [("eu", "ok")]
    assert len(vectors.vectors) == 1
    assert KEY not in repr(answer) + repr(vectors) + repr(stream)
    assert pool.health("eu").total_requests == 3
    with pytest.raises(PoolClosed):
        pool.complete(PROMPT)
