"""Metrics for Prometheus: what is counted under which labels, in one process and in several."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from llmpool import (
    CompletionResponse,
    Custom,
    Deployment,
    Event,
    HealthCheckConfig,
    ProviderPool,
    RateLimited,
    RetryPolicy,
    ServerFault,
    StreamChunk,
    Usage,
)
from llmpool.testing import ManualClock, ScriptedProvider

prometheus = pytest.importorskip("prometheus_client")

from llmpool.contrib._models import MOST_MODELS  # noqa: E402
from llmpool.contrib.prometheus import SECONDS, instrument  # noqa: E402

ROOT = Path(__file__).parents[2]
PROMPT = "what nobody else may read"
USAGE = Usage(prompt_tokens=30, completion_tokens=12, total_tokens=42)


@pytest.fixture
def registry() -> Any:
    """A registry of the test's own."""
    return prometheus.CollectorRegistry()


def pool_of(*providers: Any, name: str = "main", **options: Any) -> ProviderPool:
    """Make a pool of providers called a, b, c, asked in this order, on a clock that stands."""
    given = [
        each if isinstance(each, Deployment) else Deployment(letter, each)
        for letter, each in zip("abc", providers, strict=False)
    ]
    settings = {
        "strategy": "primary",
        "health_check": HealthCheckConfig(enabled=False, failure_threshold=1),
        "retry": RetryPolicy(backoff_initial=0.0, max_wait=0.0),
        "clock": ManualClock(),
    }
    return ProviderPool(given, name=name, **{**settings, **options})


def values(registry: Any) -> dict[str, float]:
    """Give every value that is not zero, under its name and labels as they are exposed."""
    text = prometheus.generate_latest(registry).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines if float(value)}


def counted(registry: Any) -> dict[str, float]:
    """Give the counters and gauges, without the times of their making."""
    return {
        name: value
        for name, value in values(registry).items()
        if "_bucket" not in name and "_created" not in name and "_sum" not in name
    }


# -- what is counted ----------------------------------------------------------------------------


def test_a_call_with_a_failover(registry: Any) -> None:
    """Every attempt by what came of it, who took over and why, and the tokens."""
    pool = pool_of(
        ScriptedProvider(RateLimited("slow down", status=429, retry_after=60.0)),
        ScriptedProvider(CompletionResponse("hello", usage=USAGE)),
    )
    assert instrument(pool, registry=registry) is pool
    pool.complete(PROMPT, model="fast")
    first = '{deployment="a",model="fast",outcome="rate_limited",pool="main"}'
    second = '{deployment="b",model="fast",outcome="ok",pool="main"}'
    tokens = 'llmpool_tokens_total{deployment="b",model="fast",pool="main",type='
    assert counted(registry) == {
        f"llmpool_requests_total{first}": 1.0,
        f"llmpool_requests_total{second}": 1.0,
        f"llmpool_request_duration_seconds_count{first}": 1.0,
        f"llmpool_request_duration_seconds_count{second}": 1.0,
        'llmpool_failovers_total{from="a",pool="main",reason="rate_limited"}': 1.0,
        'llmpool_deployment_up{deployment="a",pool="main"}': 1.0,
        'llmpool_deployment_up{deployment="b",pool="main"}': 1.0,
        f'{tokens}"input"}}': 30.0,
        f'{tokens}"output"}}': 12.0,
    }


def test_a_return_to_the_same_deployment(registry: Any) -> None:
    """It is no failover."""
    pool = pool_of(
        ScriptedProvider(ServerFault("broke", status=503), "hello"),
        health_check=HealthCheckConfig(enabled=False),
    )
    instrument(pool, registry=registry)
    pool.complete(PROMPT)
    assert not [name for name in values(registry) if "failovers_total" in name]


def test_the_bounds(registry: Any) -> None:
    """Those that OpenTelemetry advises."""
    pool = instrument(pool_of(ScriptedProvider("hello")), registry=registry)
    pool.complete(PROMPT)
    bounds = [
        0.01,
        0.02,
        0.04,
        0.08,
        0.16,
        0.32,
        0.64,
        1.28,
        2.56,
        5.12,
        10.24,
        20.48,
        40.96,
        81.92,
    ]
    assert list(SECONDS) == bounds
    [metric] = [
        each for each in registry.collect() if each.name == "llmpool_request_duration_seconds"
    ]
    told = [each.labels["le"] for each in metric.samples if each.name.endswith("_bucket")]
    assert told == [str(bound) for bound in bounds] + ["+Inf"]


def test_a_stream(registry: Any) -> None:
    """It is under way until it ends; the time until its first content is told apart."""
    clock = ManualClock()

    def answer(*_: Any) -> Any:
        clock.advance(3.0)
        return [StreamChunk("one"), StreamChunk(" two", usage=USAGE)]

    pool = instrument(pool_of(ScriptedProvider(answer), clock=clock), registry=registry)
    under_way = 'llmpool_inflight_requests{deployment="a",pool="main"}'
    stream = pool.stream(PROMPT)
    assert values(registry)[under_way] == 1.0
    list(stream)
    told = values(registry)
    assert under_way not in told
    first = (
        'llmpool_time_to_first_token_seconds_bucket{deployment="a",le="%s",model="",pool="main"}'
    )
    assert first % "2.56" not in told
    assert told[first % "5.12"] == 1.0
    assert told['llmpool_tokens_total{deployment="a",model="",pool="main",type="output"}'] == 12.0


def test_states(registry: Any) -> None:
    """Up is healthy, from the beginning on and after each change."""
    pool = pool_of(*map(ScriptedProvider, [ServerFault("broke", status=503), "fine"]))
    pool.drain("b", timeout=0.0)
    instrument(pool, registry=registry)

    def up() -> dict[str, float]:
        [metric] = [each for each in registry.collect() if each.name == "llmpool_deployment_up"]
        return {each.labels["deployment"]: each.value for each in metric.samples}

    assert up() == {"a": 1.0, "b": 0.0}
    pool.resume("b")
    assert up() == {"a": 1.0, "b": 1.0}
    pool.complete(PROMPT)
    assert up() == {"a": 0.0, "b": 1.0}


def test_a_rate_limit(registry: Any) -> None:
    """It takes calls away and is no sickness."""
    limited = RateLimited("slow down", status=429, retry_after=30.0)
    pool = instrument(pool_of(*map(ScriptedProvider, [limited, "fine"])), registry=registry)
    assert pool.complete(PROMPT).text == "fine"
    assert pool.health("a").state == "cooling"
    assert values(registry)['llmpool_deployment_up{deployment="a",pool="main"}'] == 1.0


def test_one_that_proves_itself(registry: Any) -> None:
    """It is up from its first good check on, though it is recovering for long: no event tells of it."""
    clock = ManualClock()
    health_check = HealthCheckConfig(failure_threshold=1, recovery_threshold=2, enabled=False)
    well: list[bool] = [False]
    pool = instrument(
        ProviderPool(
            [Deployment("a", ScriptedProvider())],
            name="main",
            health_check=health_check,
            check=Custom(lambda deployment: well[0]),
            clock=clock,
        ),
        registry=registry,
    )
    up = 'llmpool_deployment_up{deployment="a",pool="main"}'
    pool.check_now()
    assert up not in values(registry)
    clock.advance(121.0)  # its sentence is over, and nothing was heard of it
    assert pool.health("a").state == "recovering"
    well[0] = True
    seen = []
    for _ in range(2):
        pool.check_now()
        seen.append((pool.health("a").healthy, up in values(registry)))
    assert seen[-1] == (True, True)
    assert all(healthy == shown for healthy, shown in seen)
    assert pool.health("a").state == "recovering"
    pool.close()


def test_one_that_is_gone(registry: Any) -> None:
    """A change of one that was removed meanwhile, or of a pool that was forgotten, is no error."""
    pool = instrument(pool_of(ScriptedProvider()), registry=registry)
    up = 'llmpool_deployment_up{deployment="b",pool="main"}'
    [observer] = pool._announcer.audience._observers  # type: ignore[union-attr]
    gone: Any = observer
    gone.state_changed(Event("main", "b", "healthy", "unhealthy", None, 0.0))
    assert up not in values(registry)
    del pool
    gc.collect()
    gone.state_changed(Event("main", "a", "healthy", "unhealthy", None, 0.0))
    assert values(registry)['llmpool_deployment_up{deployment="a",pool="main"}'] == 1.0


def test_a_forked_child(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows the states anew, for the gauges of several processes are zero there."""
    pool = pool_of(ScriptedProvider("hi", repeat=True))
    instrument(pool, registry=registry)
    up = 'llmpool_deployment_up{deployment="a",pool="main"}'
    assert values(registry)[up] == 1.0
    named = registry._names_to_collectors["llmpool_deployment_up"]
    named.labels("main", "a").set(0.0)
    pool.complete(PROMPT)
    assert up not in values(registry)
    pid = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: pid)
    pool.complete(PROMPT)
    monkeypatch.undo()
    assert values(registry)[up] == 1.0


def test_a_change_of_the_checkers(registry: Any) -> None:
    """It is no deployment's."""
    pool = instrument(pool_of(ScriptedProvider()), registry=registry)
    pool._announcer.tell_of_checker("running", "dead", "a reason", 0.0)
    assert 'deployment=""' not in prometheus.generate_latest(registry).decode()


def test_checks(registry: Any) -> None:
    """Their times, by what they found."""
    pool = pool_of(
        ScriptedProvider(), ScriptedProvider(), check=Custom(lambda each: each.name == "a")
    )
    instrument(pool, registry=registry)
    pool.check_now()
    told = counted(registry)
    name = "llmpool_health_check_duration_seconds_count"
    assert told[f'{name}{{deployment="a",outcome="ok",pool="main"}}'] == 1.0
    assert told[f'{name}{{deployment="b",outcome="failed",pool="main"}}'] == 1.0


def test_several_pools(registry: Any) -> None:
    """They share the metrics, each under its name; one that is instrumented twice counts once."""
    for name in ("one", "two", "three"):
        pool = instrument(pool_of(ScriptedProvider("hello"), name=name), registry=registry)
        instrument(pool, registry=registry)
        pool.complete(PROMPT)
    told = counted(registry)
    labels = 'deployment="a",model="",outcome="ok",pool='
    for name in ("one", "two", "three"):
        assert told[f'llmpool_requests_total{{{labels}"{name}"}}'] == 1.0


def test_several_registries(registry: Any) -> None:
    """One pool may count on both, and under another name."""
    other = prometheus.CollectorRegistry()
    pool = pool_of(ScriptedProvider("hello"))
    instrument(pool, registry=registry)
    instrument(pool, registry=other, namespace="mine")
    pool.complete(PROMPT)
    assert any(name.startswith("llmpool_requests_total") for name in values(registry))
    assert any(name.startswith("mine_requests_total") for name in values(other))


def test_the_default_registry() -> None:
    """It is prometheus_client's."""
    pool = instrument(pool_of(ScriptedProvider("hello")), namespace="of_this_test")
    pool.complete(PROMPT)
    labels = {"pool": "main", "deployment": "a", "model": "", "outcome": "ok"}
    assert prometheus.REGISTRY.get_sample_value("of_this_test_requests_total", labels) == 1.0


def test_what_cannot_be_instrumented(registry: Any) -> None:
    """No pool, or no name of a metric; nothing is left half made."""
    with pytest.raises(TypeError, match="pool: wanted a ProviderPool"):
        instrument("main", registry=registry)  # type: ignore[arg-type]
    pool = pool_of(ScriptedProvider("hello"))
    with pytest.raises(ValueError, match="namespace: wanted letters"):
        instrument(pool, registry=registry, namespace="no name")
    theirs = prometheus.Counter("llmpool_tokens_total", "Theirs.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        instrument(pool, registry=registry)
    registry.unregister(theirs)
    instrument(pool, registry=registry)
    pool.complete(PROMPT)
    assert counted(registry)


def test_a_forgotten_pool(registry: Any) -> None:
    """The metrics keep neither it nor the registry."""
    own = prometheus.CollectorRegistry()
    pool = instrument(
        instrument(pool_of(ScriptedProvider("hello")), registry=registry), registry=own
    )
    pool.complete(PROMPT)
    gone = weakref.ref(pool), weakref.ref(own)
    del pool, own
    gc.collect()
    assert [each() for each in gone] == [None, None]


# -- labels -------------------------------------------------------------------------------------


def models(registry: Any) -> set[str]:
    """Name the models that there are series for."""
    [metric] = [each for each in registry.collect() if each.name == "llmpool_requests"]
    return {each.labels["model"] for each in metric.samples}


def test_models_that_callers_make_up(registry: Any) -> None:
    """There are series for so many, and one for all the rest; those of the configuration come apart."""
    pool = pool_of(
        Deployment("a", ScriptedProvider("hi", repeat=True, model="own")),
        Deployment(
            "b", ScriptedProvider("hi", repeat=True), models={"mapped": "upstream"}, priority=1
        ),
    )
    instrument(pool, registry=registry)
    for number in range(3 * MOST_MODELS):
        pool.complete(PROMPT, model=f"made-up-{number}")
    pool.complete(PROMPT, model="mapped")
    pool.complete(PROMPT)
    made_up = {f"made-up-{number}" for number in range(MOST_MODELS)}
    assert models(registry) == {*made_up, "other", "mapped", "own"}


def test_names_that_no_label_can_carry(registry: Any) -> None:
    """A page can be made of them all the same: half a character is replaced, and a novel is "other"."""
    pool = pool_of(ScriptedProvider("hi", repeat=True))
    instrument(pool, registry=registry)
    pool.complete(PROMPT, model="half \ud800")
    pool.complete(PROMPT, model='quoted " \n \\')
    pool.complete(PROMPT, model="n" * 129)
    assert models(registry) == {"half ?", 'quoted " \n \\', "other"}
    prometheus.generate_latest(registry)


def test_nothing_that_was_said(registry: Any) -> None:
    """No prompt and no answer is in any of it."""
    pool = pool_of(
        ScriptedProvider(ServerFault(PROMPT, status=503)),
        ScriptedProvider("what nobody else may hear"),
    )
    instrument(pool, registry=registry)
    pool.complete(PROMPT)
    assert "nobody else" not in prometheus.generate_latest(registry).decode()


# -- several processes --------------------------------------------------------------------------

PROGRAM = """
import json, os, subprocess, sys
import prometheus_client as prometheus
from prometheus_client import multiprocess
from llmpool import Deployment, HealthCheckConfig, ProviderPool, RetryPolicy, ServerFault, Usage
from llmpool import CompletionResponse
from llmpool.contrib.prometheus import instrument
from llmpool.testing import ScriptedProvider

usage = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
good = CompletionResponse("hello", usage=usage)
pool = ProviderPool(
    [
        Deployment("a", ScriptedProvider(ServerFault("broke", status=503), good, repeat=True)),
        Deployment("b", ScriptedProvider(good, repeat=True), priority=1),
    ],
    name="main",
    health_check=HealthCheckConfig(enabled=False),
    retry=RetryPolicy(backoff_initial=0.0),
)
instrument(pool)

def work(calls):
    for _ in range(calls):
        pool.complete("hello", model="fast")

if sys.argv[1:] == ["spawned"]:
    work(7)
    held = pool.stream("hello")  # under way when the process ends, which was never told so
    os._exit(0)

work(2)
held = pool.stream("hello")  # the parent's, and no child's
children = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        work(10 + number)
        held.close()
        os._exit(0)
    children.append(pid)
for _ in range(2):
    children.append(subprocess.Popen([sys.executable, __file__, "spawned"]).pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0

def told():
    registry = prometheus.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return {
        f"{sample.name} {' '.join(sample.labels[name] for name in sorted(sample.labels))}": sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith(("_bucket", "_sum", "_created"))
    }

before = told()
for pid in children:
    multiprocess.mark_process_dead(pid)
print(json.dumps([before, told()]))
held.close()
pool.close()
"""


def test_several_processes(tmp_path: Path) -> None:
    """Forked and spawned, each counts its own; their sums are exact, and the dead are under way nowhere."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    files = tmp_path / "files"
    files.mkdir()
    done = subprocess.run(
        [sys.executable, str(program)],
        env={"PROMETHEUS_MULTIPROC_DIR": str(files), "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    forked, spawned, parent = 10 + 11 + 12 + 13, 2 * 7, 2
    calls = forked + spawned + parent
    # The first call of each process of its own fails at first; a forked child goes on where the parent was.
    failed = 1 + 2
    assert before["llmpool_requests_total a fast fault main"] == failed
    ok = {
        name: value
        for name, value in before.items()
        if name.startswith("llmpool_requests_total") and " fast ok " in name
    }
    assert sum(ok.values()) == calls
    tokens = {name: value for name, value in before.items() if name.startswith("llmpool_tokens")}
    assert sum(tokens.values()) == 5 * calls
    assert before["llmpool_failovers_total a main fault"] == failed
    assert sum(v for n, v in before.items() if n.startswith("llmpool_inflight")) == 1 + 2
    assert sum(v for n, v in after.items() if n.startswith("llmpool_inflight")) == 1
    assert {n: v for n, v in after.items() if n.startswith("llmpool_deployment_up")} == {
        "llmpool_deployment_up a main": 1.0,
        "llmpool_deployment_up b main": 1.0,
    }
    assert (
        sum(v for n, v in after.items() if n.startswith("llmpool_requests_total")) == calls + failed
    )
