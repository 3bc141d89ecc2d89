"""Requests, answers and pieces: what goes in comes out, and none of it is shown."""

from __future__ import annotations

import copy
import enum
import json
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmpool.messages import (
    Choice,
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    Message,
    Role,
    StreamChunk,
    ToolCall,
    Usage,
    asked,
)
from llmpool.outcomes import Attempt, Verdict

SECRET = "the launch code is 0000"

CONVERSATION: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "system", "content": ""},
    {"role": "user", "content": "What is the weather in Bern?", "name": "ada"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "And here?", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "reasoning_content": "I should look it up.",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Bern"}', "strict": True},
                "extra_content": {"google": {"thought_signature": "abc"}},
            },
            {"id": "call_2", "type": "custom", "custom": {"name": "grep", "input": "Bern"}},
        ],
    },
    {"role": "tool", "content": "12 degrees", "tool_call_id": "call_1"},
    {"role": "tool", "content": [{"type": "text", "text": "none"}], "tool_call_id": "call_2"},
    {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
]


class Kind(str, enum.Enum):
    """Somebody else's enum, as text."""

    PERSON = "user"


# -- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", CONVERSATION)
def test_a_message_there_and_back(raw: dict[str, Any]) -> None:
    """Nothing is lost, whatever its shape, and the caller's dict is as it was."""
    before = copy.deepcopy(raw)
    message = Message.from_dict(raw)
    assert message.to_dict() == before
    assert raw == before
    assert json.loads(json.dumps(message.to_dict())) == before
    assert pickle.loads(pickle.dumps(message)) == message


@given(
    st.dictionaries(
        st.sampled_from(["name", "tool_call_id", "refusal", "audio", "prefix", "x-y"]),
        st.text(min_size=1) | st.dictionaries(st.text(), st.integers(), min_size=1),
    ),
    st.none() | st.text() | st.lists(st.dictionaries(st.text(), st.text()), max_size=3),
)
def test_any_message_there_and_back(extra: dict[str, Any], content: Any) -> None:
    """Fields without a name here go along as they are."""
    raw = {"role": "user", "content": content, **extra}
    assert Message.from_dict(raw).to_dict() == raw


def test_a_message_without_content() -> None:
    """It is written as null; an empty list of calls is none."""
    assert Message.from_dict({"role": "assistant", "tool_calls": []}).to_dict() == {
        "role": "assistant",
        "content": None,
    }


@pytest.mark.parametrize("role", [Role.USER, Kind.PERSON, "user"])
def test_a_role(role: str) -> None:
    """An enum's member stands for its text."""
    message = Message(role, "hi")
    assert message.role == "user"
    assert type(message.role) is str
    assert json.dumps(message.to_dict()) == '{"role": "user", "content": "hi"}'


@pytest.mark.parametrize("role", ["", None, 5, b"user", ["user"]])
def test_a_role_that_is_none(role: Any) -> None:
    """It is refused by name."""
    with pytest.raises(TypeError, match=r"^role: wanted a text such as 'user', got "):
        Message(role, "hi")


@pytest.mark.parametrize("content", [5, b"hi", {"type": "text"}, ["hi"], [None], iter([])])
def test_content_that_is_none(content: Any) -> None:
    """It is refused at once, not when somebody looks into it later."""
    with pytest.raises(TypeError, match=r"^content: wanted a text, a list of parts .*, got "):
        Message("user", content)


@pytest.mark.parametrize("calls", ["f()", b"f", {"id": "1"}, ["f"], [None], 5])
def test_tool_calls_that_are_none(calls: Any) -> None:
    """They are refused by name."""
    with pytest.raises(TypeError, match=r"^tool_calls: wanted a list of tool calls .*, got "):
        Message("assistant", tool_calls=calls)


# -- tool calls ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "name", "arguments"),
    [
        ({"function": {"name": "f", "arguments": "{}"}}, "f", "{}"),
        ({"function": {"name": "f", "arguments": {"a": 1}}}, "f", '{"a": 1}'),
        ({"function": {"name": "f", "arguments": None}}, "f", ""),
        ({"function": {"arguments": '{"a'}}, None, '{"a'),
        ({"function": None}, None, ""),
        ({}, None, ""),
    ],
)
def test_a_tool_call_of_any_server(raw: dict[str, Any], name: str | None, arguments: str) -> None:
    """Arguments are text, also where a server gives the object itself."""
    call = ToolCall.from_dict(raw, 3)
    assert (call.name, call.arguments, call.type, call.index) == (name, arguments, "function", 3)
    assert call.raw is raw


def test_a_tool_call_from_a_stream() -> None:
    """Its index tells where it belongs, and does not go back to a server, which may refuse it."""
    call = ToolCall.from_dict({"index": 1, "id": "c", "function": {"name": "f", "arguments": ""}})
    whole = attrs.evolve(call, arguments='{"a": 1}')
    assert whole.index == 1
    assert Message("assistant", tool_calls=[whole]).to_dict()["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    ]


def test_a_tool_call_made_by_hand() -> None:
    """It has the shape of the API."""
    assert ToolCall(id="c", name="f", arguments="{}").to_dict() == {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }


# -- requests -----------------------------------------------------------------------------------


def test_a_request_in_every_spelling() -> None:
    """A text, dicts and messages come to the same."""
    wanted = CompletionRequest([Message("user", "hi")])
    assert CompletionRequest("hi") == wanted
    assert CompletionRequest([{"role": "user", "content": "hi"}]) == wanted
    assert CompletionRequest(iter([Message("user", "hi")])) == wanted  # type: ignore[arg-type]
    assert CompletionRequest("").messages == (Message("user", ""),)
    full = CompletionRequest(
        "hi", model="m", max_tokens=1, temperature=0, tools=[{"type": "function"}], extra={"n": 2}
    )
    assert pickle.loads(pickle.dumps(full)) == full


@pytest.mark.parametrize(
    ("messages", "kind", "said"),
    [
        (None, TypeError, "messages: wanted a str or a list of messages"),
        (5, TypeError, "messages: wanted a str or a list of messages"),
        (b"hi", TypeError, "messages: wanted a str or a list of messages"),
        ({"role": "user"}, TypeError, "messages: wanted a str or a list of messages"),
        (Message("user", "hi"), TypeError, "messages: wanted a str or a list of messages"),
        ([], ValueError, "messages: wanted at least one message, got a list"),
        ([SECRET], TypeError, "messages: wanted dicts or Message in the list, got a str"),
        (["short"], TypeError, "messages: wanted dicts or Message in the list, got a str"),
        ([{"content": SECRET}], ValueError, "messages: wanted dicts with a 'role', got a dict"),
        ([{"role": 5}], TypeError, "role: wanted a text such as 'user', got 5"),
    ],
)
def test_messages_that_are_none(messages: Any, kind: type[Exception], said: str) -> None:
    """They are refused, and what they say is not shown."""
    with pytest.raises(kind) as caught:
        CompletionRequest(messages)
    assert str(caught.value).startswith(said)
    assert SECRET not in str(caught.value)
    assert "short" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("model", "", ValueError),
        ("model", 5, TypeError),
        ("max_tokens", 0, ValueError),
        ("max_tokens", 1.0, TypeError),
        ("max_tokens", True, TypeError),
        ("temperature", float("nan"), ValueError),
        ("temperature", -1, ValueError),
        ("temperature", "hot", TypeError),
        ("tools", {"type": "function"}, TypeError),
        ("tools", "f", TypeError),
        ("tools", 5, TypeError),
        ("tools", [print], TypeError),
        ("extra", [("n", 2)], TypeError),
        ("extra", None, TypeError),
    ],
)
def test_a_request_with_a_wrong_field(field: str, value: Any, kind: type[Exception]) -> None:
    """It is refused with the field, what is wanted and what came."""
    with pytest.raises(kind, match=rf"^{field}: wanted .*, got "):
        CompletionRequest("hi", **{field: value})


def test_the_texts_of_a_request() -> None:
    """Those of the messages and of their parts, in order."""
    parts = [{"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": "x"}}]
    request = CompletionRequest([Message("system", "a"), Message("user", parts), Message("tool")])
    assert request.texts() == ("a", "b")


# -- answers ------------------------------------------------------------------------------------


def test_what_is_shown_of_content() -> None:
    """No text of a prompt or an answer: lengths, names and counts."""
    call = ToolCall(id="c", name="f", arguments=SECRET, raw={"x": SECRET})
    shown = [
        Message("user", SECRET, extra={"x": SECRET}, tool_calls=[call]),
        Message("user", [{"type": "text", "text": SECRET}]),
        CompletionRequest(SECRET, tools=[{"x": SECRET}], extra={"x": SECRET}),
        Choice(text=SECRET, reasoning=SECRET, refusal=SECRET, logprobs=SECRET, raw={"x": SECRET}),
        CompletionResponse(
            SECRET, reasoning=SECRET, refusal=SECRET, logprobs=SECRET, raw=SECRET,
            tool_calls=[call], choices=(Choice(text=SECRET),),
        ),
        StreamChunk(
            SECRET, reasoning=SECRET, refusal=SECRET, audio=SECRET, logprobs=SECRET, raw=SECRET,
            tool_calls=[call],
        ),
        EmbeddingResponse([[0.25]], raw=SECRET),
        Usage(raw={"x": SECRET}),
    ]  # fmt: skip
    for value in shown:
        assert SECRET not in repr(value)
        assert SECRET not in str(value)
    assert "text=<23>" in repr(shown[4])
    assert "messages=<1>" in repr(shown[2])
    assert "0.25" not in repr(shown[6])


@pytest.mark.parametrize("kind", [CompletionResponse, StreamChunk])
def test_a_text_that_is_none(kind: Any) -> None:
    """None is no text, as SDKs have it; anything else is refused."""
    assert kind(None).text == ""
    assert Choice(text=None).text == ""  # type: ignore[arg-type]
    for text in (5, b"hi", ["hi"]):
        with pytest.raises(TypeError, match=r"^text: wanted a text or None, got a"):
            kind(text)


def test_an_answer_of_several_choices() -> None:
    """Its own fields are the first one's."""
    call = ToolCall(id="c", name="f")
    first = Choice(
        text="a", finish_reason="stop", tool_calls=(call,), reasoning="b", refusal="c", logprobs=[1]
    )
    answer = CompletionResponse.from_choices([first, Choice(index=1, text="z")], model="m", id="i")
    assert (answer.text, answer.finish_reason, answer.tool_calls) == ("a", "stop", (call,))
    assert (answer.reasoning, answer.refusal, answer.logprobs) == ("b", "c", [1])
    assert [choice.text for choice in answer.choices] == ["a", "z"]
    assert (answer.model, answer.id) == ("m", "i")


@pytest.mark.parametrize(
    "value",
    [
        CompletionResponse(
            "hi", usage=Usage(prompt_tokens=1), attempts=(Attempt("eu", Verdict.OK),), raw={"a": 1}
        ),
        StreamChunk("hi", tool_calls=[{"index": 0, "function": {"arguments": "{"}}]),
        EmbeddingResponse([[0.25, 1]], attempts=(Attempt("eu", Verdict.OK),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_answer_travels(value: Any) -> None:
    """It is a frozen value: it pickles, copies and compares."""
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.model = "other"


@pytest.mark.parametrize(
    ("chunk", "has_content"),
    [
        (StreamChunk("a"), True),
        (StreamChunk(reasoning="a"), True),
        (StreamChunk(refusal="a"), True),
        (StreamChunk(audio={"data": "a"}), True),
        (StreamChunk(tool_calls=[ToolCall(arguments="")]), True),
        (StreamChunk(""), False),
        (StreamChunk(role="assistant"), False),
        (StreamChunk(finish_reason="stop"), False),
        (StreamChunk(usage=Usage()), False),
    ],
)
def test_whether_a_piece_has_content(chunk: StreamChunk, has_content: bool) -> None:
    """Roles, ends and counts give a reader nothing."""
    assert chunk.has_content is has_content


def test_both_names_of_the_counts() -> None:
    """The older and the newer are the same."""
    usage = Usage(prompt_tokens=3, completion_tokens=4, total_tokens=7)
    assert (usage.input_tokens, usage.output_tokens) == (3, 4)


def test_vectors() -> None:
    """They are tuples, whatever they were given as."""
    assert EmbeddingResponse(iter([[1.0], (2.0,)])).vectors == ((1.0,), (2.0,))  # type: ignore[arg-type]


def test_a_request_made_for_a_call() -> None:
    """It is the one that the constructor makes, field by field."""
    tools = [{"type": "function"}]
    extra = {"top_p": 0.5}
    quick = asked("hello", "m", 7, 0.5, tools, extra)
    slow = CompletionRequest(
        "hello", model="m", max_tokens=7, temperature=0.5, tools=tools, extra=extra
    )
    assert quick == slow
    assert vars(quick).keys() == vars(slow).keys()
    assert asked("hello", None, None, None, None, {}) == CompletionRequest("hello")
