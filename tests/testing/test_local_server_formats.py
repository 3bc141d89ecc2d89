"""The local server in the formats of Anthropic and Gemini, as their own clients would see it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import Answer, ask

from llmpool import testing as bad
from llmpool.testing import LocalServer

MESSAGES = "/v1/messages"
GEMINI = "/v1beta/models/tiny"
ANTHROPIC = {"anthropic-version": "2023-06-01"}
GOOGLE = {"x-goog-api-key": "sk-1"}


def message(server: LocalServer, content: Any = "hello", **fields: Any) -> Answer:
    """Ask in Anthropic's format."""
    body = {"model": "tiny", "max_tokens": 99, "messages": [{"role": "user", "content": content}]}
    return ask(server, {**body, **fields}, MESSAGES, headers=ANTHROPIC)


def content(server: LocalServer, text: str = "hello", how: str = "", **fields: Any) -> Answer:
    """Ask in Gemini's format."""
    body = {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}
    return ask(server, body, f"{GEMINI}:{how or 'generateContent'}")


def read(answer: Answer) -> list[Any]:
    """Give the events of a stream."""
    return answer.events


def test_a_message(server: LocalServer) -> None:
    """It is a whole of Anthropic's shape."""
    answer = message(server, "good morning")
    assert answer.json == {
        "id": "chatcmpl-eu-1",
        "type": "message",
        "role": "assistant",
        "model": "tiny",
        "content": [{"type": "text", "text": "echo: good morning"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 2, "output_tokens": 3},
    }
    (request,) = server.requests
    assert (request.format, request.route, request.prompt) == ("anthropic", "chat", "good morning")
    assert not request.streamed


def test_the_stream_of_a_message(server: LocalServer) -> None:
    """Its events come in Anthropic's order, each under its name."""
    answer = message(server, stream=True)
    kinds = [event["type"] for event in read(answer)]
    assert kinds == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert [f"event: {kind}" in answer.body.decode() for kind in kinds] == [True] * len(kinds)
    assert server.requests[0].streamed


def test_a_message_that_asks_for_a_tool(server: LocalServer) -> None:
    """The tool is chosen as in the OpenAI format, and its result leads back to the prompt."""
    tool = {"name": "weather", "input_schema": {"properties": {"city": {"type": "string"}}}}
    answer = message(server, tools=[tool], tool_choice={"type": "any"}).json
    assert answer["content"][0]["input"] == {"city": "text"}
    assert answer["stop_reason"] == "tool_use"
    talk = [
        {"role": "user", "content": "please"},
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]},
    ]
    assert message(server, messages=talk, tools=[tool]).json["content"][0]["text"] == "echo: please"
    chosen = {"type": "tool", "name": "weather"}
    assert message(server, tools=[tool], tool_choice=chosen).json["stop_reason"] == "tool_use"
    streamed = read(message(server, tools=[tool], tool_choice=chosen, stream=True))
    pieces = [each["delta"].get("partial_json", "") for each in streamed if "delta" in each]
    assert json.loads("".join(pieces)) == {"city": "text"}


def test_a_message_by_schema(server: LocalServer) -> None:
    """A schema is followed; instructions are counted."""
    schema = {"properties": {"city": {"type": "string"}}}
    asked = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    answer = message(server, system="be brief", **asked).json
    assert json.loads(answer["content"][0]["text"]) == {"city": "text"}
    assert answer["usage"]["input_tokens"] == 3


def test_a_content(server: LocalServer) -> None:
    """It is a whole of Gemini's shape."""
    told = {"systemInstruction": {"parts": [{"text": "be brief"}]}}
    answer = content(server, "good morning", **told).json
    assert answer == {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "echo: good morning"}]},
                "index": 0,
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 3, "totalTokenCount": 7},
        "modelVersion": "tiny",
        "responseId": "chatcmpl-eu-1",
    }
    (request,) = server.requests
    assert (request.format, request.route, request.prompt) == ("gemini", "chat", "good morning")


def test_the_stream_of_a_content(server: LocalServer) -> None:
    """Its events are contents too, and it has no end mark but its reason."""
    answer = content(server, how="streamGenerateContent?alt=sse")
    assert server.requests[0].streamed
    found = [event["candidates"][0] for event in read(answer)]
    assert "".join(part["text"] for each in found for part in each["content"].get("parts", ())) == (
        "echo: hello"
    )
    assert [each.get("finishReason") for each in found] == [None, None, "STOP"]


@pytest.mark.parametrize("schema", ["parameters", "parametersJsonSchema"])
def test_a_content_that_asks_for_a_tool(server: LocalServer, schema: str) -> None:
    """Google's own schemas, whose types are in capitals, are understood too."""
    kind = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}
    tools = [{"functionDeclarations": [{"name": "weather", schema: kind}]}, {"googleSearch": {}}]
    config = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}}
    answer = content(server, tools=tools, toolConfig=config).json
    (part,) = answer["candidates"][0]["content"]["parts"]
    assert part == {"functionCall": {"name": "weather", "args": {"city": "text"}}}
    talk = [
        {"role": "user", "parts": [{"text": "please"}]},
        {"role": "model", "parts": [part]},
        {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {}}}]},
    ]
    answer = content(server, contents=talk, tools=tools).json
    assert answer["candidates"][0]["content"]["parts"] == [{"text": "echo: please"}]


@pytest.mark.parametrize("field", ["responseJsonSchema", "responseSchema", "none"])
def test_a_content_by_schema(server: LocalServer, field: str) -> None:
    """A schema is followed; without one the answer is JSON all the same."""
    config = {
        "responseMimeType": "application/json",
        field: {"properties": {"city": {"type": "STRING"}}},
    }
    answer = content(server, generationConfig=config).json
    told = json.loads(answer["candidates"][0]["content"]["parts"][0]["text"])
    assert told == ({"echo": "hello"} if field == "none" else {"city": "text"})


def test_several_candidates(server: LocalServer) -> None:
    """They come side by side, whole and streamed."""
    config = {"candidateCount": 2, "maxOutputTokens": 1}
    answer = content(server, generationConfig=config).json
    assert [each["finishReason"] for each in answer["candidates"]] == ["MAX_TOKENS"] * 2
    found = read(content(server, how="streamGenerateContent", generationConfig=config))
    assert [each["candidates"][0]["index"] for each in found] == [0, 1, 0, 1]


def test_vectors(server: LocalServer) -> None:
    """One text or several, each on its page."""
    text = {"content": {"parts": [{"text": "a"}]}}
    one = ask(server, text, f"{GEMINI}:embedContent").json
    many = ask(server, {"requests": [text, text]}, f"{GEMINI}:batchEmbedContents").json
    assert many["embeddings"] == [one["embedding"]] * 2
    assert server.hits("embeddings") == 2


@pytest.mark.parametrize(
    ("path", "headers", "field"),
    [("/v1/models", ANTHROPIC, "data"), ("/v1beta/models", GOOGLE, "models")],
)
def test_the_models(server: LocalServer, path: str, headers: dict[str, str], field: str) -> None:
    """The list is of the asker's format, and so is each model's page."""
    listed = ask(server, None, path, method="GET", headers=headers).json
    (entry,) = listed[field]
    assert ask(server, None, f"{path}/tiny", method="GET", headers=headers).json == entry
    assert ask(server, None, f"{path}/other", method="GET", headers=headers).status == 404


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({"x-api-key": "sk-1"}, "", 200),
        ({"x-goog-api-key": "sk-1"}, "", 200),
        ({"api-key": "sk-1"}, "", 200),
        ({"Authorization": "Bearer sk-1"}, "", 200),
        ({}, "?key=sk-1", 200),
        ({"x-api-key": "sk-2"}, "?key=sk-2", 400),
        ({}, "", 400),
    ],
)
def test_where_a_key_may_stand(
    server: LocalServer, headers: dict[str, str], query: str, status: int
) -> None:
    """Each vendor's place will do; to a wrong one Gemini says that the request is bad."""
    server.use_keys("sk-1")
    answer = ask(server, None, f"/v1beta/models{query}", method="GET", headers=headers)
    assert answer.status == status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (MESSAGES, {"messages": [{"role": "user", "content": "x"}]}),
        (MESSAGES, {"max_tokens": 9, "messages": [7]}),
        (MESSAGES, {"max_tokens": 9, "messages": []}),
        (MESSAGES, "text"),
        (f"{GEMINI}:generateContent", {"contents": 7}),
        (f"{GEMINI}:generateContent", {"contents": []}),
        (f"{GEMINI}:embedContent", {}),
    ],
)
def test_a_request_that_is_none(server: LocalServer, path: str, body: Any) -> None:
    """It is refused in the format's own shape."""
    answer = ask(server, body, path)
    assert answer.status == 400
    error = answer.json["error"]
    if path == MESSAGES:
        assert (answer.json["type"], error["type"]) == ("error", "invalid_request_error")
    else:
        assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")


ERRORS = [
    (bad.RateLimited(retry_after=7), (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")),
    (bad.QuotaExhausted(), (429, "rate_limit_error"), (429, "RESOURCE_EXHAUSTED")),
    (bad.Overloaded(), (503, "overloaded_error"), (503, "UNAVAILABLE")),
    (bad.BadKey(), (401, "authentication_error"), (400, "INVALID_ARGUMENT")),
    (bad.ContextTooLong(9), (400, "invalid_request_error"), (400, "INVALID_ARGUMENT")),
    (bad.Status(404), (404, "not_found_error"), (404, "NOT_FOUND")),
    (bad.Status(418), (418, "invalid_request_error"), (418, "INTERNAL")),
    (bad.Status(500), (500, "api_error"), (500, "INTERNAL")),
]


@pytest.mark.parametrize(("behaviour", "anthropic", "gemini"), ERRORS, ids=lambda each: repr(each))
def test_an_error(
    server: LocalServer, behaviour: Any, anthropic: tuple[int, str], gemini: tuple[int, str]
) -> None:
    """Each format has its own shape and words for it."""
    server.behave(behaviour)
    answer = message(server)
    assert (answer.status, answer.json["error"]["type"]) == anthropic
    if isinstance(behaviour, bad.ContextTooLong):
        assert answer.json["error"]["message"] == "prompt is too long: 10 tokens > 9 maximum"
    if isinstance(behaviour, bad.RateLimited):
        assert answer.headers["retry-after"] == "7"
    answer = content(server)
    assert (answer.status, answer.json["error"]["status"]) == gemini
    assert answer.json["error"]["code"] == gemini[0]


def test_a_prompt_that_is_filtered(server: LocalServer) -> None:
    """Anthropic refuses it; Gemini answers nothing, and says why."""
    server.behave(bad.ContentFilter(prompt=True))
    assert "content filtering" in message(server).json["error"]["message"]
    assert content(server).json == {"promptFeedback": {"blockReason": "SAFETY"}}


def test_an_answer_with_nothing_in_it(server: LocalServer) -> None:
    """Each format has its own emptiness."""
    server.behave(bad.EmptyChoices())
    assert message(server).json["content"] == []
    kinds = [event["type"] for event in read(message(server, stream=True))]
    assert kinds == ["message_start", "message_stop"]
    assert content(server).json["candidates"] == []
    assert read(content(server, how="streamGenerateContent")) == [{"candidates": []}]
    text = {"content": {"parts": [{"text": "a"}]}}
    assert ask(server, text, f"{GEMINI}:embedContent").json["embeddings"] == []


def test_an_error_in_a_stream(server: LocalServer) -> None:
    """It is an event of the format's own, or carries what is given."""
    server.behave(bad.ErrorInStream(after_chunks=1))
    answer = message(server, stream=True)
    assert read(answer)[-1]["error"]["type"] == "api_error"
    assert "event: error\n" in answer.body.decode()
    assert read(content(server, how="streamGenerateContent"))[-1]["error"]["status"] == "INTERNAL"
    server.behave(bad.ErrorInStream(error={"message": "x"}))
    assert read(message(server, stream=True))[-1] == {"type": "error", "error": {"message": "x"}}


def test_where_it_is(server: LocalServer) -> None:
    """``root`` is the address without a path, under which each format has its own."""
    assert server.url == f"{server.root}/v1"
    assert server.root.endswith(str(server.port))
