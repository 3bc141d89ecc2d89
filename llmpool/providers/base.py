"""What a provider is: anything with ``complete``; there is no class to inherit from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from llmpool.messages import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    StreamChunk,
)


@runtime_checkable
class Provider(Protocol):
    """
    What the pool needs of a provider.

    It is called from many threads at once. It should end within *timeout* seconds, all phases together,
    and raise :class:`~llmpool.ProviderError` for what went wrong upstream; those, the errors of
    known clients, ``json.JSONDecodeError`` and ``OSError`` are judged, everything else is taken for the
    caller's own and passes through.
    """

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """Answer *request*."""
        ...


class StreamingProvider(Provider, Protocol):
    """
    A provider that can stream.

    The iterator may have ``limit(seconds)``, called before each step with the seconds within which the
    next chunk must come, and ``close()``, called once when nobody reads on.
    """

    def stream(self, request: CompletionRequest, timeout: float) -> Iterator[StreamChunk]:
        """Begin to answer *request*."""
        ...


class EmbeddingProvider(Provider, Protocol):
    """A provider that can embed."""

    def embed(self, texts: Sequence[str], model: str | None, timeout: float) -> EmbeddingResponse:
        """Give one vector for each text."""
        ...


class PingingProvider(Provider, Protocol):
    """A provider that can tell at no cost whether it is reachable."""

    def ping(self, timeout: float) -> None:
        """Return if it is, raise if it is not."""
        ...
