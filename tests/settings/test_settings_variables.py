"""Pools from variables of the environment, and from files."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import pytest

from llmpool import ProviderPool
from llmpool.settings import ConfigError, files, read_environment
from llmpool.settings.outline import Outline
from llmpool.settings.variables import _Variables, is_configured

URL = "http://127.0.0.1:9/v1"
EU = {
    "LLMPOOL_DEPLOYMENTS": "eu",
    "LLMPOOL_EU__PROVIDER": "openai",
    "LLMPOOL_EU__BASE_URL": URL,
    "LLMPOOL_EU__API_KEY": "none",
}
TOML = f"""
[[deployment]]
name = "eu"
provider = "openai"
base_url = "{URL}"
api_key = "file:key.txt"
"""

needs_toml = pytest.mark.needs(*(() if sys.version_info >= (3, 11) else ("tomli",)))


def read(**more: str) -> Any:
    return read_environment(ProviderPool, environ={**EU, **more})


def problems(**more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(**more)
    return list(caught.value.problems)


def test_every_kind_of_value() -> None:
    """Each variable is read as its key wants it."""
    plan = read(
        LLMPOOL_DEPLOYMENTS=" eu, us-1 ",
        LLMPOOL_US_1__PRESET="groq",
        LLMPOOL_US_1__API_KEY="env:US_KEY",
        US_KEY="of-tests",
        LLMPOOL_US_1__MODELS="small=a, large=b",
        LLMPOOL_US_1__TAGS="x, y",
        LLMPOOL_US_1__PRICES__INPUT="1",
        LLMPOOL_US_1__PRICES__OUTPUT="2.5",
        LLMPOOL_US_1__HEADERS='{"X-A": "a,b=c"}',
        LLMPOOL_EU__WEIGHT="2.5",
        LLMPOOL_EU__PRICES='{"input": 1, "output": 2}',
        LLMPOOL_NAME="main",
        LLMPOOL_STRATEGY="weighted",
        LLMPOOL_FAIL_OPEN="No",
        LLMPOOL_RETRY__TIMEOUT="none",
        LLMPOOL_HEALTH_CHECK__INTERVAL="5",
        LLMPOOL_HEALTH_CHECK__SKIP_AFTER_TRAFFIC="yes",
        LLMPOOL_CHECK__KIND="probe",
        LLMPOOL_CHECK__MAX_TOKENS="3",
    )
    eu, us = plan.deployments
    assert (us.name, dict(us.models), us.tags) == ("us-1", {"small": "a", "large": "b"}, ("x", "y"))
    assert us.prices.output == 2.5
    assert (eu.weight, eu.prices.output) == (2.5, 2)
    assert (plan.options["name"], plan.options["fail_open"]) == ("main", False)
    assert plan.options["retry"].timeout is None
    assert plan.options["health_check"].skip_after_traffic is True
    assert plan.options["check"].max_tokens == 3


def test_variables_of_others() -> None:
    """They are let alone: logging's, and those that a cluster sets for a service of that name."""
    read(LLMPOOL_LOG="debug", LLMPOOL_SERVICE_HOST="10.0.0.1", LLMPOOL_PORT_80_TCP="x", OTHER="y")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            {"LLMPOOL_EU__WIGHT": "2"},
            "LLMPOOL_EU__WIGHT: unknown key; did you mean weight?",
        ),
        (
            {"LLMPOOL_EU__WEIGHT": "x"},
            "LLMPOOL_EU__WEIGHT: wanted a number, got another text",
        ),
        (
            {"LLMPOOL_EU__WEIGHT": "-2"},
            "LLMPOOL_EU__WEIGHT: wanted a number from 0 to 1e+06, got -2",
        ),
        (
            {"LLMPOOL_EU__MAX_CONCURRENT": "1.5"},
            "LLMPOOL_EU__MAX_CONCURRENT: wanted a whole number or none, got another text",
        ),
        (
            {"LLMPOOL_EU__MODELS": "a"},
            "LLMPOOL_EU__MODELS: wanted name=value pairs with commas between them, or a JSON object, "
            "got another text",
        ),
        (
            {"LLMPOOL_EU__PRICES": "{"},
            "LLMPOOL_EU__PRICES: wanted a JSON object, or a variable for each of its keys, got another "
            "text",
        ),
        (
            {"LLMPOOL_EU__TAGS": "[1]"},
            "LLMPOOL_EU__TAGS: wanted a list of texts, got a list with another kind of entry",
        ),
        ({"LLMPOOL_EU__TAGS": "["}, "LLMPOOL_EU__TAGS: wanted texts with commas between them"),
        ({"LLMPOOL_EU__WEIGHT__X": "1"}, "LLMPOOL_EU__WEIGHT__X: weight is no table"),
        (
            {"LLMPOOL_EU__PRICES__INPUT": "1"},
            "LLMPOOL_EU__PRICES__OUTPUT: wanted a number, got nothing",
        ),
        ({"LLMPOOL_EU__PROVIDER": "opnai"}, "LLMPOOL_EU__PROVIDER: wanted the name of a provider"),
        (
            {"LLMPOOL_EU__PRESET": "grok"},
            "LLMPOOL_EU__PROVIDER: wanted provider or preset, got both",
        ),
        (
            {"LLMPOOL_EU__API_KEY": "env:NOT_SET"},
            "LLMPOOL_EU__API_KEY: wanted a value, got nothing",
        ),
        ({"LLMPOOL_STRATEGIE": "x"}, "LLMPOOL_STRATEGIE: unknown variable; did you mean STRATEGY?"),
        ({"LLMPOOL_STRATEGY": "weigted"}, "LLMPOOL_STRATEGY: wanted one of round_robin,"),
        ({"LLMPOOL_FAIL_OPEN": "maybe"}, "LLMPOOL_FAIL_OPEN: wanted true or false, got another"),
        ({"LLMPOOL_ER__X": "1"}, "LLMPOOL_ER__X: neither a table nor one of LLMPOOL_DEPLOYMENTS"),
        ({"LLMPOOL_RETRYS__X": "1"}, "LLMPOOL_DEPLOYMENTS; did you mean RETRY?"),
        (
            {"LLMPOOL_RETRY__BUDGET_RATIO": "2"},
            "LLMPOOL_RETRY__BUDGET_RATIO: wanted a number from 0",
        ),
        ({"LLMPOOL_CHECK__KIND": "prob"}, "LLMPOOL_CHECK__KIND: wanted"),
        (
            {"LLMPOOL_DEPLOYMENTS": "eu,retry"},
            "LLMPOOL_DEPLOYMENTS: 'retry' is the name of a table",
        ),
        (
            {"LLMPOOL_DEPLOYMENTS": "eu,Eu"},
            "LLMPOOL_DEPLOYMENTS: 'eu' and 'Eu' have the same variables",
        ),
        ({"LLMPOOL_EU__TAGS": "[" * 100_000}, "LLMPOOL_EU__TAGS: wanted texts with commas"),
        ({"LLMPOOL_DEPLOYMENTS": ""}, "LLMPOOL_EU__PROVIDER: neither a table nor"),
        (
            {"LLMPOOL_CONFIG": "x.toml"},
            "LLMPOOL_CONFIG: wanted it or LLMPOOL_DEPLOYMENTS, got both",
        ),
    ],
)
def test_a_wrong_variable(more: dict[str, str], told: str) -> None:
    """It is named, whoever finds the mistake."""
    assert told in "\n".join(problems(**more))


def test_no_variables() -> None:
    """What is missing is the list of deployments."""
    with pytest.raises(ConfigError) as caught:
        read_environment(ProviderPool, environ={})
    assert str(caught.value) == ("LLMPOOL_DEPLOYMENTS: wanted names of deployments, got nothing")
    assert read(LLMPOOL_CONFIG=" ").deployments == ("eu",)


def test_what_the_pool_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the environment; another prefix works as well."""
    for name, value in EU.items():
        monkeypatch.setenv(name.replace("LLMPOOL_", "OWN_"), value)
    assert not is_configured()
    assert is_configured("OWN_")
    pool = ProviderPool.from_env("OWN_", name="own")
    assert pool.name == "own"
    pool.close()
    monkeypatch.setenv("OWN_EU__WEIGHT", "0")
    with pytest.raises(ConfigError, match=r"^environment: deployments: wanted at least one weight"):
        ProviderPool.from_env("OWN_")


def test_a_message_without_a_key() -> None:
    """The table alone is named, or nothing but the message."""
    variables = _Variables({"DEPLOYMENTS": "eu"}, "P_", Outline.of(ProviderPool))
    assert variables.line(("deployment", 0), "all is lost") == "P_EU: all is lost"
    assert variables.line((), "all is lost") == "all is lost"


@needs_toml
def test_a_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``from_config`` reads it, and ``from_env`` by its name; secrets lie beside it."""
    path = tmp_path / "llmpool.toml"
    path.write_text(TOML)
    (tmp_path / "key.txt").write_text("of-tests")
    ProviderPool.from_config(path).close()
    monkeypatch.setenv("LLMPOOL_CONFIG", str(path))
    assert is_configured()
    ProviderPool.from_env().close()
    monkeypatch.chdir(tmp_path)
    ProviderPool.from_config().close()
    path.write_text(TOML.replace("base_url", "base_ulr"))
    with pytest.raises(ConfigError) as caught:
        ProviderPool.from_config()
    assert caught.value.problems[0] == (
        'llmpool.toml: [[deployment]] 1 "eu": base_ulr: unknown key; did you mean base_url?'
    )


@needs_toml
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file or directory"),
        (b"a = ", "no TOML: Invalid value (at "),
        (b"\xff = 1", "wanted UTF-8 text, got other bytes"),
        (b"a = " + b"[" * 100_000, "no TOML: "),
        (b"\xef\xbb\xbfa = 3", "a: unknown key"),  # as some editors of Windows begin a file
    ],
)
def test_a_file_that_cannot_be_read(
    content: bytes | None, told: str, tmp_path: pathlib.Path
) -> None:
    """The file is named, and why."""
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        ProviderPool.from_config(path)
    assert str(caught.value).startswith(f"{path}: {told}")


def test_an_old_python_without_tomli(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line tells what to install."""
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(ImportError, match="needs tomli: install the extra named toml"):
        files._toml((3, 10))
