"""OpenAI's Responses API, which passes through ``pool.call`` and leases as the client has it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llmpool import ClientProvider, Deployment, InvalidRequest, ProviderPool


class APIError(Exception):
    """An error in the shape of the OpenAI SDK's."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        super().__init__(f"Error code: {status}")
        self.status_code = status
        self.body = body
        self.response = SimpleNamespace(status_code=status, headers=headers)


APIError.__module__ = "openai._exceptions"


class Responses:
    """Answers ``responses.create`` step by step, and keeps what it was asked."""

    def __init__(self, *steps: Any) -> None:
        self._steps = list(steps)
        self.asked: list[dict[str, Any]] = []

    def create(self, **asked: Any) -> Any:
        """Give the next step."""
        self.asked.append(asked)
        step = self._steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def response(text: str) -> Any:
    """Give an answer in the shape of that API."""
    part = SimpleNamespace(type="output_text", text=text, annotations=[])
    message = SimpleNamespace(type="message", role="assistant", content=[part])
    usage = SimpleNamespace(input_tokens=9, output_tokens=2, total_tokens=11)
    return SimpleNamespace(
        id="resp_1", status="completed", output=[message], output_text=text, usage=usage
    )


def pool_of(**clients: Responses) -> ProviderPool:
    """Give a pool of these, the first one first."""
    return ProviderPool(
        [
            Deployment(name, ClientProvider(SimpleNamespace(responses=client), model="gpt-5"))
            for name, client in clients.items()
        ],
        strategy="primary",
        health_check=None,
    )


def ask(lease: Any) -> Any:
    """Ask by the client of a lease."""
    return lease.client.responses.create(
        model=lease.model or "gpt-5", input="hello", store=False, timeout=lease.remaining
    )


def test_an_answer() -> None:
    """It is returned as it is, with all that the API gives."""
    whole = response("fine")
    eu = Responses(whole)
    with pool_of(eu=eu) as pool:
        assert pool.call(ask) is whole
        assert pool.health("eu").total_requests == 1
    (asked,) = eu.asked
    assert (asked["input"], asked["store"]) == ("hello", False)
    assert 0 < asked["timeout"] <= 600


def test_a_limit() -> None:
    """The call goes on elsewhere, and the deployment rests for as long as the server asks."""
    limit = {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}
    eu = Responses(APIError(429, limit, {"retry-after": "7"}))
    us = Responses(response("fine"))
    with pool_of(eu=eu, us=us) as pool:
        assert pool.call(ask).output_text == "fine"
        assert pool.health("eu").state == "cooling"
        assert pool.health("eu").cooldown_remaining > 1.0
        assert (len(eu.asked), len(us.asked)) == (1, 1)


def test_a_wrong_request() -> None:
    """It ends the call, and nobody is blamed."""
    wrong = {"message": "Unknown parameter", "type": "invalid_request_error", "code": None}
    eu, us = Responses(APIError(400, wrong, {})), Responses()
    with pool_of(eu=eu, us=us) as pool:
        with pytest.raises(InvalidRequest):
            pool.call(ask)
        assert pool.health("eu").consecutive_failures == 0


def test_a_lease() -> None:
    """One attempt by hand: the client's own error passes through, and is judged."""
    limit = {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}
    eu = Responses(APIError(429, limit, {"retry-after": "7"}))
    with pool_of(eu=eu) as pool:
        with pytest.raises(APIError), pool.lease() as lease:
            ask(lease)
        assert pool.health("eu").state == "cooling"
