"""A client of the user's behind the pool: hand-written ones in the shapes of the two SDKs."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from llmpool import (
    ClientProvider,
    CompletionRequest,
    CompletionResponse,
    Deployment,
    Message,
    ProviderPool,
    errors,
)
from llmpool.checks import Ping
from llmpool.config import HealthCheckConfig
from llmpool.outcomes import OK

KEY = "sk-of-the-client-0123456789"
PROMPT = "what the user wants to know"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class Model:
    """What an SDK of pydantic's gives: it shows its fields as they came."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def model_dump(self, **wanted: Any) -> Any:
        """Show the fields."""
        assert wanted == {
            "mode": "json",
            "by_alias": True,
            "exclude_unset": True,
            "warnings": False,
        }
        return self._fields


class OlderModel(Model):
    """The same of an older library, which takes no options."""

    def model_dump(self) -> Any:  # type: ignore[override]
        """Show the fields."""
        return self._fields


class Events(list[Any]):
    """An SDK's stream."""

    closed = False

    def close(self) -> None:
        """Note it."""
        self.closed = True


class Steps:
    """A method of a client that plays one step for each call, and keeps what it was given."""

    def __init__(self, *steps: Any) -> None:
        self._steps = list(steps)
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **given: Any) -> Any:
        self.calls.append(given)
        step = self._steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step


class Client(SimpleNamespace):
    """A client that can be referred to weakly, as those of the SDKs can."""


def openai_like(*steps: Any, **further: Any) -> Any:
    """Make a client in the shape of the OpenAI SDK's."""
    completions = SimpleNamespace(create=Steps(*steps))
    chat = SimpleNamespace(completions=completions)
    return Client(**{"chat": chat, "api_key": KEY, **further})


def anthropic_like(*steps: Any, **further: Any) -> Any:
    """Make a client in the shape of the Anthropic SDK's."""
    messages = SimpleNamespace(create=Steps(*steps))
    return Client(**{"messages": messages, "api_key": KEY, **further})


def asked(client: Any) -> dict[str, Any]:
    """Give what the client was asked last."""
    shaped = client.chat.completions if hasattr(client, "chat") else client.messages
    calls: list[dict[str, Any]] = shaped.create.calls
    return calls[-1]


def completion(text: str | None = "fine", **changes: Any) -> dict[str, Any]:
    """Give a chat completion as it comes over the wire."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    return {"id": "c-1", "model": "tiny", "choices": [choice], "usage": usage, **changes}


def message(*blocks: Any, **changes: Any) -> dict[str, Any]:
    """Give a message as Anthropic sends it."""
    usage = {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 2}
    whole = {"id": "m-1", "type": "message", "role": "assistant", "model": "claude"}
    return {
        **whole,
        "content": list(blocks),
        "stop_reason": "end_turn",
        "usage": usage,
        **changes,
    }


def complete(client: Any, request: Any = PROMPT, **settings: Any) -> CompletionResponse:
    """Ask a client once."""
    if not isinstance(request, CompletionRequest):
        request = CompletionRequest(request)
    return ClientProvider(client, **settings).complete(request, 7.0)


def failure(
    client: Any, kind: type[errors.ProviderError] = errors.ProviderError
) -> errors.ProviderError:
    """Give the error that comes of asking a client."""
    with pytest.raises(kind) as caught:
        complete(client)
    return caught.value


# -- whole answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Model, OlderModel, dict])
def test_a_completion(kind: Callable[..., Any]) -> None:
    """It is read as one from the wire, whatever object the client makes of it; ``raw`` has all."""
    whole = completion(system_fingerprint="fp")
    client = openai_like(kind(**whole))
    answer = complete(client, model="tiny")
    assert (answer.text, answer.finish_reason, answer.model, answer.id) == (
        "fine",
        "stop",
        "tiny",
        "c-1",
    )
    assert answer.usage is not None
    assert answer.usage.total_tokens == 4
    assert answer.raw == whole
    assert asked(client) == {
        "messages": [{"role": "user", "content": PROMPT}],
        "model": "tiny",
        "timeout": 7.0,
    }


def test_what_a_request_names() -> None:
    """Every field goes along, those of the API's own as they are."""
    client = openai_like(completion())
    request = CompletionRequest(
        PROMPT, model="big", max_tokens=5, temperature=0.0, tools=[WEATHER], extra={"top_p": 0.5}
    )
    complete(client, request, model="tiny")
    sent = asked(client)
    assert (sent["model"], sent["max_tokens"], sent["temperature"]) == ("big", 5, 0.0)
    assert (sent["tools"], sent["top_p"]) == ([WEATHER], 0.5)


class Strict:
    """A method with a signature of its own, as the SDKs have."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def create(
        self, *, messages: Any, timeout: float, top_p: Any = 1, extra_body: Any = None
    ) -> Any:
        """Keep what it was given."""
        self.given = {"top_p": top_p, "timeout": timeout, "extra_body": extra_body}
        return completion()


class Stricter(Strict):
    """A method with neither a time-out nor a place for more."""

    def create(self, *, messages: Any, top_p: Any = 1) -> Any:  # type: ignore[override]
        """Keep what it was given."""
        self.given = {"top_p": top_p}
        return completion()


def test_a_field_that_the_client_does_not_know() -> None:
    """It goes where SDKs take such fields, beside what the user put there."""
    strict = Strict()
    client = SimpleNamespace(chat=SimpleNamespace(completions=strict))
    extra = {"top_p": 0.5, "top_k": 3, "extra_body": {"min_p": 0.1}}
    complete(client, CompletionRequest(PROMPT, extra=extra))
    assert strict.given["top_p"] == 0.5
    assert strict.given["extra_body"] == {"top_k": 3, "min_p": 0.1}
    assert strict.given["timeout"] == 7.0


def test_a_client_that_takes_no_more_fields() -> None:
    """A time-out is not forced on it; a field that it does not know is refused by its own error."""
    strict = Stricter()
    client = SimpleNamespace(chat=SimpleNamespace(completions=strict))
    complete(client, CompletionRequest(PROMPT, extra={"top_p": 0.5}))
    assert strict.given == {"top_p": 0.5}
    with pytest.raises(TypeError, match="top_k"):
        complete(client, CompletionRequest(PROMPT, extra={"top_k": 3}))


class Unsigned(Steps):
    """A method that does not tell its signature."""

    __signature__ = "none"


def test_a_method_without_a_signature() -> None:
    """It is given everything."""
    create = Unsigned(completion())
    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    assert complete(client, CompletionRequest(PROMPT, extra={"top_k": 3})).text == "fine"
    assert create.calls[0]["top_k"] == 3


def test_a_streamed_answer_asked_for_by_the_wrong_method() -> None:
    """It is refused by name."""
    with pytest.raises(ValueError, match=r"stream\(\)"):
        complete(openai_like(), CompletionRequest(PROMPT, extra={"stream": True}))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("<!doctype html><html>Sign in</html>", "a str and no JSON object"),
        (b"{}", "a bytes and no JSON object"),
        (None, "a NoneType and no JSON object"),
        (Model, "a type and no JSON object"),
        (OlderModel().model_dump, "a method and no JSON object"),
        (SimpleNamespace(model_dump=lambda **_: "text"), "a SimpleNamespace and no JSON object"),
        (Model(choices=None), "an answer without choices"),
        (Model(choices=[]), "an answer without choices"),
        (Model(choices=[{"finish_reason": "stop"}]), "a choice without a message"),
    ],
)
def test_what_an_sdk_takes_for_an_answer(answer: Any, said: str) -> None:
    """A page, an empty object: what the client returns as success is none."""
    error = failure(openai_like(answer), errors.MalformedResponse)
    assert (str(error), error.sent) == (said, "answered")


def test_an_error_that_an_sdk_takes_for_an_answer() -> None:
    """It is read by its own code; key and prompt, which a server may repeat, are taken out."""
    said = f"slow down with {PROMPT} and {KEY[3:]}"
    limited = {"message": said, "code": "rate_limit_exceeded"}
    error = failure(openai_like(Model(choices=None, error=limited)), errors.RateLimited)
    assert str(error) == (
        "an error under HTTP 200: rate_limit_exceeded: slow down with [prompt] and [key]"
    )
    choice = {"message": {}, "error": {"code": 502, "message": "Provider returned error"}}
    error = failure(openai_like(Model(choices=[choice])), errors.ServerFault)
    assert error.status == 502


@pytest.mark.parametrize("error", [ConnectionResetError(104, "oh"), ValueError("own")])
def test_an_error_of_the_client(error: Exception) -> None:
    """It is raised as it is: the pool reads it."""
    with pytest.raises(type(error)) as caught:
        complete(openai_like(error))
    assert caught.value is error


def test_a_client_that_can_do_nothing() -> None:
    """It is a missing capability, named with the client."""
    provider = ClientProvider(SimpleNamespace(), name="mine")
    request = CompletionRequest(PROMPT)
    for ask in (
        lambda: provider.complete(request, 1.0),
        lambda: provider.stream(request, 1.0),
        lambda: provider.embed(["a"], None, 1.0),
        lambda: provider.ping(1.0),
    ):
        with pytest.raises(errors.ServerFault, match=r"^mine has no ") as caught:
            ask()
        assert (caught.value.status, caught.value.sent) == (501, "no")


# -- asynchronous clients -----------------------------------------------------------------------


async def create_later(**given: Any) -> Any:
    """Answer later."""


def test_an_asynchronous_client() -> None:
    """It is refused at once, also where the method is wrapped."""

    def wrapped(**given: Any) -> Any:
        raise AssertionError("it is not to be called")

    wrapped.__wrapped__ = create_later  # type: ignore[attr-defined]
    for create in (create_later, wrapped):
        client = SimpleNamespace(messages=SimpleNamespace(create=create))
        with pytest.raises(TypeError, match="client: wanted a synchronous one"):
            ClientProvider(client)


def test_a_client_whose_answers_come_later() -> None:
    """It cannot be told beforehand, and is refused when it gives a coroutine or a future."""
    loop = asyncio.new_event_loop()
    for answer in (create_later(), loop.create_future()):
        with pytest.raises(TypeError, match="got an awaitable"):
            complete(openai_like(answer))
    loop.close()


@pytest.mark.parametrize("client", [None, Strict])
def test_what_is_no_client(client: Any) -> None:
    """None, or the class in the place of an object, is refused by name."""
    with pytest.raises(TypeError, match="client: wanted a client object"):
        ClientProvider(client)


# -- streams ------------------------------------------------------------------------------------


def piece(text: str | None = None, reason: str | None = None, **delta: Any) -> Model:
    """Give one event of a chat stream."""
    choice = {"index": 0, "delta": {"content": text, **delta}, "finish_reason": reason}
    return Model(id="c-1", model="tiny", choices=[choice])


def stream(client: Any, request: Any = PROMPT) -> Iterator[Any]:
    """Ask a client for a stream."""
    if not isinstance(request, CompletionRequest):
        request = CompletionRequest(request)
    return ClientProvider(client).stream(request, 7.0)


def test_a_stream() -> None:
    """Its pieces come as from the wire, the usage at the end; closing it closes the client's."""
    usage = Model(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 2})
    events = Events(
        [piece(role="assistant"), piece("one "), piece("two"), piece(reason="stop"), usage]
    )
    client = openai_like(events)
    given = stream(client)
    chunks = list(given)
    assert "".join(chunk.text for chunk in chunks) == "one two"
    assert chunks[0].role == "assistant"
    assert [chunk.finish_reason for chunk in chunks][-2:] == ["stop", None]
    assert chunks[-1].usage.completion_tokens == 2
    assert asked(client)["stream"] is True
    assert asked(client)["stream_options"] == {"include_usage": True}
    given.close()  # type: ignore[attr-defined]
    assert events.closed


def test_a_stream_without_usage() -> None:
    """For a server that refuses to be asked for it, nothing is asked."""
    client = openai_like([piece("one", "stop")])
    chunks = stream(client, CompletionRequest(PROMPT, extra={"stream_options": None}))
    assert [chunk.text for chunk in chunks] == ["one"]
    chunks.close()  # type: ignore[attr-defined]  # a list has nothing to close
    assert "stream_options" not in asked(client)


@pytest.mark.parametrize(
    "events", [[], [piece("one")], [piece(reason="stop"), piece("one", index=1)]]
)
def test_a_stream_that_ends_quietly(events: list[Any]) -> None:
    """Without a finish reason for all that came it was cut."""
    if len(events) == 2:
        events[1]._fields["choices"][0]["index"] = 1
    with pytest.raises(errors.StreamInterrupted, match="without its end mark"):
        list(stream(openai_like(events)))


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (Model(error={"code": "rate_limit_exceeded"}), errors.RateLimited),
        (Model(choices=[{"error": {"code": 502, "message": "oh"}}]), errors.ServerFault),
        (Model(choices=["odd"]), errors.MalformedResponse),
        ("<html>", errors.MalformedResponse),
    ],
)
def test_an_event_that_is_an_error(event: Any, kind: type) -> None:
    """What came before it has been delivered."""
    chunks = stream(openai_like([piece("one"), event]))
    assert next(chunks).text == "one"
    with pytest.raises(kind):
        next(chunks)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ("<html>", errors.MalformedResponse, "a str and no JSON object"),
        ({"error": {"code": "slow_down"}}, errors.RateLimited, "slow_down"),
        (completion(), errors.MalformedResponse, "an answer that is no stream"),
        (None, errors.MalformedResponse, "a NoneType and no JSON object"),
    ],
)
def test_an_answer_in_the_place_of_a_stream(answer: Any, kind: type, said: str) -> None:
    """It is judged as what it is."""
    with pytest.raises(kind, match=said):
        stream(openai_like(answer))


# -- the Anthropic shape ------------------------------------------------------------------------


def test_a_message() -> None:
    """Text, thinking and calls of tools have the names they have everywhere; ``raw`` has all."""
    call = {"type": "tool_use", "id": "t-1", "name": "weather", "input": {"city": "Bern"}}
    whole = message(
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "I "},
        call,
        {"type": "text", "text": "look"},
        {"type": "text", "text": None},
        {"type": "tool_use"},
        stop_reason="tool_use",
    )
    answer = complete(anthropic_like(Model(**whole)), model="claude")
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("I look", "hm", "tool_calls")
    first, second = answer.tool_calls
    assert (first.id, first.name, json.loads(first.arguments)) == (
        "t-1",
        "weather",
        {"city": "Bern"},
    )
    assert (second.arguments, second.index) == ("{}", 1)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (7, 9)
    assert (answer.id, answer.model, answer.raw) == ("m-1", "claude", whole)


def test_a_message_with_little_in_it() -> None:
    """An empty content is an answer; an unknown reason keeps its name; counts may be missing."""
    answer = complete(anthropic_like(message(stop_reason="pause_turn", usage=None)))
    assert (answer.text, answer.finish_reason, answer.usage) == ("", "pause_turn", None)
    answer = complete(anthropic_like(message(stop_reason=None, usage={"output_tokens": None})))
    assert answer.finish_reason is None
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0


@pytest.mark.parametrize("content", [None, "text", ["text"]])
def test_a_message_without_content(content: Any) -> None:
    """It is no answer."""
    error = failure(anthropic_like(message(content=content)), errors.MalformedResponse)
    assert str(error) == "an answer without content"


def test_an_overload_under_a_200() -> None:
    """It is read by the type in its body."""
    over = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert failure(anthropic_like(Model(**over)), errors.ServerFault).code == "overloaded_error"


def test_a_request_in_the_anthropic_shape() -> None:
    """Instructions, tools, pictures and the results of tools go where this format has them."""
    call = {"id": "t-1", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
    odd = {"id": "t-2", "function": {"name": "weather", "arguments": "[1]"}}
    bare = {"id": "t-3", "function": {"name": "time"}}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    linked = {"type": "image_url", "image_url": "https://eu.example/a.png"}
    broken = {"type": "image_url", "image_url": None}
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "be kind"}]},
        {"role": "user", "content": [{"type": "text", "text": "see"}, picture, linked, broken]},
        {"role": "assistant", "content": "", "tool_calls": [call, odd, bare]},
        {"role": "tool", "tool_call_id": "t-1", "content": "rain"},
        {"role": "tool", "tool_call_id": "t-2", "content": "sun", "is_error": True},
        {"role": "user", "content": "and now?"},
        {"role": "tool", "tool_call_id": "t-3", "content": None},
    ]
    own = {"name": "own", "input_schema": {"type": "object"}}
    bare_tool = {"type": "function", "function": {"name": "time", "description": "now"}}
    request = CompletionRequest(
        messages,
        model="claude",
        temperature=0.5,
        tools=[WEATHER, bare_tool, own],
        extra={"top_k": 3},
    )
    client = anthropic_like(message({"type": "text", "text": "fine"}))
    complete(client, request)
    sent = asked(client)
    assert sent["system"] == [
        {"type": "text", "text": "be brief"},
        {"type": "text", "text": "be kind"},
    ]
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["top_k"]) == (
        "claude",
        4096,
        0.5,
        3,
    )
    assert sent["tools"] == [
        {"name": "weather", "input_schema": {"type": "object"}},
        {
            "name": "time",
            "description": "now",
            "input_schema": {"type": "object", "properties": {}},
        },
        own,
    ]
    seen, calls, results, then, last = sent["messages"]
    assert seen["content"] == [
        {"type": "text", "text": "see"},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
        },
        {"type": "image", "source": {"type": "url", "url": "https://eu.example/a.png"}},
        broken,
    ]
    assert [block["input"] for block in calls["content"]] == [
        {"city": "Bern"},
        {"arguments": "[1]"},
        {},
    ]
    assert results == {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "t-1",
                "content": [{"type": "text", "text": "rain"}],
            },
            {
                "type": "tool_result",
                "tool_use_id": "t-2",
                "content": [{"type": "text", "text": "sun"}],
                "is_error": True,
            },
        ],
    }
    assert then == {"role": "user", "content": "and now?"}
    assert last["content"][0]["content"] == []


def test_a_short_request_in_the_anthropic_shape() -> None:
    """What is not named is not sent, save the number of tokens, which the format demands."""
    client = anthropic_like(message())
    complete(client, CompletionRequest([Message("user", PROMPT)], max_tokens=9))
    assert asked(client) == {
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 9,
        "timeout": 7.0,
    }


def event(kind: str, **fields: Any) -> Model:
    """Give one event of a message's stream."""
    return Model(type=kind, **fields)


def test_the_stream_of_a_message() -> None:
    """Text, thinking and the pieces of a tool's arguments; the counts come from both ends."""
    usage = {"input_tokens": 5, "output_tokens": 1}
    start = message(usage=usage)
    call = {"type": "tool_use", "id": "t-1", "name": "weather", "input": {}}
    again = {"type": "tool_use", "id": "t-2", "name": "time", "input": {}}
    events = [
        event("message_start", message=start),
        event("ping"),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "one "}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "two"}),
        event("content_block_stop", index=0),
        event("content_block_start", index=1, content_block=call),
        event("content_block_delta", index=1, delta={"partial_json": ""}),
        event("content_block_delta", index=1, delta={"partial_json": '{"city": '}),
        event("content_block_delta", index=1, delta={"partial_json": '"Bern"}'}),
        event("content_block_delta", index=9, delta={"partial_json": "lost"}),
        event("content_block_stop", index=1),
        event("content_block_start", index=2, content_block=again),
        event("content_block_stop", index=2),
        event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 8}),
        event("message_stop"),
    ]
    client = anthropic_like(events)
    pool = pool_of(client)
    with pool.stream(PROMPT) as given:
        assert "".join(chunk.text for chunk in given) == "one two"
    whole = given.response
    assert (whole.reasoning, whole.finish_reason, whole.id) == ("hm", "tool_calls", "m-1")
    assert [(call.id, call.name, call.arguments) for call in whole.tool_calls] == [
        ("t-1", "weather", '{"city": "Bern"}'),
        ("t-2", "time", "{}"),
    ]
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (5, 8)
    assert asked(client)["stream"] is True
    assert "stream_options" not in asked(client)


@pytest.mark.parametrize(
    "events",
    [
        [],
        [event("message_start", message=None), event("content_block_start", content_block=None)],
        [event("content_block_delta", delta=None), event("message_delta", delta=None, usage=None)],
        [event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": None})],
        [event("message_delta", delta={"stop_reason": "end_turn"})],
    ],
)
def test_the_stream_of_a_message_that_ends_quietly(events: list[Any]) -> None:
    """Without its end mark it was cut."""
    with pytest.raises(errors.StreamInterrupted):
        list(stream(anthropic_like(events)))


def test_the_end_of_a_message() -> None:
    """Its end mark is enough."""
    assert len(list(stream(anthropic_like([event("message_stop")])))) == 1


def test_a_call_that_comes_at_once() -> None:
    """Arguments that stand in the block's beginning, and not in pieces after it, are not lost."""
    call = {"type": "tool_use", "id": "t-1", "name": "weather", "input": {"city": "Bern"}}
    events = [
        event("content_block_start", index=0, content_block=call),
        event("content_block_stop", index=0),
        event("message_stop"),
    ]
    pieces = [piece for chunk in stream(anthropic_like(events)) for piece in chunk.tool_calls]
    assert "".join(piece.arguments for piece in pieces) == '{"city": "Bern"}'


# -- vectors and pings --------------------------------------------------------------------------


def embedding_client(answer: Any) -> Any:
    """Make a client that embeds."""
    return SimpleNamespace(embeddings=SimpleNamespace(create=Steps(answer)))


def test_vectors() -> None:
    """They come in the order of the texts, by the model named or the provider's own."""
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    client = embedding_client(Model(data=data, model="tiny"))
    answer = ClientProvider(client, model="tiny").embed(["a", "b"], None, 7.0)
    assert answer.vectors == ((1.0,), (2.0,))
    assert client.embeddings.create.calls == [
        {"input": ["a", "b"], "model": "tiny", "timeout": 7.0}
    ]
    client = embedding_client(Model(data=data))
    ClientProvider(client).embed(["a", "b"], None, 7.0)
    assert "model" not in client.embeddings.create.calls[0]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("<html>", errors.MalformedResponse),
        (Model(data=None), errors.MalformedResponse),
        (Model(data=None, error={"code": "slow_down"}), errors.RateLimited),
    ],
)
def test_an_answer_without_vectors(answer: Any, kind: type) -> None:
    """It is judged as what it is."""
    with pytest.raises(kind):
        ClientProvider(embedding_client(answer)).embed(["a"], None, 7.0)


def test_a_ping() -> None:
    """The list of models is asked for; what it holds is of no interest."""
    models = SimpleNamespace(list=Steps("whatever"))
    ClientProvider(openai_like(models=models)).ping(2.0)
    assert models.list.calls == [{"timeout": 2.0}]


def test_a_ping_of_a_client_without_a_list_of_models() -> None:
    """One token of an empty prompt is asked for; that it finds fault with that is no fault."""
    client = openai_like(completion(), errors.InvalidRequest("empty prompt", status=400))
    check, deployment = Ping(), Deployment("a", ClientProvider(client))
    assert check.ask(deployment, 2.0) is OK
    assert asked(client) == {
        "messages": [{"role": "user", "content": ""}],
        "max_tokens": 1,
        "timeout": 2.0,
    }
    assert check.ask(deployment, 2.0) is OK


def test_a_ping_of_a_client_for_leases_alone() -> None:
    """There is nothing to ask, and nothing to find fault with."""
    deployment = Deployment("a", ClientProvider(SimpleNamespace(invoke=print)))
    assert Ping().ask(deployment, 2.0) is OK


# -- in the pool --------------------------------------------------------------------------------


def pool_of(*clients: Any) -> ProviderPool:
    """Make a pool of clients, without a checker."""
    names = iter("abc")
    return ProviderPool(
        [Deployment(next(names), ClientProvider(client, model="tiny")) for client in clients],
        strategy="primary",
        health_check=HealthCheckConfig(enabled=False),
    )


def test_a_pool_of_clients() -> None:
    """A page in the place of an answer, and an error of the client's, are left for another."""
    reset = ConnectionResetError(104, "oh")
    pool = pool_of(openai_like("<html>", reset), openai_like(completion("one"), completion("two")))
    assert [pool.complete(PROMPT).text, pool.complete(PROMPT).text] == ["one", "two"]
    assert pool.health("a").total_errors == 2


def test_a_lease_of_a_client() -> None:
    """It is the user's own object, which closing the pool leaves open."""
    closed: list[str] = []
    client = openai_like(completion(), close=lambda: closed.append("client"))
    pool = pool_of(client)
    answer = pool.call(lambda lease: lease.client.chat.completions.create(timeout=lease.remaining))
    assert answer == completion()
    with pool.lease() as lease:
        assert (lease.client, lease.model) == (client, "tiny")
    pool.close()
    assert closed == []


# -- the provider itself ------------------------------------------------------------------------


def test_what_it_shows() -> None:
    """Its class or its name, and no key; it is neither pickled nor copied."""
    provider = ClientProvider(openai_like(), model="tiny")
    assert repr(provider) == "ClientProvider(test_client_provider.Client, model='tiny')"
    assert repr(ClientProvider(openai_like(), name="mine")) == "ClientProvider(mine, model=None)"
    for keep in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            keep(provider)


@pytest.mark.parametrize("wrong", [{"model": ""}, {"model": 7}, {"name": ""}])
def test_a_wrong_argument(wrong: dict[str, Any]) -> None:
    """It is named."""
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        ClientProvider(openai_like(), **wrong)


def test_a_client_that_retries_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    """It is warned about when it is given to a provider, and not once more when it is used."""
    client = openai_like(completion(), max_retries=2)
    pool_of(client).complete(PROMPT)
    ClientProvider(client)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert "retries by itself (max_retries=2)" in said[0]
