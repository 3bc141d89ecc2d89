"""The OpenAI SDK, whichever major version is installed, with a pool under it."""

from __future__ import annotations

import copy
import gc
import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from real_clients import KEY, PROMPT, MakePool, library, raised

from llmpool import AzureOpenAIProvider, OpenAIProvider, ProviderPool, RetryPolicy
from llmpool.contrib.httpx import module_under
from llmpool.testing import (
    BadKey,
    ContextTooLong,
    Cut,
    EndEarly,
    ErrorBody,
    ErrorInStream,
    Exchange,
    Hang,
    Html,
    LocalServer,
    QuotaExhausted,
    RateLimited,
    Refuse,
    Stall,
    Status,
)
from llmpool.testing.reply import Reply, event, json_reply

openai = library("openai")
pytestmark = pytest.mark.needs("openai")

WALL = 20.0
QUICK = RetryPolicy(backoff_initial=0.0, max_wait=0.0)
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}

MakeOn = Callable[..., Any]


@pytest.fixture
def on() -> Iterator[MakeOn]:
    """Make SDK clients on pools, which are closed in the end."""
    made: list[Any] = []

    def make(pool: ProviderPool, **options: Any) -> Any:
        made.append(pool.openai(**options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def pool(pool_of: MakePool, eu: LocalServer, us: LocalServer) -> ProviderPool:
    """A pool over both servers, the first one first."""
    return pool_of(at(eu), at(us), retry=QUICK)


def at(server: LocalServer | str) -> OpenAIProvider:
    """Make the provider of a server."""
    url = server.url if isinstance(server, LocalServer) else f"{server}/v1"
    return OpenAIProvider(url, api_key=KEY, model="tiny")


def chat(client: Any, prompt: str = PROMPT, **options: Any) -> Any:
    """Ask a client in the way that its users do."""
    messages = [{"role": "user", "content": prompt}]
    return client.chat.completions.create(model="tiny", messages=messages, **options)


def text_of(chunks: Any) -> str:
    """Give the text of a stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# -- what goes well -----------------------------------------------------------------------------


def test_a_completion(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """It is the SDK's own object; the deployment's key and none of the client's is sent."""
    answer = chat(on(pool))
    assert type(answer).__name__ == "ChatCompletion"
    assert answer.choices[0].message.content == f"echo: {PROMPT}"
    assert answer.usage.total_tokens > 0
    assert eu.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert pool.health("a").total_requests == 1


def test_the_headers_of_the_answer(on: MakeOn, pool: ProviderPool) -> None:
    """They tell who answered and after how many attempts, beside the server's own."""
    raw = on(pool).chat.completions.with_raw_response.create(
        model="tiny", messages=[{"role": "user", "content": PROMPT}]
    )
    assert raw.headers["x-llmpool-deployment"] == "a"
    assert raw.headers["x-llmpool-attempts"] == "1"
    assert raw.headers["x-request-id"] == "req-eu-1"
    assert raw.parse().choices[0].message.content == f"echo: {PROMPT}"


def test_a_stream(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """It comes whole, its usage too, and counts as a success."""
    with chat(on(pool), stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)
    assert text_of(chunks) == f"echo: {PROMPT}"
    assert chunks[-1].usage.total_tokens > 0
    status = pool.health("a")
    assert (status.total_requests, status.requests_in_flight) == (1, 0)
    assert status.consecutive_successes == 1


def test_a_stream_is_prompt(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """Each event is there as soon as the server has sent it."""
    go_on = threading.Event()

    def in_two_halves(exchange: Exchange) -> None:
        reply = exchange.answer()
        exchange.send_until(reply, 1)
        assert go_on.wait(WALL)
        whole = b"".join(map(reply.frame, reply.parts)) + reply.end()
        sent = b"".join(reply.body_until(1))
        exchange.send_bytes(whole[len(sent) :])

    eu.behave(in_two_halves)
    stream = chat(on(pool), stream=True)
    first = [next(stream), next(stream)]
    assert text_of(first) == "echo:"
    go_on.set()
    assert text_of(stream) == f" {PROMPT}"


def test_tools(on: MakeOn, pool: ProviderPool) -> None:
    """A call of a tool comes as it is, whole and in a stream."""
    client = on(pool)
    call = chat(client, "call tool", tools=[TOOL]).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "text"}
    pieces = [
        piece.function.arguments
        for chunk in chat(client, "call tool", tools=[TOOL], stream=True)
        for piece in (chunk.choices[0].delta.tool_calls or ())
    ]
    assert json.loads("".join(pieces)) == {"city": "text"}


def test_structured_output(on: MakeOn, pool: ProviderPool) -> None:
    """The SDK's parsing of models works on it."""
    import pydantic

    class City(pydantic.BaseModel):
        name: str
        people: int

    completions = on(pool).chat.completions
    parse = getattr(completions, "parse", None) or on(pool).beta.chat.completions.parse
    answer = parse(
        model="tiny", messages=[{"role": "user", "content": PROMPT}], response_format=City
    )
    assert answer.choices[0].message.parsed == City(name="text", people=1)


def test_other_pages(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """Embeddings, the list of models and pages unknown to the pool go through."""
    client = on(pool)
    assert len(client.embeddings.create(model="tiny", input=["a", "b"]).data) == 2
    assert [model.id for model in client.models.list()] == ["tiny"]
    made = {"id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "purpose": "batch"}
    eu.behave(lambda exchange: exchange.send(json_reply({**made, "filename": "a"})))
    assert client.files.create(file=("a", b"abc"), purpose="batch").id == "file-1"
    sent = eu.requests[-1]
    assert sent.path == "/v1/files"
    assert b"abc" in sent.body
    assert sent.headers["content-type"].startswith("multipart/form-data; boundary=")


def test_a_file(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """Its content is handed over byte by byte."""
    data = bytes(range(256)) * 100
    eu.behave(lambda exchange: exchange.send(Reply(200, (), (data,)).gzipped()))
    assert on(pool).files.content("file-1").read() == data


def test_the_responses_api(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """It goes through, whole and streamed."""
    text = {"type": "output_text", "text": "fine", "annotations": []}
    output = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
    whole = {
        "id": "resp-1",
        "object": "response",
        "created_at": 1,
        "model": "tiny",
        "output": [{**output, "content": [text]}],
        "status": "completed",
        "error": None,
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
    }
    place = {"item_id": "m", "output_index": 0, "content_index": 0, "logprobs": []}
    events = [
        {"type": "response.created", "response": {**whole, "output": []}, "sequence_number": 0},
        {"type": "response.output_text.delta", "delta": "fine", **place, "sequence_number": 1},
        {"type": "response.completed", "response": whole, "sequence_number": 2},
    ]

    def respond(exchange: Exchange) -> None:
        if exchange.request.streamed:
            parts = [event(each, str(each["type"])) for each in events]
            headers = {"Content-Type": "text/event-stream"}
            exchange.send(Reply(200, headers, parts, "chunked", streamed=True))
        else:
            exchange.send(json_reply(whole))

    eu.behave(respond)
    client = on(pool)
    if not hasattr(client, "responses"):
        pytest.skip("this version of the SDK does not have it")
    assert client.responses.create(model="tiny", input=PROMPT).output_text == "fine"
    kinds = [each.type for each in client.responses.create(model="tiny", input="x", stream=True)]
    assert kinds == [each["type"] for each in events]
    assert pool.health("a").consecutive_successes == 2


def test_the_model_of_each_deployment(
    on: MakeOn, eu: LocalServer, us: LocalServer, pool_of: MakePool
) -> None:
    """The client's name for a model becomes the deployment's own."""
    from llmpool import Deployment, HealthCheckConfig

    deployments = [
        Deployment("a", at(eu), models={"smart": "eu-model"}),
        Deployment("b", at(us), models={"quick": "us-model"}),
    ]
    with ProviderPool(deployments, health_check=HealthCheckConfig(enabled=False)) as pool:
        client = on(pool)
        messages = [{"role": "user", "content": PROMPT}]
        answers = [
            client.chat.completions.create(model=name, messages=messages)
            for name in ("smart", "quick")
        ]
        assert [answer.model for answer in answers] == ["eu-model", "us-model"]
        with pytest.raises(openai.NotFoundError, match="no deployment knows the model 'other'"):
            client.chat.completions.create(model="other", messages=messages)


def test_azure(on: MakeOn, pool_of: MakePool, eu: LocalServer, us: LocalServer) -> None:
    """An Azure deployment takes part, under its own URLs and with its own header for the key."""
    eu.behave(Refuse())
    root = us.url.removesuffix("/v1")
    azure = AzureOpenAIProvider(root, deployment="mini", api_version="2024-10-21", api_key=KEY)
    client = on(pool_of(at(eu), azure))
    assert chat(client).choices[0].message.content == f"echo: {PROMPT}"
    sent = us.requests[0]
    assert sent.path == "/openai/deployments/tiny/chat/completions"
    assert sent.query == "api-version=2024-10-21"
    assert sent.headers["api-key"] == KEY
    assert "authorization" not in sent.headers


def test_many_threads(on: MakeOn, pool: ProviderPool) -> None:
    """One client serves them all, each with its own answer."""
    client = on(pool)
    wrong: queue.SimpleQueue[str] = queue.SimpleQueue()

    def work(number: int) -> None:
        for turn in range(4):
            prompt = f"question {number}-{turn}"
            answer = chat(client, prompt).choices[0].message.content
            streamed = text_of(chat(client, prompt, stream=True))
            if not answer == streamed == f"echo: {prompt}":
                wrong.put(prompt)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WALL)
        assert not thread.is_alive()
    assert wrong.empty()


def test_a_copy(on: MakeOn, pool: ProviderPool) -> None:
    """Frameworks copy clients deeply; a copy has the same pool under it."""
    transport = pool.http_transport(module_under(openai))
    assert copy.deepcopy(transport) is transport
    assert chat(copy.deepcopy(on(pool))).choices[0].message.content == f"echo: {PROMPT}"
    with on(pool).with_options(timeout=5) as copied:
        assert chat(copied).choices[0].message.content == f"echo: {PROMPT}"


# -- what goes wrong ----------------------------------------------------------------------------


def test_one_is_dead(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """The other answers, whole and streamed, and the client sees nothing of it."""
    eu.behave(Refuse())
    client = on(pool)
    assert chat(client).choices[0].message.content == f"echo: {PROMPT}"
    assert text_of(chat(client, stream=True)) == f"echo: {PROMPT}"


@pytest.mark.parametrize(
    "behaviour",
    [Html(), ErrorBody(), Cut(), Status(500), RateLimited(), BadKey(), QuotaExhausted()],
    ids=lambda given: type(given).__name__,
)
def test_one_answers_badly(on: MakeOn, pool: ProviderPool, eu: LocalServer, behaviour: Any) -> None:
    """The other answers, also where the SDK would have taken the answer for a good one."""
    eu.behave(behaviour)
    assert chat(on(pool)).choices[0].message.content == f"echo: {PROMPT}"
    assert eu.hits() == 1


def test_one_is_rate_limited_and_one_dead(
    on: MakeOn, pool: ProviderPool, eu: LocalServer, us: LocalServer
) -> None:
    """The error is the one that tells most, in the SDK's own class, and nothing asks again."""
    eu.behave(RateLimited(retry_after=7))
    us.behave(Refuse())
    error = raised(lambda: chat(on(pool, max_retries=2)))
    assert type(error) is openai.RateLimitError
    assert error.response.headers["retry-after"] == "7"
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.headers["x-llmpool-deployment"] == "a"
    assert error.code == "rate_limit_exceeded"
    assert eu.hits() == 1


def test_all_are_dead(on: MakeOn, pool_of: MakePool, dead: str) -> None:
    """One readable line tells of each, and of no key or prompt."""
    pool = pool_of(at(dead), at(dead), retry=RetryPolicy(1))
    error = raised(lambda: chat(on(pool)))
    assert type(error) is openai.InternalServerError
    assert error.status_code == 503
    said = str(error)
    assert "\n" not in said
    assert "no deployment answered (a: ConnectionFailed: 127.0.0.1" in said
    assert "; b: ConnectionFailed: 127.0.0.1" in said
    assert KEY not in said
    assert PROMPT not in said
    assert error.__cause__ is None


def test_retries_are_not_multiplied(
    on: MakeOn, pool: ProviderPool, eu: LocalServer, us: LocalServer
) -> None:
    """A client that would ask again by itself leaves it at what the pool has tried."""
    eu.behave(Status(500))
    us.behave(Status(500))
    error = raised(lambda: chat(on(pool, max_retries=2)))
    assert type(error) is openai.InternalServerError
    assert eu.hits() + us.hits() == 3


def test_none_is_to_be_asked(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """It is told at once, with the reasons and the time to come again."""
    eu.behave(RateLimited(retry_after=30))
    pool.drain("b")
    client = on(pool)
    assert type(raised(lambda: chat(client))) is openai.RateLimitError
    error = raised(lambda: chat(client))
    assert type(error) is openai.InternalServerError
    assert "no deployment can be asked now (a: cooling" in str(error)
    assert 0 < int(error.response.headers["retry-after"]) <= 30
    assert eu.hits() == 1


def test_a_closed_pool(on: MakeOn, pool: ProviderPool) -> None:
    """It is told in one line."""
    client = on(pool)
    pool.close()
    error = raised(lambda: chat(client))
    assert type(error) is openai.InternalServerError
    assert "the pool is closed" in str(error)


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Status(400), "BadRequestError"),
        (ContextTooLong(), "BadRequestError"),
        (BadKey(), "AuthenticationError"),
        (Status(403), "PermissionDeniedError"),
        (Status(404, {"error": {"code": "model_not_found", "message": "no"}}), "NotFoundError"),
        (Status(422), "UnprocessableEntityError"),
        (RateLimited(retry_after=9), "RateLimitError"),
        (QuotaExhausted(), "RateLimitError"),
        (Status(500), "InternalServerError"),
    ],
    ids=lambda given: type(given).__name__ if callable(given) else None,
)
def test_error_classes(
    on: MakeOn,
    pool: ProviderPool,
    eu: LocalServer,
    us: LocalServer,
    behaviour: Any,
    kind: str,
) -> None:
    """They are what they are without a pool, with the server's own body."""
    for server in (eu, us):
        server.behave(behaviour)
    with openai.OpenAI(base_url=eu.url, api_key=KEY, max_retries=0) as plain:
        expected = raised(lambda: chat(plain))
    error = raised(lambda: chat(on(pool)))
    assert type(error).__name__ == type(expected).__name__ == kind
    assert error.body == expected.body
    assert error.status_code == expected.status_code


def test_the_callers_own_error(on: MakeOn, pool: ProviderPool, us: LocalServer) -> None:
    """A bad request goes to one deployment, which is not blamed."""
    error = raised(lambda: on(pool).chat.completions.create(model="tiny", messages=[]))
    assert type(error) is openai.BadRequestError
    assert pool.health("a").total_errors == 0
    assert us.hits() == 0


def test_a_timeout(on: MakeOn, pool: ProviderPool, eu: LocalServer, us: LocalServer) -> None:
    """The client's own time holds for all attempts together."""
    eu.behave(Hang())
    us.behave(Hang())
    error = raised(lambda: chat(on(pool), timeout=0.5))
    assert type(error) is openai.APITimeoutError
    assert "timed out" in str(error)


def test_a_stream_that_fails_before_content(
    on: MakeOn, pool: ProviderPool, eu: LocalServer
) -> None:
    """The other one's stream comes, and nothing of the first."""
    eu.behave(ErrorInStream())
    assert text_of(chat(on(pool), stream=True)) == f"echo: {PROMPT}"
    assert pool.health("a").total_errors == 1


def test_a_stream_with_an_error_after_content(
    on: MakeOn, pool: ProviderPool, eu: LocalServer
) -> None:
    """The SDK reads of it in the server's words; what the server meant is booked."""
    overloaded = {"message": "too much", "type": "overloaded_error", "code": "overloaded"}
    eu.behave(ErrorInStream(after_chunks=1, error=overloaded))
    stream = chat(on(pool), stream=True)
    error = raised(lambda: text_of(stream))
    assert type(error) is openai.APIError
    assert "too much" in str(error)
    assert pool.health("a").state == "cooling"


@pytest.mark.parametrize(
    "behaviour", [EndEarly(), EndEarly(by="close"), Cut(2)], ids=["end", "close", "cut"]
)
def test_a_stream_that_is_cut(
    on: MakeOn, pool: ProviderPool, eu: LocalServer, behaviour: Any
) -> None:
    """It raises, also where the SDK by itself takes the end for a good one."""
    eu.behave(behaviour)
    stream = chat(on(pool), stream=True)
    error = raised(lambda: text_of(stream))
    httpx = module_under(openai)
    if int(openai.__version__.partition(".")[0]) >= 3:
        assert isinstance(error, openai.APIConnectionError)
        error = error.__cause__
    assert isinstance(error, httpx.RemoteProtocolError)
    assert "the stream broke off" in str(error)
    assert pool.health("a").total_errors == 1


def test_a_stream_that_stalls(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """The client's time for a read is that between two events."""
    eu.behave(Stall())
    stream = chat(on(pool), stream=True, timeout=0.5)
    error = raised(lambda: text_of(stream))
    httpx = module_under(openai)
    assert isinstance(error, (openai.APITimeoutError, httpx.ReadTimeout))


def test_a_stream_that_is_closed_early(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """The place is given back and nobody is blamed."""
    eu.behave(Stall())
    stream = chat(on(pool), stream=True)
    next(stream)
    assert pool.health("a").requests_in_flight == 1
    stream.close()
    status = pool.health("a")
    assert (status.requests_in_flight, status.total_errors) == (0, 0)


def test_a_stream_that_is_forgotten(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """The place is given back when the garbage is collected."""
    eu.behave(Stall())
    stream = chat(on(pool), stream=True)
    next(stream)
    del stream
    gc.collect()
    assert pool.health("a").requests_in_flight == 0


def test_a_pool_of_another_format(pool_of: MakePool) -> None:
    """It is refused when the client is made, in one line."""
    from llmpool import AnthropicProvider

    pool = pool_of(AnthropicProvider("http://127.0.0.1:1", api_key=KEY))
    with pytest.raises(ValueError, match="no deployment of this pool takes what a client of the"):
        pool.openai()


def test_a_client_of_ones_own(pool: ProviderPool, eu: LocalServer) -> None:
    """The transport fits into a client that is made as ever, whatever its base URL."""
    httpx = module_under(openai)
    with httpx.Client(transport=pool.http_transport()) as http_client:
        client = openai.OpenAI(api_key="own", http_client=http_client, max_retries=0)
        assert chat(client).choices[0].message.content == f"echo: {PROMPT}"
    assert eu.requests[0].headers["authorization"] == f"Bearer {KEY}"
