"""What an OpenAI provider sends: body, key, headers, and nothing of the machine's own."""

from __future__ import annotations

import copy
import json
import pathlib
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from llmpool import (
    AuthenticationFailed,
    CompletionRequest,
    InvalidRequest,
    Message,
    OpenAIProvider,
    ServerFault,
    ToolCall,
)
from llmpool.testing import ErrorBody, LocalServer, Sequence, Status

KEY = "sk-requests-5bTq81"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Start a server that says what it was asked."""
    with LocalServer("eu") as server:
        yield server


def provider(server: LocalServer, key: Any = KEY, **options: Any) -> OpenAIProvider:
    """Give a provider for it."""
    return OpenAIProvider(server.url, api_key=key, **options)


def sent(server: LocalServer) -> dict[str, Any]:
    """Give the last body that came."""
    body: dict[str, Any] = server.requests[-1].json
    return body


def header(server: LocalServer, name: str = "authorization") -> str | None:
    """Give a header of the last request."""
    return server.requests[-1].headers.get(name)


# -- bodies -----------------------------------------------------------------------------------


def test_bare_request(server: LocalServer) -> None:
    """Nothing is sent that nobody asked for."""
    provider(server).complete(CompletionRequest("hello"), 5.0)
    assert sent(server) == {"messages": [{"role": "user", "content": "hello"}]}
    assert (server.requests[-1].method, server.requests[-1].path) == (
        "POST",
        "/v1/chat/completions",
    )


def test_request_with_everything(server: LocalServer) -> None:
    """Named fields go under their names, all others as they are."""
    request = CompletionRequest(
        [{"role": "user", "content": "hello", "cache_control": {"type": "ephemeral"}}],
        model="other",
        max_tokens=7,
        temperature=0.0,
        tools=[TOOL],
        extra={"top_p": 0.5, "response_format": {"type": "json_object"}, "vllm_xargs": {"a": None}},
    )
    answer = provider(server, model="tiny").complete(request, 5.0)
    assert sent(server) == {
        "messages": [{"role": "user", "content": "hello", "cache_control": {"type": "ephemeral"}}],
        "model": "other",
        "max_tokens": 7,
        "temperature": 0.0,
        "tools": [TOOL],
        "top_p": 0.5,
        "response_format": {"type": "json_object"},
        "vllm_xargs": {"a": None},
    }
    assert json.loads(answer.text) == {"echo": "hello"}


def test_model_of_the_providers_own(server: LocalServer) -> None:
    """It is sent when a request names none."""
    provider(server, model="tiny").complete(CompletionRequest("hello"), 5.0)
    assert sent(server)["model"] == "tiny"


def test_conversation_with_tools(server: LocalServer) -> None:
    """A call that was answered goes back with its id, and its result behind it."""
    asked = CompletionRequest("please call tool weather", tools=[TOOL])
    (call,) = provider(server).complete(asked, 5.0).tool_calls
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "text"})
    messages = [
        Message("user", "please"),
        Message("assistant", None, tool_calls=[call]),
        Message("tool", "rain", tool_call_id=call.id, name="weather"),
    ]
    provider(server).complete(CompletionRequest(messages), 5.0)
    _, assistant, tool = sent(server)["messages"]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"] == call.id
    assert ToolCall.from_dict(assistant["tool_calls"][0]) == call
    assert (assistant["content"], tool["content"], tool["name"]) == (None, "rain", "weather")


def test_message_in_parts(server: LocalServer) -> None:
    """Texts and images go as they are."""
    parts = [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "text", "text": "this"},
    ]
    answer = provider(server).complete(CompletionRequest([{"role": "user", "content": parts}]), 5.0)
    assert sent(server)["messages"][0]["content"] == parts
    assert answer.text == "echo: what is this"


def test_text_of_any_language(server: LocalServer) -> None:
    """Letters beyond ASCII arrive."""
    said = "Grüße, 世界 \U0001f680"
    provider(server).complete(CompletionRequest(said), 5.0)
    assert sent(server)["messages"][0]["content"] == said


def test_several_answers(server: LocalServer) -> None:
    """As many come as were asked for."""
    answer = provider(server).complete(CompletionRequest("hello", extra={"n": 3}), 5.0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_stream_where_there_is_none(server: LocalServer) -> None:
    """``stream=True`` in a request for a whole answer is the caller's mistake, and nothing is sent."""
    request = CompletionRequest("hello", extra={"stream": True})
    with pytest.raises(ValueError, match="stream: wanted stream"):
        provider(server).complete(request, 5.0)
    assert server.hits() == 0


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_field_that_json_does_not_have(server: LocalServer, value: Any) -> None:
    """It is the caller's own mistake, and nothing is sent."""
    with pytest.raises((TypeError, ValueError)):
        provider(server).complete(CompletionRequest("hello", extra={"seed": value}), 5.0)
    assert server.hits() == 0


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": False}),
        ({"stream_options": None}, None),
    ],
)
def test_usage_of_a_stream(
    server: LocalServer, extra: dict[str, Any], options: dict[str, Any] | None
) -> None:
    """It is asked for, unless the caller says otherwise; None leaves the field out."""
    stream = provider(server).stream(CompletionRequest("hello", extra=extra), 5.0)
    chunks = list(stream)
    assert sent(server).get("stream_options") == options
    assert sent(server)["stream"] is True
    assert any(chunk.usage for chunk in chunks) == bool(options and options["include_usage"])


@pytest.mark.parametrize(
    ("own", "named", "expected"), [("e", None, "e"), ("e", "f", "f"), (None, None, None)]
)
def test_embedding(
    server: LocalServer, own: str | None, named: str | None, expected: str | None
) -> None:
    """The texts go as a list; a model is sent where there is one."""
    answer = provider(server, model=own).embed(("a", "b"), named, 5.0)
    assert sent(server)["input"] == ["a", "b"]
    assert sent(server).get("model") == expected
    assert len(answer.vectors) == 2


# -- keys -------------------------------------------------------------------------------------


def test_key_as_text(server: LocalServer) -> None:
    """It goes in the usual header; spaces around it are none of it."""
    provider(server, f" {KEY}\n").complete(CompletionRequest("hello"), 5.0)
    assert header(server) == f"Bearer {KEY}"


def test_key_in_the_environment(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read once, when the provider is made."""
    monkeypatch.setenv("SOME_KEY", KEY)
    made = provider(server, "env:SOME_KEY")
    monkeypatch.setenv("SOME_KEY", "sk-another")
    made.complete(CompletionRequest("hello"), 5.0)
    assert header(server) == f"Bearer {KEY}"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_key_missing_in_the_environment(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    """It is said at once, with the variable's name."""
    monkeypatch.delenv("SOME_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SOME_KEY", value)
    with pytest.raises(ValueError, match="environment variable SOME_KEY"):
        provider(server, "env:SOME_KEY")


def test_no_key(server: LocalServer) -> None:
    """No such header is sent."""
    provider(server, None).complete(CompletionRequest("hello"), 5.0)
    assert header(server) is None


def test_key_from_a_function(server: LocalServer) -> None:
    """It is asked at each request."""
    keys = iter(["sk-first", "sk-second"])
    made = provider(server, lambda: next(keys))
    for expected in ("Bearer sk-first", "Bearer sk-second"):
        made.complete(CompletionRequest("hello"), 5.0)
        assert header(server) == expected


@pytest.mark.parametrize("streamed", [False, True])
def test_key_from_a_function_that_has_run_out(server: LocalServer, streamed: bool) -> None:
    """After a 401 it is asked once more; a second 401 is the answer."""
    keys = iter(["sk-old", KEY, "sk-old", "sk-older"])
    server.use_keys(KEY)
    made = provider(server, lambda: next(keys))
    ask = made.stream if streamed else made.complete
    done: Any = ask(CompletionRequest("hello"), 5.0)
    assert [chunk.text for chunk in done] if streamed else done.text
    assert server.hits() == 2
    with pytest.raises(AuthenticationFailed, match="HTTP 401"):
        ask(CompletionRequest("hello"), 5.0)
    assert server.hits() == 4


def test_fixed_key_that_is_wrong(server: LocalServer) -> None:
    """It is not asked for again: one request."""
    server.use_keys("sk-another")
    with pytest.raises(AuthenticationFailed):
        provider(server).complete(CompletionRequest("hello"), 5.0)
    assert server.hits() == 1


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (7, TypeError, "api_key: wanted a key"),
        (b"sk-bytes", TypeError, "api_key: wanted a key"),
        ("", ValueError, "not empty"),
        (" \t", ValueError, "not empty"),
        ("sk-gröber", ValueError, "printable ASCII"),
        ("sk-two\r\nX-Evil: yes", ValueError, "printable ASCII"),
    ],
)
def test_key_that_is_none(
    server: LocalServer, given: Any, kind: type[Exception], words: str
) -> None:
    """It is refused when the provider is made, and not shown."""
    with pytest.raises(kind, match=words) as caught:
        provider(server, given)
    assert str(given).strip() == "" or str(given) not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "kind"), [(None, TypeError), ("", ValueError), (b"k", TypeError)]
)
def test_function_that_gives_no_key(server: LocalServer, given: Any, kind: type[Exception]) -> None:
    """That is the caller's own error, and nothing is sent."""
    with pytest.raises(kind, match="api_key: wanted"):
        provider(server, lambda: given).complete(CompletionRequest("hello"), 5.0)
    assert server.hits() == 0


def test_key_in_what_is_shown(server: LocalServer) -> None:
    """A provider shows server and model; neither it nor its key can be pickled."""
    made = provider(server, model="tiny", headers={"X-Key": KEY})
    shown = repr(made)
    assert shown == f"OpenAIProvider(<HttpClient http://127.0.0.1:{server.port}>, model='tiny')"
    assert KEY not in repr(vars(made))
    assert repr(provider(server, None)._account._key) == "Secret(None)"
    assert (
        repr(provider(server, lambda: KEY)._account._key) == repr(made._account._key) == "Secret(…)"
    )
    for thing in (made, made._account._key):
        with pytest.raises(TypeError, match="in each process"):
            pickle.dumps(thing)
        with pytest.raises(TypeError, match="in each process"):
            copy.deepcopy(thing)


# -- headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_header_in_the_place_of_the_key(server: LocalServer, name: str) -> None:
    """The key stays; without a key the header counts."""
    made = provider(server, headers={name: "Basic nothing"})
    made.complete(CompletionRequest("hello"), 5.0)
    assert header(server) == f"Bearer {KEY}"
    provider(server, None, headers={name: "Basic nothing"}).complete(CompletionRequest("hi"), 5.0)
    assert header(server) == "Basic nothing"


def test_headers_of_ones_own(server: LocalServer) -> None:
    """They go with every request, and may replace what has no bearing on the wire."""
    made = provider(server, headers={"X-Team": "red", "User-Agent": "mine", "Host": "else.where"})
    made.complete(CompletionRequest("hello"), 5.0)
    assert (header(server, "x-team"), header(server, "user-agent")) == ("red", "mine")
    made.ping(5.0)
    assert header(server, "x-team") == "red"
    assert header(server) == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "headers", [{"Content-Length": "0"}, {"X-Evil": "a\r\nb: c"}, {"bad name": "x"}, {"X-N": 7}]
)
def test_headers_that_would_break_a_request(server: LocalServer, headers: Any) -> None:
    """They are refused when the provider is made."""
    with pytest.raises(ValueError, match="headers: "):
        provider(server, headers=headers)


def test_passwords_of_the_machine(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """``~/.netrc`` is not read: it would silently take the key's place."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password sk-of-somebody-else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    provider(server).complete(CompletionRequest("hello"), 5.0)
    assert header(server) == f"Bearer {KEY}"
    provider(server, None).complete(CompletionRequest("hello"), 5.0)
    assert header(server) is None


def test_proxy_with_a_password(server: LocalServer) -> None:
    """The password goes to the proxy, in a header of its own; the key stays the server's."""
    proxy = f"http://user:sk-proxy-password@127.0.0.1:{server.port}"
    made = OpenAIProvider("http://eu.example/v1", api_key=KEY, proxies={"http": proxy})
    made.complete(CompletionRequest("hello"), 5.0)
    assert server.requests[-1].target == "http://eu.example/v1/chat/completions"
    assert header(server) == f"Bearer {KEY}"
    assert (header(server, "proxy-authorization") or "").startswith("Basic ")
    assert "sk-proxy-password" not in repr(made) + repr(vars(made))


def test_proxy_in_the_environment(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for once, when the provider is made; an empty mapping asks for none."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    made = OpenAIProvider("http://eu.example/v1", api_key=KEY)
    monkeypatch.delenv("http_proxy")
    made.complete(CompletionRequest("hello"), 5.0)
    assert server.requests[-1].target.startswith("http://eu.example/")


# -- pages ------------------------------------------------------------------------------------


def test_ping(server: LocalServer) -> None:
    """It asks for the list of models, with the key and without a body."""
    provider(server).ping(5.0)
    request = server.requests[-1]
    assert (request.method, request.path, request.body) == ("GET", "/v1/models", b"")
    assert header(server) == f"Bearer {KEY}"
    server.use_keys("sk-another")
    with pytest.raises(AuthenticationFailed):
        provider(server).ping(5.0)


def test_ping_of_another_page(server: LocalServer) -> None:
    """A page of one's own is asked for in the place of the list."""
    provider(server, ping_path="/health").ping(5.0)
    assert server.requests[-1].path == "/v1/health"
    with pytest.raises(InvalidRequest, match="HTTP 404"):
        provider(server, ping_path="/nowhere").ping(5.0)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"ping_path": "health"}, ValueError, "ping_path: wanted a path"),
        ({"ping_path": None}, TypeError, "ping_path"),
        ({"model": 7}, TypeError, "model"),
        ({"model": ""}, ValueError, "model"),
        ({"connect_timeout": 0}, ValueError, "connect_timeout"),
        ({"verify": False}, ValueError, "verify"),
    ],
)
def test_option_that_is_wrong(
    server: LocalServer, options: Any, kind: type[Exception], words: str
) -> None:
    """It is refused when the provider is made, by its name."""
    with pytest.raises(kind, match=words):
        provider(server, **options)


def test_query_in_the_base_url(server: LocalServer) -> None:
    """It goes with each request, as Azure wants it; a key in it is kept out of errors."""
    made = OpenAIProvider(f"{server.url}?api-version=2030-01&code=sk-in-the-query", api_key=None)
    made.complete(CompletionRequest("hello"), 5.0)
    assert server.requests[-1].query == "api-version=2030-01&code=sk-in-the-query"
    server.behave(Status(401, {"error": {"message": "sk-in-the-query is no key since 2030-01"}}))
    with pytest.raises(AuthenticationFailed) as caught:
        made.complete(CompletionRequest("hello"), 5.0)
    assert str(caught.value) == "HTTP 401: [key] is no key since 2030-01"


# -- connections ------------------------------------------------------------------------------


def test_connection_used_again_after_an_error(server: LocalServer) -> None:
    """The body of an error is read, so that its connection can serve the next request."""
    server.behave(Sequence([Status(500), ErrorBody()]))
    made = provider(server)
    for _ in range(2):
        with pytest.raises(ServerFault):
            made.complete(CompletionRequest("hello"), 5.0)
    made.complete(CompletionRequest("hello"), 5.0)
    list(made.stream(CompletionRequest("hello"), 5.0))
    made.ping(5.0)
    assert server.connections == 1


def test_closed_provider(server: LocalServer) -> None:
    """Its idle connections are closed; it can be used all the same."""
    made = provider(server)
    made.complete(CompletionRequest("hello"), 5.0)
    made.close()
    assert made.complete(CompletionRequest("hello"), 5.0).text == "echo: hello"
    made.reset_after_fork()
    assert made.complete(CompletionRequest("hello"), 5.0).text == "echo: hello"
    assert server.connections == 3
