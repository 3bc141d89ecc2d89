"""A transport on a pool, made for a module that has httpx's names, and the SDKs' clients on it."""

from __future__ import annotations

import copy
import importlib
import importlib.metadata
import importlib.util
import json
import pickle
import sys
from typing import Any

import pytest
from httpx_double import (
    BaseTransport,
    ReadTimeout,
    RemoteProtocolError,
    Request,
    make_module,
    make_sdk,
)

from llmpool import AnthropicProvider, Deployment, ProviderPool
from llmpool.contrib import httpx as transports
from llmpool.contrib._optional import load
from llmpool.testing import EndEarly, Hang, LocalServer, ScriptedProvider, Stall, Status

CHAT = b"/v1/chat/completions"


@pytest.fixture
def module() -> Any:
    """A module with httpx's names."""
    return make_module("httpx2")


def request(timeout: float | None = None, target: bytes = CHAT, **body: Any) -> Request:
    """Make a chat request."""
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], **body}
    limits = {"connect": 5.0, "read": timeout, "write": None, "pool": None}
    return Request(
        "POST",
        target,
        json.dumps(asked).encode(),
        timeout=None if timeout is None else limits,  # type: ignore[arg-type]
    )


def test_a_request(pool: ProviderPool, module: Any) -> None:
    """It goes to a deployment, and the answer is the module's own."""
    transport = pool.http_transport(module)
    assert isinstance(transport, BaseTransport)
    asked = request()
    response = transport.handle_request(asked)
    assert response.status_code == 200
    assert response.request is asked
    assert response.headers["x-llmpool-deployment"] == b"a"
    answer = json.loads(b"".join(response))
    assert answer["choices"][0]["message"]["content"] == "echo: hello"


def test_a_query(pool: ProviderPool, module: Any, server: LocalServer) -> None:
    """It goes along."""
    pool.http_transport(module).handle_request(Request("GET", b"/v1/models?limit=2")).close()
    assert server.requests[0].query == "limit=2"


def test_an_error_of_the_callers(pool: ProviderPool, module: Any, server: LocalServer) -> None:
    """It is an answer and no exception, in a reason that any header can carry."""
    server.behave(Status(400, "no", [("x-said", "h\xe9")]))
    response = pool.http_transport(module).handle_request(request())
    assert (response.status_code, b"".join(response)) == (400, b"no")
    assert response.headers["x-said"]


def test_the_time_for_a_read(pool: ProviderPool, module: Any, server: LocalServer) -> None:
    """It is the time for all of a call, and its end the module's own exception."""
    server.behave(Hang())
    asked = request(0.3)
    with pytest.raises(ReadTimeout) as caught:
        pool.http_transport(module).handle_request(asked)
    assert caught.value.request is asked
    assert caught.value.__context__ is None


def test_a_stream_that_is_cut(pool: ProviderPool, module: Any, server: LocalServer) -> None:
    """It is the module's own exception, with nothing behind it."""
    server.behave(EndEarly())
    response = pool.http_transport(module).handle_request(request(stream=True))
    with pytest.raises(RemoteProtocolError, match="end mark") as caught:
        list(response)
    assert caught.value.__context__ is None


def test_a_stream_that_stalls(pool: ProviderPool, module: Any, server: LocalServer) -> None:
    """It is a time-out of the module's."""
    server.behave(Stall())
    response = pool.http_transport(module).handle_request(request(0.4, stream=True))
    with pytest.raises(ReadTimeout, match="broke off"):
        list(response)


def test_a_stream_that_is_closed(pool: ProviderPool, module: Any, server: LocalServer) -> None:
    """The place is given back."""
    server.behave(Stall())
    response = pool.http_transport(module).handle_request(request(stream=True))
    assert pool.health("a").requests_in_flight == 1
    response.close()
    assert pool.health("a").requests_in_flight == 0


def test_copies(pool: ProviderPool, module: Any) -> None:
    """A transport is one thing, whoever holds it; it is not pickled."""
    transport = pool.http_transport(module)
    assert copy.copy(transport) is transport
    assert copy.deepcopy([transport])[0] is transport
    with pytest.raises(TypeError, match="make it in each process"):
        pickle.dumps(transport)


def test_a_module_of_another_kind(pool: ProviderPool) -> None:
    """It is refused."""
    with pytest.raises(TypeError, match="wanted httpx or httpx2"):
        pool.http_transport(json)


# -- which module -------------------------------------------------------------------------------


def install(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Let these be installed, in these versions, and none of the other libraries in question."""
    all_of_them = ("openai", "anthropic", "httpx", "httpx2")
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> Any:
        if name in all_of_them:
            return object() if name in versions else None
        return find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions[name])
    for name in all_of_them:
        if name.startswith("httpx") and name in versions:
            monkeypatch.setitem(sys.modules, name, make_module(name))
        else:
            monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ({"openai": "3.54.0", "httpx": "0.28", "httpx2": "2.16"}, "httpx2"),
        ({"openai": "2.54.0", "httpx": "0.28", "httpx2": "2.16"}, "httpx"),
        ({"openai": "1.60.0", "anthropic": "2.0", "httpx": "0.28", "httpx2": "2.0"}, "httpx"),
        ({"anthropic": "2.12.0", "httpx": "0.28", "httpx2": "2.16"}, "httpx2"),
        ({"anthropic": "0.60.0", "httpx": "0.28", "httpx2": "2.16"}, "httpx"),
        ({"httpx": "0.28", "httpx2": "2.16"}, "httpx2"),
        ({"httpx": "0.28"}, "httpx"),
    ],
)
def test_the_module_that_is_chosen(
    pool: ProviderPool, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], chosen: str
) -> None:
    """It is the one that the installed SDK needs; without an SDK the newer one."""
    install(monkeypatch, **versions)
    assert transports.preferred_module() is sys.modules[chosen]
    assert pool.http_transport()._module is sys.modules[chosen]


def test_no_module(pool: ProviderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that brings it, in one line."""
    install(monkeypatch)
    with pytest.raises(ImportError) as caught:
        pool.http_transport()
    said = "http_transport() needs httpx, which is not installed: install llmpool with its extra"
    assert str(caught.value) == f"{said} 'httpx'"
    assert caught.value.__context__ is None


def test_a_library_that_lacks_something(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """What it lacks is named, and not the library."""
    (tmp_path / "lacking.py").write_text("import something_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_that_is_not_there"):
        load("lacking", "a test", "none")


# -- the SDKs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stands_on", ["httpx", "httpx2"])
def test_the_openai_sdk(
    pool: ProviderPool, monkeypatch: pytest.MonkeyPatch, stands_on: str
) -> None:
    """Its client has the pool under it, no retries of its own and the pool's time."""
    install(monkeypatch, httpx="0.28", httpx2="2.16")
    monkeypatch.setitem(sys.modules, "openai", make_sdk("openai", stands_on))
    settings = dict(pool.openai(organization="x").settings)  # type: ignore[attr-defined]
    client = settings.pop("http_client")
    assert copy.deepcopy(client) is client
    assert client.transport._module is sys.modules[stands_on]
    assert settings == {
        "base_url": "https://llmpool.invalid/v1",
        "api_key": "llmpool",
        "max_retries": 0,
        "timeout": 30.0,
        "organization": "x",
    }
    assert pool.openai(timeout=5).settings["timeout"] == 5  # type: ignore[attr-defined]


def test_the_anthropic_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its base URL has no version."""
    install(monkeypatch, httpx2="2.16")
    monkeypatch.setitem(sys.modules, "anthropic", make_sdk("anthropic", "httpx2"))
    provider = AnthropicProvider("http://127.0.0.1:1", api_key=None)
    with ProviderPool([Deployment("a", provider)], health_check=None) as pool:
        settings = pool.anthropic().settings  # type: ignore[attr-defined]
        assert settings["base_url"] == "https://llmpool.invalid"
        assert settings["max_retries"] == 0


def test_an_option_that_is_the_pools(pool: ProviderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by its name."""
    install(monkeypatch, httpx="0.28")
    monkeypatch.setitem(sys.modules, "openai", make_sdk("openai", "httpx"))
    with pytest.raises(ValueError, match="http_client: wanted none"):
        pool.openai(http_client=object())


def test_an_sdk_on_something_else(pool: ProviderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told."""
    monkeypatch.setitem(sys.modules, "openai", make_sdk("openai", "aiohttp"))
    with pytest.raises(ImportError, match="openai stands on neither httpx nor httpx2"):
        pool.openai()


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_an_sdk_that_is_missing(
    pool: ProviderPool, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The error names the extra that brings it."""
    install(monkeypatch)
    with pytest.raises(ImportError, match=rf"pool\.{name}\(\) needs {name}, .* extra '{name}'"):
        getattr(pool, name)()


@pytest.mark.parametrize(
    ("name", "provider"), [("openai", "OpenAIProvider"), ("anthropic", "AnthropicProvider")]
)
def test_a_pool_of_another_format(
    monkeypatch: pytest.MonkeyPatch, name: str, provider: str
) -> None:
    """It is refused when the client is made."""
    monkeypatch.setitem(sys.modules, name, make_sdk(name, "httpx2"))
    with (
        ProviderPool([Deployment("a", ScriptedProvider())], health_check=None) as pool,
        pytest.raises(ValueError, match=provider),
    ):
        getattr(pool, name)()


def test_the_modules_of_contrib() -> None:
    """None of them needs its library to be imported."""
    for name in ("httpx", "openai", "anthropic", "requests"):
        importlib.import_module(f"llmpool.contrib.{name}")
