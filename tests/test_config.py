"""What users configure is taken as it is, or refused at once."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from llmpool.config import Deployment, HealthCheckConfig, Prices, RetryPolicy


class Provider:
    """A provider that was never asked."""

    def __init__(self, model: object = None) -> None:
        self.model = model

    def complete(self, request: object, timeout: float) -> object:
        raise AssertionError("nobody should ask")


class AsyncProvider:
    """A provider for another world."""

    async def complete(self, request: object, timeout: float) -> object:
        raise AssertionError("nobody should ask")


DURATIONS = [math.nan, math.inf, -1, True, "30", [30], 10**400]
COUNTS = [-1, True, 1.0, "3", math.nan]
NUMBERS = [math.nan, math.inf, -0.1, True, "1", 1e300]
NAMES = ["", "  ", "a\nb", "\x1b[2J", 5, b"eu", ["eu"]]

BAD_DEPLOYMENTS: list[tuple[str, Any]] = [
    *(("name", value) for value in [*NAMES, None]),
    *(("provider", value) for value in [None, "https://eu.example/v1", Provider, object(), 5]),
    ("provider", AsyncProvider()),
    *(("weight", value) for value in [*NUMBERS, None, 1e-9, 1e9]),
    *(("priority", value) for value in [1.0, True, "0", None, math.nan]),
    *(("max_concurrent", value) for value in [*COUNTS, 0]),
    *(("region", value) for value in NAMES),
    *(("quota_group", value) for value in NAMES),
    *(("models", value) for value in [None, "gpt", ["a"], {"a": None}, {"": "a"}, {1: "a"}]),
    *(("tags", value) for value in [None, "fast", b"x", {"a": "b"}, [1], [""], 5]),
    *(("timeout", value) for value in [*DURATIONS, 0]),
    *(("prices", value) for value in [1.0, "cheap", {"input": 1, "output": 2}, Prices]),
    *(("requests_per_minute", value) for value in [*COUNTS, 0]),
    *(("tokens_per_minute", value) for value in [*COUNTS, 0]),
    *(("max_context", value) for value in [*COUNTS, 0]),
    *(("vendor", value) for value in NAMES),
]
BAD_PRICES: list[tuple[str, Any]] = [
    *(("input", value) for value in [*NUMBERS, None]),
    *(("output", value) for value in [*NUMBERS, None]),
    *(("cached_input", value) for value in NUMBERS),
]
BAD_CHECKS: list[tuple[str, Any]] = [
    *(("interval", value) for value in [*DURATIONS, 0, None]),
    *(("timeout", value) for value in [*DURATIONS, 0, None]),
    *(("unhealthy_interval", value) for value in [*DURATIONS, 0, None]),
    *(("failure_threshold", value) for value in [*COUNTS, 0, None]),
    *(("recovery_threshold", value) for value in [*COUNTS, 0, None]),
    *(("max_workers", value) for value in [*COUNTS, 0, None]),
    *(("jitter", value) for value in [*NUMBERS, None, 1.01]),
    *(("enabled", value) for value in [1, 0, "yes", None]),
    *(("skip_after_traffic", value) for value in [1, 0, "yes", None]),
]
BAD_RETRIES: list[tuple[str, Any]] = [
    *(("max_attempts", value) for value in [*COUNTS, 0, None]),
    *(("timeout", value) for value in [*DURATIONS, 0]),
    *(("max_wait", value) for value in [*DURATIONS, None]),
    *(("backoff_initial", value) for value in [*DURATIONS, None]),
    *(("backoff_max", value) for value in [*DURATIONS, None]),
    *(("budget_ratio", value) for value in [*NUMBERS, None, 1.01]),
    *(("budget_min", value) for value in [*COUNTS, None]),
]


def refusal(build: Any, **fields: Any) -> str:
    """Give the message with which *build* refuses."""
    with pytest.raises((TypeError, ValueError)) as caught:
        build(**fields)
    return str(caught.value)


@pytest.mark.parametrize(("field", "value"), BAD_DEPLOYMENTS)
def test_a_deployment_with_a_wrong_field(field: str, value: Any) -> None:
    """The message names the field, what is wanted and what came, in one line."""
    said = refusal(Deployment, **({"name": "eu", "provider": Provider()} | {field: value}))
    assert said.startswith(field)
    assert ": wanted " in said
    assert ", got " in said
    assert said.isprintable()


@pytest.mark.parametrize(("field", "value"), BAD_CHECKS)
def test_checks_with_a_wrong_field(field: str, value: Any) -> None:
    """The message names the field, what is wanted and what came."""
    said = refusal(HealthCheckConfig, **{field: value})
    assert said.startswith(f"{field}: wanted ")
    assert ", got " in said


@pytest.mark.parametrize(("field", "value"), BAD_PRICES)
def test_prices_with_a_wrong_field(field: str, value: Any) -> None:
    """The message names the field, what is wanted and what came."""
    said = refusal(Prices, **{"input": 1.0, "output": 2.0, field: value})
    assert said.startswith(f"{field}: wanted a number")
    assert ", got " in said


@pytest.mark.parametrize(("field", "value"), BAD_RETRIES)
def test_retries_with_a_wrong_field(field: str, value: Any) -> None:
    """The message names the field, what is wanted and what came."""
    said = refusal(RetryPolicy, **{field: value})
    assert said.startswith(f"{field}: wanted ")
    assert ", got " in said


@pytest.mark.parametrize(
    "secret", ["sk-abc", "abcd1234efgh5678", "a" * 40, "https://me:pw@eu.example/v1", "My prompt"]
)
def test_a_secret_in_the_wrong_place(secret: str) -> None:
    """What was given for a provider is not shown, whatever it is; a key is shown nowhere."""
    assert secret not in refusal(Deployment, name="eu", provider=secret)
    if secret != "My prompt":
        assert secret not in refusal(HealthCheckConfig, interval=secret)
        assert secret not in refusal(Deployment, name="eu", provider=Provider(), weight=secret)


def test_more_positions_than_there_are() -> None:
    """Past the first fields everything is by name."""
    with pytest.raises(TypeError):
        Deployment("eu", Provider(), 2)  # type: ignore[misc]
    with pytest.raises(TypeError):
        HealthCheckConfig(30.0, 10.0)  # type: ignore[misc]
    with pytest.raises(TypeError):
        RetryPolicy(3, 600.0)  # type: ignore[misc]


def test_the_defaults() -> None:
    """They are those of the reference."""
    assert HealthCheckConfig() == HealthCheckConfig(
        30.0, timeout=10.0, failure_threshold=3, recovery_threshold=2, enabled=True, jitter=0.1,
        unhealthy_interval=5.0, skip_after_traffic=True, max_workers=32,
    )  # fmt: skip
    assert RetryPolicy() == RetryPolicy(
        3, timeout=600.0, max_wait=10.0, backoff_initial=0.5, backoff_max=8.0,
        budget_ratio=0.2, budget_min=3,
    )  # fmt: skip
    plain = Deployment("eu", Provider())
    assert (plain.weight, plain.priority, plain.max_concurrent, plain.timeout) == (1, 0, None, None)
    assert (plain.region, plain.models, plain.tags, plain.quota_group) == (None, {}, (), None)


@pytest.mark.parametrize("weight", [0, 1e-6, 0.5, 2, 1e6])
def test_weights(weight: float) -> None:
    """Any share down to nothing."""
    assert Deployment("eu", Provider(), weight=weight).weight == weight


def test_no_limit() -> None:
    """None is no limit, and endless as a number."""
    assert RetryPolicy(timeout=None).limit == math.inf
    assert RetryPolicy(timeout=5).limit == 5


def test_what_the_caller_passed() -> None:
    """It is copied: a later change of it changes nothing, and nothing here changes it."""
    models = {"fast": "gpt-4o-mini"}
    tags = ["eu", "cheap"]
    deployment = Deployment("eu", Provider(), models=models, tags=tags)  # type: ignore[arg-type]
    models["smart"] = "gpt-4o"
    tags.append("slow")
    assert dict(deployment.models) == {"fast": "gpt-4o-mini"}
    assert deployment.tags == ("eu", "cheap")
    with pytest.raises(TypeError):
        deployment.models["x"] = "y"  # type: ignore[index]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        deployment.weight = 5  # type: ignore[misc]


def test_what_is_shown_of_a_deployment() -> None:
    """Its name, and its provider's class."""
    deployment = Deployment("eu", Provider())
    assert repr(deployment) == "Deployment('eu', Provider)"
    assert f"{deployment}" == "eu"


def test_a_deployment_is_known_by_its_name() -> None:
    """It equals its name, and itself; another of that name is another."""
    eu, other = Deployment("eu", Provider()), Deployment("eu", Provider())
    assert eu == "eu"
    assert eu != "us"
    assert (eu == eu) is True
    assert eu != other
    assert eu != 5
    assert {"eu": 1}[eu] == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("models", "asked", "knows", "upstream"),
    [
        ({}, None, True, "own"),
        ({}, "gpt", True, "gpt"),
        ({"gpt": "gpt-4o-2024"}, "gpt", True, "gpt-4o-2024"),
        ({"gpt": "gpt-4o-2024"}, "other", False, "other"),
        ({"gpt": "gpt-4o-2024"}, None, True, "own"),
    ],
)
def test_names_of_models(
    models: dict[str, str], asked: str | None, knows: bool, upstream: str | None
) -> None:
    """An empty map passes every name through; no name leaves it to the provider."""
    deployment = Deployment("eu", Provider("own"), models=models)
    assert deployment.knows(asked) is knows
    assert deployment.upstream(asked) == upstream


def test_a_provider_without_a_name_for_its_model() -> None:
    """It is left to the server."""
    assert Deployment("eu", Provider(None)).upstream(None) is None
    assert Deployment("eu", Provider(object())).upstream(None) is None
