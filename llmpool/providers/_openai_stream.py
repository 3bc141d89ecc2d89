"""Streamed answers in the OpenAI format."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from llmpool import errors, wire
from llmpool.messages import StreamChunk
from llmpool.providers import _openai_shapes as shapes
from llmpool.providers import _translate
from llmpool.providers._http import OpenReply, Reply, WireFailure
from llmpool.providers._sse import SseEvent, SseParser

MOST_ERROR_BYTES = 1 << 20


class OpenAIStream(Iterator[StreamChunk]):
    """
    The chunks of one answer, in the order in which they come.

    A stream that ends without ``[DONE]`` and without a finish reason was cut, however clean its end.

    Raises:
        ProviderError: while iterating; of the class that tells what went wrong.
    """

    def __init__(
        self, reply: OpenReply, secrets: tuple[str, ...], private: tuple[str, ...]
    ) -> None:
        self._reply = reply
        self._secrets = secrets
        self._private = private
        self._parser = SseParser()
        self._ready: deque[StreamChunk] = deque()
        self._done = False
        self._finished = False
        content_type = reply.headers.get("content-type", "").lower()
        self._is_stream = "json" not in content_type and "html" not in content_type
        self._content_type = content_type

    def limit(self, seconds: float) -> None:
        """Demand the next chunk within *seconds*."""
        self._reply.deadline.move(seconds)

    def __next__(self) -> StreamChunk:
        while not self._ready:
            if self._done:
                raise StopIteration
            self._fill()
        return self._ready.popleft()

    def _fill(self) -> None:
        if not self._is_stream:
            self._take_whole()
            return
        data = _translate.plainly(self._reply.read1)
        try:
            events = self._parser.feed(data) if data else self._parser.finish()
        except ValueError:
            events = None
        if events is None:
            raise errors.MalformedResponse("an event of the stream is too large")
        for event in events:
            self._take(event)
            if self._done:
                self._drain()
                return
        if not data:
            self._end()

    def _end(self) -> None:
        self._done = True
        if not self._finished:
            raise errors.StreamInterrupted("the stream ended without its end mark")

    def _drain(self) -> None:
        """Read the end of the body, if it is there, so that the connection can serve again."""
        self._reply.deadline.move(0.05)
        try:
            while self._reply.read1():
                pass
        except WireFailure:
            pass  # no connection is worth waiting for
        self._reply.close()

    def _take(self, event: SseEvent) -> None:
        if event.data.strip() == "[DONE]":
            self._done = True
            return
        try:
            payload = json.loads(event.data)
        except (ValueError, RecursionError):
            payload = None
        if not isinstance(payload, Mapping):
            raise errors.MalformedResponse("an event of the stream is no JSON object")
        if event.event == "error" or payload.get("error"):
            raise wire.read_error(
                200,
                {},
                payload,
                wall_time=_translate.now(),
                secrets=self._secrets,
                private=self._private,
            )
        self._ready.extend(self._chunks(payload))

    def _chunks(self, payload: Mapping[str, Any]) -> Iterator[StreamChunk]:
        facts: dict[str, Any] = {
            "model": shapes.text_or_none(payload.get("model")),
            "id": shapes.text_or_none(payload.get("id")),
            "raw": payload,
        }
        usage = shapes.read_usage(payload.get("usage"))
        choices = payload.get("choices")
        if not isinstance(choices, list) or not choices:
            yield StreamChunk(usage=usage, **facts)  # usage or metadata alone
            return
        for place, choice in enumerate(choices):
            if not isinstance(choice, Mapping):
                raise errors.MalformedResponse("a choice in the stream is no JSON object")
            delta = choice.get("delta")
            delta = delta if isinstance(delta, Mapping) else {}
            index = choice.get("index")
            reason = shapes.text_or_none(choice.get("finish_reason"))
            self._finished = self._finished or reason is not None
            yield StreamChunk(
                shapes.read_text(delta.get("content")),
                finish_reason=reason,
                tool_calls=shapes.read_calls(delta.get("tool_calls")),
                reasoning=shapes.read_reasoning(delta),
                refusal=shapes.text_or_none(delta.get("refusal")),
                audio=delta.get("audio"),
                role=shapes.text_or_none(delta.get("role")),
                index=index if isinstance(index, int) else place,
                logprobs=choice.get("logprobs"),
                usage=usage,
                **facts,
            )
            usage = None  # once an event is enough

    def _take_whole(self) -> None:
        """Read an answer that is no stream: an error, a page, or all of it at once."""
        reply = _translate.plainly(lambda: read_whole(self._reply))
        self._done = True
        try:
            decoded = json.loads(reply.body)
        except (ValueError, RecursionError):
            decoded = None
        if decoded is None:
            raise _translate.said_no_json(reply.body, self._content_type)
        answer = _translate.as_mapping(decoded)
        if answer.get("error"):
            raise _translate.answer_error(reply, self._secrets, self._private)
        response = shapes.read_completion(answer)
        for choice in response.choices:
            self._ready.append(
                StreamChunk(
                    choice.text,
                    finish_reason=choice.finish_reason,
                    tool_calls=choice.tool_calls,
                    reasoning=choice.reasoning,
                    refusal=choice.refusal,
                    index=choice.index,
                    logprobs=choice.logprobs,
                    usage=response.usage,
                    model=response.model,
                    id=response.id,
                    raw=answer,
                )
            )

    def close(self) -> None:
        """Let go of the connection."""
        self._done = True
        self._reply.close()


def read_whole(reply: OpenReply) -> Reply:
    """
    Read the rest of an opened answer, bounded.

    Raises:
        WireFailure: it broke off.
    """
    pieces = []
    size = 0
    while size < MOST_ERROR_BYTES:
        piece = reply.read1()
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    reply.close()
    return Reply(reply.status, reply.headers, b"".join(pieces))
