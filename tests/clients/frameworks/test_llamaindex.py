"""LlamaIndex's ``OpenAI`` with a pool under it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from on_pools import ECHO, MODEL, assert_one_line, assert_page
from real_clients import PROMPT, library, raised

from llmpool import ProviderPool
from llmpool.contrib.httpx import preferred_module
from llmpool.testing import LocalServer, RateLimited, Refuse, Status

openai = library("openai")
pydantic = library("pydantic")
pytestmark = pytest.mark.needs("llama_index")


@pytest.fixture
def llm(pool: ProviderPool) -> Iterator[Any]:
    """LlamaIndex's model on the pool; its own retries, which heed no server, are off."""
    from llama_index.llms.openai import OpenAI

    httpx = preferred_module()
    with httpx.Client(transport=pool.http_transport()) as client:
        yield OpenAI(model=MODEL, api_key="unused", http_client=client, max_retries=0)


def test_a_completion(llm: Any, eu: LocalServer) -> None:
    """It is LlamaIndex's own, as text and as a chat."""
    from llama_index.core.llms import ChatMessage

    assert llm.complete(PROMPT).text == ECHO
    assert llm.chat([ChatMessage(role="user", content=PROMPT)]).message.content == ECHO
    assert eu.hits() == 2


def test_a_stream(llm: Any) -> None:
    """It comes in pieces."""
    pieces = [chunk.delta for chunk in llm.stream_complete(PROMPT)]
    assert "".join(pieces) == ECHO
    assert len([piece for piece in pieces if piece]) > 1


def test_a_tool(llm: Any) -> None:
    """Its call comes back."""
    from llama_index.core.tools import FunctionTool

    def weather(city: str) -> str:
        """Tell the weather."""
        return f"rain in {city}"

    tool = FunctionTool.from_defaults(weather)
    answer = llm.chat_with_tools([tool], user_msg="call tool weather")
    (call,) = llm.get_tool_calls_from_response(answer)
    assert (call.tool_name, call.tool_kwargs) == ("weather", {"city": "text"})


def test_a_structured_answer(llm: Any) -> None:
    """It is an object of the class that was asked for."""
    city = pydantic.create_model("City", name=(str, ...), people=(int, ...))
    assert llm.as_structured_llm(city).complete(PROMPT).raw == city(name="text", people=1)


@pytest.mark.parametrize("trouble", [Refuse(), RateLimited()], ids=["dead", "rate-limited"])
def test_one_fails(llm: Any, eu: LocalServer, us: LocalServer, trouble: Any) -> None:
    """The other answers, whole and streamed."""
    eu.behave(trouble)
    assert llm.complete(PROMPT).text == ECHO
    assert "".join(chunk.delta for chunk in llm.stream_complete(PROMPT)) == ECHO
    assert us.hits() == 2


def test_all_are_dead(llm: Any, eu: LocalServer, us: LocalServer) -> None:
    """One line tells of each."""
    eu.behave(Refuse())
    us.behave(Refuse())
    error = raised(lambda: llm.complete(PROMPT))
    assert isinstance(error, openai.InternalServerError)
    assert_one_line(error)


def test_retries_are_not_multiplied(llm: Any, eu: LocalServer, us: LocalServer) -> None:
    """What the pool has tried is not tried again."""
    eu.behave(Status(500))
    us.behave(Status(500))
    assert isinstance(raised(lambda: llm.complete(PROMPT)), openai.InternalServerError)
    assert eu.hits() + us.hits() == 3


def test_all_are_rate_limited(llm: Any, eu: LocalServer, us: LocalServer) -> None:
    """The error is the one of the SDK's classes that says so; each was asked once."""
    eu.behave(RateLimited(retry_after=30))
    us.behave(RateLimited(retry_after=30))
    assert isinstance(raised(lambda: llm.complete(PROMPT)), openai.RateLimitError)
    assert (eu.hits(), us.hits()) == (1, 1)


def test_the_page() -> None:
    """Its examples run."""
    assert_page("llamaindex", 8)
