"""A synchronous, thread-safe pool of LLM deployments that look like one provider."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from llmpool.checker import HealthChecker, HealthCheckerHandle
from llmpool.checks import Custom, Ping, Probe
from llmpool.config import Deployment, HealthCheckConfig, RetryPolicy
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
from llmpool.outcomes import Attempt, Verdict
from llmpool.pool import ProviderPool
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
    from llmpool.providers.client import ClientProvider
    from llmpool.providers.openai import OpenAIProvider

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "AuthenticationFailed",
    "Candidate",
    "Choice",
    "ClientProvider",
    "CompletionRequest",
    "CompletionResponse",
    "CompletionStream",
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
    "OpenAIProvider",
    "Ping",
    "PoolClosed",
    "PoolHealthStatus",
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

logging.getLogger("llmpool").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    # requests takes longer to import than all the rest, and who brings a client of another kind
    # does not need it.
    if name == "OpenAIProvider":
        from llmpool.providers.openai import OpenAIProvider

        return OpenAIProvider
    if name == "ClientProvider":
        from llmpool.providers.client import ClientProvider

        return ClientProvider
    raise AttributeError(f"module 'llmpool' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
