"""LangChain's ``ChatOpenAI`` with a pool under it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from on_pools import ECHO, MODEL, assert_one_line, assert_page
from real_clients import PROMPT, library, raised

from llmpool import ProviderPool
from llmpool.contrib.async_httpx import async_client
from llmpool.contrib.httpx import preferred_module
from llmpool.testing import LocalServer, RateLimited, Refuse, Status

openai = library("openai")
langchain_openai = library("langchain_openai")
pydantic = library("pydantic")
pytestmark = pytest.mark.needs("langchain_openai")

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
MakeModel = Callable[..., Any]


@pytest.fixture
def model(pool: ProviderPool) -> Iterator[MakeModel]:
    """Make chat models on the pool."""
    httpx = preferred_module()
    with httpx.Client(transport=pool.http_transport()) as client:
        yield lambda **options: langchain_openai.ChatOpenAI(
            model=MODEL, api_key="unused", http_client=client, **options
        )


def test_a_completion(model: MakeModel, eu: LocalServer) -> None:
    """It is LangChain's own message, with its usage."""
    answer = model().invoke(PROMPT)
    assert answer.content == ECHO
    assert answer.usage_metadata["total_tokens"] > 0
    assert eu.hits() == 1


def test_a_stream(model: MakeModel) -> None:
    """It comes in pieces."""
    pieces = [chunk.content for chunk in model().stream(PROMPT)]
    assert "".join(pieces) == ECHO
    assert len([piece for piece in pieces if piece]) > 1


def test_a_batch(model: MakeModel) -> None:
    """Its threads share the pool, each with its own answer."""
    asked = [f"question {number}" for number in range(12)]
    assert [answer.content for answer in model().batch(asked)] == [f"echo: {q}" for q in asked]


def test_in_asyncio(model: MakeModel, pool: ProviderPool, eu: LocalServer) -> None:
    """With the client for asyncio, the calls for asyncio go to the pool too."""
    eu.behave(Refuse())

    async def ask() -> list[str]:
        async with async_client(pool) as client:
            on = model(http_async_client=client)
            pieces = [chunk.content async for chunk in on.astream(PROMPT)]
            return [(await on.ainvoke(PROMPT)).content, "".join(pieces)]

    assert asyncio.run(ask()) == [ECHO, ECHO]


def test_a_tool(model: MakeModel) -> None:
    """Its call comes back."""
    answer = model().bind_tools([WEATHER]).invoke("call tool weather")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [
        ("weather", {"city": "text"})
    ]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_structured_answer(model: MakeModel, method: str) -> None:
    """It is an object of the class that was asked for."""
    city = pydantic.create_model("City", name=(str, ...), people=(int, ...))
    assert model().with_structured_output(city, method=method).invoke(PROMPT).people == 1


@pytest.mark.parametrize("trouble", [Refuse(), RateLimited()], ids=["dead", "rate-limited"])
def test_one_fails(model: MakeModel, eu: LocalServer, us: LocalServer, trouble: Any) -> None:
    """The other answers, whole and streamed."""
    eu.behave(trouble)
    assert model().invoke(PROMPT).content == ECHO
    assert "".join(chunk.content for chunk in model().stream(PROMPT)) == ECHO
    assert us.hits() == 2


@pytest.mark.parametrize("options", [{}, {"max_retries": 5}], ids=["default", "retries"])
def test_all_are_dead(
    model: MakeModel, eu: LocalServer, us: LocalServer, options: dict[str, Any]
) -> None:
    """One line tells of each."""
    eu.behave(Refuse())
    us.behave(Refuse())
    error = raised(lambda: model(**options).invoke(PROMPT))
    assert isinstance(error, openai.InternalServerError)
    assert_one_line(error)


@pytest.mark.parametrize("options", [{}, {"max_retries": 5}], ids=["default", "retries"])
def test_retries_are_not_multiplied(
    model: MakeModel, eu: LocalServer, us: LocalServer, options: dict[str, Any]
) -> None:
    """What the pool has tried is not tried again."""
    eu.behave(Status(500))
    us.behave(Status(500))
    assert isinstance(raised(lambda: model(**options).invoke(PROMPT)), openai.InternalServerError)
    assert eu.hits() + us.hits() == 3


def test_all_are_rate_limited(model: MakeModel, eu: LocalServer, us: LocalServer) -> None:
    """The error is the one of the SDK's classes that says so; each was asked once."""
    eu.behave(RateLimited(retry_after=30))
    us.behave(RateLimited(retry_after=30))
    error = raised(lambda: model().invoke(PROMPT))
    assert isinstance(error, openai.RateLimitError)
    assert (eu.hits(), us.hits()) == (1, 1)


def test_the_page() -> None:
    """Its examples run."""
    assert_page("langchain", 8)
