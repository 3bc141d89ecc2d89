"""The Anthropic SDK over a server that speaks its format, and fails in every way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from real_clients import KEY, PROMPT, MakeClient, MakePool, library, raised

from llmpool import ClientProvider, errors
from llmpool.clients import judge, read_client_error
from llmpool.testing import (
    Cut,
    Exchange,
    Hang,
    Html,
    LocalServer,
    Overloaded,
    RateLimited,
    Refuse,
    Reply,
    Reset,
    Status,
    WrongBody,
)
from llmpool.testing.reply import event, json_reply

anthropic = library("anthropic")
pytestmark = pytest.mark.needs("anthropic")

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@attrs.frozen
class Claude:
    """Answers messages as Anthropic does, a call of a tool where one is given; streams end at *until*."""

    until: int | None = None
    error: Any = None

    def __call__(self, exchange: Exchange) -> None:
        if exchange.request.path == "/v1/models":
            exchange.send(json_reply({"data": [], "has_more": False}))
            return
        asked = exchange.request.json
        block: dict[str, Any] = {"type": "text", "text": "fine"}
        if asked.get("tools"):
            block = {"type": "tool_use", "id": "t-1", "name": "weather", "input": {"city": "Bern"}}
        whole = {
            "id": "m-1",
            "type": "message",
            "role": "assistant",
            "model": asked["model"],
            "content": [block],
            "stop_reason": "tool_use" if asked.get("tools") else "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 2},
        }
        exchange.send(self._streamed(whole, block) if asked.get("stream") else json_reply(whole))

    def _streamed(self, whole: dict[str, Any], block: dict[str, Any]) -> Reply:
        text = block["type"] == "text"
        empty = {**block, "text": ""} if text else {**block, "input": {}}
        delta = (
            {"type": "text_delta", "text": "fine"}
            if text
            else {"type": "input_json_delta", "partial_json": '{"city": "Bern"}'}
        )
        start = {**whole, "content": [], "stop_reason": None}
        ends = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": empty},
            {"type": "ping"},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": ends, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ][: self.until]
        if self.error is not None:
            events.append({"type": "error", "error": self.error})
        parts = [event(each, each["type"]) for each in events]
        return Reply(200, {"Content-Type": "text/event-stream"}, parts, "chunked", streamed=True)


@pytest.fixture
def client_of() -> Iterator[MakeClient]:
    """Make clients, which are closed in the end."""
    made: list[Any] = []

    def make(address: Any, **options: Any) -> Any:
        url = address.url[: -len("/v1")] if isinstance(address, LocalServer) else address
        settings = {"api_key": KEY, "max_retries": 0, "timeout": 2.0, **options}
        made.append(anthropic.Anthropic(base_url=url, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close()


def ask(client: Any, **options: Any) -> Any:
    """Ask a client in the way that its users do."""
    messages = [{"role": "user", "content": PROMPT}]
    return client.messages.create(model="claude", max_tokens=9, messages=messages, **options)


def error_of(kind: str, status: int, **headers: str) -> Status:
    """Answer an error in Anthropic's shape."""
    body = {
        "type": "error",
        "error": {"type": kind, "message": f"no {PROMPT}"},
        "request_id": "req-7",
    }
    return Status(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


@pytest.mark.parametrize(
    ("behaviour", "kind", "verdict"),
    [
        (error_of("invalid_request_error", 400), errors.InvalidRequest, "caller"),
        (error_of("authentication_error", 401), errors.AuthenticationFailed, "config"),
        (error_of("billing_error", 402), errors.QuotaExhausted, "config"),
        (error_of("permission_error", 403), errors.AuthenticationFailed, "config"),
        (error_of("not_found_error", 404), errors.InvalidRequest, "config"),
        (error_of("request_too_large", 413), errors.ContextLengthExceeded, "caller"),
        (error_of("rate_limit_error", 429, retry_after="3"), errors.RateLimited, "rate_limited"),
        (error_of("api_error", 500), errors.ServerFault, "fault"),
        (error_of("timeout_error", 504), errors.ServerFault, "fault"),
        (Overloaded(status=529), errors.ServerFault, "busy"),
        (Html(status=502), errors.ServerFault, "fault"),
        (WrongBody(b"<html>"), errors.MalformedResponse, "fault"),
        (Refuse(), errors.ConnectionFailed, "fault"),
        (Reset(), errors.ConnectionFailed, "fault"),
        (Cut(), errors.ConnectionFailed, "fault"),
        (Hang(), errors.DeadlineExceeded, "fault"),
    ],
    ids=lambda given: type(given).__name__ if callable(given) else None,
)
def test_what_the_sdk_raises(
    client_of: MakeClient, eu: LocalServer, behaviour: Any, kind: type, verdict: str
) -> None:
    """It is read as what the server meant, without key and prompt."""
    eu.behave(behaviour)
    error = raised(lambda: ask(client_of(eu, timeout=0.5)))
    found = read_client_error(error)
    assert type(found) is kind
    assert judge(error).verdict == verdict
    assert KEY not in str(found)
    assert PROMPT not in str(found)


def test_what_the_server_says_beside_the_error(client_of: MakeClient, eu: LocalServer) -> None:
    """Its delay and its name for the request are kept."""
    eu.behave(error_of("rate_limit_error", 429, retry_after="3"))
    found = read_client_error(raised(lambda: ask(client_of(eu))))
    assert found is not None
    assert (found.retry_after, found.request_id, found.code) == (3.0, "req-7", "rate_limit_error")


def test_an_overload_in_a_stream(client_of: MakeClient, eu: LocalServer, pool_of: MakePool) -> None:
    """The SDK gives it the status 200; by its body the server is busy."""
    client = client_of(eu)
    eu.behave(Claude(4, OVERLOADED["error"]))
    error = raised(lambda: list(ask(client, stream=True)))
    assert getattr(error, "status_code", None) == 200
    assert judge(error).verdict == "busy"
    stream = pool_of(ClientProvider(client, model="claude")).stream(PROMPT)
    with pytest.raises(errors.StreamInterrupted) as caught:
        list(stream)
    assert (caught.value.code, caught.value.partial) == ("overloaded_error", "fine")


@pytest.mark.parametrize("until", [0, 3, 5])
def test_a_stream_that_ends_quietly(
    client_of: MakeClient, eu: LocalServer, us: LocalServer, pool_of: MakePool, until: int
) -> None:
    """Before its first content it is failed over; after it, it is told that it was cut."""
    eu.behave(Claude(until))
    us.behave(Claude())
    pool = pool_of(*(ClientProvider(client_of(server), model="claude") for server in (eu, us)))
    stream = pool.stream(PROMPT)
    if until < 5:
        assert "".join(chunk.text for chunk in stream) == "fine"
        assert stream.deployment == "b"
        return
    with pytest.raises(errors.StreamInterrupted) as caught:
        list(stream)
    assert caught.value.partial == "fine"


def test_a_pool(
    client_of: MakeClient, eu: LocalServer, us: LocalServer, dead: str, pool_of: MakePool
) -> None:
    """Past a dead one and a limited one each method finds the one that answers."""
    eu.behave(RateLimited(retry_after=5))
    us.behave(Claude())
    pool = pool_of(*(ClientProvider(client_of(each), model="claude") for each in (dead, eu, us)))
    answer = pool.call(lambda lease: ask(lease.client, timeout=lease.remaining))
    assert answer.content[0].text == "fine"
    whole = pool.complete(
        [{"role": "system", "content": "be brief"}, {"role": "user", "content": PROMPT}]
    )
    assert (whole.text, whole.finish_reason, whole.deployment) == ("fine", "stop", "c")
    assert us.requests[-1].json["system"] == [{"type": "text", "text": "be brief"}]
    with pool.stream(PROMPT) as stream:
        assert "".join(chunk.text for chunk in stream) == "fine"
    usage = stream.response.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (5, 2)
    assert pool.health("b").state == "cooling"


def test_tools(client_of: MakeClient, us: LocalServer, pool_of: MakePool) -> None:
    """One description of a tool, and one shape of its call, whole and streamed."""
    us.behave(Claude())
    pool = pool_of(ClientProvider(client_of(us), model="claude"))
    stream = pool.stream(PROMPT, tools=[TOOL])
    list(stream)
    for answer in (pool.complete(PROMPT, tools=[TOOL]), stream.response):
        (call,) = answer.tool_calls
        assert (call.id, call.name, json.loads(call.arguments)) == (
            "t-1",
            "weather",
            {"city": "Bern"},
        )
        assert answer.finish_reason == "tool_calls"
    result = {"role": "tool", "tool_call_id": "t-1", "content": "rain"}
    called = {"role": "assistant", "content": None, "tool_calls": [call.to_dict()]}
    pool.complete([{"role": "user", "content": PROMPT}, called, result])
    assert us.requests[-1].json["messages"][1]["content"][0]["input"] == {"city": "Bern"}


def test_all_dead(client_of: MakeClient, dead: str, pool_of: MakePool) -> None:
    """One error, and nothing of the SDK's chained to it."""
    pool = pool_of(ClientProvider(client_of(dead)), ClientProvider(client_of(dead)))
    with pytest.raises(errors.ConnectionFailed) as caught:
        pool.call(lambda lease: ask(lease.client), timeout=2.0, retry="unsent")
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "anthropic.APIConnectionError: ConnectionRefusedError" in str(caught.value)


def test_checks(client_of: MakeClient, eu: LocalServer, dead: str, pool_of: MakePool) -> None:
    """The list of models is the ping."""
    eu.behave(Claude())
    pool = pool_of(ClientProvider(client_of(eu)), ClientProvider(client_of(dead)))
    good, gone = pool.check_now()
    assert (good.healthy, gone.healthy) == (True, False)


def test_an_asynchronous_client(eu: LocalServer) -> None:
    """It is refused before anything is asked."""
    with pytest.raises(TypeError, match=r"anthropic\.AsyncAnthropic"):
        ClientProvider(anthropic.AsyncAnthropic(base_url=eu.url, api_key=KEY))
