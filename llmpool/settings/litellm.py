"""From the configuration of LiteLLM's proxy or router to one of ours; what is left behind is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

_PRESETS = {
    "groq": "groq",
    "mistral": "mistral",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "deepseek": "deepseek",
    "openrouter": "openrouter",
    "hosted_vllm": "vllm",
    "lm_studio": "lmstudio",
    "ollama": "ollama",
    "ollama_chat": "ollama",
}
_OPENAI = ("openai", "custom_openai", "openai_like")
_STRATEGIES = {
    "simple-shuffle": "weighted",
    "least-busy": "least_connections",
    "latency-based-routing": "least_latency",
    "cost-based-routing": "lowest_cost",
}
_PLAIN = {
    "timeout": "timeout",
    "weight": "weight",
    "order": "priority",
    "max_parallel_requests": "max_concurrent",
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "tags": "tags",
    "extra_headers": "headers",
    "max_input_tokens": "max_context",
}
_WHY = {
    "fallbacks": "give the deployments that stand in a higher priority number",
    "context_window_fallbacks": 'set fallback_on = ["context_length"] and max_context',
    "content_policy_fallbacks": 'set fallback_on = ["content_filter"] and vendor',
    "cooldown_time": "how long one is out follows from what the server says and how often it fails",
    "retry_after": "pauses follow from what the server says",
    "max_retries": "attempts are counted for a whole call: [retry] max_attempts",
    "stream_timeout": "a call's own: gap_timeout=, first_content_timeout=",
    "environment_variables": "set them in the environment",
    "master_key": "there is no server here to guard",
}


class Taken:
    """A table from which keys are taken; the rest of them is what is not carried over."""

    def __init__(self, given: object, path: str) -> None:
        self.path = path
        self._left = dict(given) if isinstance(given, Mapping) else {}

    def take(self, key: str, kind: type[Any] | tuple[type[Any], ...] = object) -> Any:
        """Give a value of that kind, once; None where there is none."""
        value = self._left.get(key)
        if (
            value is None
            or not isinstance(value, kind)
            or (isinstance(value, bool) and kind is not bool)
        ):
            return None
        return self._left.pop(key)

    def left(self) -> Iterator[str]:
        """Name the keys that nobody took, with what to do instead, and never their values."""
        for key, value in self._left.items():
            if value is not None:
                why = _WHY.get(str(key))
                yield f"{self.path}{key}" + (f": {why}" if why else "")


@attrs.frozen
class Carried:
    """
    What came of it.

    Attributes:
        mapping: ours.
        left: a line for each key that is not carried over.
        plain_keys: whether a key stands in it as it is.
    """

    mapping: Mapping[str, Any]
    left: tuple[str, ...]
    plain_keys: bool


def carry_over(given: object) -> Carried:
    """
    Read a configuration of LiteLLM's.

    Raises:
        ValueError: there is no deployment in it that can be carried over.
    """
    top = Taken(given, "")
    left: list[str] = []
    pool: dict[str, Any] = {}
    retry: dict[str, Any] = {}
    health: dict[str, Any] = {}
    router = Taken(top.take("router_settings", Mapping), "router_settings.")
    library = Taken(top.take("litellm_settings", Mapping), "litellm_settings.")
    server = Taken(top.take("general_settings", Mapping), "general_settings.")
    aliases = _aliases(router.take("model_group_alias", Mapping) or {})
    deployments = list(_deployments(top.take("model_list", list) or [], aliases, left))
    if not deployments:
        raise ValueError(
            "model_list: wanted deployments of a provider that is known here, got none"
        )
    known = {name for each in deployments for name in each["models"]}
    left += [f"router_settings.model_group_alias.{name}" for name in aliases if name not in known]
    _set_tiers(deployments)
    _routing(router, pool, left)
    for table in (router, library):
        if (retries := table.take("num_retries", int)) is not None:
            retry["max_attempts"] = retries + 1
    timeouts = (library.take("request_timeout", (int, float)), router.take("timeout", (int, float)))
    for timeout in timeouts:
        if timeout is not None:
            retry["timeout"] = timeout
    if (fails := router.take("allowed_fails", int)) is not None:
        health["failure_threshold"] = fails + 1
    if (interval := server.take("health_check_interval", (int, float))) is not None:
        health["interval"] = interval
    if (checked := server.take("background_health_checks", bool)) is not None:
        health["enabled"] = checked
    for table in (router, library, server, top):
        left += table.left()
    tables = {"pool": pool, "retry": retry, "health_check": health, "deployment": deployments}
    return Carried(
        {name: table for name, table in tables.items() if table},
        tuple(left),
        any(_is_plain(each.get("api_key")) for each in deployments),
    )


def _aliases(given: Mapping[Any, Any]) -> dict[str, Any]:
    """Give the group of each alias, which is named as it is or in a table with more about the alias."""
    return {
        str(name): target.get("model") if isinstance(target, Mapping) else target
        for name, target in given.items()
    }


def _is_plain(key: object) -> bool:
    return isinstance(key, str) and not key.startswith("env:")


def _set_tiers(deployments: list[dict[str, Any]]) -> None:
    """Put those without an order after those with one, as they are there; without any all are alike."""
    orders = [each["priority"] for each in deployments if "priority" in each]
    for each in deployments if orders else ():
        each.setdefault("priority", max(orders) + 1)


def _routing(router: Taken, pool: dict[str, Any], left: list[str]) -> None:
    named = router.take("routing_strategy", str)
    if named in _STRATEGIES:
        pool["strategy"] = _STRATEGIES[named]
    elif named is not None:
        left.append(f"router_settings.routing_strategy: there is none like {named!r} here")


def _deployments(
    entries: list[Any], aliases: Mapping[str, Any], left: list[str]
) -> Iterator[dict[str, Any]]:
    names: set[str] = set()
    for at, entry in enumerate(entries):
        path = f"model_list[{at}]."
        outer = Taken(entry, path)
        params = Taken(outer.take("litellm_params", Mapping), f"{path}litellm_params.")
        info = Taken(outer.take("model_info", Mapping), f"{path}model_info.")
        group = outer.take("model_name", str)
        model = params.take("model", str)
        if not group or not model:
            left.append(f"{path[:-1]}: wanted model_name and litellm_params.model")
            continue
        made = _provider(model, params)
        if made is None:
            prefix = model.partition("/")[0]
            left.append(f"{path}litellm_params.model: the provider of {prefix!r} is not known here")
            continue
        table = {"name": _name(info.take("id", str) or f"{group}-{at + 1}", names), **made}
        upstream = table.get("model") or table.get("deployment")
        callers = [group, *(name for name, target in aliases.items() if target == group)]
        table["models"] = {str(name): upstream for name in callers}
        table |= _settings((params, info, outer))
        yield table
        for rest in (params, info, outer):
            left += rest.left()


def _name(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    taken.add(name)
    return name


def _provider(model: str, params: Taken) -> dict[str, Any] | None:
    """Give the keys that choose and reach the provider; None where there is none like it."""
    prefix, slash, name = model.partition("/")
    if not slash:
        prefix, name = _vendor(model), model
    own = params.take("custom_llm_provider", str)
    if own is not None:
        prefix, name = own, name if slash and prefix == own else model
    base, key = _referred(params.take("api_base", str)), _referred(params.take("api_key", str))
    found: dict[str, Any]
    if prefix == "azure" and base is not None:
        found = {"provider": "azure", "endpoint": base, "deployment": name}
        version = _referred(params.take("api_version", str))
        return {**found, **({"api_version": version} if version else {}), **_key(key)}
    if prefix in ("anthropic", "gemini"):
        found = {"provider": prefix, "model": name}
        default = f"env:{prefix.upper()}_API_KEY"
        return {**found, **({"base_url": base} if base else {}), **_key(key or default)}
    if prefix in _OPENAI:
        found = {"provider": "openai", "base_url": base} if base else {"preset": "openai"}
        return {**found, "model": name, **_key(key if key or not base else "env:OPENAI_API_KEY")}
    if prefix not in _PRESETS:
        return None
    found = {"preset": _PRESETS[prefix], "model": name}
    if base is not None:
        # The server's own address there, the one of its OpenAI-compatible pages here.
        bare = _PRESETS[prefix] == "ollama" and not base.startswith("env:")
        found["base_url"] = f"{base.rstrip('/').removesuffix('/v1')}/v1" if bare else base
    return {**found, **_key(key)}


def _vendor(model: str) -> str:
    if model.startswith("claude"):
        return "anthropic"
    return "openai" if model.startswith(("gpt-", "o1", "o3", "o4", "chatgpt-")) else model


def _key(key: str | None) -> dict[str, Any]:
    return {} if key is None else {"api_key": key}


def _referred(value: str | None) -> str | None:
    if value is not None and value.startswith("os.environ/"):
        return f"env:{value.removeprefix('os.environ/')}"
    return value


def _settings(tables: tuple[Taken, ...]) -> dict[str, Any]:
    """Take the settings that have the same meaning here, wherever they stand."""
    found: dict[str, Any] = {}
    kinds: dict[str, Any] = {"tags": list, "extra_headers": Mapping, "timeout": (int, float)}
    kinds["weight"] = (int, float)
    for theirs, ours in _PLAIN.items():
        for table in tables:
            value = table.take(theirs, kinds.get(theirs, int))
            if value is not None:
                found[ours] = value
    if "headers" in found:
        found["headers"] = {
            name: _referred(value) if isinstance(value, str) else value
            for name, value in found["headers"].items()
        }
    for table in tables:
        if (organization := table.take("organization", str)) is not None:
            headers = found.setdefault("headers", {})
            found["headers"] = {**headers, "OpenAI-Organization": _referred(organization)}
        prices = {
            ours: round(price * 1e6, 9)
            for ours in ("input", "output")
            if (price := table.take(f"{ours}_cost_per_token", (int, float))) is not None
        }
        if prices:
            found["prices"] = {"input": 0.0, "output": 0.0, **found.get("prices", {}), **prices}
    return found
