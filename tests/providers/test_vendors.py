"""What holds for the provider of every vendor: answers, keys, faults, ends; over a server that speaks all."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llmpool import (
    AnthropicProvider,
    AuthenticationFailed,
    AzureOpenAIProvider,
    CompletionRequest,
    ConnectionFailed,
    ContentFiltered,
    ContextLengthExceeded,
    DeadlineExceeded,
    Deployment,
    GeminiProvider,
    InvalidRequest,
    MalformedResponse,
    Message,
    Ping,
    ProviderError,
    ProviderPool,
    QuotaExhausted,
    RateLimited,
    ServerFault,
    StreamInterrupted,
    Verdict,
)
from llmpool import testing as bad

KEY = "sk-vendors-4cQ9z"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

Make = Callable[..., Any]


def anthropic(server: bad.LocalServer, key: Any = KEY, **options: Any) -> AnthropicProvider:
    """Give Anthropic's."""
    return AnthropicProvider(server.url, api_key=key, model="tiny", **options)


def azure(server: bad.LocalServer, key: Any = KEY, **options: Any) -> AzureOpenAIProvider:
    """Give Azure's, by the URLs of deployments."""
    dated = {"deployment": "tiny", "api_version": "2024-10-21"}
    return AzureOpenAIProvider(server.root, api_key=key, **dated, **options)


def azure_v1(server: bad.LocalServer, key: Any = KEY, **options: Any) -> AzureOpenAIProvider:
    """Give Azure's, by the newer URLs and a token."""
    return AzureOpenAIProvider(server.root, token=key, model="tiny", **options)


def gemini(server: bad.LocalServer, key: Any = KEY, **options: Any) -> GeminiProvider:
    """Give Gemini's."""
    return GeminiProvider(f"{server.root}/v1beta", api_key=key, model="tiny", **options)


each = pytest.mark.parametrize("make", [anthropic, azure, azure_v1, gemini])


@pytest.fixture
def server() -> Iterator[bad.LocalServer]:
    """Start a server that wants a key."""
    with bad.LocalServer("eu", api_keys=[KEY], strict_model=True) as server:
        yield server


def ask(make: Make, server: bad.LocalServer, prompt: Any = "hello", **fields: Any) -> Any:
    """Ask a provider for an answer."""
    return _closing(make(server), "complete", prompt, fields)


def stream(make: Make, server: bad.LocalServer, prompt: Any = "hello", **fields: Any) -> list[Any]:
    """Ask a provider for a stream, and read it."""
    return list(_closing(make(server), "stream", prompt, fields))


def _closing(given: Any, method: str, prompt: Any, fields: dict[str, Any]) -> Any:
    tools = fields.pop("tools", None)
    request = CompletionRequest(prompt, tools=tools, extra=fields)
    try:
        return getattr(given, method)(request, 20.0)
    finally:
        given.close()


# -- answers ----------------------------------------------------------------------------------


@each
def test_an_answer(server: bad.LocalServer, make: Make) -> None:
    """It has a text, a reason, its tokens and a model, under the names that all have."""
    answer = ask(make, server, "good morning")
    assert (answer.text, answer.finish_reason, answer.model) == (
        "echo: good morning",
        "stop",
        "tiny",
    )
    assert answer.usage.total_tokens == 5
    assert answer.id
    assert answer.raw
    assert answer.choices[0].raw


@each
def test_a_stream(server: bad.LocalServer, make: Make) -> None:
    """It says what a whole answer says."""
    chunks = stream(make, server, "good morning to you")
    assert "".join(chunk.text for chunk in chunks) == "echo: good morning to you"
    assert len([chunk for chunk in chunks if chunk.text]) > 2
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert [chunk.usage for chunk in chunks if chunk.usage][-1].total_tokens == 9
    assert all(chunk.raw for chunk in chunks)


@each
def test_a_limit_of_tokens(server: bad.LocalServer, make: Make) -> None:
    """An answer cut short says so."""
    answer = ask(make, server, "one two three", max_completion_tokens=2)
    assert (answer.text, answer.finish_reason) == ("echo: one", "length")


@each
def test_a_conversation_with_tools(server: bad.LocalServer, make: Make) -> None:
    """A call comes whole or in pieces, and goes back with its result behind it."""
    answer = ask(make, server, "please call tool weather", tools=[TOOL])
    (call,) = answer.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "text"})
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    chunks = stream(make, server, "please", tools=[TOOL], tool_choice="required")
    pieces = [piece for chunk in chunks for piece in chunk.tool_calls]
    assert json.loads("".join(piece.arguments for piece in pieces)) == {"city": "text"}
    assert chunks[-1].finish_reason == "tool_calls" or make is not gemini
    talk = [
        Message("system", "be brief"),
        Message("user", "please"),
        Message("assistant", None, tool_calls=[call]),
        Message("tool", "rain", tool_call_id=call.id),
    ]
    assert ask(make, server, talk, tools=[TOOL]).text == "echo: please"
    assert ask(make, server, "call tool", tools=[TOOL], tool_choice="none").tool_calls == ()
    chosen = {"type": "function", "function": {"name": "weather"}}
    assert ask(make, server, "x", tools=[TOOL], tool_choice=chosen).tool_calls[0].name == "weather"


@each
def test_an_answer_by_schema(server: bad.LocalServer, make: Make) -> None:
    """A response format in the OpenAI shape is understood by each."""
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    assert json.loads(ask(make, server, response_format=wanted).text) == {"city": "text"}


@each
def test_vectors(server: bad.LocalServer, make: Make) -> None:
    """Three of them have a page for these; a pool goes elsewhere from one that has none."""
    with ProviderPool([Deployment("eu", make(server))], health_check=None) as pool:
        if make is anthropic:
            with pytest.raises(ServerFault, match=r"AnthropicProvider has no embed\(\)") as caught:
                pool.embed(["a", "b"])
            assert caught.value.status == 501
            assert [each.verdict for each in caught.value.attempts] == [Verdict.UNSUPPORTED]
            return
        answer = pool.embed(["a", "b"])
    assert len(answer.vectors) == 2
    assert answer.vectors[0] != answer.vectors[1]
    assert (answer.model, answer.usage and answer.usage.prompt_tokens) == ("tiny", 2)


@each
def test_a_ping(server: bad.LocalServer, make: Make) -> None:
    """It asks a page that wants the key, and costs nothing."""
    with ProviderPool([Deployment("eu", make(server))], check=Ping()) as pool:
        assert [result.healthy for result in pool.check_now()] == [True]
        server.use_keys("another")
        assert [result.healthy for result in pool.check_now()] == [False]
    assert {request.route for request in server.requests} == {"models"}


@each
def test_a_page_of_ones_own(server: bad.LocalServer, make: Make) -> None:
    """Another page may be the ping's."""
    given = make(server, ping_path="/health")
    given.ping(20.0)
    given.close()
    assert server.requests[-1].path.endswith("/health")
    with pytest.raises(ValueError, match="ping_path: wanted a path that begins with /"):
        make(server, ping_path="health")


# -- keys -------------------------------------------------------------------------------------


@each
def test_a_key_that_changes(server: bad.LocalServer, make: Make) -> None:
    """A function is asked again once after a refusal."""
    keys = iter(["sk-old", KEY])
    given = make(server, lambda: next(keys))
    assert given.complete(CompletionRequest("hello"), 20.0).text == "echo: hello"
    given.close()
    assert server.hits() == 2


@each
def test_a_wrong_key(server: bad.LocalServer, make: Make) -> None:
    """It is the configuration's fault, and is shown to nobody."""
    given = make(server, "sk-wrong-9PqLmz")
    with pytest.raises(AuthenticationFailed) as caught:
        given.complete(CompletionRequest("hello"), 20.0)
    given.close()
    assert "sk-wrong" not in f"{caught.value!r}{given!r}{given.__dict__}"


def test_where_keys_stand(server: bad.LocalServer) -> None:
    """Each vendor has a header of its own."""
    headers = {}
    for make in (anthropic, azure, azure_v1, gemini):
        ask(make, server)
        headers[make] = server.requests[-1].headers
    assert headers[anthropic]["x-api-key"] == KEY
    assert headers[anthropic]["anthropic-version"] == "2023-06-01"
    assert headers[azure]["api-key"] == KEY
    assert headers[azure_v1]["authorization"] == f"Bearer {KEY}"
    assert headers[gemini]["x-goog-api-key"] == KEY
    assert "authorization" not in {*headers[anthropic], *headers[azure], *headers[gemini]}


def test_headers_of_ones_own(server: bad.LocalServer) -> None:
    """Anthropic's version can be set, however its name is spelt."""
    own = {"Anthropic-Version": "2027-01-01", "anthropic-beta": "context-1m"}
    given = anthropic(server, headers=own)
    given.complete(CompletionRequest("hello"), 20.0)
    given.close()
    headers = server.requests[-1].headers
    assert headers["anthropic-version"] == "2027-01-01"
    assert headers["anthropic-beta"] == "context-1m"
    with pytest.raises(TypeError, match="headers: wanted a mapping"):
        anthropic(server, headers=["a"])


# -- faults -----------------------------------------------------------------------------------


@each
@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (bad.RateLimited(retry_after=7), RateLimited),
        (bad.QuotaExhausted(), QuotaExhausted),
        (bad.Overloaded(), ServerFault),
        (bad.Overloaded(status=529), ServerFault),
        (bad.BadKey(), AuthenticationFailed),
        (bad.ContextTooLong(), ContextLengthExceeded),
        (bad.ContentFilter(prompt=True), ContentFiltered),
        (bad.Status(500), ServerFault),
        (bad.Status(400), InvalidRequest),
        (bad.Status(404), InvalidRequest),
        (bad.Html(), MalformedResponse),
        (bad.Cut(), ConnectionFailed),
        (bad.Reset(), ConnectionFailed),
        (bad.Refuse(), ConnectionFailed),
        (bad.ErrorBody(), ServerFault),
    ],
    ids=repr,
)
def test_a_fault(
    server: bad.LocalServer, make: Make, behaviour: Any, kind: type[ProviderError]
) -> None:
    """It is the same error whoever's format it was told in."""
    given = make(server)
    server.behave(behaviour)
    if make is anthropic and isinstance(behaviour, bad.ContentFilter):
        kind = InvalidRequest  # it has no code for this
    with pytest.raises(ProviderError) as caught:
        given.complete(CompletionRequest("hello"), 20.0)
    assert type(caught.value) is kind, caught.value
    if kind is RateLimited:
        assert caught.value.retry_after == 7.0
    with pytest.raises(ProviderError):
        list(given.stream(CompletionRequest("hello"), 20.0))
    given.close()


@each
def test_a_model_that_is_not_there(server: bad.LocalServer, make: Make) -> None:
    """It is told by the server's own words."""
    given = make(server)
    with pytest.raises(InvalidRequest, match="HTTP 404"):
        given.complete(CompletionRequest("hello", model="other"), 20.0)
    given.close()


@each
@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (bad.EndEarly(after_chunks=1), StreamInterrupted),
        (bad.EndEarly(after_chunks=1, by="close"), StreamInterrupted),
        (bad.ErrorInStream(after_chunks=1), ServerFault),
        (bad.ErrorInStream(after_chunks=1, error={"code": 429, "message": "x"}), RateLimited),
        (bad.Cut(after=1), ConnectionFailed),
        (bad.Reset(after=1), ConnectionFailed),
    ],
    ids=repr,
)
def test_a_fault_in_a_stream(
    server: bad.LocalServer, make: Make, behaviour: Any, kind: type[ProviderError]
) -> None:
    """What came before it is delivered."""
    server.behave(behaviour)
    given = make(server)
    pieces: list[Any] = []
    with pytest.raises(kind):
        pieces.extend(given.stream(CompletionRequest("hello"), 20.0))
    given.close()
    if not isinstance(behaviour, bad.Reset):
        assert "".join(piece.text for piece in pieces).strip() == "echo:"


@each
def test_a_stream_that_ends_with_its_reason_alone(server: bad.LocalServer, make: Make) -> None:
    """Nothing is missing that anybody would read; but in Anthropic's format the mark is never left out."""
    server.behave(bad.EndEarly(after_chunks=99, finish_reason=True))
    if make is anthropic:
        with pytest.raises(StreamInterrupted, match="end mark"):
            stream(make, server)
        return
    chunks = stream(make, server)
    assert "".join(chunk.text for chunk in chunks) == "echo: hello"


@each
def test_a_stream_of_pings(server: bad.LocalServer, make: Make) -> None:
    """They are no chunks, so that they gain a server no time."""
    server.behave(bad.PingsOnly(0.01, after_chunks=1))
    given = make(server)
    chunks = given.stream(CompletionRequest("hello"), 20.0)
    while not next(chunks).text:
        pass
    chunks.limit(0.2)
    with pytest.raises(DeadlineExceeded):
        next(chunks)
    chunks.close()
    given.close()


@each
def test_an_answer_with_nothing_in_it(server: bad.LocalServer, make: Make) -> None:
    """Where the format has a list of answers, an empty one is none; an empty message is one."""
    server.behave(bad.EmptyChoices())
    given = make(server)
    if make is anthropic:
        assert given.complete(CompletionRequest("hello"), 20.0).text == ""
        assert len(list(given.stream(CompletionRequest("hello"), 20.0))) == 2
    else:
        with pytest.raises(MalformedResponse):
            given.complete(CompletionRequest("hello"), 20.0)
        with pytest.raises(MalformedResponse):
            given.embed(["a"], None, 20.0)
    given.close()


@each
def test_an_answer_that_was_filtered(server: bad.LocalServer, make: Make) -> None:
    """Its finish reason says so."""
    server.behave(bad.ContentFilter())
    answer = ask(make, server)
    assert (answer.text, answer.finish_reason) == ("", "content_filter")
    assert [c.finish_reason for c in stream(make, server) if c.finish_reason] == ["content_filter"]


@each
def test_a_failover(server: bad.LocalServer, make: Make) -> None:
    """A pool goes on from each of them to another, streaming or not."""
    with bad.LocalServer("us") as us:
        deployments = [Deployment("eu", make(server)), Deployment("us", anthropic(us), priority=1)]
        with ProviderPool(deployments, health_check=None) as pool:
            server.behave(bad.Overloaded())
            assert pool.complete("hello", timeout=20.0).deployment == "us"
        with ProviderPool(
            [Deployment("eu", make(server)), Deployment("us", gemini(us), priority=1)],
            health_check=None,
        ) as pool:
            server.behave(bad.ErrorInStream())
            with pool.stream("hello", timeout=20.0) as chunks:
                assert "".join(chunk.text for chunk in chunks) == "echo: hello"
            assert chunks.deployment == "us"


# -- what nobody may do -----------------------------------------------------------------------


@each
def test_stream_where_there_is_none(server: bad.LocalServer, make: Make) -> None:
    """``stream=True`` in a request for a whole answer is the caller's mistake, and nothing is sent."""
    with pytest.raises(ValueError, match="stream: wanted stream"):
        ask(make, server, stream=True)
    assert server.hits() == 0


@each
def test_a_pickle(server: bad.LocalServer, make: Make) -> None:
    """A provider holds a key and connections: it is made anew in each process."""
    given = make(server)
    for act in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"cannot be pickled: it holds a key"):
            act(given)
    given.reset_after_fork()
    given.close()


@each
def test_an_error_that_repeats_the_prompt(server: bad.LocalServer, make: Make) -> None:
    """What was said and the key are taken out of it, in whichever field they were sent."""
    prompt = "my grandmother's maiden name is Quisling-Abernathy"

    def repeat(exchange: Any) -> None:
        said = f"refused: {prompt} from {KEY}"
        exchange.send(bad.Reply(400, (), (json.dumps({"error": {"message": said}}).encode(),)))

    server.behave(repeat)
    with pytest.raises(InvalidRequest) as caught:
        ask(make, server, [Message("system", "hush"), Message("user", prompt)])
    assert "refused" in str(caught.value)
    assert "Quisling" not in str(caught.value)
    assert KEY not in str(caught.value)
