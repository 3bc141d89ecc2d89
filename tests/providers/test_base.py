"""What a provider is: no class to inherit from."""

from __future__ import annotations

from typing import Any

from llmpool import OpenAIProvider
from llmpool.providers.base import (
    EmbeddingProvider,
    PingingProvider,
    Provider,
    StreamingProvider,
)
from llmpool.testing import ScriptedProvider


class Own:
    """A user's class that never heard of llmpool."""

    def complete(self, request: Any, timeout: float) -> str:
        """Answer."""
        return "fine"


def test_anything_that_completes_is_a_provider() -> None:
    """It shows in an isinstance(), without a base class."""
    assert isinstance(Own(), Provider)
    assert isinstance(ScriptedProvider(), Provider)
    assert isinstance(OpenAIProvider("http://127.0.0.1:9", api_key=None), Provider)
    assert not isinstance(object(), Provider)


def test_what_else_a_provider_may_do() -> None:
    """The OpenAI one does all of it."""
    for protocol, method in (
        (StreamingProvider, "stream"),
        (EmbeddingProvider, "embed"),
        (PingingProvider, "ping"),
    ):
        assert method in vars(protocol)
        assert callable(getattr(OpenAIProvider, method))
