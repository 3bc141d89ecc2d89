"""
Small pieces of work, each to be done again and again in one thread: what is counted or timed.

Run as a program with a name and a number it does that work so often; a counter of instructions runs
it so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

Loop = Callable[[int], None]


def calls_of_pool(size: int = 3, strategy: str = "least_connections") -> Loop:
    """Call a pool of so many deployments whose provider does nothing."""
    from llmpool import CompletionResponse, Deployment, ProviderPool

    class Nothing:
        answer = CompletionResponse("ok")

        def complete(self, request: object, timeout: float) -> CompletionResponse:
            return self.answer

    provider = Nothing()
    deployments = [Deployment(f"d{number}", provider) for number in range(size)]
    pool = ProviderPool(deployments, strategy=strategy, health_check=None)

    def loop(count: int) -> None:
        complete = pool.complete
        for _ in range(count):
            complete("hello")

    return loop


def calls_of_tenacity() -> Loop:
    """Call a function that does nothing through a plain ``Retrying``."""
    import tenacity

    retrying = tenacity.Retrying(stop=tenacity.stop_after_attempt(3))

    def nothing() -> str:
        return "ok"

    def loop(count: int) -> None:
        for _ in range(count):
            retrying(nothing)

    return loop


def calls_of_breaker() -> Loop:
    """Call a function that does nothing through pybreaker's circuit breaker."""
    import pybreaker

    breaker = pybreaker.CircuitBreaker()

    def nothing() -> str:
        return "ok"

    def loop(count: int) -> None:
        for _ in range(count):
            breaker.call(nothing)

    return loop


def calls_of_router(size: int = 3) -> Loop:
    """Call LiteLLM's Router over so many deployments, with its own mock response."""
    import litellm

    router = litellm.Router(
        model_list=[
            {"model_name": "m", "litellm_params": {"model": f"openai/m{n}", "api_key": "k"}}
            for n in range(size)
        ]
    )
    messages = [{"role": "user", "content": "hello"}]

    def loop(count: int) -> None:
        for _ in range(count):
            router.completion("m", messages, mock_response="ok")

    return loop


def nothing_at_all() -> Loop:
    """Do nothing."""
    return lambda count: None


WORK: dict[str, Callable[[], Loop]] = {
    "nothing": nothing_at_all,
    "llmpool-3": calls_of_pool,
    "llmpool-1000": lambda: calls_of_pool(1000),
    "tenacity": calls_of_tenacity,
    "pybreaker": calls_of_breaker,
}

if __name__ == "__main__":
    WORK[sys.argv[1]]()(int(sys.argv[2]))
