"""Answers in Gemini's own format that are odd, or are none."""

from __future__ import annotations

from typing import Any

import pytest

from llmpool import CompletionRequest, GeminiProvider, MalformedResponse
from llmpool.providers import _gemini_shapes as shapes


def candidate(*parts: Any, **fields: Any) -> dict[str, Any]:
    """Give an answer of one candidate."""
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **fields}]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_a_reason(given: Any, expected: str | None) -> None:
    """It has OpenAI's word where there is one, else its own."""
    answer = shapes.read_answer(candidate({"text": "a"}, finishReason=given))
    assert (answer.text, answer.finish_reason) == ("a", expected)


@pytest.mark.parametrize(
    "given",
    [
        {"candidates": [{"finishReason": "STOP"}]},
        {"candidates": [{"content": None, "finishReason": "STOP"}]},
        {"candidates": [{"content": {"parts": None}, "finishReason": "STOP"}]},
        {"candidates": [{"content": {"parts": ["text", {"text": 7}]}, "finishReason": "STOP"}]},
    ],
)
def test_a_candidate_without_a_text(given: Any) -> None:
    """It is an empty answer, as of a model that had nothing to say."""
    answer = shapes.read_answer(given)
    assert (answer.text, answer.finish_reason, answer.usage) == ("", "stop", None)


@pytest.mark.parametrize("given", [{}, {"candidates": None}, {"candidates": []}])
def test_no_candidates(given: Any) -> None:
    """It is no answer; in a stream such an event carries counts alone."""
    with pytest.raises(MalformedResponse, match="without candidates"):
        shapes.read_answer(given)
    (chunk,) = shapes.EventReader().read({**given, "usageMetadata": {"promptTokenCount": 3}})
    assert chunk.usage is not None
    assert (chunk.usage.prompt_tokens, chunk.usage.total_tokens) == (3, 3)


def test_a_candidate_that_is_none() -> None:
    """It is no answer."""
    with pytest.raises(MalformedResponse, match="a candidate that is no JSON object"):
        shapes.read_answer({"candidates": ["text"]})


def test_calls_without_names_of_their_own() -> None:
    """They have ids that are unlike within an answer, and stable from one reading to the next."""
    part = {"functionCall": {"name": "f"}}
    given = {"candidates": [candidate(part, part)["candidates"][0]] * 2}
    first, second = shapes.read_answer(given).choices
    ids = [call.id for choice in (first, second) for call in choice.tool_calls]
    assert ids == ["call-0-0", "call-0-1", "call-1-0", "call-1-1"]


def test_several_candidates_in_a_stream() -> None:
    """It may end when each that has begun has had its reason."""
    reader = shapes.EventReader()
    assert not reader.whole
    both = [{"index": 0, "content": {}}, {"index": 1, "finishReason": "STOP"}]
    assert [chunk.index for chunk in reader.read({"candidates": both})] == [0, 1]
    assert not reader.whole
    list(reader.read({"candidates": [{"index": 0, "finishReason": "STOP"}]}))
    assert reader.whole


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"embedding": None},
        {"embedding": {}},
        {"embedding": {"values": []}},
        {"embedding": {"values": ["x"]}},
        {"embeddings": []},
        {"embeddings": [{"values": [1.0]}, None]},
    ],
)
def test_vectors_that_are_none(given: Any) -> None:
    """They are no answer."""
    with pytest.raises(MalformedResponse, match="without vectors of numbers"):
        shapes.read_embeddings(given)


def test_a_call_that_names_no_model() -> None:
    """The URL needs one, so it is the caller's mistake."""
    given = GeminiProvider(api_key="sk-gemini-1")
    request = CompletionRequest("hello")
    for act in (given.complete, given.stream):
        with pytest.raises(ValueError, match="model: wanted a name"):
            act(request, 20.0)
    with pytest.raises(ValueError, match="model: wanted a name"):
        given.embed(["a"], None, 20.0)
