"""From the keys of a Flask application's config, and variables that become keys, to a pool."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import pytest

pytest.importorskip("flask")

from flask import Flask

from llmpool import (
    ConfigError,
    Deployment,
    HealthCheckConfig,
    OpenAIProvider,
    Ping,
    Probe,
    ProviderPool,
    RetryPolicy,
)
from llmpool.contrib.flask import LLMPool
from llmpool.strategies import RoundRobin
from llmpool.testing import ScriptedProvider

needs_toml = pytest.mark.needs(*(() if sys.version_info >= (3, 11) else ("tomli",)))

EU = {"name": "eu", "provider": "openai", "base_url": "http://eu.invalid/v1", "api_key": "env:EU"}
US = {**EU, "name": "us"}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the key that the deployments name."""
    monkeypatch.setenv("EU", "sk-in-the-environment")


def make(root: pathlib.Path | None = None, /, **keys: Any) -> ProviderPool:
    """Make an application with these keys; give its pool."""
    app = Flask("shop", root_path=None if root is None else str(root))
    app.config.from_mapping({f"LLMPOOL_{key}": value for key, value in keys.items()})
    LLMPool(app)
    pool = app.extensions["llmpool"]
    assert isinstance(pool, ProviderPool)
    return pool


def problems(root: pathlib.Path | None = None, /, **keys: Any) -> list[str]:
    """Give what is wrong with these keys."""
    with pytest.raises(ConfigError) as caught:
        make(root, **keys)
    return list(caught.value.problems)


def test_every_kind_of_key() -> None:
    """Keys of [pool] stand alone, tables are mappings."""
    pool = make(
        NAME="main",
        STRATEGY="primary",
        FAIL_OPEN=False,
        FALLBACK_ON=["context_length"],
        HEALTH_CHECK={"interval": 5, "enabled": False},
        CHECK={"kind": "probe", "max_tokens": 2},
        RETRY={"timeout": 7, "max_attempts": 2},
        DEPLOYMENTS=[EU, {**US, "weight": 3, "prices": {"input": 1, "output": 2}}],
    )
    assert pool.name == "main"
    assert pool._retry == RetryPolicy(2, timeout=7)
    assert pool._checker.config == HealthCheckConfig(5, enabled=False)
    assert pool._checker.check == Probe(max_tokens=2)
    us = pool.deployments[1]
    assert (us.weight, us.prices and us.prices.output) == (3, 2)


def test_objects() -> None:
    """What a Python config has made already is taken as it is; None means what it does to the pool."""
    own = {"name": "own", "provider": ScriptedProvider("hi")}
    deployment = Deployment("us", ScriptedProvider("hi"))
    pool = make(
        STRATEGY=RoundRobin(),
        RETRY=RetryPolicy(1),
        CHECK=Ping(),
        HEALTH_CHECK=None,
        NAME=None,
        DEPLOYMENTS=(own, deployment),
    )
    assert pool._retry == RetryPolicy(1)
    assert not pool._checker.config.enabled
    assert pool.deployments[1] is deployment
    assert pool.name.startswith("pool-")


def test_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flask reads JSON where it is some, and two underscores stand between a table and its key."""
    variables = {
        "STRATEGY": "primary",
        "RETRY__TIMEOUT": "30",
        "HEALTH_CHECK__ENABLED": "false",
        "DEPLOYMENTS": '[{"name": "eu", "preset": "groq", "api_key": "env:EU"}]',
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"FLASK_LLMPOOL_{name}", value)
    app = Flask("shop")
    app.config["LLMPOOL_RETRY"] = {"timeout": 60, "max_attempts": 4}
    app.config.from_prefixed_env()
    LLMPool(app)
    pool = app.extensions["llmpool"]
    assert pool._retry == RetryPolicy(4, timeout=30)
    assert not pool._checker.config.enabled
    assert [each.name for each in pool.deployments] == ["eu"]


def test_variables_of_each_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come as a mapping of names to tables; names of models keep their capitals."""
    variables = {
        "PROVIDER": "openai",
        "BASE_URL": "http://eu.invalid/v1",
        "API_KEY": "env:EU",
        "MODELS__GPT": "gpt-4o",
        "PRICES__INPUT": "0.5",
        "PRICES__OUTPUT": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"FLASK_LLMPOOL_DEPLOYMENTS__EU__{name}", value)
    app = Flask("shop")
    app.config.from_prefixed_env()
    LLMPool(app)
    (deployment,) = app.extensions["llmpool"].deployments
    assert deployment.name == "EU"
    assert deployment.models == {"GPT": "gpt-4o"}
    assert deployment.prices is not None
    assert deployment.prices.input == 0.5
    assert isinstance(deployment.provider, OpenAIProvider)
    assert make(DEPLOYMENTS={"EU": {**EU, "name": "eu"}}).deployments[0].name == "eu"


@needs_toml
def test_a_file(tmp_path: pathlib.Path) -> None:
    """A relative path counts from the application's folder, as with Flask's own config files."""
    text = (
        '[retry]\ntimeout = 7\n[[deployment]]\nname = "eu"\nprovider = "openai"\n'
        'base_url = "http://eu.invalid/v1"\napi_key = "file:key.txt"\n'
    )
    (tmp_path / "llmpool.toml").write_text(text)
    (tmp_path / "key.txt").write_text("sk-in-a-file\n")
    pool = make(tmp_path, CONFIG="llmpool.toml")
    assert (pool.name, pool._retry.timeout) == ("shop", 7)
    (tmp_path / "named.toml").write_text(f'[pool]\nname = "main"\n{text}')
    assert make(tmp_path, CONFIG=tmp_path / "named.toml").name == "main"


@needs_toml
def test_a_file_with_mistakes(tmp_path: pathlib.Path) -> None:
    """They are told with the key, the file, and its own table and key; so is what the pool refuses."""
    path = tmp_path / "llmpool.toml"
    assert problems(tmp_path, CONFIG="llmpool.toml") == [
        f"LLMPOOL_CONFIG: {path}: No such file or directory"
    ]
    text = '[[deployment]]\nname = "eu"\nprovider = "openai"\nbase_url = "http://eu.invalid"\n'
    path.write_text(f"{text}api_key = false\nwight = 0\n")
    assert problems(tmp_path, CONFIG="llmpool.toml", RETRI=1) == [
        "LLMPOOL_RETRI: unknown key; did you mean LLMPOOL_RETRY?",
        f'LLMPOOL_CONFIG: {path}: [[deployment]] 1 "eu": wight: unknown key; did you mean weight?',
    ]
    path.write_text(f"{text}api_key = false\nweight = 0\n")
    assert problems(tmp_path, CONFIG="llmpool.toml") == [
        f"LLMPOOL_CONFIG: {path}: deployments: wanted at least one weight above 0, got all 0"
    ]
    assert problems(tmp_path, CONFIG="llmpool.toml", RETRY={"timeout": 3}, DEPLOYMENTS=[EU]) == [
        "LLMPOOL_RETRY: wanted it in the file that LLMPOOL_CONFIG names, got it here too",
        "LLMPOOL_DEPLOYMENTS: wanted it in the file that LLMPOOL_CONFIG names, got it here too",
    ]


@pytest.mark.parametrize("given", ["", 3, {"path": "llmpool.toml"}])
def test_what_is_no_path(given: Any) -> None:
    """It is refused."""
    (problem,) = problems(CONFIG=given)
    assert problem.startswith("LLMPOOL_CONFIG: wanted the path of a TOML file, got ")


NO_LIST = "LLMPOOL_DEPLOYMENTS: wanted a list of tables (in the environment as JSON), got "


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, f"{NO_LIST}nothing"),
        ({"DEPLOYMENTS": '[{"api_key": "sk-1234567890",}]'}, f"{NO_LIST}a str of 31 characters"),
        ({"DEPLOYMENTS": 3}, f"{NO_LIST}3"),
        ({"DEPLOYMENTS": []}, "LLMPOOL_DEPLOYMENTS: wanted at least one, got none"),
        ({"DEPLOYMENTS": {}}, "LLMPOOL_DEPLOYMENTS: wanted at least one, got none"),
        ({"DEPLOYMENTS": [3]}, "LLMPOOL_DEPLOYMENTS[0]: wanted a table, got 3"),
        ({"DEPLOYMENTS": {"eu": 3}}, "LLMPOOL_DEPLOYMENTS[0]: wanted a table, got 3"),
        (
            {"DEPLOYMENTS": [EU, {**US, "wight": 2}]},
            'LLMPOOL_DEPLOYMENTS[1] "us": wight: unknown key; did you mean weight?',
        ),
        (
            {"DEPLOYMENTS": {"eu": {"PROVIDER": "opnai"}}},
            "LLMPOOL_DEPLOYMENTS[\"eu\"]: provider: wanted the name of a provider, got 'opnai'; "
            "did you mean openai?",
        ),
        (
            {"DEPLOYMENTS": [{**EU, "name": "a\nb", "weight": -1}]},
            "LLMPOOL_DEPLOYMENTS[0]: name: wanted a text in one line, of printable characters, "
            "got a str of 3 characters",
        ),
        (
            {"DEPLOYMENTS": [{**EU, "prices": {"input": "much", "output": 1}}]},
            "LLMPOOL_DEPLOYMENTS[0] \"eu\": prices: input: wanted a number, got 'much'",
        ),
        (
            {"DEPLOYMENTS": [{**EU, "api_key": "env:NOT_SET"}]},
            'LLMPOOL_DEPLOYMENTS[0] "eu": api_key: wanted a value, got nothing from the environment '
            "variable NOT_SET, which is not set, or empty",
        ),
        (
            {"DEPLOYMENTS": [EU, EU]},
            "LLMPOOL_DEPLOYMENTS: wanted unique names, got 'eu' twice",
        ),
        (
            {
                "DEPLOYMENTS": [
                    {**EU, "quota_group": "g", "requests_per_minute": 5},
                    {**US, "quota_group": "g", "requests_per_minute": 6},
                ]
            },
            "LLMPOOL_DEPLOYMENTS: requests_per_minute: wanted one limit for the quota_group 'g', "
            "got 5 and 6 for 'us'",
        ),
        (
            {"DEPLOYMENTS": [EU], "RETRY": {"TIMEOUT": "soon"}},
            "LLMPOOL_RETRY: timeout: wanted a number or false for none, got 'soon'",
        ),
        (
            {"DEPLOYMENTS": [EU], "RETRY": 3},
            "LLMPOOL_RETRY: wanted a table, got 3",
        ),
        (
            {"DEPLOYMENTS": [EU], "RETRY": None},
            "LLMPOOL_RETRY: wanted a RetryPolicy, got None",
        ),
        (
            {"DEPLOYMENTS": [EU], "CHECK": {"KIND": "prob"}},
            'LLMPOOL_CHECK: kind: wanted "ping" or "probe", got \'prob\'',
        ),
        (
            {"DEPLOYMENTS": [EU], "STRATEGY": "primry"},
            "LLMPOOL_STRATEGY: wanted one of round_robin, least_latency, least_connections, "
            "weighted, random, primary, lowest_cost, got 'primry'; did you mean primary?",
        ),
        (
            {"DEPLOYMENTS": [EU], "RETRI": {}},
            "LLMPOOL_RETRI: unknown key; did you mean LLMPOOL_RETRY?",
        ),
    ],
)
def test_mistakes(keys: dict[str, Any], told: str) -> None:
    """Each is told with its key and never with a secret."""
    found = problems(**keys)
    assert told in found
    assert "sk-" not in "".join(found)


def test_all_mistakes_at_once() -> None:
    """An error names each of them."""
    found = problems(RETRI={}, STRATEGY="best", RETRY={"timeout": -1}, DEPLOYMENTS=[{"name": "eu"}])
    assert [problem.partition(":")[0] for problem in found] == [
        "LLMPOOL_RETRI",
        "LLMPOOL_RETRY",
        "LLMPOOL_STRATEGY",
        'LLMPOOL_DEPLOYMENTS[0] "eu"',
    ]


def test_keys_of_others() -> None:
    """A key of the application's own may begin as ours do."""
    app = Flask("shop")
    app.config.update({"LLMPOOL_GREETING": "hello", 3: "no text", "LLMPOOL_DEPLOYMENTS": [EU]})
    LLMPool(app)
    assert app.config["LLMPOOL_GREETING"] == "hello"


def test_the_config_is_left_alone() -> None:
    """What was given stays as it was, and what was not is None."""
    given = {"timeout": 3}
    app = Flask("shop")
    app.config.update(LLMPOOL_RETRY=given, LLMPOOL_DEPLOYMENTS={"EU": {**EU, "name": "eu"}})
    before = dict(app.config)
    LLMPool(app)
    assert app.config == {**before, "LLMPOOL_CONFIG": None}
    assert given == {"timeout": 3}
