"""The Anthropic messages format, which Anthropic speaks, and by the side of their own llama.cpp and vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from llmpool import _validators as valid
from llmpool.messages import CompletionRequest, CompletionResponse
from llmpool.providers import _anthropic_request as requests
from llmpool.providers import _anthropic_shapes as shapes
from llmpool.providers._forward import Forwarded, Passed
from llmpool.providers._keys import Key
from llmpool.providers._provider import HttpProvider
from llmpool.providers._stream import AnswerStream

_MESSAGES = "/v1/messages"
_VERSION = {"anthropic-version": "2023-06-01"}


class AnthropicProvider(HttpProvider):
    """
    One key at one server that speaks the Anthropic messages format.

    Messages, tools and the fields of a request may be given in the OpenAI shape; :doc:`/how-to/vendors`
    tells what becomes of each. The format has no embeddings, so there is no ``embed``.

    The arguments not named here are those of :class:`~llmpool.OpenAIProvider`.

    Args:
        base_url: with or without the ``/v1`` at its end.
        max_tokens: of an answer, where a call names no number: this format demands one.
        headers: sent with every request; ``anthropic-version`` and ``anthropic-beta`` among them.
        ping_path: the page that tells that the server is there and takes the key.

    Raises:
        ValueError: a wrong value, named by its field.
        TypeError: a wrong type, named by its field.
    """

    wire_format = "anthropic"

    def __init__(
        self,
        base_url: str = "https://api.anthropic.com",
        *,
        api_key: Key,
        model: str | None = None,
        max_tokens: int = requests.MOST_TOKENS,
        headers: Mapping[str, str] | None = None,
        ping_path: str = "/v1/models",
        proxies: Mapping[str, str] | None = None,
        verify: bool | str = True,
        connect_timeout: float = 5.0,
    ) -> None:
        valid.as_text("base_url", base_url)
        valid.as_count("max_tokens", max_tokens, least=1)
        super().__init__(
            base_url.rstrip("/").removesuffix("/v1"),
            api_key,
            _sign,
            model=model,
            ping_path=ping_path,
            headers={**_VERSION, **_lower(headers)},
            proxies=proxies,
            verify=verify,
            connect_timeout=connect_timeout,
        )
        self.base_url = base_url
        self._max_tokens = max_tokens

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """
        Answer *request*.

        Raises:
            ProviderError: of the class that tells what went wrong.
            ValueError: a streamed answer is asked for, for which there is another method.
        """
        body, reader = self._body(request), shapes.EventReader()
        return self._complete(_MESSAGES, body, timeout, reader, once=request.once)

    def stream(self, request: CompletionRequest, timeout: float) -> AnswerStream:
        """
        Begin to answer *request*.

        Raises:
            ProviderError: of the class that tells what went wrong.
        """
        body, reader = {**self._body(request), "stream": True}, shapes.EventReader()
        return self._stream(_MESSAGES, body, timeout, reader, once=request.once)

    def forward(self, request: Forwarded, timeout: float) -> Passed:
        """
        Send on what a client of this format asks; its answer may be of any status.

        Raises:
            ProviderError: it was not answered at all.
        """
        return self._account.forward(attrs.evolve(request, page=f"/v1{request.page}"), timeout)

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        return requests.write_request(request, self.model, self._max_tokens)


def _sign(key: str) -> Mapping[str, str]:
    return {"x-api-key": key}


def _lower(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Give the headers with lower-case names, so that one's own takes the place of ours."""
    if headers is not None and not isinstance(headers, Mapping):
        valid.refuse("headers", "a mapping", headers, kind=TypeError)
    return {str(name).lower(): value for name, value in (headers or {}).items()}
