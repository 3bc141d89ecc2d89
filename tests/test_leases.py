"""Leases: one attempt by hand, and calls with the user's own client."""

from __future__ import annotations

import gc
import json
import sys
import threading
from typing import Any

import pytest
from checking import WALL, in_thread, pool_of, until

from llmpool import (
    Deployment,
    InvalidRequest,
    Lease,
    NoHealthyDeployment,
    ProviderPool,
    Verdict,
)
from llmpool.errors import ConnectionFailed, DeadlineExceeded, RateLimited, ServerFault
from llmpool.testing import ScriptedProvider


class WithClient(ScriptedProvider):
    """A provider that holds a client of the user's."""

    def __init__(self, client: Any = None) -> None:
        super().__init__()
        self.client = client


def counts(pool: ProviderPool, name: str = "a") -> tuple[int, int, int]:
    """Give requests, errors, and what is in flight."""
    status = pool.health(name)
    return status.total_requests, status.total_errors, status.requests_in_flight


# -- by hand ------------------------------------------------------------------------------------


def test_a_lease() -> None:
    """It gives the deployment, its client, its name of the model, and the time that is left."""
    client = object()
    pool = pool_of(Deployment("eu", WithClient(client), models={"fast": "tiny"}, timeout=8.0))
    with pool.lease(model="fast", timeout=30.0) as lease:
        assert lease.deployment == "eu"
        assert lease.client is client
        assert lease.model == "tiny"
        assert lease.remaining == 8.0
        pool._clock.advance(5.0)  # type: ignore[attr-defined]
        assert lease.remaining == 3.0
        assert repr(lease) == "<Lease on 'eu', 3.000 s left>"
        pool._clock.advance(5.0)  # type: ignore[attr-defined]
        assert lease.remaining == 0.0
        assert counts(pool, "eu") == (0, 0, 1)
    assert counts(pool, "eu") == (1, 0, 0)
    assert pool.health("eu").latency_p50_ms == pytest.approx(10_000.0, rel=0.1)


def test_a_provider_without_a_client() -> None:
    """It is its own client."""
    provider = ScriptedProvider(model="tiny")
    with pool_of(provider).lease() as lease:
        assert lease.client is provider
        assert lease.model == "tiny"


@pytest.mark.parametrize(
    ("error", "errors"),
    [
        (ConnectionFailed("refused", sent="no"), 1),
        (ConnectionResetError(104, "reset"), 1),
        (json.JSONDecodeError("what?", "<html>", 0), 1),
        (DeadlineExceeded("too slow"), 1),
        (TimeoutError("too slow"), 1),
        (RateLimited("slow down", status=429, retry_after=5.0), 1),
        (InvalidRequest("too odd", status=400), 0),
    ],
)
def test_a_block_that_fails(error: Exception, errors: int) -> None:
    """The error is judged as a provider's, and goes on as it is; nothing is retried."""
    pool = pool_of("a")
    with pytest.raises(type(error)) as caught, pool.lease():
        raise error
    assert caught.value is error
    assert counts(pool) == (1, errors, 0)


@pytest.mark.parametrize("kind", [ValueError, KeyError, AssertionError])
def test_a_block_with_an_error_of_its_own(kind: type[Exception]) -> None:
    """It passes through and is counted for nobody."""
    pool = pool_of("a")
    with pytest.raises(kind), pool.lease():
        raise kind("its own")
    assert counts(pool) == (0, 0, 0)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_block_that_is_interrupted(kind: type[BaseException]) -> None:
    """The place is given back, and nobody is blamed."""
    pool = pool_of("a")
    with pytest.raises(kind), pool.lease():
        raise kind
    assert counts(pool) == (0, 0, 0)


def test_a_time_too_short_to_be_fair() -> None:
    """Running out of it is no fault of the deployment's."""
    pool = pool_of("a")
    with pytest.raises(TimeoutError), pool.lease(timeout=0.2):
        raise TimeoutError
    assert pool.health("a").total_errors == 0


def test_a_model_that_the_server_does_not_know() -> None:
    """By the caller's own name it is no fault; by the deployment's own it disables."""
    unknown = InvalidRequest("no such model", status=404, code="model_not_found")
    pool = pool_of("a")
    with pytest.raises(InvalidRequest), pool.lease(model="odd"):
        raise unknown
    assert pool.health("a").state == "healthy"
    with pytest.raises(InvalidRequest), pool.lease(model="odd"):
        pytest.fail("nobody knows it")
    pool = pool_of(Deployment("a", ScriptedProvider(), models={"odd": "tiny"}))
    with pytest.raises(InvalidRequest), pool.lease(model="odd"):
        raise unknown
    assert pool.health("a").state == "disabled"


def test_a_lease_entered_twice() -> None:
    """It is good for one block; while it is refused it may be tried again."""
    pool = pool_of(Deployment("a", ScriptedProvider()))
    context = pool.lease()
    pool.drain("a")
    with pytest.raises(NoHealthyDeployment), context:
        pytest.fail("there is nobody")
    pool.resume("a")
    with context:
        assert counts(pool) == (0, 0, 1)
        with pytest.raises(RuntimeError, match="good for one block"), context:
            pytest.fail("it is taken")
    with pytest.raises(RuntimeError, match="good for one block"), context:
        pytest.fail("it is spent")
    assert counts(pool) == (1, 0, 0)


def test_a_lease_that_is_forgotten() -> None:
    """Its place comes back, with the next that happens in the pool."""
    pool = pool_of(Deployment("a", ScriptedProvider(), max_concurrent=1))
    lease = pool.lease()
    lease.__enter__()
    assert counts(pool) == (0, 0, 1)
    del lease
    gc.collect()
    assert counts(pool) == (0, 0, 0)


def test_forgetting_runs_no_code_of_pythons() -> None:
    """So there is none in which Python could swallow a Ctrl-C, and the place with it."""
    pool = pool_of(Deployment("eu", WithClient()))
    lease = pool.lease()
    lease.__enter__()
    entered: list[str] = []
    before = sys.gettrace()
    sys.settrace(lambda frame, event, arg: entered.append(frame.f_code.co_name))
    del lease
    sys.settrace(before)
    assert entered == []
    assert counts(pool, "eu") == (0, 0, 0)


def test_leases_take_places() -> None:
    """Where one place is, the second waits for the first."""
    pool = ProviderPool([Deployment("a", ScriptedProvider(), max_concurrent=1)], health_check=None)
    order: list[str] = []

    def second() -> None:
        with pool.lease(timeout=WALL):
            order.append("second")

    with pool.lease():
        thread, _ = in_thread(second)
        until(lambda: pool._ledger._queue)
        order.append("first")
    thread.join(WALL)
    assert order == ["first", "second"]


# -- calls with the user's own client -------------------------------------------------------------


def test_a_call_with_a_client() -> None:
    """What the function returns comes back as it is."""
    client = object()
    pool = pool_of(WithClient(client))
    for value in (None, "text", client, (x for x in "ab")):
        assert pool.call(lambda lease, value=value: value) is value  # type: ignore[misc]
    assert pool.call(lambda lease: lease.client) is client
    assert counts(pool) == (5, 0, 0)


def test_an_awaitable() -> None:
    """It is handed out unawaited: the pool is synchronous and says so in its docs."""

    async def later() -> int:
        return 7

    pool = pool_of("a")
    made = pool.call(lambda lease: later())
    assert made.__name__ == "later"
    made.close()
    assert counts(pool) == (1, 0, 0)


def test_a_call_that_fails_over() -> None:
    """The errors of clients are judged, and the function is called with the next lease."""
    pool = pool_of(WithClient("one"), Deployment("b", WithClient("other"), priority=1))
    seen: list[Any] = []

    def ask(lease: Lease) -> str:
        seen.append(lease.client)
        if lease.deployment == "a":
            raise ConnectionRefusedError(111, "refused")
        return "fine"

    assert pool.call(ask) == "fine"
    assert seen == ["one", "other"]
    assert pool.health("a").total_errors == 1


def test_a_call_that_fails_everywhere() -> None:
    """The error tells of every attempt."""
    pool = pool_of(*"ab")

    def ask(lease: Lease) -> None:
        raise ServerFault(f"oh no, {lease.deployment}", status=500)

    with pytest.raises(ServerFault) as caught:
        pool.call(ask)
    attempts = caught.value.attempts
    assert {attempt.deployment for attempt in attempts} == {"a", "b"}
    assert {attempt.verdict for attempt in attempts} == {Verdict.FAULT}


@pytest.mark.parametrize("kind", [TypeError, ValueError, KeyError, AttributeError])
def test_a_function_with_an_error_of_its_own(kind: type[Exception]) -> None:
    """It passes through at once, with its own traceback; nobody is blamed, nothing repeated."""
    pool = pool_of(*"ab")
    calls: list[str] = []

    def broken(lease: Lease) -> None:
        calls.append(lease.deployment.name)
        raise kind("its own")

    with pytest.raises(kind, match="its own") as caught:
        pool.call(broken)
    assert len(calls) == 1
    assert caught.traceback[-1].name == "broken"
    assert [counts(pool, name) for name in "ab"] == [(0, 0, 0)] * 2


def test_one_request_and_no_more() -> None:
    """retry=False asks once, and is balanced and counted all the same."""
    pool = pool_of(*"ab")
    calls: list[str] = []

    def broken(lease: Lease) -> None:
        calls.append(lease.deployment.name)
        raise ServerFault("oh no", status=500)

    for _ in range(4):
        with pytest.raises(ServerFault):
            pool.call(broken, retry=False)
    assert sorted(calls) == ["a", "a", "b", "b"]
    assert sum(counts(pool, name)[0] for name in "ab") == 4


def test_the_time_of_a_call() -> None:
    """Each lease tells what is left of the whole."""
    pool = pool_of(*"ab")
    left: list[float] = []

    def slow(lease: Lease) -> str:
        left.append(lease.remaining)
        pool._clock.advance(4.0)  # type: ignore[attr-defined]
        if len(left) == 1:
            raise ConnectionFailed("reset")
        return "fine"

    assert pool.call(slow, timeout=20.0) == "fine"
    assert left[0] <= 20.0
    assert left[1] == 16.0


def test_calls_overlap() -> None:
    """As many as there are threads."""
    barrier = threading.Barrier(8)
    pool = ProviderPool([Deployment("a", ScriptedProvider())], health_check=None)
    meet = [in_thread(lambda: pool.call(lambda lease: barrier.wait(WALL))) for _ in range(8)]
    for thread, _ in meet:
        thread.join(WALL)
    assert sorted(found[0] for _, found in meet) == list(range(8))
