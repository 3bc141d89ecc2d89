"""
Code as users write it, for ``mypy --strict`` to read; it is never run.

``assert_type`` says what a reader of the documentation expects to get.
"""

from __future__ import annotations

import datetime
import random
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import requests
from typing_extensions import assert_type

import llmpool
from llmpool import (
    AnthropicProvider,
    Attempt,
    AzureOpenAIProvider,
    Candidate,
    ClientProvider,
    CompletionRequest,
    CompletionResponse,
    CompletionStream,
    Custom,
    Deployment,
    DeploymentStatus,
    EmbeddingResponse,
    Event,
    Explanation,
    GeminiProvider,
    HealthCheckConfig,
    HealthChecker,
    HealthCheckerHandle,
    HealthCheckResult,
    Lease,
    Message,
    OpenAIProvider,
    Ping,
    PoolHealthStatus,
    Prices,
    Probe,
    ProviderPool,
    RetryPolicy,
    Role,
    RoutingStrategy,
    StreamChunk,
    ToolCall,
    Usage,
    Verdict,
)
from llmpool import testing as doubles
from llmpool.contrib import opentelemetry, prometheus
from llmpool.providers.base import (
    EmbeddingProvider,
    PingingProvider,
    Provider,
    StreamingProvider,
)

# -- a pool ---------------------------------------------------------------------------------


def give_key() -> str:
    """Give a key, as a vault would."""
    return "key"


def vendors() -> list[Deployment]:
    """The providers of the other vendors, and a server known by name."""
    claude = AnthropicProvider(api_key="env:CLAUDE_KEY", model="claude", max_tokens=1024)
    azure = AzureOpenAIProvider(
        "https://my.openai.azure.com", deployment="gpt", api_version="2024-10-21", token=give_key
    )
    gemini = GeminiProvider(api_key=give_key, model="gemini-2.5-flash", connect_timeout=2.0)
    local = OpenAIProvider.preset("ollama", model="llama3.2", ping_path="/models")
    return [
        Deployment(name, given)
        for name, given in {"a": claude, "b": azure, "c": gemini, "d": local}.items()
    ]


def build() -> ProviderPool:
    """Every argument of the constructors, each in each of its forms."""
    eu = OpenAIProvider(
        "https://eu.example/v1",
        api_key=give_key,
        model="gpt-4o-mini",
        headers={"X-Team": "search"},
        ping_path="/health",
        proxies={},
        verify="/etc/ssl/own.pem",
        connect_timeout=2.0,
    )
    us = OpenAIProvider("https://us.example/v1", api_key="env:US_KEY", verify=True)
    local = OpenAIProvider("http://127.0.0.1:8080/v1", api_key=None)
    return ProviderPool(
        [
            Deployment("eu", eu, weight=2, region="eu", tags=("gdpr",), quota_group="team"),
            Deployment("us", us, weight=0.5, models={"small": "gpt-4o-mini"}, timeout=20),
            Deployment("spare", local, priority=1, max_concurrent=4),
        ],
        name="main",
        strategy="least_connections",
        health_check=HealthCheckConfig(
            30.0,
            timeout=10.0,
            failure_threshold=3,
            recovery_threshold=2,
            enabled=True,
            jitter=0.1,
            unhealthy_interval=5.0,
            skip_after_traffic=True,
            max_workers=32,
        ),
        check=Ping(),
        retry=RetryPolicy(
            3,
            timeout=60.0,
            max_wait=10.0,
            backoff_initial=0.5,
            backoff_max=8.0,
            budget_ratio=0.2,
            budget_min=3,
        ),
        fail_open=True,
        listeners=[tell, events.append],
    )


events: list[Event] = []


def tell(event: Event) -> None:
    """Listen to changes of state."""
    assert_type(event.pool, str)
    assert_type(event.deployment, str)
    assert_type(event.old, str)
    assert_type(event.new, str)
    assert_type(event.reason, str | None)
    assert_type(event.at, float)


def money(pool: ProviderPool) -> list[Deployment]:
    """Tell prices and limits; read what was spent."""
    prices = Prices(input=0.15, output=0.60, cached_input=0.075)
    assert_type(prices.cost(Usage(prompt_tokens=5)), float)
    assert_type(pool.health_status().cost, float | None)
    status = pool.health("eu")
    assert_type(status.input_tokens, int)
    assert_type(status.cost, float | None)
    assert_type(status.requests_left, int | None)
    pool.call(lambda lease: lease.count({"usage": {"total_tokens": 5}}), tokens=100)
    with pool.lease(tokens=100) as lease:
        lease.count(None)
    provider = pool.deployments[0].provider
    return [
        Deployment("eu", provider, prices=prices, requests_per_minute=60, vendor="azure"),
        Deployment("us", provider, tokens_per_minute=100_000, max_context=128_000),
    ]


# -- calls ----------------------------------------------------------------------------------


def complete(pool: ProviderPool) -> str:
    """Ask in every form that is allowed, and read the answer."""
    pool.complete("hello")
    pool.complete([{"role": "user", "content": "hello"}], model="small", max_tokens=5)
    pool.complete([Message(Role.SYSTEM, "be brief"), {"role": "user", "content": "hello"}])
    pool.complete(CompletionRequest("hello", temperature=0.0), timeout=5, retry=False)
    pool.complete("hello", retry="unsent", tags={"gdpr"}, affinity_key="thread-7")
    pool.complete("hello", fallback_on={"context_length", "content_filter"})
    pool.complete(
        [Message("user", [{"type": "text", "text": "what is it?"}, {"type": "image_url"}])],
        tools=[{"type": "function", "function": {"name": "weather"}}],
        response_format={"type": "json_object"},
        top_p=0.9,
    )
    answer = pool.complete("hello")
    assert_type(answer, CompletionResponse)
    assert_type(answer.text, str)
    assert_type(answer.finish_reason, str | None)
    assert_type(answer.tool_calls, tuple[ToolCall, ...])
    assert_type(answer.usage, Usage | None)
    assert_type(answer.attempts, tuple[Attempt, ...])
    assert_type(answer.deployment, str | None)
    assert_type(answer.latency, float | None)
    assert_type(answer.cost, float | None)
    if answer.usage is not None:
        assert_type(answer.usage.total_tokens, int)
        assert_type(answer.usage.cached_tokens, int)
    for call in answer.tool_calls:
        assert_type(call.arguments, str)
    for attempt in answer.attempts:
        assert_type(attempt.verdict, Verdict)
    return answer.text


def stream(pool: ProviderPool) -> CompletionResponse:
    """Read a stream to its end, and close one early."""
    with pool.stream("hello", timeout=30, first_content_timeout=5, gap_timeout=None) as pieces:
        assert_type(pieces, CompletionStream)
        for chunk in pieces:
            assert_type(chunk, StreamChunk)
            assert_type(chunk.text, str)
    for chunk in pool.stream("hello"):
        if chunk.finish_reason:
            break
    return pieces.response


def existing_clients(pool: ProviderPool) -> int:
    """Put a pool under clients that exist, and pass on a request by hand."""
    pool.openai(timeout=5.0, organization="team").close()
    pool.anthropic().close()
    pool.http_transport()
    with pool.requests_session("https://api.openai.com/") as session:
        assert_type(session, requests.Session)
    answer = pool.forward("GET", "/v1/models", [("Accept", "*/*")], None, timeout=5.0)
    assert_type(answer.headers, list[tuple[str, str]])
    assert_type(b"".join(answer), bytes)
    answer.close()
    return answer.status


def embed(pool: ProviderPool) -> tuple[tuple[float, ...], ...]:
    """Embed one text and several."""
    assert_type(pool.embed("a"), EmbeddingResponse)
    return pool.embed(["a", "b"], model="small", timeout=10).vectors


def call(pool: ProviderPool) -> int:
    """Run a function of one's own: what it gives is what comes back, with its type."""

    def ask(lease: Lease) -> int:
        assert_type(lease.remaining, float)
        assert_type(lease.deployment, Deployment)
        assert_type(lease.model, str | None)
        answered = lease.client.ask(timeout=lease.remaining)
        return len(str(answered))

    assert_type(pool.call(ask, model="small", timeout=5, retry=False), int)
    return pool.call(ask)


def lease(pool: ProviderPool) -> None:
    """Make one attempt by hand."""
    with pool.lease(model="small", timeout=5, tags=["gdpr"]) as held:
        assert_type(held, Lease)
        held.client.ask(timeout=held.remaining)


def many(pool: ProviderPool) -> list[str]:
    """Run a batch, errors in their places."""
    try:
        answers = pool.map(
            ["a", [Message("user", "b")], CompletionRequest("c")],
            max_workers=4,
            progress=False,
            return_errors=True,
            timeout=30,
        )
    except llmpool.MapInterrupted as interrupted:
        answers = interrupted.results
    return [answer.text for answer in answers if isinstance(answer, CompletionResponse)]


def survive(pool: ProviderPool) -> float | None:
    """Handle the errors by what can be done about them."""
    try:
        pool.complete("hello")
    except llmpool.ContextLengthExceeded as error:
        assert_type(error.message, str)
    except (llmpool.InvalidRequest, llmpool.ContentFiltered):
        raise
    except llmpool.StreamInterrupted as error:
        assert_type(error.partial, str)
    except llmpool.DeadlineExceeded as error:
        late: TimeoutError = error
        raise late from None
    except llmpool.ProviderError as error:
        assert_type(error.status, int | None)
        assert_type(error.code, str | None)
        assert_type(error.request_id, str | None)
        assert_type(error.attempts, tuple[Attempt, ...])
        return error.retry_after
    except llmpool.NoHealthyDeployment as error:
        assert_type(error.reasons, dict[str, str])
        return error.retry_after
    except llmpool.PoolClosed:
        return None
    except llmpool.LLMPoolError:
        raise
    return None


# -- health ---------------------------------------------------------------------------------


def look(pool: ProviderPool) -> None:
    """Read what the pool tells of itself."""
    assert_type(pool.deployments, tuple[Deployment, ...])
    assert_type(pool.health("eu"), DeploymentStatus)
    assert_type(pool.all_health(), dict[str, DeploymentStatus])
    assert_type(pool.healthy_count(), int)
    status = pool.health_status()
    assert_type(status, PoolHealthStatus)
    assert_type(status.pool_healthy, bool)
    assert_type(status.avg_latency_ms, float | None)
    assert_type(status.to_dict(), dict[str, Any])
    assert_type(pool.explain(), dict[str, Explanation])
    assert_type(pool.explain()["eu"].until, float | None)
    assert_type(status.deployments[0].last_check, HealthCheckResult | None)


def bring_client(client: object) -> tuple[StreamingProvider, EmbeddingProvider, PingingProvider]:
    """Make a provider of a client that is there already."""
    provider = ClientProvider(client, model="gpt-4o-mini", name="mine")
    Deployment("mine", provider)
    return provider, provider, provider


def change(pool: ProviderPool) -> bool:
    """Change the roster at run time."""
    pool.add(Deployment("new", OpenAIProvider("http://127.0.0.1:1/v1", api_key=None)))
    drained = pool.drain("eu", timeout=None)
    pool.resume("eu")
    return drained and pool.remove("new", timeout=1)


class Watching(llmpool.Observer):
    """Be told of some things."""

    def attempt_ended(self, attempt: llmpool.Attempt, facts: llmpool.AttemptFacts) -> None:
        """Look at an attempt."""
        assert_type(facts.call, llmpool.CallFacts)
        assert_type(facts.first_content, float | None)

    def call_ended(self, call: llmpool.CallFacts, end: llmpool.CallEnd) -> None:
        """Look at a call."""
        assert_type(end.attempts, tuple[llmpool.Attempt, ...])


def watch(pool: ProviderPool) -> None:
    """Have a pool watched, by parts of one's own and by those that there are."""
    pool.observe(Watching())
    assert_type(prometheus.instrument(pool, namespace="mine"), ProviderPool)
    assert_type(opentelemetry.instrument(pool), ProviderPool)


def look_in(deployment: Deployment) -> bool | HealthCheckResult:
    """Check by hand, as ``Custom`` wants it."""
    if deployment.region == "eu":
        return True
    now = datetime.datetime.now(datetime.timezone.utc)
    return HealthCheckResult(deployment.name, False, 0.1, "abroad", now)


def check(pool: ProviderPool) -> None:
    """Run checks: by the pool, by hand, in every kind."""
    assert_type(pool.check_now(), tuple[HealthCheckResult, ...])
    assert_type(pool.start(), HealthCheckerHandle)
    checker = HealthChecker(pool, HealthCheckConfig(5), check=Probe("small", max_tokens=1))
    assert_type(checker.check_once(), tuple[HealthCheckResult, ...])
    with checker.start() as handle:
        assert_type(handle.stopped, threading.Event)
        handle.stop()
        assert_type(handle.join(1.0), bool)
    HealthChecker(pool, check=Custom(look_in))
    with pool:
        pool.close(timeout=1.0)


# -- parts of the user's own ----------------------------------------------------------------


class Nearest:
    """A strategy."""

    def pick(self, candidates: tuple[Candidate, ...]) -> Candidate:
        """Choose the quickest known one."""
        return min(candidates, key=lambda candidate: (candidate.latency or 0.0, candidate.load))


class Parrot:
    """A provider with everything that is optional."""

    model = "parrot-1"

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """Say the last message again."""
        if timeout < 0.001:
            raise llmpool.RateLimited("slow down", status=429, retry_after=2.0)
        said = request.messages[-1].content
        usage = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
        return CompletionResponse(str(said), finish_reason="stop", usage=usage)

    def stream(self, request: CompletionRequest, timeout: float) -> Iterator[StreamChunk]:
        """Say it piece by piece."""
        for word in self.complete(request, timeout).text.split():
            yield StreamChunk(word)
        yield StreamChunk(finish_reason="stop")

    def embed(self, texts: Sequence[str], model: str | None, timeout: float) -> EmbeddingResponse:
        """Count letters."""
        return EmbeddingResponse([[float(len(text))] for text in texts], model=model)

    def ping(self, timeout: float) -> None:
        """Be there."""

    def close(self) -> None:
        """Let go of nothing."""


class Terse:
    """The least that a provider can be."""

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """Say yes."""
        return CompletionResponse("yes")


def bring() -> ProviderPool:
    """Put them into a pool; each fits its protocol."""
    strategy: RoutingStrategy = Nearest()
    terse: Provider = Terse()
    streams: StreamingProvider = Parrot()
    embeds: EmbeddingProvider = Parrot()
    pings: PingingProvider = Parrot()
    return ProviderPool(
        [
            Deployment("terse", terse),
            Deployment("streams", streams),
            Deployment("embeds", embeds),
            Deployment("pings", pings),
        ],
        strategy=strategy,
        health_check=None,
    )


# -- tests of the user's own ----------------------------------------------------------------


def play(request: Any, timeout: float | None) -> str:
    """Be a step of a script."""
    return f"{len(request.messages)} within {timeout}"


def test_with_doubles() -> None:
    """Use every double."""
    clock = doubles.ManualClock()
    scripted = doubles.ScriptedProvider(
        "first", llmpool.RateLimited("slow down", retry_after=2.0), ["a", "b"], play, repeat=True
    )
    pool = ProviderPool([Deployment("s", scripted)], clock=clock, rng=random.Random(7))
    pool.complete("hello")
    clock.advance(30.0)
    assert_type(scripted.calls, tuple[doubles.Call, ...])

    with doubles.LocalServer("eu", api_keys=["key"], latency=0.01) as server:
        assert_type(server.url, str)
        server.behave(doubles.RateLimited(retry_after=2), on="chat")
        server.behave(doubles.Sequence([doubles.Status(500), doubles.Slow(0.1)]))
        server.behave(doubles.FailWhen("poison", doubles.Reset(), then=doubles.Cut("headers")))
        server.behave(answer_oddly)
        server.restore()
        assert server.wait_for(hits=1, timeout=5.0)
        assert_type(server.requests, tuple[doubles.Received, ...])


def answer_oddly(exchange: doubles.Exchange) -> None:
    """Be a behaviour of one's own."""
    exchange.send(exchange.answer(text=exchange.request.prompt.upper()))
