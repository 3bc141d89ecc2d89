"""The body of a stream, cut into reads anywhere."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import pytest

from llmpool import errors
from llmpool.forwarding.body import Body, joined
from llmpool.forwarding.readers import ResponsesReader, TextReader, VectorReader
from llmpool.providers._anthropic_shapes import EventReader
from llmpool.providers._forward import Passed
from llmpool.providers._http import Deadline, WireFailure
from llmpool.providers._openai_shapes import ChunkReader
from llmpool.providers._private import Private
from llmpool.testing.reply import event


class ScriptedReply:
    """An answer whose reads are given; past them it hangs, or has ended."""

    def __init__(self, reads: list[bytes | WireFailure], *, ends: bool = True) -> None:
        self.deadline = Deadline.after(60.0)
        self.closed = False
        self._reads = deque(reads)
        self._ends = ends

    def read1(self) -> bytes:
        """Give the next read."""
        if self._reads:
            given = self._reads.popleft()
            if isinstance(given, WireFailure):
                raise given
            return given
        if not self._ends:
            raise WireFailure("timeout", "answered", "late", expired=True)
        return b""

    def close(self) -> None:
        """Note it."""
        self.closed = True


def body_of(reads: Any, reader: Any, *, ends: bool = True) -> Body:
    """Give a body of these reads."""
    nothing = Private(lambda: (), lambda: ())
    return Body(Passed(ScriptedReply(reads, ends=ends), nothing), reader)  # type: ignore[arg-type]


def delta(text: str = "", finish: str | None = None, **fields: Any) -> bytes:
    """Render an event of a chat stream."""
    choice = {"index": 0, "delta": {"content": text, **fields}, "finish_reason": finish}
    return event({"choices": [choice]})


DONE = event("[DONE]")
STREAM = delta(role="assistant") + delta("one ") + delta("two") + delta(finish="stop") + DONE


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_every_byte_is_given_out(size: int, newline: bytes) -> None:
    """In the order in which they came, however they were cut."""
    stream = STREAM.replace(b"\n", newline)
    reads = [stream[at : at + size] for at in range(0, len(stream), size)]
    body = body_of(reads, ChunkReader())
    pieces = list(body)
    assert b"".join(piece.raw for piece in pieces) == stream
    assert [piece.has_content for piece in pieces].count(True) == 2
    assert body.done


def test_events_of_one_read_are_told_apart() -> None:
    """What comes before an error in the same read is given out before it."""
    failed = event({"error": {"message": "no more", "type": "overloaded_error"}})
    body = body_of([delta("one") + failed + delta("two")], ChunkReader())
    assert next(body).raw == delta("one")
    with pytest.raises(errors.ServerFault) as caught:
        next(body)
    assert caught.value.code == "overloaded_error"
    assert body.take_last_words() == failed
    assert body.take_last_words() == b""
    assert not body.done


def test_comments_go_along_with_what_follows() -> None:
    """They are no pieces of their own, for they tell nothing of whoever is to answer."""
    body = body_of([b": ping\n\n", b": ping\n\n", delta("one"), b": bye\n\n", DONE], ChunkReader())
    assert next(body).raw == b": ping\n\n: ping\n\n" + delta("one")
    assert next(body).raw == b": bye\n\n" + DONE


def test_comments_without_an_end() -> None:
    """They are not kept for ever."""
    body = body_of([b": " + b"x" * 2_000_000 + b"\n\n"] * 3, ChunkReader())
    with pytest.raises(errors.MalformedResponse, match="no event"):
        next(body)


def test_an_event_without_an_end() -> None:
    """It is not kept for ever."""
    body = body_of([b"data: " + b"x" * 3_000_000] * 2, ChunkReader())
    with pytest.raises(errors.MalformedResponse, match="too large"):
        next(body)


@pytest.mark.parametrize(
    ("stream", "good"),
    [
        (delta("one"), False),
        (delta("one") + DONE, True),
        (delta("one") + delta(finish="stop"), True),
        (delta("one", finish="stop").rstrip() + b"\n", True),
        (b": ping\n\n", False),
        (b"", False),
    ],
)
def test_the_end(stream: bytes, good: bool) -> None:
    """Without an end mark or a reason to end, a clean end is a cut."""
    body = body_of([stream], ChunkReader())
    if good:
        assert b"".join(piece.raw for piece in body) == stream
    else:
        with pytest.raises(errors.StreamInterrupted, match="end mark"):
            list(body)


@pytest.mark.parametrize("said", ["no JSON", "[]"])
def test_an_event_that_is_no_object(said: str) -> None:
    """It is no answer."""
    with pytest.raises(errors.MalformedResponse):
        next(body_of([event(said)], ChunkReader()))


@pytest.mark.parametrize(
    "failed",
    [
        event({"error": {"message": "no"}}),
        event({"message": "no"}, "error"),
        event({"choices": [{"error": {"message": "no"}}]}),
    ],
)
def test_an_event_that_is_an_error(failed: bytes) -> None:
    """It is one in each of the places where servers put it."""
    with pytest.raises(errors.ProviderError, match="no"):
        next(body_of([failed], ChunkReader()))


def test_a_server_that_stays_after_the_end_mark() -> None:
    """It is waited for shortly, and the answer is whole."""
    body = body_of([STREAM], ChunkReader(), ends=False)
    assert b"".join(piece.raw for piece in body) == STREAM
    assert body._reply.closed  # type: ignore[attr-defined]


def test_a_break() -> None:
    """It is told in the pool's words."""
    body = body_of([delta("one"), WireFailure("cut", "answered", "cut off")], ChunkReader())
    assert next(body).has_content
    with pytest.raises(errors.ConnectionFailed, match="cut off"):
        next(body)


def test_a_body_nobody_reads_the_sense_of() -> None:
    """Any bytes are content, and any end is good."""
    body = body_of([b"a", b"b"], None)
    assert [(piece.raw, piece.has_content) for piece in body] == [(b"a", True), (b"b", True)]
    assert body.done


def test_a_body_that_is_closed() -> None:
    """Nothing more comes of it."""
    body = body_of([STREAM], ChunkReader())
    next(body)
    body.close()
    assert list(body) == []


def test_the_deadline_of_a_piece() -> None:
    """It is the reply's, to be moved."""
    body = body_of([], None)
    body.limit(5.0)
    assert body._reply.deadline.remaining() <= 5.0


def test_pieces_joined() -> None:
    """The bytes are one after the other, the last usage counts."""
    used = event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    pieces = list(body_of([delta("one") + used + DONE], ChunkReader()))
    (whole,) = joined(pieces)
    assert whole.raw == delta("one") + used + DONE
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 2
    assert joined(pieces[:1])[0].usage is None


# -- the readers of further pages ---------------------------------------------------------------


def test_the_older_completions() -> None:
    """Their text is content."""
    choice = {"index": 0, "text": "one", "finish_reason": None}
    first = event({"choices": [choice]})
    last = event({"choices": [{**choice, "text": "", "finish_reason": "stop"}]})
    bare = event({"usage": None})
    pieces = list(body_of([bare + first + last], TextReader()))
    assert [piece.has_content for piece in pieces] == [False, True, False]
    assert pieces[-1].finish_reason
    odd = event({"choices": [{"index": 0, "text": ["one"]}]})
    assert not next(body_of([odd], TextReader())).has_content


def test_embeddings() -> None:
    """They do not come in pieces; what does is no content."""
    (piece,) = VectorReader().read({"x": 1})
    assert not piece.has_content


def test_the_messages_of_anthropic() -> None:
    """Their end is an event of its own."""
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}
    start = event({"type": "message_start", "message": {}}, "message_start")
    reads = [start, event({"type": "ping"}), event(text), event({"type": "message_stop"})]
    body = body_of(reads, EventReader(), ends=False)
    assert [piece.has_content for piece in body] == [False, False, True, False]
    assert body.done


def responses_event(kind: str, **fields: Any) -> bytes:
    """Render an event of the Responses API."""
    return event({"type": f"response.{kind}", **fields}, f"response.{kind}")


def failed_response(error: object) -> bytes:
    """Render the event of a response that failed."""
    return responses_event("failed", response={"status": "failed", "error": error})


def test_the_responses_api() -> None:
    """What adds to the answer is content; the last event has its usage."""
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    reads = [
        responses_event("created", response={"status": "in_progress"}),
        responses_event("output_text.delta", delta="fine"),
        responses_event("completed", response={"status": "completed", "usage": usage}),
    ]
    body = body_of(reads, ResponsesReader(), ends=False)
    pieces = list(body)
    assert [piece.has_content for piece in pieces] == [False, True, False]
    assert pieces[-1].usage is not None
    assert (pieces[-1].usage.prompt_tokens, pieces[-1].usage.completion_tokens) == (3, 4)


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        (event({"type": "error", "code": "slow_down", "message": "no"}), errors.RateLimited),
        (failed_response({"code": "server_error", "message": "no"}), errors.ServerFault),
        (failed_response(None), errors.ServerFault),
    ],
)
def test_a_response_that_fails(failed: bytes, kind: type[Exception]) -> None:
    """It is told by an event, or by the answer in it."""
    with pytest.raises(kind):
        next(body_of([failed], ResponsesReader()))


def test_whole_answers_of_further_pages() -> None:
    """What is none of theirs is refused, and their usage is read."""
    assert TextReader().read_answer({"choices": [{}]}).usage is None
    counts = json.loads('{"usage": {"input_tokens": 3, "output_tokens": 4}, "object": "response"}')
    usage = ResponsesReader().read_answer(counts).usage
    assert usage is not None
    assert usage.prompt_tokens == 3
    for reader in (TextReader(), VectorReader(), ResponsesReader()):
        with pytest.raises(errors.MalformedResponse):
            reader.read_answer({})
    assert ResponsesReader().failure_in({"response": 7}) is None
