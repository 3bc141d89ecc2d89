"""Servers known by name: their addresses, their keys, and the page that tells of a key."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from llmpool import CompletionRequest, OpenAIProvider
from llmpool.providers._presets import PRESETS
from llmpool.testing import LocalServer

REMOTE = [name for name, preset in PRESETS.items() if not preset.keyless]
LOCAL = [name for name, preset in PRESETS.items() if preset.keyless]
DOCS = pathlib.Path(__file__).parents[2] / "docs" / "how-to" / "vendors.rst"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the keys of this machine's user away."""
    for preset in PRESETS.values():
        monkeypatch.delenv(preset.variable, raising=False)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Start a server."""
    with LocalServer("eu", api_keys=["sk-preset-1"]) as server:
        yield server


@pytest.mark.parametrize("name", REMOTE)
def test_a_server_of_a_vendor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has an address over TLS, and its key may come from the environment."""
    with pytest.raises(ValueError, match=rf"a key for {name}, got none.* {PRESETS[name].variable}"):
        OpenAIProvider.preset(name)
    monkeypatch.setenv(PRESETS[name].variable, "sk-preset-1")
    given = OpenAIProvider.preset(name, model="m")
    assert given.base_url == PRESETS[name].base_url
    assert given.base_url.startswith("https://")
    assert given.model == "m"
    assert "sk-preset-1" not in repr(given)


@pytest.mark.parametrize("name", LOCAL)
def test_a_server_on_this_machine(
    name: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may do without a key, and stand elsewhere; the environment's key is used where there is one."""
    assert OpenAIProvider.preset(name).base_url == PRESETS[name].base_url
    given = OpenAIProvider.preset(name, base_url=server.url)
    given.close()
    monkeypatch.setenv(PRESETS[name].variable, "sk-preset-1")
    given = OpenAIProvider.preset(name, base_url=server.url, headers={"x-team": "a"})
    assert given.complete(CompletionRequest("hello"), 20.0).text == "echo: hello"
    given.ping(20.0)
    given.close()
    assert server.requests[-1].path == "/v1/models"
    assert server.requests[-1].headers["x-team"] == "a"


def test_a_key_in_the_call(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes before the environment's; and a page of one's own before the known one."""
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-another")
    asked = {"base_url": server.url, "api_key": "sk-preset-1"}
    given = OpenAIProvider.preset("openrouter", **asked, ping_path="/models")
    given.ping(20.0)
    given.close()
    assert server.requests[-1].headers["authorization"] == "Bearer sk-preset-1"


def test_the_page_of_openrouter(server: LocalServer) -> None:
    """Its list of models answers anybody; the page that tells of the key does not."""
    given = OpenAIProvider.preset("openrouter", base_url=server.url, api_key="sk-preset-1")
    with pytest.raises(Exception, match="404"):
        given.ping(20.0)
    given.close()
    assert server.requests[-1].path == "/v1/key"


@pytest.mark.parametrize("name", ["LM Studio", "lm-studio", "llamacpp", "llama_cpp", "vLLM"])
def test_another_spelling(name: str) -> None:
    """Capitals, spaces and dashes do not count."""
    assert OpenAIProvider.preset(name).base_url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grok", "did you mean 'groq'"),
        ("lama.cpp", "did you mean 'llama.cpp'"),
        ("zzz", "known are openai, groq, mistral"),
        ("sk-ant-1234567890abcdefghij", "got a str of 27 characters"),
        ("", "name: wanted a text"),
    ],
)
def test_a_name_that_is_not_known(name: str, words: str) -> None:
    """The message has one that is spelt alike, or all of them."""
    with pytest.raises(ValueError, match=words):
        OpenAIProvider.preset(name)


def test_a_name_that_is_none() -> None:
    """It is a text."""
    wrong: Any = 7
    with pytest.raises(TypeError, match="name: wanted a text"):
        OpenAIProvider.preset(wrong)


def test_the_documentation() -> None:
    """Its table has every preset, with address, variable and page."""
    told = DOCS.read_text("utf-8")
    for name, preset in PRESETS.items():
        row = next(line for line in told.splitlines() if line.startswith(f"``{name}``"))
        assert [word.strip("`") for word in row.split()[1:]] == [
            preset.base_url,
            preset.variable,
            preset.page,
        ]
