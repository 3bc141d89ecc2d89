"""Requests in the Anthropic format: what becomes of each field, message and part."""

from __future__ import annotations

from typing import Any

import pytest

from llmpool import CompletionRequest, Message, ToolCall
from llmpool.providers._anthropic_request import write_request

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True},
    "cache_control": {"type": "ephemeral"},
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}


def written(messages: Any = "hello", **fields: Any) -> dict[str, Any]:
    """Write a request, without what every one has."""
    known = ("model", "max_tokens", "temperature", "tools")
    named = {name: fields.pop(name) for name in known if name in fields}
    body = write_request(CompletionRequest(messages, **named, extra=fields), "claude")
    for name, value in (("model", "claude"), ("max_tokens", 4096)):
        if body.get(name) == value:
            del body[name]
    if messages == "hello":
        assert body.pop("messages") == [{"role": "user", "content": "hello"}]
    return body


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"model": "other", "max_tokens": 9}, {"model": "other", "max_tokens": 9}),
        ({"max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"max_tokens": 8, "max_completion_tokens": 9}, {"max_tokens": 8}),
        ({"max_completion_tokens": None}, {}),
        ({"temperature": 0.0, "top_p": 0.5}, {"temperature": 0.0, "top_p": 0.5}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"stop": None}, {}),
        ({"stop": "a", "stop_sequences": ["b"]}, {"stop_sequences": ["b"]}),
        ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
        ({"stream_options": {"include_usage": True}}, {}),
        ({"response_format": None}, {}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": FORMAT},
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        ),
        (
            {"response_format": {"type": "json_object"}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": None}},
            {"response_format": {"type": "json_schema", "json_schema": None}},
        ),
        ({"reasoning_effort": None}, {}),
        ({"logit_bias": None, "tool_choice": None}, {}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        (
            {"reasoning_effort": "high", "output_config": {"effort": "max"}},
            {"output_config": {"effort": "max"}},
        ),
        (
            {"reasoning_effort": "high", "response_format": FORMAT},
            {
                "output_config": {
                    "effort": "high",
                    "format": {"type": "json_schema", "schema": SCHEMA},
                }
            },
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 3, "seed": 7},
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 3, "seed": 7},
        ),
    ],
    ids=str,
)
def test_a_field(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """It has this format's name and shape; one without stays as it is, for the server to judge."""
    assert written(**given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
            {"type": "tool", "name": "weather"},
        ),
        ({"tool_choice": {"type": "any"}}, {"type": "any"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": 7}, 7),
    ],
    ids=str,
)
def test_a_choice_of_tools(given: dict[str, Any], expected: Any) -> None:
    """How many calls may come at once is said along with it."""
    assert written(tools=[WEATHER], **given).get("tool_choice") == expected


def test_no_choice_without_tools() -> None:
    """The format refuses one where there is nothing to choose from."""
    assert written(parallel_tool_calls=False) == {}


def test_tools() -> None:
    """A function has this format's names; strictness and cache marks stay, other tools as they are."""
    searching = {"type": "web_search_20250305", "name": "web_search"}
    assert written(tools=[WEATHER, searching])["tools"] == [
        {
            "name": "weather",
            "input_schema": {"type": "object"},
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        },
        searching,
    ]


def blocks(*parts: Any, role: str = "user", **extra: Any) -> Any:
    """Write one message of these parts."""
    (message,) = written([{"role": role, "content": list(parts), **extra}])["messages"]
    return message["content"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64,AAAA"},
                "cache_control": {"type": "ephemeral"},
            },
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                "cache_control": {"type": "ephemeral"},
            },
        ),
        (
            {"type": "image_url", "image_url": "data:image/svg+xml;charset=utf-8;base64,AA=="},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/svg+xml", "data": "AA=="},
            },
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://eu.example/a.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://eu.example/a.png"}},
        ),
        (
            {
                "type": "file",
                "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"},
            },
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
                "title": "a.pdf",
            },
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE"}},
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            },
        ),
        ({"type": "file", "file": {"file_id": "f-1"}}, None),
        ({"type": "file", "file": None}, None),
        ({"type": "refusal", "refusal": "no"}, {"type": "text", "text": "no"}),
        ({"type": "refusal", "refusal": None}, None),
        ({"type": "document", "source": {"type": "file", "file_id": "f-1"}}, None),
    ],
    ids=str,
)
def test_a_part(part: dict[str, Any], expected: Any) -> None:
    """Pictures and files of the OpenAI shape are translated; what is in none of them stays."""
    assert blocks(part) == [part if expected is None else expected]


def test_a_message_of_an_openai_answer() -> None:
    """It can go back as it came: what only that format has is left out, a refusal is its text."""
    echoed = {"annotations": [], "audio": None, "function_call": None, "reasoning_content": "hm"}
    said = {"role": "assistant", "content": "fine", "refusal": None, **echoed}
    refused = {"role": "assistant", "content": None, "refusal": "no", **echoed}
    marked = {"role": "assistant", "content": "x", "cache_control": {"type": "ephemeral"}}
    assert written([said, refused, marked])["messages"] == [
        {"role": "assistant", "content": "fine"},
        {"role": "assistant", "content": [{"type": "text", "text": "no"}]},
        marked,
    ]


def test_a_message_of_an_answer_of_this_format() -> None:
    """Its blocks can go back as they came, signatures of thinking and all."""
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "tool_use", "id": "t-1", "name": "weather", "input": {}},
    ]
    assert blocks(*content, role="assistant") == content
    calls = [ToolCall(id="t-1", name="weather"), ToolCall(id="t-2", name="time")]
    (said,) = written([Message("assistant", content, tool_calls=calls)])["messages"]
    assert said["content"] == [
        *content,
        {"type": "tool_use", "id": "t-2", "name": "time", "input": {}},
    ]


def test_instructions() -> None:
    """They stand apart, wherever in the conversation they came."""
    body = written(
        [Message("user", "a"), Message("system", "b"), Message("developer", [{"type": "text"}])]
    )
    assert body["system"] == [{"type": "text", "text": "b"}, {"type": "text"}]
    assert body["messages"] == [{"role": "user", "content": "a"}]


def test_calls_and_their_results() -> None:
    """Results of calls made together are one message, in this format's shape."""
    calls = [ToolCall(id="a", name="f", arguments='{"x": 1}'), ToolCall(id="b", name="g")]
    body = written(
        [
            Message("assistant", "let me see", tool_calls=calls),
            Message("tool", "one", tool_call_id="a"),
            Message("tool", [{"type": "text", "text": "two"}], tool_call_id="b"),
        ]
    )
    assert body["messages"] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "b", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "text", "text": "one"}],
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [{"type": "text", "text": "two"}],
                },
            ],
        },
    ]
