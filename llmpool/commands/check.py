"""``llmpool check``: ask real deployments once how they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import TextIO
from urllib.parse import urlsplit

import attrs

from llmpool import (
    Deployment,
    HealthCheckConfig,
    HealthCheckResult,
    OpenAIProvider,
    Ping,
    Probe,
    ProviderPool,
)

ALL_HEALTHY, SOME_HEALTHY, NONE_HEALTHY = 0, 1, 2

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_AT_A_TIME = 32


@attrs.frozen
class Question:
    """What the deployments are asked, and what an answer tells."""

    check: Ping | Probe | None
    name: str
    tells: str


def question(model: str | None, *, probe: bool) -> Question:
    """
    Choose what to ask.

    Raises:
        ValueError: the model has no name.
    """
    if probe:
        return Question(Probe(model), "probe", "by probe: a completion of one token")
    return Question(Ping(), "ping", "by ping: reachable; --probe asks for an answer")


def deployments(
    urls: Sequence[str], key_env: str | None, model: str | None, timeout: float
) -> list[Deployment]:
    """
    Give a deployment for each URL; one named twice counts once.

    Raises:
        ValueError: a URL or a key is unfit; the message shows no key.
    """
    key = _key(key_env)
    given = list(dict.fromkeys(urls))
    providers = []
    for number, url in enumerate(given, 1):
        try:
            provider = OpenAIProvider(url, api_key=key, model=model, connect_timeout=timeout)
        except ValueError as error:
            message = str(error).removeprefix("base_url: ")
            raise ValueError(f"URL {number}: {message}" if _is_of_url(error) else message) from None
        providers.append(provider)
    return [
        Deployment(name, provider) for name, provider in zip(_names(given), providers, strict=True)
    ]


def _is_of_url(error: ValueError) -> bool:
    return str(error).startswith("base_url: ")


def _key(variable: str | None) -> str | None:
    """Read the key; the name is not repeated, for it may be a key, given by mistake."""
    if variable is None:
        return None
    if not _VARIABLE.fullmatch(variable):
        raise ValueError("--key-env: wanted the name of an environment variable, got another text")
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError("--key-env: the environment variable of that name is not set, or empty")
    if key.startswith("env:"):
        raise ValueError(
            "--key-env: wanted a variable that holds a key, got one that names another"
        )
    return key


def _names(urls: Iterable[str]) -> list[str]:
    """Name deployments by their URLs, without the query, where some APIs take a key."""
    names: list[str] = []
    for url in urls:
        parts = urlsplit(url)
        whole = f"{parts.scheme}://{parts.netloc}{parts.path}"
        plain = "".join(letter if letter.isprintable() else "?" for letter in whole)
        same = sum(name == plain or name.startswith(f"{plain} #") for name in names)
        names.append(f"{plain} #{same + 1}" if same else plain)
    return names


def run(
    asked: Sequence[Deployment],
    about: Question,
    timeout: float,
    *,
    as_json: bool,
    out: TextIO,
) -> int:
    """Check each deployment once, print what was found, give the exit status."""
    config = HealthCheckConfig(timeout=timeout, enabled=False, max_workers=_AT_A_TIME)
    pool = ProviderPool(asked, name="check", health_check=config, check=about.check)
    try:
        return report(pool, about, as_json=as_json, out=out)
    finally:
        pool.close()


def report(pool: ProviderPool, about: Question | None = None, *, as_json: bool, out: TextIO) -> int:
    """Check each deployment of *pool* once, print what was found, give the exit status."""
    about = about or Question(None, "configured", "by the checks that are configured")
    found = {result.deployment: result for result in pool.check_now()}
    results = [
        found.get(each.name, HealthCheckResult(each.name, False, error="no check could be begun"))
        for each in pool.deployments
    ]
    out.write(_as_json(results, about) if as_json else _as_lines(results, about))
    return _status(results)


def _status(results: Sequence[HealthCheckResult]) -> int:
    healthy = sum(result.healthy for result in results)
    if healthy == len(results):
        return ALL_HEALTHY
    return SOME_HEALTHY if healthy else NONE_HEALTHY


def _as_json(results: Sequence[HealthCheckResult], about: Question) -> str:
    told = {
        "check": about.name,
        "total": len(results),
        "healthy": sum(result.healthy for result in results),
        "deployments": [result.to_dict() for result in results],
    }
    return json.dumps(told, indent=2) + "\n"


def _as_lines(results: Sequence[HealthCheckResult], about: Question) -> str:
    lines = [_line(result) for result in results]
    healthy = sum(result.healthy for result in results)
    lines.append(f"{healthy} of {len(results)} healthy, {about.tells}")
    return "\n".join(lines) + "\n"


def _line(result: HealthCheckResult) -> str:
    word = "healthy" if result.healthy else "unhealthy"
    line = f"{word:9}  {result.latency:6.3f} s  {result.deployment}"
    return line if result.error is None else f"{line}  {result.error}"
