"""What is carried over from LiteLLM's configuration, and what is named as left behind."""

from __future__ import annotations

from typing import Any

import pytest

from llmpool import ProviderPool
from llmpool.settings import read_mapping
from llmpool.settings.litellm import carry_over
from llmpool.settings.references import References
from llmpool.settings.writing import toml_of


def model(model: str, name: str = "g", **params: Any) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": model, **params}}


def one(*args: Any, **params: Any) -> dict[str, Any]:
    """Carry one deployment over, see that a pool can be made of it, and give its table."""
    carried = carry_over({"model_list": [model(*args, **params)]})
    references = References(reveal=False)
    read_mapping(carried.mapping, ProviderPool, source="x", references=references)
    table: dict[str, Any] = carried.mapping["deployment"][0]
    return table


@pytest.mark.parametrize(
    ("given", "params", "made"),
    [
        (
            "azure/gpt-eu",
            {"api_base": "https://x.invalid", "api_key": "os.environ/A", "api_version": "v"},
            {
                "provider": "azure",
                "endpoint": "https://x.invalid",
                "deployment": "gpt-eu",
                "api_version": "v",
                "api_key": "env:A",
                "models": {"g": "gpt-eu"},
            },
        ),
        (
            "azure/gpt-eu",
            {"api_base": "os.environ/BASE", "api_key": "os.environ/A"},
            {"provider": "azure", "endpoint": "env:BASE"},
        ),
        ("anthropic/claude-x", {}, {"provider": "anthropic", "api_key": "env:ANTHROPIC_API_KEY"}),
        ("claude-x", {"api_base": "http://a"}, {"provider": "anthropic", "base_url": "http://a"}),
        ("gemini/pro", {}, {"provider": "gemini", "model": "pro", "api_key": "env:GEMINI_API_KEY"}),
        ("openai/gpt-4o", {}, {"preset": "openai", "model": "gpt-4o"}),
        ("gpt-4o", {"api_key": "os.environ/K"}, {"preset": "openai", "api_key": "env:K"}),
        (
            "openai/own",
            {"api_base": "http://h:1/v1"},
            {"provider": "openai", "base_url": "http://h:1/v1", "api_key": "env:OPENAI_API_KEY"},
        ),
        ("own", {"custom_llm_provider": "openai"}, {"preset": "openai", "model": "own"}),
        ("openai/own", {"custom_llm_provider": "openai"}, {"preset": "openai", "model": "own"}),
        ("groq/llama", {}, {"preset": "groq", "model": "llama"}),
        ("together_ai/a/b", {}, {"preset": "together", "model": "a/b"}),
        (
            "ollama/llama3",
            {"api_base": "http://h:11434/"},
            {"preset": "ollama", "base_url": "http://h:11434/v1"},
        ),
        ("ollama_chat/m", {"api_base": "os.environ/O"}, {"preset": "ollama", "base_url": "env:O"}),
        (
            "hosted_vllm/m",
            {"api_base": "http://h/v1"},
            {"preset": "vllm", "base_url": "http://h/v1"},
        ),
    ],
)
def test_a_provider(given: str, params: dict[str, Any], made: dict[str, Any]) -> None:
    """The prefix of the model chooses it; references to the environment stay references."""
    table = one(given, **params)
    assert {name: table.get(name) for name in made} == made


def test_settings_of_a_deployment() -> None:
    """Those with the same meaning are carried over, wherever they stand."""
    entry = {
        **model("gpt-4o", rpm=480, timeout=30, weight=2, order=1, organization="os.environ/ORG"),
        "tpm": 1000,
        "model_info": {
            "id": "dep-1",
            "mode": "chat",
            "base_model": None,
            "max_input_tokens": 128000,
            "input_cost_per_token": 1.5e-07,
        },
    }
    entry["litellm_params"] |= {"extra_headers": {"X-A": "b", "X-B": "os.environ/B"}, "tags": ["x"]}
    carried = carry_over({"model_list": [entry]})
    table = carried.mapping["deployment"][0]
    assert table["name"] == "dep-1"
    assert table["prices"] == {"input": 0.15, "output": 0.0}
    assert table["headers"] == {
        "X-A": "b",
        "X-B": "env:B",
        "OpenAI-Organization": "env:ORG",
    }
    wanted = {"requests_per_minute": 480, "tokens_per_minute": 1000, "timeout": 30, "weight": 2}
    wanted |= {"priority": 1, "max_context": 128000, "tags": ["x"]}
    assert {name: table[name] for name in wanted} == wanted
    assert carried.left == ("model_list[0].model_info.mode",)


def test_an_order_of_some() -> None:
    """Those without one come after all that have one."""
    given = {"model_list": [model("gpt-4o", order=2), model("groq/x"), model("groq/y", order=1)]}
    tiers = [each["priority"] for each in carry_over(given).mapping["deployment"]]
    assert tiers == [2, 3, 1]


def test_settings_of_the_router() -> None:
    """Strategy, retries, time-outs and checks are carried over; aliases become names of models."""
    carried = carry_over(
        {
            "model_list": [model("gpt-4o"), model("groq/x"), model("groq/y", "h")],
            "router_settings": {
                "routing_strategy": "least-busy",
                "timeout": 20,
                "allowed_fails": 1,
                "model_group_alias": {"old": "g", "own": {"model": "h", "hidden": True}, "no": "z"},
                "cooldown_time": 5,
                "redis_password": "secret",
            },
            "litellm_settings": {"num_retries": 2, "request_timeout": 600, "drop_params": True},
            "general_settings": {
                "master_key": "secret",
                "background_health_checks": True,
                "health_check_interval": 300,
            },
            "environment_variables": {"A": "secret"},
        }
    )
    assert carried.mapping["pool"] == {"strategy": "least_connections"}
    assert carried.mapping["retry"] == {"max_attempts": 3, "timeout": 20}
    checks = {"failure_threshold": 2, "interval": 300, "enabled": True}
    assert carried.mapping["health_check"] == checks
    names = [each["name"] for each in carried.mapping["deployment"]]
    assert names == ["g-1", "g-2", "h-3"]
    assert carried.mapping["deployment"][0]["models"] == {"g": "gpt-4o", "old": "gpt-4o"}
    assert carried.mapping["deployment"][2]["models"] == {"h": "y", "own": "y"}
    assert "secret" not in "".join(carried.left)
    assert [line.partition(":")[0] for line in carried.left] == [
        "router_settings.model_group_alias.no",
        "router_settings.cooldown_time",
        "router_settings.redis_password",
        "litellm_settings.drop_params",
        "general_settings.master_key",
        "environment_variables",
    ]


def test_what_cannot_be_carried_over() -> None:
    """Unknown providers and strategies, and entries that are none, are named."""
    carried = carry_over(
        {
            "model_list": [
                model("bedrock/x"),
                3,
                model("azure/no-address"),
                model("groq/y", api_key="as-it-is", weight=True),
                {**model("groq/y"), "model_info": {"id": "g-4"}},
            ],
            "router_settings": {"routing_strategy": "usage-based-routing"},
        }
    )
    assert carried.plain_keys
    assert [each["name"] for each in carried.mapping["deployment"]] == ["g-4", "g-4-2"]
    assert carried.left == (
        "model_list[0].litellm_params.model: the provider of 'bedrock' is not known here",
        "model_list[1]: wanted model_name and litellm_params.model",
        "model_list[2].litellm_params.model: the provider of 'azure' is not known here",
        "model_list[3].litellm_params.weight",
        "router_settings.routing_strategy: there is none like 'usage-based-routing' here",
    )


@pytest.mark.parametrize(
    "given", [None, [], {}, {"model_list": []}, {"model_list": [model("x/y")]}]
)
def test_nothing_to_carry_over(given: object) -> None:
    """There is nothing to write then."""
    with pytest.raises(ValueError, match="model_list: wanted deployments of a provider"):
        carry_over(given)


def test_what_is_written() -> None:
    """Every value in TOML's own words, with strange keys and signs quoted."""
    text = toml_of(
        {
            "pool": {"fail_open": True, "name": 'a "b"\n\x7f'},
            "deployment": [
                {"name": "é", "models": {"a b": "c", "d": "e"}, "tags": ["x", "y"], "headers": {}},
                {"weight": 0.5, "priority": 1, "api_key": False},
            ],
        },
        "one\ntwo",
    )
    assert text == (
        "# one\n# two\n\n"
        '[pool]\nfail_open = true\nname = "a \\"b\\"\\n\\u007f"\n\n'
        '[[deployment]]\nname = "é"\nmodels = { "a b" = "c", d = "e" }\ntags = ["x", "y"]\n'
        "headers = {}\n\n"
        "[[deployment]]\nweight = 0.5\npriority = 1\napi_key = false\n"
    )
    assert toml_of({"pool": {}}) == "[pool]\n"
