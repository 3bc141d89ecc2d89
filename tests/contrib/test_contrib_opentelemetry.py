"""Traces and metrics for OpenTelemetry: one span for each call, and what is recorded in and beside it."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from llmpool import (
    AttemptFacts,
    CallFacts,
    CompletionResponse,
    Deployment,
    EmbeddingResponse,
    HealthCheckConfig,
    NoHealthyDeployment,
    Observer,
    OpenAIProvider,
    ProviderPool,
    RateLimited,
    RetryPolicy,
    ServerFault,
    StreamChunk,
    StreamInterrupted,
    Usage,
)
from llmpool.testing import LocalServer, ManualClock, ScriptedProvider

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
    InMemorySpanExporter,
)

from llmpool.contrib import opentelemetry
from llmpool.contrib.opentelemetry import instrument

PROMPT = "what nobody else may read"
ANSWER = "what nobody else may hear"
USAGE = Usage(
    prompt_tokens=30,
    completion_tokens=12,
    total_tokens=42,
    raw={
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 5},
    },
)
WHOLE = CompletionResponse(ANSWER, usage=USAGE, model="tiny-1", id="answer-1", finish_reason="stop")


class Recorder:
    """An SDK that keeps in memory what it is given."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)

    def record(self, pool: ProviderPool) -> ProviderPool:
        """Record what a pool does."""
        return instrument(pool, tracer_provider=self.tracers, meter_provider=self.meters)

    def spans(self) -> list[Any]:
        """Give the spans that have ended."""
        return list(self._exporter.get_finished_spans())

    def span(self) -> Any:
        """Give the only one."""
        [span] = self.spans()
        return span

    def points(self) -> dict[str, list[Any]]:
        """Give what was measured, by name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def close(self) -> None:
        """Shut down."""
        self.tracers.shutdown()
        self.meters.shutdown()


@pytest.fixture
def sdk() -> Iterator[Recorder]:
    """An SDK of the test's own."""
    made = Recorder()
    yield made
    made.close()
    assert not trace.get_current_span().get_span_context().is_valid, "a span is still current"


def pool_of(*providers: Any, **options: Any) -> ProviderPool:
    """Make a pool of providers called a, b, c, asked in this order, on a clock that stands."""
    settings = {
        "name": "main",
        "strategy": "primary",
        "health_check": HealthCheckConfig(enabled=False),
        "retry": RetryPolicy(backoff_initial=0.0, max_wait=0.0),
        "clock": ManualClock(),
    }
    given = [Deployment(name, each) for name, each in zip("abc", providers, strict=False)]
    return ProviderPool(given, **{**settings, **options})


def current() -> int:
    """Give the number of the current span; 0 for none."""
    return int(trace.get_current_span().get_span_context().span_id)


# -- spans --------------------------------------------------------------------------------------


def test_a_call(sdk: Recorder) -> None:
    """A client's span named after what is asked for, with what the answer tells of itself."""
    pool = sdk.record(pool_of(ScriptedProvider(WHOLE, model="own")))
    pool.complete(PROMPT, model="fast")
    span = sdk.span()
    assert (span.name, span.kind) == ("chat fast", trace.SpanKind.CLIENT)
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ScriptedProvider",
        "gen_ai.request.model": "fast",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.id": "answer-1",
        "gen_ai.response.model": "tiny-1",
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "llmpool.attempts": 1,
        "llmpool.deployment": "a",
        "llmpool.pool": "main",
    }
    assert span.status.status_code is trace.StatusCode.UNSET


def test_a_failover(sdk: Recorder) -> None:
    """One span for all of it; each attempt is an event, and the last deployment is the span's."""
    pool = sdk.record(
        pool_of(ScriptedProvider(RateLimited(PROMPT, status=429)), ScriptedProvider(WHOLE))
    )
    pool.complete(PROMPT)
    span = sdk.span()
    assert span.name == "chat"
    assert [(event.name, dict(event.attributes)) for event in span.events] == [
        (
            "llmpool.attempt",
            {
                "error.type": "RateLimited",
                "http.response.status_code": 429,
                "llmpool.attempt.duration": 0.0,
                "llmpool.attempt.number": 1,
                "llmpool.attempt.verdict": "rate_limited",
                "llmpool.deployment": "a",
            },
        ),
        (
            "llmpool.attempt",
            {
                "llmpool.attempt.duration": 0.0,
                "llmpool.attempt.number": 2,
                "llmpool.attempt.verdict": "ok",
                "llmpool.deployment": "b",
            },
        ),
    ]
    assert span.attributes["llmpool.deployment"] == "b"
    assert span.attributes["llmpool.attempts"] == 2


def test_a_failure(sdk: Recorder) -> None:
    """Its kind is told, and nothing that was said in it."""
    pool = sdk.record(pool_of(ScriptedProvider(ServerFault(PROMPT, status=500))))
    with pytest.raises(ServerFault):
        pool.complete(PROMPT, retry=False)
    span = sdk.span()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description is None
    assert span.attributes["error.type"] == "ServerFault"
    [point] = sdk.points()["gen_ai.client.operation.duration"]
    assert point.attributes["error.type"] == "ServerFault"


def test_nobody_to_ask(sdk: Recorder) -> None:
    """A span without a provider."""
    pool = sdk.record(pool_of(ScriptedProvider()))
    pool.drain("a", timeout=0.0)
    with pytest.raises(NoHealthyDeployment):
        pool.complete(PROMPT)
    span = sdk.span()
    assert span.attributes["error.type"] == "NoHealthyDeployment"
    assert "gen_ai.provider.name" not in span.attributes
    [point] = sdk.points()["gen_ai.client.operation.duration"]
    assert dict(point.attributes) == {
        "error.type": "NoHealthyDeployment",
        "gen_ai.operation.name": "chat",
    }


def test_it_is_current_while_the_call_runs(sdk: Recorder) -> None:
    """What the provider does is below it, and it is below what the caller does."""
    tracer = sdk.tracers.get_tracer("the caller's")

    def answer(*_: Any) -> CompletionResponse:
        with tracer.start_as_current_span("HTTP"):
            return WHOLE

    pool = sdk.record(pool_of(ScriptedProvider(answer)))
    with tracer.start_as_current_span("work") as work:
        pool.complete(PROMPT)
        assert trace.get_current_span() is work
    http, chat, outer = sdk.spans()
    assert http.parent.span_id == chat.context.span_id
    assert chat.parent.span_id == outer.context.span_id


def test_a_clients_requests_are_sent_below_it(
    sdk: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is what an instrumentation of its library, which wraps what sends, makes of them."""
    import requests

    seen: list[int] = []
    send = requests.Session.send

    def wrapped(self: Any, *args: Any, **options: Any) -> Any:
        seen.append(current())
        return send(self, *args, **options)

    monkeypatch.setattr(requests.Session, "send", wrapped)
    with LocalServer("eu") as server, requests.Session() as session:
        pool = sdk.record(pool_of(ScriptedProvider()))
        assert pool.call(lambda lease: session.get(f"{server.url}/models", timeout=30.0)).ok
        with pool.lease():
            assert session.get(f"{server.url}/models", timeout=30.0).ok
    spans = {each.context.span_id: each.name for each in sdk.spans()}
    assert [spans[number] for number in seen] == ["call", "lease"]


def test_where_it_is_sent(sdk: Recorder) -> None:
    """The server's name and port, on the span and in the measures."""
    with LocalServer("eu") as server:
        provider = OpenAIProvider(server.url, api_key="sk-0123456789", model="tiny")
        with sdk.record(pool_of(provider, clock=None)) as pool:
            pool.complete(PROMPT)
        told = {"server.address": "127.0.0.1", "server.port": server.port}
    span = sdk.span()
    assert {**span.attributes, **told, "gen_ai.provider.name": "openai"} == span.attributes
    [point] = sdk.points()["gen_ai.client.operation.duration"]
    assert {**point.attributes, **told} == point.attributes


def test_kinds(sdk: Recorder) -> None:
    """Each names its operation."""
    pool = sdk.record(pool_of(ScriptedProvider(EmbeddingResponse([[1.0]], model="vectors-1"))))
    pool.embed("hello", model="vectors")
    pool.call(lambda lease: 3)
    with pool.lease(model="fast"):
        pass
    assert [span.name for span in sdk.spans()] == ["embeddings vectors", "call", "lease fast"]
    assert sdk.spans()[0].attributes["gen_ai.response.model"] == "vectors-1"


# -- streams ------------------------------------------------------------------------------------


def test_a_stream(sdk: Recorder) -> None:
    """Current until the caller has it, open until it ends; times of its first and further chunks."""
    clock = ManualClock()

    def pieces() -> Iterator[StreamChunk]:
        clock.advance(2.0)
        yield StreamChunk("one", model="tiny-1")
        for _ in range(3):
            clock.advance(0.25)
            yield StreamChunk("more", usage=USAGE)

    class Source:
        def complete(self, request: Any, timeout: float) -> Any:
            raise AssertionError

        def stream(self, request: Any, timeout: float) -> Any:
            return pieces()

    pool = sdk.record(pool_of(Source(), clock=clock))
    stream = pool.stream(PROMPT)
    assert current() == 0
    assert sdk.spans() == []
    list(stream)
    span = sdk.span()
    assert span.attributes["gen_ai.request.stream"] is True
    assert span.attributes["gen_ai.response.time_to_first_chunk"] == 2.0
    assert span.attributes["gen_ai.response.model"] == "tiny-1"
    points = sdk.points()
    [first] = points["gen_ai.client.operation.time_to_first_chunk"]
    assert (first.count, first.sum) == (1, 2.0)
    [gaps] = points["gen_ai.client.operation.time_per_output_chunk"]
    assert (gaps.count, gaps.sum) == (3, 0.75)
    [duration] = points["gen_ai.client.operation.duration"]
    assert duration.sum == 2.75


@pytest.mark.parametrize("way", ["closed", "forgotten", "broken"])
def test_a_stream_that_does_not_end_well(sdk: Recorder, way: str) -> None:
    """Its span ends with it; one that the reader left is no error."""
    pool = sdk.record(
        pool_of(
            ScriptedProvider(
                ["one", ServerFault("broke", status=500) if way == "broken" else "two"]
            )
        )
    )
    stream: Any = pool.stream(PROMPT)
    if way == "closed":
        stream.close()
    elif way == "broken":
        with pytest.raises(StreamInterrupted):
            list(stream)
    else:
        stream = None
        gc.collect()
        pool.health_status()
    span = sdk.span()
    error = "StreamInterrupted" if way == "broken" else None
    assert span.attributes.get("error.type") == error
    assert [event.name for event in span.events] == ["llmpool.attempt"]


# -- metrics ------------------------------------------------------------------------------------


def test_measures(sdk: Recorder) -> None:
    """Time of each call, and its tokens by kind, in the advised bounds."""
    pool = sdk.record(pool_of(ScriptedProvider(WHOLE, model="own")))
    pool.complete(PROMPT)
    points = sdk.points()
    known = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ScriptedProvider",
        "gen_ai.request.model": "own",
        "gen_ai.response.model": "tiny-1",
    }
    [duration] = points["gen_ai.client.operation.duration"]
    assert dict(duration.attributes) == known
    assert duration.explicit_bounds == opentelemetry.SECONDS
    tokens = {
        point.attributes["gen_ai.token.type"]: point
        for point in points["gen_ai.client.token.usage"]
    }
    assert {kind: point.sum for kind, point in tokens.items()} == {"input": 30, "output": 12}
    assert dict(tokens["input"].attributes) == {**known, "gen_ai.token.type": "input"}
    assert tokens["input"].explicit_bounds == opentelemetry.TOKENS
    assert opentelemetry.TOKENS[-1] == 67108864


def test_models_that_callers_make_up(sdk: Recorder) -> None:
    """Measures keep so many apart, and call the others "other"; spans name each."""
    pool = sdk.record(pool_of(ScriptedProvider("hi", repeat=True)))
    for number in range(30):
        pool.complete(PROMPT, model=f"made-up-{number}")
    points = sdk.points()["gen_ai.client.operation.duration"]
    assert len(points) == 21
    assert {point.count for point in points} == {1, 10}
    assert sdk.spans()[-1].attributes["gen_ai.request.model"] == "made-up-29"


def test_without_an_sdk() -> None:
    """Nothing is recorded, and calls go on as ever."""
    pool = instrument(pool_of(ScriptedProvider("hi", "hi")))
    assert pool.complete(PROMPT).text == "hi"
    assert "".join(chunk.text for chunk in pool.stream(PROMPT)) == "hi"


# -- how it is put on ---------------------------------------------------------------------------


def test_twice(sdk: Recorder) -> None:
    """The same once; with other providers it is another."""
    pool = pool_of(ScriptedProvider("hi"))
    assert sdk.record(sdk.record(pool)) is pool
    other = Recorder()
    other.record(pool)
    pool.complete(PROMPT)
    other.close()
    assert len(sdk.spans()) == len(other.spans()) == 1


def test_what_is_no_pool() -> None:
    """It is refused."""
    with pytest.raises(TypeError, match="pool: wanted a ProviderPool"):
        instrument("main")  # type: ignore[arg-type]


def test_nothing_is_kept_of_a_call(sdk: Recorder) -> None:
    """It leaves no ring behind that only gc finds."""
    calls: list[weakref.ref[CallFacts]] = []

    class Looking(Observer):
        def call_started(self, call: CallFacts) -> None:
            calls.append(weakref.ref(call))

    class Failing:
        def complete(self, request: Any, timeout: float) -> str:
            # Under no name here: the frame would hold the error that holds it.
            raise ServerFault("broke", status=500)

    pool = sdk.record(pool_of(ScriptedProvider("hi", "hi"), Failing()))
    pool.observe(Looking())
    gc.collect()
    gc.disable()
    try:
        pool.complete(PROMPT)
        list(pool.stream(PROMPT))
        pool.drain("a", timeout=0.0)
        with contextlib.suppress(ServerFault):
            pool.complete(PROMPT, retry=False)
        assert [each() for each in calls] == [None] * 3
    finally:
        gc.enable()


def test_a_forgotten_pool(sdk: Recorder) -> None:
    """It is collected."""
    pool = sdk.record(pool_of(ScriptedProvider("hi")))
    pool.complete(PROMPT)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None


def test_a_call_that_it_did_not_see_begin(sdk: Recorder) -> None:
    """As when a library of tracing fails: nothing is recorded of it, and nothing breaks."""
    observers: list[Any] = []
    pool = pool_of(ScriptedProvider())
    pool.observe = observers.append  # type: ignore[method-assign]
    sdk.record(pool)
    call = CallFacts("main", None, "chat")
    facts = AttemptFacts(call=call, number=1, deployment="a", provider="P")
    [tracing] = observers
    tracing.attempt_started(facts)
    tracing.attempt_ended(None, facts)
    tracing.call_ended(call, None)
    tracing.call_returned(call)
    assert sdk.spans() == []


def test_nothing_that_was_said(sdk: Recorder) -> None:
    """No prompt and no answer is in any of it."""
    pool = sdk.record(
        pool_of(ScriptedProvider(ServerFault(PROMPT, status=503)), ScriptedProvider(WHOLE))
    )
    pool.complete(PROMPT)
    said = sdk.span().to_json() + repr(sdk.points())
    assert "nobody else" not in said


# -- vendors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "address", "vendor"),
    [
        ("OpenAIProvider", "api.openai.com", "openai"),
        ("OpenAIProvider", "127.0.0.1", "openai"),
        ("OpenAIProvider", "api.groq.com", "groq"),
        ("OpenAIProvider", "notapi.groq.com.example", "openai"),
        ("OpenAIProvider", "notapi.x.ai", "openai"),
        ("OpenAIProvider", "bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("OpenAIProvider", "us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("OpenAIProvider", "mine.openai.azure.com", "azure.ai.openai"),
        ("OpenAIProvider", "mine.services.ai.azure.com", "azure.ai.inference"),
        ("AzureOpenAIProvider", "gateway.example", "azure.ai.openai"),
        ("AnthropicProvider", "api.anthropic.com", "anthropic"),
        ("GeminiProvider", "generativelanguage.googleapis.com", "gcp.gemini"),
        ("ClientProvider", None, "ClientProvider"),
    ],
)
def test_vendors(provider: str, address: str | None, vendor: str) -> None:
    """By the host, or else by what is spoken there."""
    call = CallFacts("main", None, "chat")
    facts = AttemptFacts(call=call, number=1, deployment="a", provider=provider, address=address)
    assert opentelemetry._provider(facts) == vendor
