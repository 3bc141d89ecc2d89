"""pydantic-ai with a pool under it; its synchronous calls are asyncio inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from on_pools import ECHO, MODEL, assert_one_line, assert_page
from real_clients import PROMPT, library, raised

from llmpool import ProviderPool
from llmpool.contrib.async_httpx import async_client
from llmpool.testing import LocalServer, RateLimited, Refuse, Status

openai = library("openai")
pydantic = library("pydantic")
pydantic_ai = library("pydantic_ai")
pytestmark = pytest.mark.needs("pydantic_ai")

MakeAgent = Callable[..., Any]


@pytest.fixture
def agent(pool: ProviderPool) -> MakeAgent:
    """Make agents on the pool."""
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(api_key="unused", http_client=async_client(pool))
    model = OpenAIChatModel(MODEL, provider=provider)
    return lambda **options: pydantic_ai.Agent(model, **options)


def test_a_completion(agent: MakeAgent, eu: LocalServer) -> None:
    """It is pydantic-ai's own result, with its usage."""
    result = agent().run_sync(PROMPT)
    assert result.output == ECHO
    assert eu.hits() == 1


def test_a_stream(agent: MakeAgent) -> None:
    """It comes whole."""
    stream = agent().run_stream_sync(PROMPT)
    assert "".join(stream.stream_text(delta=True)) == ECHO


def test_a_tool(agent: MakeAgent) -> None:
    """It is called, and its result goes to the server."""
    called: list[str] = []

    def weather(city: str) -> str:
        """Tell the weather."""
        called.append(city)
        return "rain"

    made = agent(tools=[pydantic_ai.Tool(weather, takes_ctx=False)])
    limits = pydantic_ai.UsageLimits(request_limit=2)
    # The server calls the tool whenever the prompt says so, which ends at the limit.
    raised(lambda: made.run_sync("call tool weather", usage_limits=limits))
    assert "text" in called


def test_a_structured_answer(agent: MakeAgent) -> None:
    """It is an object of the class that was asked for."""
    city = pydantic.create_model("City", name=(str, ...), people=(int, ...))
    assert agent(output_type=city).run_sync(PROMPT).output == city(name="text", people=1)


@pytest.mark.parametrize("trouble", [Refuse(), RateLimited()], ids=["dead", "rate-limited"])
def test_one_fails(agent: MakeAgent, eu: LocalServer, us: LocalServer, trouble: Any) -> None:
    """The other answers, whole and streamed."""
    eu.behave(trouble)
    assert agent().run_sync(PROMPT).output == ECHO
    assert "".join(agent().run_stream_sync(PROMPT).stream_text(delta=True)) == ECHO
    assert us.hits() == 2


def test_all_are_dead(agent: MakeAgent, eu: LocalServer, us: LocalServer) -> None:
    """One line tells of each."""
    eu.behave(Refuse())
    us.behave(Refuse())
    error = raised(lambda: agent().run_sync(PROMPT))
    assert error.status_code == 503  # type: ignore[attr-defined]
    assert_one_line(error)


def test_retries_are_not_multiplied(agent: MakeAgent, eu: LocalServer, us: LocalServer) -> None:
    """What the pool has tried is not tried again."""
    eu.behave(Status(500))
    us.behave(Status(500))
    raised(lambda: agent().run_sync(PROMPT))
    assert eu.hits() + us.hits() == 3


def test_all_are_rate_limited(agent: MakeAgent, eu: LocalServer, us: LocalServer) -> None:
    """The error says so; each was asked once."""
    eu.behave(RateLimited(retry_after=30))
    us.behave(RateLimited(retry_after=30))
    error = raised(lambda: agent().run_sync(PROMPT))
    assert error.status_code == 429  # type: ignore[attr-defined]
    assert (eu.hits(), us.hits()) == (1, 1)


def test_the_page() -> None:
    """Its examples run."""
    assert_page("pydantic-ai", 8)
