"""The local server when nothing is wrong: OpenAI's shapes over real sockets."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asking import CHAT, ask, chat, connect, drain, read_until, texts

from llmpool.testing import LocalServer, Received

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["C", "F"]},
                "hours": {"type": "array", "items": {"type": "number"}},
                "exact": {"type": "boolean"},
                "nothing": {"type": "null"},
            },
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
ARGUMENTS = {
    "city": "text",
    "days": 1,
    "unit": "C",
    "hours": [1.5],
    "exact": True,
    "nothing": None,
}


def test_a_completion(server: LocalServer) -> None:
    """It echoes the last user prompt, counts words as tokens, and names the request."""
    answer = ask(server, chat("good morning"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "req-eu-1"
    assert answer.json["object"] == "chat.completion"
    assert answer.json["model"] == "tiny"
    assert answer.text == "echo: good morning"
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    assert answer.json["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 3,
        "total_tokens": 5,
    }


def test_a_conversation_with_parts(server: LocalServer) -> None:
    """The last user message counts, and of a list of parts its texts."""
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "second"}, {"type": "image_url"}]},
        {"role": "tool", "content": "42"},
    ]
    answer = ask(server, {"messages": messages})
    assert answer.text == "echo: second"
    assert answer.json["usage"]["prompt_tokens"] == 5
    assert answer.json["model"] == "tiny"


def test_a_conversation_without_a_user(server: LocalServer) -> None:
    """The echo is empty."""
    assert ask(server, {"messages": [{"role": "system", "content": "x"}]}).text == "echo: "


def test_a_limit_of_tokens(server: LocalServer) -> None:
    """The answer is cut after as many words and says so."""
    answer = ask(server, chat("one two three", max_tokens=2))
    assert answer.text == "echo: one"
    assert answer.json["choices"][0]["finish_reason"] == "length"
    assert ask(server, chat("one", max_completion_tokens=2)).text == "echo: one"


def test_several_choices(server: LocalServer) -> None:
    """``n`` choices come, each with its index, whole and streamed."""
    choices = ask(server, chat("hi", n=3)).json["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    events = ask(server, chat("hi", n=2, stream=True)).events
    second = [
        event["choices"][0]["delta"].get("content", "")
        for event in events[:-1]
        if event["choices"][0]["index"] == 1
    ]
    assert "".join(second) == "echo: hi"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"tools": [CLOCK, WEATHER]}, "clock"),
        ({"tools": [WEATHER], "tool_choice": "required"}, "weather"),
        ({"tools": [CLOCK, WEATHER], "prompt": "please call tool weather"}, "weather"),
        (
            {
                "tools": [CLOCK, WEATHER],
                "tool_choice": {"type": "function", "function": {"name": "weather"}},
            },
            "weather",
        ),
    ],
)
def test_a_tool_call(server: LocalServer, fields: dict[str, Any], name: str) -> None:
    """A prompt or a choice that asks for a tool gets a call with arguments that fit."""
    prompt = fields.pop("prompt", "call tool")
    choice = ask(server, chat(prompt, **fields)).json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["name"] == name
    assert json.loads(call["function"]["arguments"]) == (ARGUMENTS if name == "weather" else {})


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [CLOCK]},
        {"tools": [CLOCK], "tool_choice": "none", "prompt": "call tool"},
        {"tools": [CLOCK], "tool_choice": {"function": {"name": "other"}}},
        {"prompt": "call tool"},
    ],
)
def test_no_tool_call(server: LocalServer, fields: dict[str, Any]) -> None:
    """Without tools, without a wish for one, or with a forbidden one, text comes."""
    prompt = fields.pop("prompt", "hello")
    assert ask(server, chat(prompt, **fields)).text == f"echo: {prompt}"


def test_a_streamed_tool_call(server: LocalServer) -> None:
    """The name comes first, then the arguments in pieces that join to JSON."""
    events = ask(server, chat("call tool", tools=[WEATHER], stream=True)).events
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["function"] == {"name": "weather", "arguments": ""}
    assert calls[0]["id"]
    assert len(calls) > 2
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == ARGUMENTS
    assert events[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_an_answer_in_json(server: LocalServer) -> None:
    """``response_format`` gets JSON, of the schema's shape where one is given."""
    plain = ask(server, chat("hi", response_format={"type": "json_object"}))
    assert json.loads(plain.text) == {"echo": "hi"}
    schema = WEATHER["function"]["parameters"]  # type: ignore[index]
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert json.loads(ask(server, chat(response_format=wanted)).text) == ARGUMENTS


def test_a_stream(server: LocalServer) -> None:
    """Role first, several pieces of content, the finish reason, and the end mark."""
    answer = ask(server, chat("good morning", stream=True))
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["transfer-encoding"] == "chunked"
    events = answer.events
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert texts(events) == ["echo:", " good", " morning"]
    assert events[-2]["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert events[-1] == "[DONE]"
    assert all("usage" not in event for event in events[:-1])


def test_a_stream_with_usage(server: LocalServer) -> None:
    """The last event before the end mark has usage and no choices; the others have null."""
    wanted = {"include_usage": True}
    events = ask(server, chat("one two", stream=True, stream_options=wanted)).events
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["total_tokens"] == 5
    assert {event["usage"] for event in events[:-2]} == {None}


def test_text_is_never_lost_between_pieces() -> None:
    """The pieces of a stream join to the text, whatever spaces and scripts it holds."""
    text = "  Grüße,\n\n日本語のとても長い一つの文字列です。  "
    with LocalServer(reply=lambda request: text) as server:
        assert "".join(texts(ask(server, chat(stream=True)).events)) == text
        assert ask(server).text == text


def test_embeddings(server: LocalServer) -> None:
    """Equal texts get equal vectors, other texts others, in the order of asking."""
    first = ask(server, {"model": "tiny", "input": ["a b", "c"]}, "/v1/embeddings").json
    again = ask(server, {"model": "tiny", "input": "a b"}, "/v1/embeddings").json
    vectors = [entry["embedding"] for entry in first["data"]]
    assert again["data"][0]["embedding"] == vectors[0] != vectors[1]
    assert [entry["index"] for entry in first["data"]] == [0, 1]
    assert sum(number * number for number in vectors[0]) == pytest.approx(1.0)
    assert first["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_embeddings_of_tokens_in_base64(server: LocalServer) -> None:
    """One list of tokens is one input; the SDK's base64 holds the same little floats."""
    body = {"input": [1, 2, 3], "encoding_format": "base64", "dimensions": 40}
    [entry] = ask(server, body, "/v1/embeddings").json["data"]
    packed = base64.b64decode(entry["embedding"])
    [plain] = ask(server, {"input": [[1, 2, 3]], "dimensions": 40}, "/v1/embeddings").json["data"]
    assert struct.unpack("<40f", packed) == pytest.approx(tuple(plain["embedding"]))


def test_models(server: LocalServer) -> None:
    """The list names the model; a model is shown by name, another is not found."""
    listed = ask(server, path="/v1/models", method="GET").json
    assert [entry["id"] for entry in listed["data"]] == ["tiny"]
    assert ask(server, path="/v1/models/tiny", method="GET").json["id"] == "tiny"
    missing = ask(server, path="/v1/models/big", method="GET")
    assert (missing.status, missing.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/health", "/v1/health", "/"])
def test_health(path: str) -> None:
    """The health page answers without a key."""
    with LocalServer(api_keys=("sk-right",)) as server:
        assert ask(server, path=path, method="GET").json == {"status": "ok"}


def test_keys() -> None:
    """A wrong key gets OpenAI's 401; both usual headers work; keys change at run time."""
    with LocalServer(api_keys=("sk-old", "sk-other")) as server:
        refused = ask(server, headers={"Authorization": "Bearer sk-wrong"})
        assert (refused.status, refused.json["error"]["code"]) == (401, "invalid_api_key")
        assert ask(server).status == 401
        assert ask(server, headers={"Authorization": "Bearer sk-old"}).status == 200
        assert ask(server, headers={"api-key": "sk-other"}).status == 200
        server.use_keys("sk-new")
        assert ask(server, headers={"Authorization": "Bearer sk-old"}).status == 401
        assert ask(server, headers={"Authorization": "Bearer sk-new"}).status == 200
        server.use_keys()
        assert ask(server).status == 200
        assert "sk-" not in repr(server) + repr(server.requests)


def test_one_key_given_as_a_text() -> None:
    """It is refused: it would be taken for its letters."""
    with pytest.raises(TypeError, match="api_keys: wanted a tuple of keys"):
        LocalServer(api_keys="sk-one")


def test_a_strict_model() -> None:
    """Another model is not found; by default any name is served and answered with."""
    with LocalServer(model="big", strict_model=True) as server:
        missing = ask(server, chat())
        assert (missing.status, missing.json["error"]["code"]) == (404, "model_not_found")
        assert ask(server, chat(model="big")).status == 200
    with LocalServer() as server:
        assert ask(server, chat(model="any")).json["model"] == "any"


def test_a_reply_of_the_users_own() -> None:
    """It is given the request and returns the text."""

    def shout(request: Received) -> str:
        return request.prompt.upper()

    with LocalServer(reply=shout) as server:
        assert ask(server, chat("hey")).text == "HEY"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "'messages'"),
        ({}, "'messages'"),
        ({"messages": []}, "'messages'"),
        ({"messages": ["hi"]}, "'messages'"),
        (chat(n="many"), "Wrong parameter"),
        (chat(response_format="json"), "Wrong parameter"),
    ],
)
def test_a_wrong_request(server: LocalServer, body: Any, words: str) -> None:
    """It gets a 400 in OpenAI's shape."""
    answer = ask(server, body)
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert words in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [({}, "'input'"), ({"input": 5}, "'input'"), ({"input": "a", "dimensions": "x"}, "Wrong")],
)
def test_wrong_embeddings(server: LocalServer, body: Any, words: str) -> None:
    """They get a 400 too."""
    answer = ask(server, body, "/v1/embeddings")
    assert (answer.status, words in answer.json["error"]["message"]) == (400, True)


def test_a_body_that_is_not_json(server: LocalServer) -> None:
    """It gets a 400, and can be looked at all the same."""
    line = connect(server)
    line.request("POST", CHAT, b"{")
    assert line.getresponse().status == 400
    line.close()
    [request] = server.requests
    assert (request.body, request.prompt, request.streamed) == (b"{", "", False)


def test_wrong_addresses_and_methods(server: LocalServer) -> None:
    """An unknown path is a 404, a known one with a wrong method a 405."""
    assert ask(server, path="/v1/nothing").status == 404
    answer = ask(server, path=CHAT, method="GET")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_head_request(server: LocalServer) -> None:
    """It gets headers only, and the connection can be used again."""
    line = connect(server)
    assert ask(line, path="/v1/models", method="HEAD").body == b""
    assert ask(line, path="/v1/models", method="GET").json["data"]
    line.close()
    assert [request.connection for request in server.requests] == [1, 1]


def test_prefixes_and_whole_urls(server: LocalServer) -> None:
    """An Azure path and a request as a proxy gets it are served; the query is kept."""
    azure = "/openai/deployments/tiny/chat/completions?api-version=1"
    assert ask(server, path=azure).text == "echo: hello you"
    assert ask(server, path=f"http://llm.example{CHAT}").text == "echo: hello you"
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(b"GET http://[ HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in drain(sock)
    assert server.requests[0].query == "api-version=1"
    assert [request.path for request in server.requests[1:]] == [CHAT, "/"]


def test_what_was_received(server: LocalServer) -> None:
    """A request is kept as it came, with its connection and its turn on it."""
    line = connect(server)
    ask(line, chat("one"), headers={"X-Twice": "a"})
    ask(line, chat("two", stream=True))
    line.close()
    ask(server, path="/v1/models", method="GET")
    first, second, third = server.requests
    assert (first.method, first.path, first.route) == ("POST", CHAT, "chat")
    assert (first.prompt, first.headers["x-twice"], first.streamed) == ("one", "a", False)
    assert (second.json["messages"], second.streamed) == (chat("two")["messages"], True)
    assert [(r.connection, r.nth) for r in server.requests] == [(1, 1), (1, 2), (2, 1)]
    assert first.at < second.at < third.at
    assert third.route == "models"
    assert "one" not in repr(first)


def test_a_request_in_chunks(server: LocalServer) -> None:
    """A body of unknown length is read by its chunks, trailers included."""
    raw = json.dumps(chat("chunked")).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        half = len(raw) // 2
        sock.sendall(head.encode())
        for piece in (raw[:half], raw[half:]):
            sock.sendall(b"%x;name=value\r\n%s\r\n" % (len(piece), piece))
        sock.sendall(b"0\r\nTrailer: x\r\n\r\n")
        assert b"echo: chunked" in drain(sock)


def test_a_client_that_waits_to_be_told_to_go_on(server: LocalServer) -> None:
    """It is told."""
    raw = json.dumps(chat()).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {len(raw)}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(head.encode() + b"\r\n")
        assert read_until(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(raw)
        assert b" 200 OK" in read_until(sock, b"}}")


@pytest.mark.parametrize(
    ("version", "header", "kept"),
    [
        ("HTTP/1.1", "", True),
        ("HTTP/1.1", "Connection: close\r\n", False),
        ("HTTP/1.0", "", False),
        ("HTTP/1.0", "Connection: keep-alive\r\n", True),
    ],
)
def test_whether_a_connection_is_kept(
    server: LocalServer, version: str, header: str, kept: bool
) -> None:
    """The client's wish decides, by the default of its version."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(f"GET /health {version}\r\n{header}\r\n".encode())
        said = read_until(sock, b'"ok"}')
        assert (b"Connection: keep-alive" in said) is kept
        if kept:
            sock.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            read_until(sock, b'"ok"}')
        else:
            assert sock.recv(1) == b""


def test_a_request_with_a_long_head(server: LocalServer) -> None:
    """It is put together from as many reads as it takes."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(b"GET /health HTTP/1.0\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n")
        assert b" 200 OK" in drain(sock)


def test_two_requests_in_one_packet(server: LocalServer) -> None:
    """Both are answered, in order."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\n\r\nGET /x HTTP/1.0\r\n\r\n")
        said = drain(sock)
    assert said.index(b" 200 OK") < said.index(b" 404 Not Found")


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http(server: LocalServer, sent: bytes) -> None:
    """The connection is closed and nothing is counted."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(sent)
        assert sock.recv(1) == b""
    assert server.hits() == 0


@pytest.mark.parametrize(
    "sent", [b"", b"GET /hea", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"]
)
def test_a_client_that_goes_in_the_middle(server: LocalServer, sent: bytes) -> None:
    """The connection ends and the server serves others."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    assert ask(server).status == 200
    assert server.hits() == 1


def test_many_connections_at_once() -> None:
    """64 clients that meet are served side by side, each with the answer to its question."""
    meet = threading.Barrier(64)

    def late(request: Received) -> float:
        meet.wait(10)
        return 0.0

    with LocalServer(latency=late) as server, ThreadPoolExecutor(64) as clients:
        prompts = [f"question {number}" for number in range(64)]
        answers = list(clients.map(lambda prompt: ask(server, chat(prompt)).text, prompts))
        assert answers == [f"echo: {prompt}" for prompt in prompts]
        assert server.peak == 64
        assert server.connections == 64
        assert server.wait_until_idle(5.0)


def test_latency_and_the_pace_of_a_stream() -> None:
    """They are waited for between the pieces, and closing ends the wait."""
    with LocalServer(latency=0.01, chunk_delay=0.01) as server:
        assert len(texts(ask(server, chat(stream=True)).events)) == 3
    with LocalServer(latency=3600.0) as slow, ThreadPoolExecutor(1) as client:
        pending = client.submit(ask, slow)
        assert slow.wait_for(1)
        slow.close()
        assert isinstance(pending.exception(10), OSError)


def test_a_body_nested_too_deep(server: LocalServer) -> None:
    """It is no JSON that anybody could read, and the server goes on."""
    line = connect(server)
    try:
        line.request("POST", CHAT, "[" * 200_000)
        assert line.getresponse().status == 400
    finally:
        line.close()
    assert ask(server).status == 200
