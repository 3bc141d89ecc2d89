"""What every room needs: servers and pools on a stage, keys and prompts worth hiding, echoes of both."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import attrs
import pytest

from llmpool import Deployment, HealthCheckConfig, LLMPoolError, OpenAIProvider, ProviderPool
from llmpool.testing import Behaviour, Exchange, LocalServer, ManualClock, WrongBody

KEY = "sk-fault-Q7w9Zk2LmX4vTt81RbN6"
BARE_KEY = "c41f9be27a0d4e6f8b35d1907ce2a684"
"""One that does not look like any vendor's."""
PROMPT = 'Why did the "blue" heron of Østerbø\nrefuse 417 herrings before breakfast?'
ANSWER = "It was not hungry yet."
"""What every server says, so that no answer repeats a prompt."""

PATIENCE = 30.0
"""Real seconds after which what a test waits for counts as never coming."""

RUN = 12
"""So many characters of a prompt in a row are an echo of it; of a key, eight."""


HURRIES = (0.15, 1.0, 5.0)
"""Seconds that something which takes no time is given, one after the other, where the rest is waited out."""


class Topmost(random.Random):
    """Draws the highest: full jitter is as long as it can be, equal jitter too."""

    def uniform(self, a: float, b: float) -> float:
        """Give *b*."""
        return b

    def random(self) -> float:
        """Give the middle."""
        return 0.5


class Stage:
    """Servers and pools of one test; all of them end with it."""

    def __init__(self) -> None:
        self.servers: list[LocalServer] = []
        self.pools: list[ProviderPool] = []
        self.clock = ManualClock()

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self.servers:
            server.close()

    def server(
        self, name: str = "eu", behaviour: Behaviour | None = None, **options: Any
    ) -> LocalServer:
        """Start a server that answers one sentence, or behaves as told."""
        options.setdefault("reply", lambda _: ANSWER)
        server = LocalServer(name, **options).start()
        self.servers.append(server)
        if behaviour is not None:
            server.behave(behaviour)
        return server

    def pool(
        self,
        *members: LocalServer | Deployment,
        clock: Any = None,
        rng: random.Random | None = None,
        timeout: float | None = None,
        health_check: HealthCheckConfig | None = None,
        **options: Any,
    ) -> ProviderPool:
        """Make a pool that asks the first of *members* first and starts no checker."""
        given = [
            member if isinstance(member, Deployment) else deployment(member, timeout=timeout)
            for member in members
        ]
        options.setdefault("strategy", "primary")
        pool = ProviderPool(
            given,
            name="fleet",
            health_check=health_check or HealthCheckConfig(enabled=False),
            clock=clock,
            rng=Topmost() if rng is None else rng,
            **options,
        )
        self.pools.append(pool)
        return pool

    def timed(self, *members: LocalServer | Deployment, **options: Any) -> ProviderPool:
        """Make a pool on the stage's own clock, which moves only when told or waited on."""
        return self.pool(*members, clock=self.clock, **options)


def deployment(
    server: LocalServer | str, name: str | None = None, *, key: Any = KEY, **options: Any
) -> Deployment:
    """Give the deployment of a server, or of a URL, that is asked over real HTTP."""
    url = server if isinstance(server, str) else server.url
    own = {
        field: options.pop(field)
        for field in ("model", "proxies", "verify", "connect_timeout", "headers")
        if field in options
    }
    own.setdefault("model", "tiny")
    named = name or (server.name if isinstance(server, LocalServer) else "eu")
    return Deployment(named, OpenAIProvider(url, api_key=key, **own), **options)


def verdicts(done: Any) -> list[tuple[str, str]]:
    """Give deployment and verdict of each attempt, of an answer, a stream or an error."""
    return [(attempt.deployment, str(attempt.verdict)) for attempt in done.attempts]


def states(pool: ProviderPool) -> dict[str, str]:
    """Give the state of each deployment."""
    return {name: status.state for name, status in pool.all_health().items()}


def hits(*servers: LocalServer) -> list[int]:
    """Give how many chats each server was asked for."""
    return [server.hits("chat") for server in servers]


def in_a_hurry(act: Callable[[float], None]) -> None:
    """Do *act* with little time, and again with more where the machine has much else to do."""
    for seconds in HURRIES[:-1]:
        try:
            return act(seconds)
        except (AssertionError, LLMPoolError, pytest.fail.Exception):
            pass
    return act(HURRIES[-1])


class Reader(threading.Thread):
    """Runs one function; its end is waited for, and what it raised is raised, in :meth:`result`."""

    def __init__(self, run: Callable[[], Any]) -> None:
        super().__init__(name="reader", daemon=True)
        self._act = run
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Run it."""
        try:
            self._value = self._act()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """Give what came of it."""
        self.join(PATIENCE)
        assert not self.is_alive(), "it hangs"
        if self._error is not None:
            raise self._error
        return self._value


# -- servers that repeat what was said to them ------------------------------------------------


def key_of(exchange: Exchange) -> str:
    """Give the key that came with a request."""
    return exchange.request.headers.get("authorization", "").removeprefix("Bearer ")


@attrs.frozen
class Echo:
    """
    Answer with an error that repeats the key and the prompt, as careless servers do.

    *write* makes the body, the content type and further headers from the two.
    """

    write: Callable[[str, str], tuple[str, str, tuple[tuple[str, str], ...]]]
    status: int = 500

    def __call__(self, exchange: Exchange) -> None:
        body, kind, headers = self.write(key_of(exchange), exchange.request.prompt)
        WrongBody(body.encode(), kind, self.status, headers)(exchange)


def _error(message: str, **facts: Any) -> str:
    return json.dumps({"error": {"message": message, **facts}})


_JSON = "application/json"

ECHOES: dict[str, Callable[[str, str], tuple[str, str, tuple[tuple[str, str], ...]]]] = {
    "plain": lambda key, prompt: (_error(f"{key} may not ask: {prompt}"), _JSON, ()),
    "escaped": lambda key, prompt: (
        _error(json.dumps({"auth": f"Bearer {key}", "messages": [prompt]})),
        _JSON,
        (),
    ),
    "escaped twice": lambda key, prompt: (
        _error(json.dumps(json.dumps({"auth": f"Bearer {key}", "messages": [prompt]}))),
        _JSON,
        (),
    ),
    "unescaped letters": lambda key, prompt: (
        _error(json.dumps({"auth": key, "messages": [prompt]}, ensure_ascii=False)),
        _JSON,
        (),
    ),
    "as python shows it": lambda key, prompt: (_error(repr({key: prompt})), _JSON, ()),
    "cut short": lambda key, prompt: (
        _error(f"bad key {key[:16]}… for the prompt {prompt[:30]}…"),
        _JSON,
        (),
    ),
    "masked": lambda key, prompt: (
        _error(f"Incorrect API key provided: {key[:7]}****{key[-4:]}, {prompt[-40:]}"),
        _JSON,
        (),
    ),
    "one line": lambda key, prompt: (
        _error(" ".join(f"{key}: {prompt}".split())),
        _JSON,
        (),
    ),
    "buried": lambda key, prompt: (_error(f"{prompt} " * 40 + key), _JSON, ()),
    "in the code": lambda key, prompt: (_error("no", code=f"{key} {prompt}"), _JSON, ()),
    "in the type": lambda key, prompt: (_error("no", type=f"{prompt} {key}"), _JSON, ()),
    "in the status": lambda key, prompt: (_error("no", status=f"{key}/{prompt}"), _JSON, ()),
    "in the innermost code": lambda key, prompt: (
        _error("no", innererror={"code": f"{key}{prompt}"}),
        _JSON,
        (),
    ),
    "as a page": lambda key, prompt: (
        f"<!doctype html><h1>{key}</h1><p>{prompt}</p>",
        "text/html",
        (),
    ),
    "as text": lambda key, prompt: (f"{key} {prompt}", "text/plain", ()),
    "as bare text": lambda key, prompt: (json.dumps(f"{key} {prompt}"), _JSON, ()),
    "as a list": lambda key, prompt: (json.dumps([f"{key} {prompt}"]), _JSON, ()),
    "as an error text": lambda key, prompt: (
        json.dumps({"error": f"{key} {prompt}", "code": key}),
        _JSON,
        (),
    ),
    "as details": lambda key, prompt: (
        json.dumps({"detail": [{"input": {"key": key, "messages": prompt}}]}),
        _JSON,
        (),
    ),
    "in the headers": lambda key, prompt: (
        _error("no"),
        _JSON,
        (("X-Request-Id", key), ("Retry-After", key), ("Server", f"{key} {prompt[:20]}")),
    ),
    "in the content type": lambda key, prompt: (
        "nothing of JSON",
        f"text/{key}; of={prompt[:18]}",
        (),
    ),
}
"""Where and how a server may repeat the key and the prompt."""


# -- finding them -----------------------------------------------------------------------------


def spellings(text: str) -> set[str]:
    """Give the ways in which *text* may be written somewhere."""
    return {
        text,
        " ".join(text.split()),
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(text))[3:-3],
        repr(text)[1:-1],
        ascii(text)[1:-1],
    }


def _runs(texts: Iterable[str], length: int) -> frozenset[str]:
    return frozenset(
        spelled[start : start + length]
        for text in texts
        for spelled in spellings(text)
        for start in range(len(spelled) - length + 1)
    )


_FORBIDDEN = {8: _runs([KEY, BARE_KEY], 8), RUN: _runs([PROMPT], RUN)}


def found_in(text: str) -> str | None:
    """Give the first piece of the key or the prompt that stands in *text*."""
    for length, runs in _FORBIDDEN.items():
        for start in range(len(text) - length + 1):
            if text[start : start + length] in runs:
                return text[start : start + length]
    return None
