"""Whatever JSON a server puts wherever it likes, there is an answer, or one error of ours."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmpool import MalformedResponse, ProviderError
from llmpool.gathered import Gathered
from llmpool.providers import _anthropic_shapes, _gemini_shapes, _openai_shapes
from llmpool.wire import read_error

ODD: list[Any] = [
    None, True, False, 0, -1, 5, 2**63, 10**400, 1e308, float("inf"), float("nan"),
    "", "x", "429", "5s", "1" * 70, "\x00\x1b[31m\u202e", "\ud800", '{"error":{"message":"in"}}',
    "Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359",
    [], {}, [[]], [{}], [None], [1, "a"], {"a": 1}, {"message": {}}, {"text": "y"}, {"type": "z"},
]  # fmt: skip
"""What no reader expects where it stands."""

_CALL = {"id": "1", "index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}
_PROBS = {"content": [{"token": "a", "logprob": -1.0}]}
OPENAI = {
    "id": "c",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": [{"type": "text", "text": "a"}],
                "refusal": None,
                "reasoning": "z",
                "tool_calls": [_CALL],
            },
            "delta": {"content": "x", "audio": {"data": "zz"}, "tool_calls": [_CALL]},
            "finish_reason": "stop",
            "logprobs": _PROBS,
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    "data": [{"index": 0, "embedding": [0.1, 2]}, {"index": 1, "embedding": [0.3]}],
}
ANTHROPIC = {
    "id": "m",
    "type": "message_start",
    "index": 0,
    "message": {"role": "assistant", "model": "c", "usage": {"input_tokens": 1}},
    "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    "delta": {"type": "text_delta", "text": "a", "partial_json": "{}", "stop_reason": "end_turn"},
    "content": [
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "thinking", "thinking": "z"},
    ],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 2},
}
EVENTS = (
    "message_start", "content_block_start", "content_block_delta", "content_block_stop",
    "message_delta", "message_stop",
)  # fmt: skip
GEMINI = {
    "candidates": [
        {
            "content": {
                "parts": [
                    {"text": "a"},
                    {"functionCall": {"name": "f", "args": {"a": 1}, "id": "q"}},
                    {"text": "t", "thought": True},
                ],
                "role": "model",
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3},
    "modelVersion": "g",
    "responseId": "r",
    "promptFeedback": {"blockReason": "SAFETY"},
    "embeddings": [{"values": [0.1, 2]}, {"values": [1]}],
}
ERROR = {
    "error": {
        "message": "no",
        "type": "t",
        "code": "c",
        "status": "UNAVAILABLE",
        "innererror": {"code": "x"},
        "metadata": {"raw": '{"error":{"message":"in"}}'},
        "details": [{"retryDelay": "5s", "violations": [{"quotaId": "PerDay"}]}],
    },
    "request_id": "r",
    "detail": [{"loc": ["a", 1], "msg": "z"}],
}


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = enumerate(value) if isinstance(value, list) else getattr(value, "items", tuple)()
    for key, entry in items:
        yield from _paths(entry, (*path, key))


def _put(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    changed = value.copy()
    changed[path[0]] = _put(value[path[0]], path[1:], odd)
    return changed


@st.composite
def spoilt(draw: st.DrawFn, whole: Any) -> Mapping[str, Any]:
    """Give *whole* with odd things in one to three places."""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in _paths(whole) if path]))
        whole = _put(whole, path, draw(st.sampled_from(ODD)))
    return whole  # type: ignore[no-any-return]


def holds(read: Callable[[], Any]) -> None:
    """Read; what comes can be shown and pickled, be it an answer or an error."""
    try:
        came = read()
    except ProviderError as error:
        came = error
    assert getattr(came, "message", "").isprintable()
    assert repr(came)
    pickle.dumps(came)


def through(reader: Any, payloads: list[Any]) -> Any:
    """Read a stream of *payloads* and put it together."""
    answer = Gathered()
    for payload in payloads:
        if reader.failure_in(payload) is None:
            for chunk in reader.read(payload):
                answer.add(chunk)
    assert reader.whole in (True, False)
    return answer.response()


@settings(deadline=None, max_examples=100)
@given(spoilt(OPENAI))
def test_the_openai_format(body: Mapping[str, Any]) -> None:
    """Completions, pieces of streams, vectors."""
    holds(lambda: _openai_shapes.read_completion(body))
    holds(lambda: through(_openai_shapes.ChunkReader(), [OPENAI, body]))
    holds(lambda: _openai_shapes.read_embedding(body))


@settings(deadline=None, max_examples=100)
@given(spoilt(ANTHROPIC), st.sampled_from(EVENTS))
@example({**ANTHROPIC, "index": [1]}, "content_block_start")
def test_the_anthropic_format(body: Mapping[str, Any], event: str) -> None:
    """Messages, and each kind of event."""
    holds(lambda: _anthropic_shapes.read_message(body))
    begun = [{**ANTHROPIC, "type": kind} for kind in EVENTS[:3]]
    spoilt_event = {**body, "type": event}
    holds(lambda: through(_anthropic_shapes.EventReader(), [*begun, spoilt_event, body]))


@settings(deadline=None, max_examples=100)
@given(spoilt(GEMINI))
def test_the_gemini_format(body: Mapping[str, Any]) -> None:
    """Answers, pieces of streams, vectors."""
    holds(lambda: _gemini_shapes.read_answer(body))
    holds(lambda: through(_gemini_shapes.EventReader(), [GEMINI, body]))
    holds(lambda: _gemini_shapes.read_embeddings(body))


@settings(deadline=None, max_examples=100)
@given(
    spoilt(ERROR),
    st.sampled_from([200, 400, 401, 403, 429, 500, 503, 599, 999]),
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "date", "x-request-id", "content-type"]),
        st.sampled_from([odd for odd in ODD if isinstance(odd, str)]),
    ),
)
def test_an_error(body: Mapping[str, Any], status: int, headers: dict[str, str]) -> None:
    """Of any shape, under any status, with any header."""
    error = read_error(status, headers, body, wall_time=1e9)
    holds(lambda: error)
    assert error.message.isprintable()


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (_openai_shapes.read_embedding, {"data": [{"embedding": [10**400]}]}),
        (_gemini_shapes.read_embeddings, {"embeddings": [{"values": [10**400]}]}),
    ],
)
def test_a_number_beyond_all_numbers(read: Callable[[Any], Any], body: Any) -> None:
    """It is no vector."""
    with pytest.raises(MalformedResponse, match="without vectors of numbers"):
        read(body)
