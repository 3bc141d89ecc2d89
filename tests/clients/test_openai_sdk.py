"""The OpenAI SDK, whichever major version is installed, over a server that fails in every way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from real_clients import KEY, PROMPT, MakeClient, MakePool, library, raised

from llmpool import ClientProvider, ProviderPool, Verdict, errors
from llmpool.clients import judge, read_client_error
from llmpool.testing import (
    BadKey,
    ContextTooLong,
    Cut,
    Drip,
    EmptyChoices,
    EndEarly,
    ErrorBody,
    ErrorInStream,
    Exchange,
    Hang,
    Html,
    Loading,
    LocalServer,
    Overloaded,
    PingsOnly,
    QuotaExhausted,
    RateLimited,
    Redirect,
    Refuse,
    Reset,
    Stall,
    Status,
    WrongBody,
)
from llmpool.testing.reply import json_reply

openai = library("openai")
pytestmark = pytest.mark.needs("openai")

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def client_of() -> Iterator[MakeClient]:
    """Make clients, which are closed in the end."""
    made: list[Any] = []

    def make(address: Any, **options: Any) -> Any:
        url = address.url if isinstance(address, LocalServer) else f"{address}/v1"
        settings = {"api_key": KEY, "max_retries": 0, "timeout": 2.0, **options}
        made.append(openai.OpenAI(base_url=url, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close()


def chat(client: Any, prompt: str = PROMPT, **options: Any) -> Any:
    """Ask a client in the way that its users do."""
    messages = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(model="tiny", messages=messages, **options)


def ask(lease: Any) -> str:
    """Ask by a lease."""
    answer = chat(lease.client, timeout=lease.remaining)
    return str(answer.choices[0].message.content)


# -- every answer the SDK turns into an exception -----------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "kind", "verdict", "sent"),
    [
        (Status(400), errors.InvalidRequest, "caller", "answered"),
        (ContextTooLong(), errors.ContextLengthExceeded, "caller", "answered"),
        (BadKey(), errors.AuthenticationFailed, "config", "answered"),
        (Status(403), errors.AuthenticationFailed, "config", "answered"),
        (Status(404, {"error": {"code": "model_not_found"}}), errors.InvalidRequest, "config", "answered"),
        (Status(409), errors.ServerFault, "fault", "answered"),
        (Status(422), errors.InvalidRequest, "caller", "answered"),
        (RateLimited(retry_after=2), errors.RateLimited, "rate_limited", "answered"),
        (QuotaExhausted(), errors.QuotaExhausted, "config", "answered"),
        (Status(500), errors.ServerFault, "fault", "answered"),
        (Html(status=502), errors.ServerFault, "fault", "answered"),
        (Overloaded(), errors.ServerFault, "busy", "answered"),
        (Overloaded(status=529), errors.ServerFault, "busy", "answered"),
        (Loading(), errors.ServerFault, "busy", "answered"),
        (WrongBody(b""), errors.MalformedResponse, "fault", "answered"),
        (WrongBody(b"<html>oh</html>"), errors.MalformedResponse, "fault", "answered"),
        (Redirect(location="/v1/chat/completions", status=307), errors.ServerFault, "fault", "answered"),
        (Refuse(), errors.ConnectionFailed, "fault", "no"),
        (Reset(), errors.ConnectionFailed, "fault", "maybe"),
        (Cut(), errors.ConnectionFailed, "fault", "maybe"),
        (Hang(), errors.DeadlineExceeded, "fault", "maybe"),
        (Hang("body"), errors.DeadlineExceeded, "fault", "maybe"),
    ],
    ids=lambda given: type(given).__name__ if callable(given) else None,
)  # fmt: skip
def test_what_the_sdk_raises(
    client_of: MakeClient,
    eu: LocalServer,
    behaviour: Any,
    kind: type,
    verdict: str,
    sent: str,
) -> None:
    """It is read as what the server meant, without key and prompt."""
    client = client_of(eu, timeout=0.5)
    eu.behave(behaviour)
    error = raised(lambda: chat(client))
    found = read_client_error(error)
    assert type(found) is kind
    assert found.sent == sent
    assert judge(error).verdict == verdict
    assert KEY not in str(found)
    assert PROMPT not in str(found)


def test_what_the_server_says_beside_the_error(client_of: MakeClient, eu: LocalServer) -> None:
    """Its delay and its name for the request are kept, and an echo of the request is taken out."""
    said = {"error": {"message": f"cannot take {PROMPT!r} with {KEY}", "code": "slow_down"}}
    eu.behave(Status(429, said, {"Retry-After-Ms": "1500", "x-request-id": "req-7"}))
    found = read_client_error(raised(lambda: chat(client_of(eu))))
    assert found is not None
    assert (found.retry_after, found.request_id, found.code) == (1.5, "req-7", "slow_down")
    assert str(found) == "HTTP 429: slow_down: cannot take '[prompt]' with [key]"


def test_a_name_that_does_not_resolve(client_of: MakeClient) -> None:
    """It is told apart from a server that refuses."""
    found = read_client_error(raised(lambda: chat(client_of("http://nowhere.invalid"))))
    assert found is not None
    assert (found.code, found.sent) == ("dns", "no")


def test_a_key_that_cannot_be_sent(client_of: MakeClient, eu: LocalServer) -> None:
    """The SDK calls it a connection's error; nothing was sent."""
    found = read_client_error(raised(lambda: chat(client_of(eu, api_key="odd\n"))))
    assert type(found) is errors.ConnectionFailed
    assert found.sent == "no"
    assert eu.hits() == 0


# -- the traps: what the SDK returns as success, or does not end --------------------------------


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Html(), errors.MalformedResponse),
        (WrongBody(b""), errors.MalformedResponse),
        (WrongBody(b"<html>"), errors.MalformedResponse),
        (ErrorBody(), errors.ServerFault),
        (ErrorBody({"message": "oh", "code": "rate_limit_exceeded"}), errors.RateLimited),
        (EmptyChoices(), errors.MalformedResponse),
    ],
    ids=lambda given: type(given).__name__ if callable(given) else None,
)
def test_what_the_sdk_takes_for_an_answer(
    client_of: MakeClient,
    eu: LocalServer,
    us: LocalServer,
    pool_of: MakePool,
    behaviour: Any,
    kind: type[errors.ProviderError],
) -> None:
    """Under a provider it is a failed attempt, and another deployment answers."""
    eu.behave(behaviour)
    alone = pool_of(ClientProvider(client_of(eu), model="tiny"))
    with pytest.raises(kind):
        alone.complete(PROMPT, retry=False)
    pool = pool_of(*(ClientProvider(client_of(server), model="tiny") for server in (eu, us)))
    answer = pool.complete(PROMPT)
    assert (answer.text, answer.deployment) == (f"echo: {PROMPT}", "b")
    assert pool.health("a").total_errors == 1


def test_an_answer_that_drips(client_of: MakeClient, eu: LocalServer) -> None:
    """The SDK's time-out is that of one read: the answer comes, long after it."""
    eu.behave(Drip(interval=0.05, size=10))
    began = time.monotonic()
    assert chat(client_of(eu), timeout=1.0).choices[0].message.content == f"echo: {PROMPT}"
    assert time.monotonic() - began > 1.0


def test_a_client_that_retries_by_itself(
    client_of: MakeClient,
    eu: LocalServer,
    pool_of: MakePool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One attempt of the pool's is three requests, also where no wait helps; it is warned about once."""
    eu.behave(QuotaExhausted())
    pool = pool_of(ClientProvider(client_of(eu, max_retries=2), model="tiny"))
    with pytest.raises(errors.QuotaExhausted):
        pool.call(ask)
    assert eu.hits("chat") == 3
    said = [it.getMessage() for it in caplog.records if it.name == "llmpool.clients"]
    assert len(said) == 1
    assert "openai.OpenAI retries by itself (max_retries=2)" in said[0]


@pytest.mark.parametrize(
    "delay", ["0", "-5", "garbage", "nan", "121", "Wed, 01 Jan 2099 00:00:00 GMT"]
)
def test_a_delay_that_the_server_names(
    client_of: MakeClient, eu: LocalServer, pool_of: MakePool, delay: str
) -> None:
    """Where the SDK gives up or waits as it likes, the pool keeps to it, up to an hour."""
    eu.behave(RateLimited(retry_after=delay))
    pool = pool_of(ClientProvider(client_of(eu), model="tiny"))
    with pytest.raises(errors.RateLimited):
        pool.call(ask, retry=False)
    left = pool.health("a").cooldown_remaining
    wanted = {"121": (120.0, 121.0), "Wed, 01 Jan 2099 00:00:00 GMT": (3590.0, 3600.0)}
    low, high = wanted.get(delay, (0.0, 1.0))
    assert low <= left <= high


# -- streams ------------------------------------------------------------------------------------


def streamed(lease: Any) -> str:
    """Read an SDK's stream to its end, in the function of a call."""
    chunks = chat(lease.client, stream=True, timeout=lease.remaining)
    with chunks:
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.parametrize("by", ["chunked", "close"])
@pytest.mark.parametrize("after", [0, 2])
def test_a_stream_that_ends_quietly(
    client_of: MakeClient,
    eu: LocalServer,
    us: LocalServer,
    pool_of: MakePool,
    by: Any,
    after: int,
) -> None:
    """The SDK ends as if all were well; the provider fails over, or tells that it was cut."""
    eu.behave(EndEarly(after, by))
    client = client_of(eu)
    assert list(chat(client, stream=True))[-1].choices[0].finish_reason is None
    pool = pool_of(
        ClientProvider(client, model="tiny"), ClientProvider(client_of(us), model="tiny")
    )
    stream = pool.stream(PROMPT)
    if after == 0:
        assert "".join(chunk.text for chunk in stream) == f"echo: {PROMPT}"
        assert stream.deployment == "b"
        return
    with pytest.raises(errors.StreamInterrupted) as caught:
        list(stream)
    assert caught.value.partial == "echo: what"
    assert pool.health("a").total_errors == 1


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Cut(2), errors.ConnectionFailed),
        (Reset(2), errors.ConnectionFailed),
        (Stall(2), errors.DeadlineExceeded),
        (ErrorInStream(2), errors.ServerFault),
        (ErrorInStream(2, {"message": "oh", "code": "credit_balance_exhausted"}), errors.QuotaExhausted),
    ],
    ids=lambda given: type(given).__name__ if callable(given) else None,
)  # fmt: skip
def test_a_stream_that_breaks_off(
    client_of: MakeClient,
    eu: LocalServer,
    us: LocalServer,
    pool_of: MakePool,
    behaviour: Any,
    kind: type,
) -> None:
    """Whatever this version raises, it is read alike: in a call, which goes on, and in a stream."""
    client = client_of(eu, timeout=0.5)
    eu.behave(behaviour)
    error = raised(lambda: list(chat(client, stream=True)))
    assert type(read_client_error(error)) is kind
    providers = [ClientProvider(given, model="tiny") for given in (client, client_of(us))]
    assert pool_of(*providers).call(streamed, timeout=20.0) == f"echo: {PROMPT}"
    pool = pool_of(*providers)
    with pytest.raises(errors.StreamInterrupted) as caught:
        list(pool.stream(PROMPT, timeout=1.0 if kind is errors.DeadlineExceeded else 20.0))
    assert caught.value.partial == "echo: what"


def test_a_stream_of_pings_alone(client_of: MakeClient, eu: LocalServer, pool_of: MakePool) -> None:
    """The SDK gives back no control, past every time-out, until the server stops; then it is a fault."""
    eu.behave(PingsOnly())
    pool = pool_of(ClientProvider(client_of(eu, timeout=0.3), model="tiny"))
    found: list[Exception] = []
    reader = threading.Thread(
        target=lambda: found.append(raised(lambda: pool.stream(PROMPT, timeout=6.0, retry=False)))
    )
    reader.start()
    assert eu.wait_for(1)
    reader.join(1.0)
    assert reader.is_alive()
    eu.restore()
    reader.join(10.0)
    assert not reader.is_alive()
    assert isinstance(found[0], errors.ProviderError)
    assert pool.health("a").total_errors == 1


# -- the pool -----------------------------------------------------------------------------------


@pytest.fixture
def three(
    client_of: MakeClient, eu: LocalServer, us: LocalServer, dead: str, pool_of: MakePool
) -> ProviderPool:
    """A pool whose first deployment is dead, whose second is rate-limited, whose third answers."""
    eu.behave(RateLimited(retry_after=5))
    clients = [client_of(address) for address in (dead, eu, us)]
    return pool_of(*(ClientProvider(client, model="tiny") for client in clients))


def test_calls_while_some_fail(three: ProviderPool) -> None:
    """Every method finds the one that answers, in one pass."""
    assert three.call(ask) == f"echo: {PROMPT}"
    assert {name: it.state for name, it in three.all_health().items()} == {
        "a": "healthy",  # one refusal convicts nobody
        "b": "cooling",
        "c": "healthy",
    }
    assert three.call(streamed) == f"echo: {PROMPT}"
    answer = three.complete(PROMPT)
    assert (answer.text, answer.deployment) == (f"echo: {PROMPT}", "c")
    assert json.loads(json.dumps(answer.raw))["choices"][0]["message"]["content"] == answer.text
    with three.stream(PROMPT) as stream:
        assert "".join(chunk.text for chunk in stream) == f"echo: {PROMPT}"
    assert stream.response.usage is not None
    assert three.embed(["a", "b"]).deployment == "c"


def test_tools(three: ProviderPool) -> None:
    """They are called by the SDK and by the pool alike, whole and streamed."""
    prompt = "call tool weather"
    called = three.call(
        lambda lease: chat(lease.client, prompt, tools=[TOOL], timeout=lease.remaining)
    )
    (call,) = called.choices[0].message.tool_calls
    assert call.function.name == "weather"
    (ours,) = three.complete(prompt, tools=[TOOL]).tool_calls
    assert (ours.name, json.loads(ours.arguments)) == (
        "weather",
        json.loads(call.function.arguments),
    )
    stream = three.stream(prompt, tools=[TOOL])
    list(stream)
    assert [(it.name, it.arguments) for it in stream.response.tool_calls] == [
        ("weather", ours.arguments)
    ]


def respond(exchange: Exchange) -> None:
    """Answer in the shape of the Responses API."""
    assert exchange.request.path == "/v1/responses"
    part = {"type": "output_text", "text": "fine", "annotations": []}
    output = [{"type": "message", "id": "m-1", "role": "assistant", "content": [part]}]
    body = {"id": "r-1", "object": "response", "model": "tiny", "output": output}
    exchange.send(json_reply(body))


def test_the_responses_api(
    client_of: MakeClient, eu: LocalServer, us: LocalServer, pool_of: MakePool
) -> None:
    """It passes through a call, and its errors are judged like any others."""
    eu.behave(RateLimited(retry_after=5))
    us.behave(respond)
    pool = pool_of(*(ClientProvider(client_of(server)) for server in (eu, us)))
    answer = pool.call(lambda lease: lease.client.responses.create(model="tiny", input=PROMPT))
    assert answer.output_text == "fine"
    assert pool.health("a").state == "cooling"


def test_all_dead(client_of: MakeClient, dead: str, pool_of: MakePool) -> None:
    """One error, one line for each attempt, and nothing of the SDK's chained to it."""
    pool = pool_of(ClientProvider(client_of(dead)), ClientProvider(client_of(dead)))
    with pytest.raises(errors.ConnectionFailed) as caught:
        pool.call(ask, timeout=2.0, retry="unsent")
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    first, *attempts = str(caught.value).splitlines()
    assert "openai.APIConnectionError: ConnectionRefusedError (ECONNREFUSED)" in first
    assert len(attempts) == len(caught.value.attempts) >= 2
    assert {attempt.verdict for attempt in caught.value.attempts} == {Verdict.FAULT}
    assert {attempt.sent for attempt in caught.value.attempts} == {"no"}


def test_a_lease(client_of: MakeClient, eu: LocalServer, pool_of: MakePool) -> None:
    """The SDK's own error goes on as it is, and is booked."""
    eu.behave(RateLimited(retry_after=5))
    pool = pool_of(ClientProvider(client_of(eu)))
    with pytest.raises(openai.RateLimitError), pool.lease() as lease:
        chat(lease.client)
    assert pool.health("a").state == "cooling"


def test_checks(client_of: MakeClient, eu: LocalServer, dead: str, pool_of: MakePool) -> None:
    """The list of models tells of a refusal and of a wrong key; an error of the SDK's is one line."""
    wrong = client_of(eu, api_key="sk-wrong-0123456789")
    clients = (client_of(eu), wrong, client_of(dead))
    pool = pool_of(*map(ClientProvider, clients))
    good, bad, gone = pool.check_now()
    assert good.healthy
    assert bad.error == "HTTP 401: invalid_api_key: Incorrect API key provided."
    assert gone.error == "openai.APIConnectionError: ConnectionRefusedError (ECONNREFUSED)"
    assert pool.health("b").state == "disabled"


def test_a_field_that_the_sdk_does_not_know(
    client_of: MakeClient, eu: LocalServer, pool_of: MakePool
) -> None:
    """It is sent all the same."""
    pool = pool_of(ClientProvider(client_of(eu), model="tiny"))
    pool.complete(PROMPT, top_k=3, seed=7)
    sent = eu.requests[-1].json
    assert (sent["top_k"], sent["seed"]) == (3, 7)


def test_an_asynchronous_client(eu: LocalServer) -> None:
    """It is refused before anything is asked."""
    with pytest.raises(TypeError, match=r"openai\.AsyncOpenAI"):
        ClientProvider(openai.AsyncOpenAI(base_url=eu.url, api_key=KEY))
