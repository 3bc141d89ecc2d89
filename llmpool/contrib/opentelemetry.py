"""
Traces and metrics of pools for OpenTelemetry, after its conventions for generative AI.

Without a configured SDK nothing is recorded. The names are those of the conventions as they stood in
June 2026; these are in development.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any

import attrs

from llmpool import _validators as valid
from llmpool.contrib._models import Models
from llmpool.contrib._optional import load
from llmpool.messages import Usage
from llmpool.observers import AttemptFacts, CallEnd, CallFacts, Observer
from llmpool.outcomes import Attempt
from llmpool.pool import ProviderPool

_WANTED = ("llmpool.contrib.opentelemetry", "opentelemetry")
_context = load("opentelemetry.context", *_WANTED)
_metrics = load("opentelemetry.metrics", *_WANTED)
_trace = load("opentelemetry.trace", *_WANTED)

SECONDS = tuple(0.01 * 2**step for step in range(14))
TOKENS = tuple(4**step for step in range(14))
"""Bounds of the histograms, as the conventions advise them."""

_BY_HOST = {
    "ai.azure.com": "azure.ai.inference",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "amazonaws.com": "aws.bedrock",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "ml.cloud.ibm.com": "ibm.watsonx.ai",
    "openai.azure.com": "azure.ai.openai",
}
_BY_CLASS = {
    "AnthropicProvider": "anthropic",
    "AzureOpenAIProvider": "azure.ai.openai",
    "GeminiProvider": "gcp.gemini",
    "OpenAIProvider": "openai",
}
"""What speaks the OpenAI format and is known by no host is ``openai``, as the conventions want it."""


def instrument(
    pool: ProviderPool, *, tracer_provider: Any = None, meter_provider: Any = None
) -> ProviderPool:
    """
    Trace and measure what *pool* does from now on; give the pool back. A second time does nothing.

    Each call is one span, current in the caller's thread while the call runs, so that what it sends is
    traced below it; a stream's span ends with the stream. Each attempt is an event of the span. Nothing
    that was said is recorded.

    Args:
        tracer_provider: None for the global one; likewise *meter_provider*.
    """
    if not isinstance(pool, ProviderPool):
        valid.refuse("pool", "a ProviderPool", pool, kind=TypeError)
    providers = (tracer_provider, meter_provider)
    with _lock:  # critical section
        known = _known.setdefault(pool, [])
        if any(all(map(_same, providers, each)) for each in known):
            return pool
        known.append(providers)
    pool.observe(_Tracing(pool, *providers))
    return pool


def _same(one: object, other: object) -> bool:
    return one is other


# Guards the field below it; it re-enters for a signal handler.
_lock = threading.RLock()
_known: weakref.WeakKeyDictionary[ProviderPool, list[tuple[Any, Any]]] = weakref.WeakKeyDictionary()


class _Instruments:
    """The histograms of one meter."""

    def __init__(self, meter: Any) -> None:
        self.duration = _histogram(
            meter, "gen_ai.client.operation.duration", "s", "Time of a call.", SECONDS
        )
        self.tokens = _histogram(
            meter, "gen_ai.client.token.usage", "{token}", "Tokens of a call.", TOKENS
        )
        self.first_chunk = _histogram(
            meter,
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time of a call until the first content of its stream.",
            SECONDS,
        )
        self.per_chunk = _histogram(
            meter,
            "gen_ai.client.operation.time_per_output_chunk",
            "s",
            "Time spent waiting for each further chunk of a stream.",
            SECONDS,
        )


def _histogram(meter: Any, name: str, unit: str, text: str, bounds: tuple[float, ...]) -> Any:
    return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=bounds)


@attrs.define
class _Open:
    """A call under way: its span, what undoes that it is current, and whom it asked last."""

    span: Any
    token: Any
    asked: AttemptFacts | None = None


class _Tracing(Observer):
    """
    Records what one pool does; it holds no pool.

    Threads: any; what belongs to a call is with the call.
    """

    def __init__(self, pool: ProviderPool, tracer_provider: Any, meter_provider: Any) -> None:
        from llmpool import __version__

        self._tracer = _trace.get_tracer("llmpool", __version__, tracer_provider)
        meter = _metrics.get_meter("llmpool", __version__, meter_provider)
        self._instruments = _Instruments(meter)
        self._models = Models(pool)

    def call_started(self, call: CallFacts) -> None:
        """Begin the span, and make it current."""
        facts: dict[str, Any] = {
            "gen_ai.operation.name": call.kind,
            "llmpool.pool": call.pool,
        }
        if call.model is not None:
            facts["gen_ai.request.model"] = call.model
        if call.stream:
            facts["gen_ai.request.stream"] = True
        named = call.kind if call.model is None else f"{call.kind} {call.model}"
        span = self._tracer.start_span(named, kind=_trace.SpanKind.CLIENT, attributes=facts)
        open_call = call.notes[self] = _Open(span, None)
        open_call.token = _context.attach(_trace.set_span_in_context(span))

    def call_returned(self, call: CallFacts) -> None:
        """Make current again what was before."""
        open_call: _Open | None = call.notes.get(self)
        if open_call is not None and open_call.token is not None:
            token, open_call.token = open_call.token, None
            _context.detach(token)

    def attempt_started(self, facts: AttemptFacts) -> None:
        """Note on the span who is asked; whoever is asked last stays."""
        open_call: _Open | None = facts.call.notes.get(self)
        if open_call is not None:
            open_call.asked = facts
            open_call.span.set_attributes(
                {**_server(facts), "llmpool.deployment": facts.deployment}
            )

    def attempt_ended(self, attempt: Attempt, facts: AttemptFacts) -> None:
        """Note it as an event of the span."""
        open_call: _Open | None = facts.call.notes.get(self)
        if open_call is None:
            return
        told: dict[str, Any] = {
            "llmpool.attempt.number": facts.number,
            "llmpool.attempt.verdict": str(attempt.verdict),
            "llmpool.attempt.duration": attempt.latency,
            "llmpool.deployment": attempt.deployment,
        }
        if attempt.error is not None:
            told["error.type"] = attempt.error
        if attempt.status is not None:
            told["http.response.status_code"] = attempt.status
        open_call.span.add_event("llmpool.attempt", told)

    def call_ended(self, call: CallFacts, end: CallEnd) -> None:
        """End the span, and count what there is to count."""
        open_call: _Open | None = call.notes.get(self)
        if open_call is None:
            return
        span = open_call.span
        span.set_attributes(_end_facts(end))
        if end.error is not None:
            span.set_status(_trace.Status(_trace.StatusCode.ERROR))
        try:
            self._measure(call, end, open_call)
        finally:
            # It leads to the call, whose notes lead here: a ring, were it kept.
            open_call.asked = None
            span.end()

    def _measure(self, call: CallFacts, end: CallEnd, open_call: _Open) -> None:
        asked = open_call.asked
        facts: dict[str, Any] = {"gen_ai.operation.name": call.kind}
        own = None if asked is None else asked.upstream
        if model := self._models.bounded(call.model or own):
            facts["gen_ai.request.model"] = model
        if asked is not None:
            facts.update(_server(asked))
        if end.response_model is not None:
            facts["gen_ai.response.model"] = self._models.bounded(end.response_model)
        # Exemplars point to the span, which in a stream's reader is not the current one.
        within = _trace.set_span_in_context(open_call.span)
        for_tokens = dict(facts)
        if end.error is not None:
            facts["error.type"] = end.error
        instruments = self._instruments
        instruments.duration.record(end.duration, facts, within)
        if end.first_content is not None:
            instruments.first_chunk.record(end.first_content, facts, within)
        for gap in end.gaps:
            instruments.per_chunk.record(gap, facts, within)
        if end.usage is not None:
            counts = {"input": end.usage.input_tokens, "output": end.usage.output_tokens}
            for kind, count in counts.items():
                instruments.tokens.record(count, {**for_tokens, "gen_ai.token.type": kind}, within)


def _server(facts: AttemptFacts) -> dict[str, Any]:
    told: dict[str, Any] = {"gen_ai.provider.name": _provider(facts)}
    if facts.address is not None:
        told["server.address"] = facts.address
    if facts.port is not None:
        told["server.port"] = facts.port
    return told


def _provider(facts: AttemptFacts) -> str:
    """Name the vendor as the conventions do: by the host, or else by what is spoken there."""
    host = facts.address or ""
    for known, vendor in _BY_HOST.items():
        if host == known or host.endswith((f".{known}", f"-{known}")):
            return vendor
    return _BY_CLASS.get(facts.provider, facts.provider)


def _end_facts(end: CallEnd) -> Mapping[str, Any]:
    told: dict[str, Any] = {
        "error.type": end.error,
        "gen_ai.response.finish_reasons": end.finish_reasons or None,
        "gen_ai.response.id": end.response_id,
        "gen_ai.response.model": end.response_model,
        "gen_ai.response.time_to_first_chunk": end.first_content,
        "llmpool.attempts": len(end.attempts),
        **_usage_facts(end.usage),
    }
    return {name: value for name, value in told.items() if value is not None}


def _usage_facts(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    return {
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens or None,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
    }
