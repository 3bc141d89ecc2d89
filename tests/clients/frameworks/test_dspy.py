"""DSPy with a pool under it: by litellm, which takes one client of httpx for the whole process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from on_pools import ECHO, MODEL, assert_page
from real_clients import KEY, PROMPT, library, raised

from llmpool import ProviderPool
from llmpool.testing import LocalServer, RateLimited, Refuse, Status

pytestmark = pytest.mark.needs("dspy", "litellm")


@pytest.fixture
def lm(
    pool: ProviderPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Any]:
    """DSPy's model on the pool."""
    caplog.set_level(logging.WARNING)  # litellm logs whole prompts, and from a thread of its own
    # Without it litellm asks the network for a list of prices while it is imported.
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    dspy, httpx, litellm = library("dspy"), library("httpx"), library("litellm")
    with httpx.Client(transport=pool.http_transport(httpx)) as client:
        monkeypatch.setattr(litellm, "client_session", client)
        litellm.in_memory_llm_clients_cache.flush_cache()
        yield dspy.LM(
            f"openai/{MODEL}",
            engine="litellm",
            api_base="https://llmpool.invalid/v1",
            api_key="unused",
            num_retries=0,
            cache=False,
        )
        litellm.in_memory_llm_clients_cache.flush_cache()


def test_a_completion(lm: Any, eu: LocalServer) -> None:
    """It is DSPy's list of texts; the deployment's key is sent."""
    assert lm(PROMPT) == [ECHO]
    assert eu.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_structured_answer(lm: Any, eu: LocalServer) -> None:
    """A signature becomes an answer by DSPy's own means."""
    dspy = library("dspy")
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        answer = dspy.Predict("question -> answer: str, sure: bool")(question=PROMPT)
    assert (answer.answer, answer.sure) == ("text", True)
    assert eu.hits() == 1


@pytest.mark.parametrize("trouble", [Refuse(), RateLimited()], ids=["dead", "rate-limited"])
def test_one_fails(lm: Any, eu: LocalServer, us: LocalServer, trouble: Any) -> None:
    """The other answers."""
    eu.behave(trouble)
    assert lm(PROMPT) == [ECHO]
    assert us.hits() == 1


def test_all_are_dead(lm: Any, eu: LocalServer, us: LocalServer) -> None:
    """The first line tells of each; DSPy's advice comes after it."""
    eu.behave(Refuse())
    us.behave(Refuse())
    said = str(raised(lambda: lm(PROMPT)))
    assert "no deployment answered (a: ConnectionFailed: 127.0.0.1" in said.partition("\n")[0]
    assert KEY not in said
    assert PROMPT not in said


def test_retries_are_not_multiplied(lm: Any, eu: LocalServer, us: LocalServer) -> None:
    """What the pool has tried is not tried again."""
    eu.behave(Status(500))
    us.behave(Status(500))
    raised(lambda: lm(PROMPT))
    assert eu.hits() + us.hits() == 3


def test_all_are_rate_limited(lm: Any, eu: LocalServer, us: LocalServer) -> None:
    """The error says so; each was asked once."""
    eu.behave(RateLimited(retry_after=30))
    us.behave(RateLimited(retry_after=30))
    assert type(raised(lambda: lm(PROMPT))).__name__ == "LMRateLimitError"
    assert (eu.hits(), us.hits()) == (1, 1)


def test_the_page(caplog: pytest.LogCaptureFixture) -> None:
    """Its examples run."""
    caplog.set_level(logging.WARNING)  # litellm writes what it logs where the examples write
    assert_page("dspy", 8)
