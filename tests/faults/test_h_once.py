"""A call that must not be sent twice."""

from __future__ import annotations

import pytest

from llmpool import ConnectionFailed, Deployment, OpenAIProvider, ProviderPool, RateLimited
from llmpool.testing import CloseAfterReply, LocalServer
from llmpool.testing import RateLimited as Limited


@pytest.mark.parametrize("ask", ["complete", "stream"])
def test_a_stale_connection_and_no_retry(ask: str) -> None:
    """One request means one: even the repeat over a fresh connection, unseen as it is, is left out."""
    with LocalServer() as server:
        server.behave(CloseAfterReply("next request"))
        provider = OpenAIProvider(server.url, api_key=None, model="tiny")
        with ProviderPool([Deployment("eu", provider)], health_check=None) as pool:
            assert pool.complete("first", retry=False).text == "echo: first"
            with pytest.raises(ConnectionFailed) as caught:
                getattr(pool, ask)("second", retry=False)
            assert caught.value.attempts[0].sent == "maybe"
            assert server.hits("chat") == 2

            assert pool.complete("third").text == "echo: third"
            assert pool.complete("fourth").text == "echo: fourth"
            assert server.hits("chat") == 5


def test_a_key_that_is_refused_and_no_retry() -> None:
    """A function that could give a better key is not asked for a second request."""
    keys = iter(["sk-worn-out-0123456789", "sk-fresh-0123456789ab"])
    with LocalServer(api_keys=("sk-fresh-0123456789ab",)) as server:
        provider = OpenAIProvider(server.url, api_key=lambda: next(keys), model="tiny")
        with ProviderPool([Deployment("eu", provider)], health_check=None) as pool:
            with pytest.raises(Exception, match="401"):
                pool.complete("hello", retry=False)
            assert server.hits("chat") == 1


def test_what_cannot_have_been_processed_is_repeated() -> None:
    """``retry="unsent"`` goes on from a refusal, and from nothing else."""
    with LocalServer("eu") as eu, LocalServer("us") as us:
        deployments = [
            Deployment(server.name, OpenAIProvider(server.url, api_key=None, model="tiny"))
            for server in (eu, us)
        ]
        with ProviderPool(deployments, health_check=None, strategy="primary") as pool:
            eu.behave(Limited(retry_after=60))
            assert pool.complete("hello", retry="unsent").deployment == "us"
            us.behave(Limited(retry_after=60))
            with pytest.raises(RateLimited):
                pool.complete("hello", retry="unsent")
            assert (eu.hits("chat"), us.hits("chat")) == (1, 2)
