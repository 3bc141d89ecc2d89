"""The plugin for ``llm``, with as much of that tool's names as it has to do with."""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from llmpool import ProviderPool
from llmpool.testing import LocalServer, Refuse

NAME = "llmpool.contrib.llm"


class ModelError(Exception):
    """What the tool shows in one line."""


@attrs.frozen
class ToolCall:
    """A call that the model wants."""

    name: str
    arguments: Any
    tool_call_id: str | None


@attrs.frozen
class Tool:
    """A tool that may be called."""

    name: str
    description: str | None
    input_schema: Any


@attrs.frozen
class TextPart:
    """Text in a message."""

    text: str


@attrs.frozen
class ReasoningPart:
    """What a model thought."""

    text: str


@attrs.frozen
class ToolCallPart:
    """A call in a message."""

    name: str
    arguments: Any
    tool_call_id: str


@attrs.frozen
class ToolResultPart:
    """A result in a message."""

    output: str
    tool_call_id: str


class PicturePart:
    """What the pool does not take."""


@attrs.frozen
class Message:
    """One message."""

    role: str
    parts: tuple[Any, ...]


@attrs.frozen
class Prompt:
    """What is asked."""

    messages: tuple[Message, ...]
    schema: Any = None
    tools: tuple[Tool, ...] = ()


class Response:
    """What is noted of an answer."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []
        self.used: tuple[int | None, int | None] | None = None
        self.response_json: Any = None

    def add_tool_call(self, call: ToolCall) -> None:
        """Note a call."""
        self.calls.append(call)

    def set_usage(self, *, input: int | None, output: int | None) -> None:
        """Note the counts."""
        self.used = (input, output)


class Model:
    """What a model is to be."""


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin, loaded by the double."""
    tool: Any = types.ModuleType("llm")
    tool.hookimpl = lambda function: function
    tool.Model, tool.ModelError, tool.ToolCall = Model, ModelError, ToolCall
    monkeypatch.setitem(sys.modules, "llm", tool)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    yield importlib.import_module(NAME)
    sys.modules.pop(NAME, None)


def says(text: str) -> Prompt:
    """Make a prompt of one message."""
    return Prompt((Message("user", (TextPart(text),)),))


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt(plugin: Any, pool: ProviderPool, stream: bool) -> None:
    """Its text comes, and what is no text is noted."""
    noted = Response()
    answer = plugin.model(pool).execute(says("hello"), stream, noted, None)
    assert "".join(answer) == "echo: hello"
    assert noted.used == (1, 2)
    assert noted.response_json["deployment"] == "a"


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool(plugin: Any, pool: ProviderPool, stream: bool) -> None:
    """Its call is noted."""
    shape = {"type": "object", "properties": {"city": {"type": "string"}}}
    prompt = attrs.evolve(says("call tool"), tools=(Tool("weather", None, shape),))
    noted = Response()
    assert "".join(plugin.model(pool).execute(prompt, stream, noted, None)) == ""
    assert [(call.name, call.arguments) for call in noted.calls] == [("weather", {"city": "text"})]


def test_a_conversation(plugin: Any, pool: ProviderPool, server: LocalServer) -> None:
    """Calls and results go along, thoughts do not."""
    prompt = Prompt(
        (
            Message("assistant", (ReasoningPart("hm"), ToolCallPart("weather", {}, "c1"))),
            Message("tool", (ToolResultPart("rain", "c1"),)),
            Message("user", (TextPart("hello"),)),
        )
    )
    assert "".join(plugin.model(pool).execute(prompt, False, Response(), None)) == "echo: hello"
    sent = json.loads(server.requests[0].body)["messages"]
    assert [each["role"] for each in sent] == ["assistant", "tool", "user"]
    assert sent[0]["tool_calls"][0]["id"] == sent[1]["tool_call_id"] == "c1"


def test_a_schema(plugin: Any, pool: ProviderPool) -> None:
    """The answer fits it."""
    prompt = attrs.evolve(says("x"), schema={"type": "object", "properties": {"a": {"enum": [7]}}})
    assert json.loads("".join(plugin.model(pool).execute(prompt, False, Response(), None))) == {
        "a": 7
    }


def test_no_counts(plugin: Any) -> None:
    """An answer without them leaves them unknown."""
    from llmpool import CompletionResponse

    noted = Response()
    plugin._tell(CompletionResponse("x"), noted)
    assert noted.used is None


def test_what_goes_wrong(plugin: Any, pool: ProviderPool, server: LocalServer) -> None:
    """It is told in one line, as an error that the tool shows as such."""
    picture = Prompt((Message("user", (PicturePart(),)),))
    with pytest.raises(ModelError, match="got PicturePart"):
        list(plugin.model(pool).execute(picture, False, Response(), None))
    server.behave(Refuse())
    with pytest.raises(ModelError, match=r"^no deployment answered \(a: [^\n]*\)$"):
        list(plugin.model(pool).execute(says("hello"), False, Response(), None))


def test_the_pool_of_the_environment(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made when it is first asked; where none is described that is told."""
    for name in ("LLMPOOL_CONFIG", "LLMPOOL_DEPLOYMENTS"):
        monkeypatch.delenv(name, raising=False)
    offered: list[Any] = []
    plugin.register_models(offered.append)
    (model,) = offered
    assert model.model_id == "llmpool"
    with pytest.raises(ModelError, match="LLMPOOL_DEPLOYMENTS"):
        list(model.execute(says("hello"), False, Response(), None))
