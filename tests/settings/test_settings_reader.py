"""From mappings to pools, and what is said of those that make none."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from llmpool import Deployment, Ping, Probe, ProviderPool
from llmpool.settings import ConfigError, read_mapping
from llmpool.testing import ScriptedProvider

URL = "http://127.0.0.1:9/v1"


def entry(name: str = "eu", **more: Any) -> dict[str, Any]:
    return {"name": name, "provider": "openai", "base_url": URL, "api_key": False, **more}


def problems(mapping: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        ProviderPool.from_mapping(mapping, source="x")
    return list(caught.value.problems)


def test_every_table() -> None:
    """Each becomes the class it stands for, and the mapping is left as it was."""
    given = {
        "pool": {
            "name": "main",
            "strategy": "weighted",
            "fail_open": False,
            "fallback_on": ["context_length"],
        },
        "health_check": {"interval": 5, "failure_threshold": 1},
        "retry": {"timeout": False, "max_attempts": 2},
        "check": {"kind": "probe", "model": "m", "max_tokens": 2},
        "deployment": [
            entry(
                weight=2,
                models={"a": "b"},
                tags=["x"],
                prices={"input": 1, "output": 2.5},
                headers={"X-A": "b"},
                max_concurrent=False,
            )
        ],
    }
    before = copy.deepcopy(given)
    plan = read_mapping(given, ProviderPool, source="x")
    assert given == before
    assert plan.options["fallback_on"] == ["context_length"]
    assert plan.options["retry"].timeout is None
    assert plan.options["retry"].max_attempts == 2
    assert plan.options["health_check"].failure_threshold == 1
    assert plan.options["check"] == Probe("m", 2)
    (deployment,) = plan.deployments
    assert (deployment.weight, deployment.models["a"], deployment.tags) == (2, "b", ("x",))
    assert deployment.max_concurrent is None
    assert deployment.prices is not None
    assert deployment.prices.output == 2.5
    pool = plan.build(ProviderPool, name="other")
    assert (pool.name, pool._terms.fail_open) == ("other", False)
    pool.close()


def test_the_least() -> None:
    """One deployment is enough; a check is a ping unless another is named."""
    pool = ProviderPool.from_mapping({"deployment": [entry()], "check": {}})
    assert [each.name for each in pool.deployments] == ["eu"]
    plan = read_mapping({"deployment": [entry()], "check": {}}, ProviderPool, source="x")
    assert plan.options["check"] == Ping()
    pool.close()


def test_every_provider_and_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the names that may be given makes a provider of its kind."""
    monkeypatch.setenv("K", "sk-of-tests")
    given = [
        {"name": "a", "provider": "anthropic", "api_key": "env:K", "max_tokens": 5},
        {"name": "b", "provider": "azure", "endpoint": "https://x.invalid", "api_key": "env:K"},
        {"name": "c", "provider": "gemini", "api_key": "env:K", "model": "m"},
        {"name": "d", "preset": "groq", "api_key": "env:K", "model": "m"},
        {"name": "e", "preset": "ollama", "model": "m"},
    ]
    given[1]["deployment"] = "d"
    pool = ProviderPool.from_mapping({"deployment": given})
    kinds = [type(each.provider).__name__ for each in pool.deployments]
    assert (
        kinds
        == ["AnthropicProvider", "AzureOpenAIProvider", "GeminiProvider"] + ["OpenAIProvider"] * 2
    )
    pool.close()


def test_objects_in_a_mapping() -> None:
    """Where Python makes the mapping, a deployment or a provider may be one already."""
    ready = Deployment("ready", ScriptedProvider("x", repeat=True))
    given = {"name": "own", "provider": ScriptedProvider("y", repeat=True), "weight": 3}
    pool = ProviderPool.from_mapping({"deployment": [ready, given]})
    assert [each.weight for each in pool.deployments] == [1, 3]
    pool.close()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"wight": 2}, "wight: unknown key; did you mean weight?"),
        ({"weight": -1}, "weight: wanted a number from 0 to 1e+06, got -1"),
        ({"weight": "2"}, "weight: wanted a number, got '2'"),
        ({"weight": True}, "weight: wanted a number, got true"),
        ({"tags": ["a", 3]}, "tags: wanted a list of texts, got a list with another kind of entry"),
        ({"tags": "a"}, "tags: wanted a list of texts, got 'a'"),
        (
            {"models": {"a": 1}},
            "models: wanted a table of texts, got a table with another kind of entry",
        ),
        (
            {"provider": "opnai"},
            "provider: wanted the name of a provider, got 'opnai'; did you mean",
        ),
        ({"provider": "zzz"}, "got 'zzz'; there are openai, anthropic, azure, gemini"),
        ({"provider": 3}, "provider: wanted a provider object"),
        ({"preset": "groq"}, "provider: wanted provider or preset, got both"),
        ({"base_url": "nowhere"}, "base_url: wanted an http:// or https:// URL"),
        ({"api_key": 12345678}, 'api_key: wanted "env:NAME", "file:PATH", or false for a server'),
        ({"headers": 5.5}, "headers: wanted a table of texts or false for none, got a number"),
        ({"verify": None}, "verify: wanted a text or true or false, got None"),
        ({"model": {}}, "model: wanted a text or false for none, got a table"),
        ({"model": object}, "model: wanted a text or false for none, got something else"),
        ({"tags": []}, None),
        (
            {"max_concurrent": 2.5},
            "max_concurrent: wanted a whole number or false for none, got 2.5",
        ),
        (
            {"prices": {"input": 1, "outptu": 2}},
            "prices: outptu: unknown key; did you mean output?",
        ),
        ({"prices": {"input": -1, "output": 2}}, "prices: input: wanted a number"),
        ({"prices": 3}, "prices: wanted a table or false for none, got 3"),
    ],
)
def test_a_wrong_value(more: dict[str, Any], told: str | None) -> None:
    """The line names source, table, number, name and key, what is wanted and what came."""
    given: dict[str, Any] = {"deployment": [entry("us"), entry(**more)]}
    if isinstance(more.get("provider"), int):
        given["deployment"][1] = {"name": "eu", **more}
    if told is None:
        ProviderPool.from_mapping(given).close()
        return
    line = problems(given)[0]
    assert line.startswith('x: [[deployment]] 2 "eu"')
    assert told in line
    assert "12345678" not in line


def test_all_at_once() -> None:
    """Every problem is told, not only the first."""
    found = problems(
        {
            "strategy": "x",
            "pol": {},
            "pool": {"strategy": "wieghted", "nam": "x"},
            "retry": {"max_attempts": 0, "timeout": -1, "max_wait": 5},
            "health_check": {"intervall": 3},
            "check": {"kind": "prob"},
            "deployment": [
                {"provider": "openai", "api_key": False, "weight": -1},
                3,
                {"name": "\n"},
            ],
        }
    )
    assert found[:3] == [
        "x: strategy: belongs in the table [pool]",
        "x: pol: unknown key; did you mean pool?",
        found[2],
    ]
    assert found[2].endswith("'wieghted'; did you mean weighted?")
    assert found[3:] == [
        "x: [pool]: nam: unknown key; did you mean name?",
        "x: [retry]: max_attempts: wanted a whole number >= 1, got 0",
        "x: [retry]: timeout: wanted seconds > 0 or None, got -1",
        "x: [health_check]: intervall: unknown key; did you mean interval?",
        'x: [check]: kind: wanted "ping" or "probe", got \'prob\'',
        "x: [[deployment]] 1: weight: wanted a number from 0 to 1e+06, got -1",
        "x: [[deployment]] 1: base_url: wanted a text, got nothing",
        "x: [[deployment]] 1: name: wanted a text, got nothing",
        "x: [[deployment]] 2: wanted a table, got 3",
        "x: [[deployment]] 3: provider: wanted provider or preset, got nothing",
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (3, "x: wanted a table, got 3"),
        ({}, "x: deployment: wanted at least one [[deployment]] table, got none"),
        ({"deployment": entry()}, "x: deployment: wanted [[deployment]] tables, got a table"),
        ({"deployment": []}, "x: deployments: wanted at least one, got none"),
        ({"deployment": [entry(), entry()]}, "x: deployments: wanted unique names, got 'eu' twice"),
        ({"deployment": [entry()], "retry": 3}, "x: retry: wanted a table, got 3"),
        ({"deployment": [entry()], "zz": 1}, "x: zz: unknown key; there are check, deployment,"),
        ({"deployment": [entry()], 5: 1}, "x: 5: unknown key; there are"),
        ({"deployment": [entry()], "check": {"kind": 3}}, "x: [check]: kind: wanted"),
        ({"deployment": [entry()], "check": {"max_tokens": 3}}, "max_tokens: unknown key"),
    ],
)
def test_what_is_no_configuration(given: Any, told: str) -> None:
    """It is said at the top; what only the pool finds out names the source too."""
    assert problems(given)[0].startswith("x: ")
    assert told in problems(given)[0]


def test_an_error_goes_to_another_process() -> None:
    """It is pickled and comes back the same."""
    error = pickle.loads(pickle.dumps(ConfigError("a", "b")))
    assert (error.problems, str(error)) == (("a", "b"), "a\nb")


def test_an_argument_that_a_pool_does_not_take() -> None:
    """It is a mistake in the program, not in the configuration."""
    with pytest.raises(TypeError):
        ProviderPool.from_mapping({"deployment": [entry()]}, nothing=1)


def test_a_pool_with_settings_of_its_own() -> None:
    """What its constructor takes are the keys of ``[pool]``, strategy or not."""

    def own(deployments: list[Deployment], name: str = "own", level: int = 0) -> tuple[str, int]:
        return name, level

    # The names in these annotations are looked up where they stand.
    own.__annotations__ = {"deployments": list[Deployment], "name": str, "level": int}
    given = {"pool": {"level": 3}, "deployment": [entry()]}
    assert read_mapping(given, own, source="x").build(own) == ("own", 3)


def test_a_pool_of_another_kind() -> None:
    """A class below ProviderPool makes pools of its own kind."""

    class Own(ProviderPool):
        pass

    pool = Own.from_mapping({"deployment": [entry()]})
    assert type(pool) is Own
    pool.close()
