"""The Anthropic SDK with a pool under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from real_clients import KEY, PROMPT, MakePool, library, raised

from llmpool import AnthropicProvider, OpenAIProvider, ProviderPool, RetryPolicy
from llmpool.contrib.httpx import module_under
from llmpool.testing import (
    Cut,
    EndEarly,
    ErrorInStream,
    Hang,
    Html,
    LocalServer,
    Overloaded,
    RateLimited,
    Refuse,
    Status,
)

anthropic = library("anthropic")
pytestmark = pytest.mark.needs("anthropic")

QUICK = RetryPolicy(backoff_initial=0.0, max_wait=0.0)
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
ANSWER = f"echo: {PROMPT}"
OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}

MakeOn = Callable[..., Any]


@pytest.fixture
def on() -> Iterator[MakeOn]:
    """Make SDK clients on pools, which are closed in the end."""
    made: list[Any] = []

    def make(pool: ProviderPool, **options: Any) -> Any:
        made.append(pool.anthropic(**options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def pool(pool_of: MakePool, eu: LocalServer, us: LocalServer) -> ProviderPool:
    """A pool over both servers, the first one first."""
    return pool_of(at(eu.url), at(us.url), retry=QUICK)


def at(url: str) -> AnthropicProvider:
    """Make the provider of a server."""
    return AnthropicProvider(url, api_key=KEY, model="claude")


def ask(client: Any, **options: Any) -> Any:
    """Ask a client in the way that its users do."""
    messages = [{"role": "user", "content": PROMPT}]
    return client.messages.create(model="claude", max_tokens=99, messages=messages, **options)


def read(client: Any) -> str:
    """Read a stream to its end."""
    messages = [{"role": "user", "content": PROMPT}]
    with client.messages.stream(model="claude", max_tokens=99, messages=messages) as stream:
        return "".join(stream.text_stream)


def test_a_message(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """It is the SDK's own object; the deployment's key and none of the client's is sent."""
    answer = ask(on(pool))
    assert type(answer).__name__ == "Message"
    assert answer.content[0].text == ANSWER
    sent = eu.requests[0]
    assert sent.path == "/v1/messages"
    assert sent.headers["x-api-key"] == KEY
    assert sent.headers["anthropic-version"]
    assert pool.health("a").input_tokens > 0


def test_a_stream(on: MakeOn, pool: ProviderPool) -> None:
    """It comes whole, and counts as a success."""
    assert read(on(pool)) == ANSWER
    status = pool.health("a")
    assert (status.requests_in_flight, status.consecutive_successes) == (0, 1)
    assert status.output_tokens > 0


def test_tools(on: MakeOn, pool: ProviderPool) -> None:
    """A call of a tool comes as it is."""
    choice = {"type": "tool", "name": "weather"}
    block = ask(on(pool), tools=[TOOL], tool_choice=choice).content[-1]
    assert (block.type, block.name) == ("tool_use", "weather")


def test_the_headers_of_the_answer(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """They tell who answered and after how many attempts."""
    eu.behave(Refuse())
    messages = [{"role": "user", "content": PROMPT}]
    raw = on(pool).messages.with_raw_response.create(
        model="claude", max_tokens=99, messages=messages
    )
    assert raw.headers["x-llmpool-deployment"] == "b"
    assert raw.headers["x-llmpool-attempts"] == "2"


def test_other_pages(on: MakeOn, pool: ProviderPool) -> None:
    """The list of models goes through."""
    assert on(pool).models.list() is not None


@pytest.mark.parametrize(
    "behaviour",
    [Refuse(), Html(), Cut(), Status(500), Overloaded(status=529), Status(401)],
    ids=lambda given: f"{type(given).__name__}-{getattr(given, 'code', '')}",
)
def test_one_answers_badly(on: MakeOn, pool: ProviderPool, eu: LocalServer, behaviour: Any) -> None:
    """The other answers."""
    eu.behave(behaviour)
    assert ask(on(pool)).content[0].text == ANSWER


def test_another_format_beside_it(
    on: MakeOn, pool_of: MakePool, eu: LocalServer, us: LocalServer
) -> None:
    """Only the deployments that speak the client's format are asked."""
    pool = pool_of(OpenAIProvider(eu.url, api_key=KEY), at(us.url))
    assert ask(on(pool)).content[0].text == ANSWER
    assert eu.hits() == 0
    us.behave(RateLimited(retry_after=30))
    client = on(pool)
    assert type(raised(lambda: ask(client))) is anthropic.RateLimitError
    error = raised(lambda: ask(client))
    assert "a: speaks another format; b: cooling" in str(error)


def test_one_is_rate_limited_and_one_dead(
    on: MakeOn, pool: ProviderPool, eu: LocalServer, us: LocalServer
) -> None:
    """The error is the one that tells most, and nothing asks again."""
    eu.behave(RateLimited(retry_after=7))
    us.behave(Refuse())
    error = raised(lambda: ask(on(pool, max_retries=2)))
    assert type(error) is anthropic.RateLimitError
    assert eu.hits() == 1


def test_all_are_dead(on: MakeOn, pool_of: MakePool, dead: str) -> None:
    """One readable line tells of each, in the shape of the API."""
    pool = pool_of(at(dead), at(dead), retry=RetryPolicy(1))
    error = raised(lambda: ask(on(pool, max_retries=2)))
    assert isinstance(error, anthropic.InternalServerError)
    assert error.status_code == 503
    assert "\n" not in str(error)
    assert "no deployment answered (a: ConnectionFailed" in str(error)
    assert error.body["error"]["type"] == "api_error"
    assert KEY not in str(error)


def test_the_callers_own_error(
    on: MakeOn, pool: ProviderPool, eu: LocalServer, us: LocalServer
) -> None:
    """A bad request goes to one deployment, and its answer comes unchanged."""
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    eu.behave(Status(400, body))
    error = raised(lambda: ask(on(pool)))
    assert type(error) is anthropic.BadRequestError
    assert error.body == body
    assert us.hits() == 0


def test_a_timeout(on: MakeOn, pool: ProviderPool, eu: LocalServer, us: LocalServer) -> None:
    """The client's own time holds for all attempts together."""
    eu.behave(Hang())
    us.behave(Hang())
    error = raised(lambda: ask(on(pool), timeout=0.5))
    assert type(error) is anthropic.APITimeoutError


def test_a_stream_that_fails_before_content(
    on: MakeOn, pool: ProviderPool, eu: LocalServer
) -> None:
    """The other one's stream comes, and nothing of the first."""
    eu.behave(ErrorInStream(error=OVERLOADED))
    assert read(on(pool)) == ANSWER
    assert pool.health("a").state == "cooling"


def test_a_stream_with_an_error_after_content(
    on: MakeOn, pool: ProviderPool, eu: LocalServer
) -> None:
    """The SDK reads of it in the server's words; what the server meant is booked."""
    eu.behave(ErrorInStream(after_chunks=1, error=OVERLOADED))
    error = raised(lambda: read(on(pool)))
    assert isinstance(error, anthropic.APIStatusError)
    assert "Overloaded" in str(error)
    assert pool.health("a").state == "cooling"


def test_a_stream_that_is_cut(on: MakeOn, pool: ProviderPool, eu: LocalServer) -> None:
    """It raises, where the SDK by itself takes the end for a good one."""
    eu.behave(EndEarly())
    error = raised(lambda: read(on(pool)))
    own = (anthropic.APIConnectionError, module_under(anthropic).RemoteProtocolError)
    assert isinstance(error, own)
    assert pool.health("a").total_errors == 1
