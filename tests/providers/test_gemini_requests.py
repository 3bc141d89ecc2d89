"""Requests in Gemini's own format: what becomes of each field, message and part."""

from __future__ import annotations

from typing import Any

import pytest

from llmpool import CompletionRequest, Message, ToolCall
from llmpool.providers._gemini_request import write_request

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "now", "parameters": {"type": "object"}},
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
SIGNED = {"extra_content": {"google": {"thought_signature": "CiQB"}}}
UNSIGNED = "skip_thought_signature_validator"


def written(messages: Any = "hello", to: str = "gemini-2.5-flash", **fields: Any) -> dict[str, Any]:
    """Write a request, without what every one has."""
    known = ("max_tokens", "temperature", "tools")
    named = {name: fields.pop(name) for name in known if name in fields}
    body = write_request(CompletionRequest(messages, **named, extra=fields), to)
    if messages == "hello":
        assert body.pop("contents") == [{"role": "user", "parts": [{"text": "hello"}]}]
    return body


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_tokens": 9}, {"maxOutputTokens": 9}),
        ({"max_completion_tokens": 9}, {"maxOutputTokens": 9}),
        ({"max_tokens": 8, "max_completion_tokens": 9}, {"maxOutputTokens": 8}),
        (
            {"temperature": 0.0, "top_p": 0.5, "top_k": 3},
            {"temperature": 0.0, "topP": 0.5, "topK": 3},
        ),
        ({"seed": 7, "n": 2}, {"seed": 7, "candidateCount": 2}),
        ({"stop": "END"}, {"stopSequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
        (
            {"presence_penalty": 0.1, "frequency_penalty": 0.2},
            {"presencePenalty": 0.1, "frequencyPenalty": 0.2},
        ),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {"response_format": FORMAT},
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        ),
        ({"reasoning_effort": "low"}, {"thinkingConfig": {"thinkingBudget": 1024}}),
        ({"reasoning_effort": "none"}, {"thinkingConfig": {"thinkingBudget": 0}}),
        ({"reasoning_effort": "max"}, {"thinkingConfig": {"thinkingLevel": "max"}}),
        (
            {"reasoning_effort": "low", "to": "gemini-3-pro"},
            {"thinkingConfig": {"thinkingLevel": "low"}},
        ),
        (
            {"reasoning_effort": "none", "to": "models/gemini-3-pro"},
            {"thinkingConfig": {"thinkingLevel": "minimal"}},
        ),
        (
            {
                "seed": 7,
                "top_k": 2,
                "generationConfig": {"topK": 3, "responseModalities": ["TEXT"]},
            },
            {"seed": 7, "topK": 3, "responseModalities": ["TEXT"]},
        ),
    ],
    ids=str,
)
def test_a_setting(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """It stands among the settings, under this format's name; one's own of this format win."""
    assert written(**given) == {"generationConfig": expected}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"stop": None, "seed": None, "response_format": None, "tool_choice": None}, {}),
        ({"stream_options": {"include_usage": True}, "response_format": {"type": "text"}}, {}),
        ({"reasoning_effort": None, "parallel_tool_calls": True}, {}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        (
            {"response_format": {"type": "json_schema", "json_schema": None}},
            {"response_format": {"type": "json_schema", "json_schema": None}},
        ),
        ({"generationConfig": "odd"}, {"generationConfig": "odd"}),
        ({"user": None, "logit_bias": None}, {}),
        (
            {"safetySettings": [{"category": "c"}], "cachedContent": "cachedContents/1"},
            {"safetySettings": [{"category": "c"}], "cachedContent": "cachedContents/1"},
        ),
        ({"tool_choice": "auto"}, {"toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}),
        ({"tool_choice": "required"}, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        ({"tool_choice": "none"}, {"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}),
        (
            {"tool_choice": "VALIDATED"},
            {"toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}}},
        ),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
            {
                "toolConfig": {
                    "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}
                }
            },
        ),
    ],
    ids=str,
)
def test_a_field(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """What has no name here goes along as it is."""
    assert written(**given) == expected


def test_tools() -> None:
    """Functions are one tool, with their schemas as they are; other tools stay."""
    searching = {"googleSearch": {}}
    bare = {"type": "function", "function": {"name": "time"}}
    assert written(tools=[WEATHER, searching, bare])["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "now",
                    "parametersJsonSchema": {"type": "object"},
                },
                {"name": "time"},
            ]
        },
        searching,
    ]
    assert written(tools=[searching])["tools"] == [searching]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "hi"}, {"text": "hi"}),
        ({"type": "text", "text": None}, {"type": "text", "text": None}),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://eu.example/a.jpg?x=1"}},
            {"fileData": {"fileUri": "https://eu.example/a.jpg?x=1", "mimeType": "image/jpeg"}},
        ),
        (
            {"type": "image_url", "image_url": "https://eu.example/a"},
            {"fileData": {"fileUri": "https://eu.example/a"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE"}},
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}},
            {"inlineData": {"mimeType": "audio/mp3", "data": "UklG"}},
        ),
        (
            {"type": "input_audio", "input_audio": None},
            {"type": "input_audio", "input_audio": None},
        ),
        ({"fileData": {"fileUri": "files/1"}}, {"fileData": {"fileUri": "files/1"}}),
    ],
    ids=str,
)
def test_a_part(part: dict[str, Any], expected: dict[str, Any]) -> None:
    """Texts, pictures, files and sounds of the OpenAI shape are translated; others stay."""
    body = written([{"role": "user", "content": [part]}])
    assert body["contents"] == [{"role": "user", "parts": [expected]}]


def test_a_conversation() -> None:
    """Instructions stand apart, the assistant is the model, and an empty message has an empty text."""
    body = written(
        [
            Message("system", "be brief"),
            Message("developer", "be kind"),
            Message("user", "a"),
            {"role": "assistant", "content": "b", "refusal": None},
            Message("user", ""),
        ]
    )
    assert body["systemInstruction"] == {"parts": [{"text": "be brief"}, {"text": "be kind"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"text": "b"}]},
        {"role": "user", "parts": [{"text": ""}]},
    ]


def test_a_content_of_an_answer_of_this_format() -> None:
    """It can go back as it came, signatures and all."""
    content = {"role": "model", "parts": [{"text": "b", "thoughtSignature": "CiQB"}]}
    assert written([content, Message("user", "c")])["contents"][0] == content
    content = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
    calls = [{"id": "r-0", "function": {"name": "f"}}]
    assert written([{**content, "tool_calls": calls}])["contents"] == [content]


def test_calls_and_their_results() -> None:
    """Results of calls made together are one content, with the names of what was called."""
    calls = [
        ToolCall(id="a", name="f", arguments='{"x": 1}', raw=SIGNED),
        ToolCall(id="b", name="g"),
        ToolCall(name="h", arguments="[1]"),
    ]
    picture = {"type": "image_url", "image_url": "data:image/png;base64,AA=="}
    body = written(
        [
            Message("assistant", None, tool_calls=calls),
            Message("tool", '{"sky": "grey"}', tool_call_id="a"),
            Message("tool", [{"type": "text", "text": "two"}, picture], tool_call_id="b"),
            Message("tool", None, name="h"),
            Message("user", "so?"),
            Message("tool", "late", tool_call_id="lost"),
        ],
        to="gemini-3-pro",
    )
    called, results, asked, late = body["contents"]
    assert called == {
        "role": "model",
        "parts": [
            {
                "functionCall": {"name": "f", "args": {"x": 1}, "id": "a"},
                "thoughtSignature": "CiQB",
            },
            {"functionCall": {"name": "g", "args": {}, "id": "b"}},
            {"functionCall": {"name": "h", "args": {"arguments": "[1]"}}},
        ],
    }
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "f", "response": {"sky": "grey"}, "id": "a"}},
            {
                "functionResponse": {
                    "name": "g",
                    "response": {"output": "two"},
                    "id": "b",
                    "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}],
                }
            },
            {"functionResponse": {"name": "h", "response": {"output": ""}}},
        ],
    }
    assert asked == {"role": "user", "parts": [{"text": "so?"}]}
    assert late["parts"][0]["functionResponse"]["name"] is None


@pytest.mark.parametrize(
    ("model", "signature"),
    [
        ("gemini-3-pro", UNSIGNED),
        ("models/gemini-3-flash", UNSIGNED),
        ("gemini-2.5-flash", None),
        ("models/gemini-2.5-flash", None),
    ],
)
def test_calls_of_another_model(model: str, signature: str | None) -> None:
    """They have no signature, which the newer models demand of the first of each message."""
    calls = [ToolCall(id="a", name="f"), ToolCall(id="b", name="g")]
    body = written([Message("assistant", None, tool_calls=calls)], to=model)
    parts = body["contents"][0]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [signature, None]


def test_a_signature_in_the_openai_shape() -> None:
    """A call that has one keeps it over a message in the OpenAI shape."""
    call = ToolCall(id="a", name="f", raw=SIGNED).to_dict()
    assert call["extra_content"] == SIGNED["extra_content"]
    body = written([{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert body["contents"][0]["parts"][0]["thoughtSignature"] == "CiQB"
