"""instructor with a pool under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from on_pools import ECHO, MODEL, assert_one_line, assert_page
from real_clients import PROMPT, library, raised

from llmpool import ProviderPool
from llmpool.testing import LocalServer, RateLimited, Refuse, Status

instructor = library("instructor")
openai = library("openai")
pydantic = library("pydantic")
pytestmark = pytest.mark.needs("instructor")

MESSAGES = [{"role": "user", "content": PROMPT}]
Ask = Callable[..., Any]


@pytest.fixture
def city() -> Any:
    """What is asked for."""
    return pydantic.create_model("City", name=(str, ...), people=(int, ...))


@pytest.fixture
def ask(pool: ProviderPool, city: Any) -> Iterator[Ask]:
    """Ask a client on the pool for a city."""
    with pool.openai() as client:

        def ask(mode: str = "TOOLS", way: str = "create", **options: Any) -> Any:
            on = instructor.from_openai(client, mode=instructor.Mode[mode])
            asked = {"model": MODEL, "messages": MESSAGES, "response_model": city, **options}
            return getattr(on, way)(**asked)

        yield ask


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA"])
def test_an_answer(ask: Ask, city: Any, mode: str, eu: LocalServer) -> None:
    """It is an object of the class that was asked for, by a tool or by a schema."""
    answer = ask(mode)
    assert isinstance(answer, city)
    assert answer.model_dump() == {"name": "text", "people": 1}
    assert eu.hits() == 1


def test_a_completion(ask: Ask) -> None:
    """Without a class it is the SDK's own."""
    assert ask(response_model=None).choices[0].message.content == ECHO


def test_a_stream(ask: Ask) -> None:
    """The object grows."""
    grown = list(ask(way="create_partial"))
    assert len(grown) > 1
    assert grown[-1].model_dump() == {"name": "text", "people": 1}


@pytest.mark.parametrize("trouble", [Refuse(), RateLimited()], ids=["dead", "rate-limited"])
def test_one_fails(ask: Ask, eu: LocalServer, us: LocalServer, trouble: Any) -> None:
    """The other answers, whole and streamed."""
    eu.behave(trouble)
    assert ask().people == 1
    assert list(ask(way="create_partial"))[-1].people == 1
    assert us.hits() == 2


@pytest.mark.parametrize("retries", [None, 3])
def test_all_are_dead(ask: Ask, eu: LocalServer, us: LocalServer, retries: int | None) -> None:
    """One line tells of each; its cause is the SDK's error."""
    eu.behave(Refuse())
    us.behave(Refuse())
    options = {} if retries is None else {"max_retries": retries}
    error = raised(lambda: ask(**options))
    assert isinstance(error.__cause__, openai.InternalServerError)
    assert_one_line(error)


@pytest.mark.parametrize("retries", [None, 3])
def test_retries_are_not_multiplied(
    ask: Ask, eu: LocalServer, us: LocalServer, retries: int | None
) -> None:
    """instructor asks again for a better answer, not after an error of the API."""
    eu.behave(Status(500))
    us.behave(Status(500))
    options = {} if retries is None else {"max_retries": retries}
    raised(lambda: ask(**options))
    assert eu.hits() + us.hits() == 3


def test_all_are_rate_limited(ask: Ask, eu: LocalServer, us: LocalServer) -> None:
    """Its cause says so; each was asked once."""
    eu.behave(RateLimited(retry_after=30))
    us.behave(RateLimited(retry_after=30))
    assert isinstance(raised(ask).__cause__, openai.RateLimitError)
    assert (eu.hits(), us.hits()) == (1, 1)


def test_the_page() -> None:
    """Its examples run."""
    assert_page("instructor", 8)
