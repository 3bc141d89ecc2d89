"""A synchronous, thread-safe pool of LLM deployments that look like one provider."""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

from llmpool import _logs
from llmpool.checker import HealthChecker, HealthCheckerHandle
from llmpool.checks import Custom, Ping, Probe
from llmpool.config import Deployment, HealthCheckConfig, Prices, RetryPolicy
from llmpool.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ContentFiltered,
    ContextLengthExceeded,
    DeadlineExceeded,
    InvalidRequest,
    LLMPoolError,
    MalformedResponse,
    MapInterrupted,
    NoHealthyDeployment,
    PoolClosed,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerFault,
    StreamInterrupted,
)
from llmpool.leases import Lease
from llmpool.messages import (
    Choice,
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    Message,
    Role,
    StreamChunk,
    ToolCall,
    Usage,
)
from llmpool.observers import AttemptFacts, CallEnd, CallFacts, Observer
from llmpool.outcomes import Attempt, Verdict
from llmpool.pool import ProviderPool
from llmpool.results import BatchResults
from llmpool.status import (
    DeploymentStatus,
    Event,
    Explanation,
    HealthCheckResult,
    PoolHealthStatus,
)
from llmpool.strategies import Candidate, RoutingStrategy
from llmpool.streams import CompletionStream

if TYPE_CHECKING:
    from llmpool.providers.anthropic import AnthropicProvider
    from llmpool.providers.azure import AzureOpenAIProvider
    from llmpool.providers.client import ClientProvider
    from llmpool.providers.gemini import GeminiProvider
    from llmpool.providers.openai import OpenAIProvider
    from llmpool.settings import ConfigError

__version__ = "0.1.0"

__all__ = [
    "AnthropicProvider",
    "Attempt",
    "AttemptFacts",
    "AuthenticationFailed",
    "AzureOpenAIProvider",
    "BatchResults",
    "CallEnd",
    "CallFacts",
    "Candidate",
    "Choice",
    "ClientProvider",
    "CompletionRequest",
    "CompletionResponse",
    "CompletionStream",
    "ConfigError",
    "ConnectionFailed",
    "ContentFiltered",
    "ContextLengthExceeded",
    "Custom",
    "DeadlineExceeded",
    "Deployment",
    "DeploymentStatus",
    "EmbeddingResponse",
    "Event",
    "Explanation",
    "GeminiProvider",
    "HealthCheckConfig",
    "HealthCheckResult",
    "HealthChecker",
    "HealthCheckerHandle",
    "InvalidRequest",
    "LLMPoolError",
    "Lease",
    "MalformedResponse",
    "MapInterrupted",
    "Message",
    "NoHealthyDeployment",
    "Observer",
    "OpenAIProvider",
    "Ping",
    "PoolClosed",
    "PoolHealthStatus",
    "Prices",
    "Probe",
    "ProviderError",
    "ProviderPool",
    "QuotaExhausted",
    "RateLimited",
    "RetryPolicy",
    "Role",
    "RoutingStrategy",
    "ServerFault",
    "StreamChunk",
    "StreamInterrupted",
    "ToolCall",
    "Usage",
    "Verdict",
]

_PROVIDERS = {
    "AnthropicProvider": "anthropic",
    "AzureOpenAIProvider": "azure",
    "ClientProvider": "client",
    "GeminiProvider": "gemini",
    "OpenAIProvider": "openai",
}

logging.getLogger("llmpool").addHandler(logging.NullHandler())
_logs.configure(os.environ.get(_logs.NAME))


def __getattr__(name: str) -> Any:
    # requests takes longer to import than all the rest, and who brings a client of another kind
    # does not need it.
    module = _PROVIDERS.get(name)
    if module is not None:
        return getattr(importlib.import_module(f"llmpool.providers.{module}"), name)
    if name == "ConfigError":
        return importlib.import_module("llmpool.settings").ConfigError
    raise AttributeError(f"module 'llmpool' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
