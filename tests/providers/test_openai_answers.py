"""What the OpenAI format holds, and where it is found in our values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import responses

from llmpool import (
    CompletionRequest,
    CompletionResponse,
    ConnectionFailed,
    MalformedResponse,
    OpenAIProvider,
    ProviderError,
    RateLimited,
    ServerFault,
    ToolCall,
)

BASE = "http://127.0.0.1:9/v1"


@pytest.fixture
def http() -> Iterator[responses.RequestsMock]:
    """Answer requests in this thread without a server; one that is not expected fails."""
    with responses.RequestsMock() as http:
        yield http


def provider(**options: Any) -> OpenAIProvider:
    """Give a provider whose server is a double."""
    return OpenAIProvider(BASE, api_key="sk-answers-1", **{"model": "tiny", **options})


def ask(http: responses.RequestsMock, answer: Any, **options: Any) -> CompletionResponse:
    """Ask for a completion that is answered so."""
    body = {"body": answer} if isinstance(answer, (str, bytes, Exception)) else {"json": answer}
    http.post(f"{BASE}/chat/completions", **{**body, **options})
    return provider().complete(CompletionRequest("hello"), 5.0)


def message(**fields: Any) -> dict[str, Any]:
    """Write an answer of one choice with this message."""
    return {"choices": [{"index": 0, "message": {"role": "assistant", **fields}}]}


# -- completions ------------------------------------------------------------------------------


def test_plain_answer(http: responses.RequestsMock) -> None:
    """Text, reason, usage, model and id are read; the whole body is kept."""
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny-2030",
        "system_fingerprint": "fp",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello.", "annotations": [1]},
                "finish_reason": "stop",
                "stop_reason": 128009,
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    }
    answer = ask(http, body)
    assert (answer.text, answer.finish_reason) == ("Hello.", "stop")
    assert (answer.id, answer.model) == ("chatcmpl-1", "tiny-2030")
    assert answer.usage is not None
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 2, 5)
    assert usage.raw["prompt_tokens_details"] == {"cached_tokens": 1}
    assert answer.raw == body
    assert answer.choices[0].raw["stop_reason"] == 128009
    assert (answer.tool_calls, answer.reasoning, answer.refusal, answer.logprobs) == (
        (),
        None,
        None,
        None,
    )


def test_several_choices(http: responses.RequestsMock) -> None:
    """All are kept, each under its index; the fields beside them are the first one's."""
    choices = [
        {"index": 0, "message": {"content": "one"}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": "two"}, "finish_reason": "length"},
        {"message": {"content": "three"}},
    ]
    answer = ask(http, {"choices": choices})
    assert [(choice.index, choice.text) for choice in answer.choices] == [
        (0, "one"),
        (1, "two"),
        (2, "three"),
    ]
    assert (answer.text, answer.finish_reason) == ("one", "stop")


def test_tool_calls(http: responses.RequestsMock) -> None:
    """Each is read with its id, name and arguments; what has no name here stays in it."""
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "b", "type": "custom", "custom": {"input": "y"}, "extra_content": {"google": 1}},
        {"id": "c", "function": {"name": "g", "arguments": {"decoded": True}}},
        "no call",
    ]
    answer = ask(http, message(content=None, tool_calls=calls))
    assert answer.tool_calls == (
        ToolCall(id="a", name="f", arguments='{"x": 1}', index=0),
        ToolCall(id="b", type="custom", index=1),
        ToolCall(id="c", name="g", arguments='{"decoded": true}', index=2),
    )
    assert answer.tool_calls[1].raw["extra_content"] == {"google": 1}
    assert answer.text == ""


@pytest.mark.parametrize(
    ("fields", "text", "reasoning", "refusal"),
    [
        ({"content": "x", "reasoning_content": "because"}, "x", "because", None),
        ({"content": "x", "reasoning": "because"}, "x", "because", None),
        ({"content": "x", "reasoning": {"effort": "low"}}, "x", None, None),
        ({"content": None, "refusal": "I will not."}, "", None, "I will not."),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            "ab",
            None,
            None,
        ),
        ({"content": [{"type": "image_url"}, "text", {"text": 7}]}, "", None, None),
        ({"content": 42}, "", None, None),
        ({}, "", None, None),
    ],
)
def test_content_in_any_shape(
    http: responses.RequestsMock,
    fields: dict[str, Any],
    text: str,
    reasoning: str | None,
    refusal: str | None,
) -> None:
    """Text in parts is joined; reasoning goes by either of its names; what is no text is none."""
    answer = ask(http, message(**fields))
    assert (answer.text, answer.reasoning, answer.refusal) == (text, reasoning, refusal)


def test_log_probabilities(http: responses.RequestsMock) -> None:
    """They are given as they came."""
    found = {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": []}]}
    body = {"choices": [{"message": {"content": "a"}, "logprobs": found}]}
    assert ask(http, body).logprobs == found


@pytest.mark.parametrize("usage", [None, "many", [], {}, {"prompt_tokens": None}])
def test_usage_that_tells_nothing(http: responses.RequestsMock, usage: Any) -> None:
    """Counts that are none are nought."""
    answer = ask(http, {**message(content="x"), "usage": usage, "model": 7, "id": ["x"]})
    assert answer.usage is None or answer.usage.total_tokens == 0
    assert (answer.model, answer.id) == (None, None)


@pytest.mark.parametrize(
    ("choice", "kind", "words"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, RateLimited, "slow down"),
        ({"error": {"code": 502, "message": "x"}, "message": {"content": ""}}, ServerFault, "502"),
        ({"error": "stopped", "message": {"content": "half"}}, ServerFault, "stopped"),
        ({"finish_reason": "error", "message": {"content": "half"}}, ServerFault, "is an error"),
    ],
)
def test_error_inside_a_choice(
    http: responses.RequestsMock, choice: Any, kind: type[ProviderError], words: str
) -> None:
    """Gateways put it there when what stands behind them fails halfway; half an answer is none."""
    with pytest.raises(kind, match=words):
        ask(http, {"choices": [choice]})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "an empty answer under HTTP 200"),
        ("<html>", "HTML under HTTP 200"),
        ("fine", r"no JSON under HTTP 200 \(text/plain\)"),
        ("[]", "a JSON list and no object"),
        ("3", "a JSON int and no object"),
        ("{}", "an answer without choices"),
        ('{"choices": {}}', "an answer without choices"),
        ('{"choices": [7]}', "a choice without a message"),
        ('{"choices": [{}]}', "a choice without a message"),
    ],
)
def test_answer_that_is_none(http: responses.RequestsMock, body: str, words: str) -> None:
    """It is our own error, which tells what came and does not show it."""
    with pytest.raises(MalformedResponse, match=words) as caught:
        ask(http, body)
    assert (caught.value.sent, caught.value.status) == ("answered", None)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_answer_without_a_content_type(http: responses.RequestsMock) -> None:
    """JSON is JSON, whatever it calls itself, and what is none says so."""
    assert ask(http, json.dumps(message(content="x")), content_type="text/html").text == "x"
    with pytest.raises(MalformedResponse, match=r"\(no content type\)"):
        ask(http, "fine", content_type="")


def test_double_that_raises(http: responses.RequestsMock) -> None:
    """An error in requests' name becomes ours, and does not carry the request with the key."""
    with pytest.raises(ConnectionFailed) as caught:
        ask(http, responses.ConnectionError("Bearer sk-answers-1"))
    assert caught.value.__cause__ is caught.value.__context__ is None


# -- embeddings -------------------------------------------------------------------------------


def embed(http: responses.RequestsMock, data: Any, *texts: str) -> Any:
    """Ask for vectors that are answered so."""
    body = {"data": data, "model": "e", "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    http.post(f"{BASE}/embeddings", json=body)
    return provider().embed(texts or ("a", "b"), None, 5.0)


def test_vectors_in_another_order(http: responses.RequestsMock) -> None:
    """They are given in the order of the texts."""
    data = [{"index": 1, "embedding": [2, 3]}, {"index": 0, "embedding": [0.5, 1]}]
    answer = embed(http, data)
    assert answer.vectors == ((0.5, 1.0), (2.0, 3.0))
    assert (answer.model, answer.usage.total_tokens) == ("e", 2)
    assert answer.raw["data"] == data


def test_vectors_without_an_order(http: responses.RequestsMock) -> None:
    """They are given as they came."""
    assert embed(http, [{"embedding": [1]}, {"embedding": [2]}]).vectors == ((1.0,), (2.0,))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "without vectors"),
        ([], "without vectors"),
        ([7], "without vectors"),
        ([{"index": 0}], "without vectors of numbers"),
        ([{"embedding": ["a"]}], "without vectors of numbers"),
        ([{"embedding": 7}], "without vectors of numbers"),
        ([{"embedding": []}], "without vectors of numbers"),
        ([{"index": 0, "embedding": [1]}] * 2, "no order"),
        ([{"index": 1, "embedding": [1]}, {"index": 2, "embedding": [1]}], "no order"),
        ([{"index": 0, "embedding": [1]}, {"embedding": [1]}], "no order"),
        ([{"index": "0", "embedding": [1]}], "no order"),
    ],
)
def test_vectors_that_are_none(http: responses.RequestsMock, data: Any, words: str) -> None:
    """Whatever cannot be told whose it is, or is no numbers, is no answer."""
    with pytest.raises(MalformedResponse, match=words):
        embed(http, data)
