"""A pool as a model of the command line tool ``llm``."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from on_pools import ECHO, MODEL, assert_one_line, assert_page
from real_clients import KEY, PROMPT, library, raised

from llmpool import ProviderPool
from llmpool.testing import LocalServer, RateLimited, Refuse, Status

llm = library("llm")
pydantic = library("pydantic")
pytestmark = pytest.mark.needs("llm")


@pytest.fixture
def model(pool: ProviderPool) -> Any:
    """The model on the pool."""
    return importlib.import_module("llmpool.contrib.llm").model(pool)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_prompt(model: Any, stream: bool) -> None:
    """Its answer has text and counts of tokens, and tells who gave it."""
    answer = model.prompt(PROMPT, system="be brief", stream=stream)
    assert answer.text() == ECHO
    assert answer.input_tokens > 0
    assert answer.output_tokens > 0
    assert answer.response_json["deployment"] == "a"


def test_a_stream(model: Any) -> None:
    """It comes in pieces."""
    assert len([piece for piece in model.prompt(PROMPT, stream=True) if piece]) > 1


def test_a_conversation(model: Any, eu: LocalServer) -> None:
    """What was said before goes along."""
    talk = model.conversation()
    talk.prompt("first").text()
    talk.prompt(PROMPT).text()
    sent = json.loads(eu.requests[-1].body)["messages"]
    assert [each["role"] for each in sent] == ["user", "assistant", "user"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_tool(model: Any, eu: LocalServer, stream: bool) -> None:
    """It is called, and its result goes to the server."""
    called: list[str] = []

    def weather(city: str) -> str:
        """Tell the weather."""
        called.append(city)
        return "rain"

    talk = model.conversation()
    answer = talk.prompt("call tool weather", tools=[weather], stream=stream)
    results = answer.execute_tool_calls()
    assert talk.prompt(PROMPT, tool_results=results, stream=stream).text() == ECHO
    sent = json.loads(eu.requests[-1].body)["messages"]
    roles = [each["role"] for each in sent]
    assert roles == ["user", "assistant", "tool", "user"]
    assert (sent[1]["tool_calls"][0]["id"], sent[2]["content"]) == (
        sent[2]["tool_call_id"],
        "rain",
    )
    assert called == ["text"]


def test_a_schema(model: Any) -> None:
    """The answer is JSON that fits."""
    city = pydantic.create_model("City", name=(str, ...), people=(int, ...))
    assert json.loads(model.prompt(PROMPT, schema=city).text()) == {"name": "text", "people": 1}


def test_an_attachment(model: Any) -> None:
    """It is refused in one line."""
    picture = llm.Attachment(type="image/png", content=b"png")
    error = raised(lambda: model.prompt(PROMPT, attachments=[picture]).text())
    assert "\n" not in str(error)


@pytest.mark.parametrize("trouble", [Refuse(), RateLimited()], ids=["dead", "rate-limited"])
def test_one_fails(model: Any, eu: LocalServer, us: LocalServer, trouble: Any) -> None:
    """The other answers, whole and streamed."""
    eu.behave(trouble)
    assert model.prompt(PROMPT, stream=False).text() == ECHO
    assert model.prompt(PROMPT).text() == ECHO
    assert us.hits() == 2


def test_all_are_dead(model: Any, eu: LocalServer, us: LocalServer) -> None:
    """One line tells of each, as an error that the tool shows without a traceback."""
    eu.behave(Refuse())
    us.behave(Refuse())
    error = raised(lambda: model.prompt(PROMPT).text())
    assert isinstance(error, llm.ModelError)
    assert_one_line(error)


def test_retries_are_not_multiplied(model: Any, eu: LocalServer, us: LocalServer) -> None:
    """Each attempt is the pool's."""
    eu.behave(Status(500))
    us.behave(Status(500))
    raised(lambda: model.prompt(PROMPT).text())
    assert eu.hits() + us.hits() == 3


def test_all_are_rate_limited(model: Any, eu: LocalServer, us: LocalServer) -> None:
    """Each was asked once."""
    eu.behave(RateLimited(retry_after=30))
    us.behave(RateLimited(retry_after=30))
    assert isinstance(raised(lambda: model.prompt(PROMPT).text()), llm.ModelError)
    assert (eu.hits(), us.hits()) == (1, 1)


def test_the_command(eu: LocalServer, tmp_path: pathlib.Path) -> None:
    """``llm -m llmpool`` asks the pool that the environment describes."""
    settings = {"LLMPOOL_CONFIG": str(tmp_path / "pool.toml"), "LLM_USER_PATH": str(tmp_path)}
    fields = {"name": "eu", "provider": "openai", "base_url": eu.url, "model": MODEL}
    lines = [f"{name} = {json.dumps(text)}" for name, text in {**fields, "api_key": KEY}.items()]
    (tmp_path / "pool.toml").write_text("\n".join(["[[deployment]]", *lines]), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "llmpool", "hello"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **settings},
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("echo: hello\n", "", 0)


def test_the_page() -> None:
    """Its examples run."""
    assert_page("llm", 8)
