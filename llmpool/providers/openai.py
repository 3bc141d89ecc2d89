"""The OpenAI wire format, which most servers speak: OpenAI, vLLM, llama.cpp, Ollama, Groq, Together …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmpool.messages import CompletionRequest, CompletionResponse, EmbeddingResponse
from llmpool.providers import _openai_shapes as shapes
from llmpool.providers._account import bearer
from llmpool.providers._forward import Forwarded, Passed
from llmpool.providers._keys import Key
from llmpool.providers._presets import find_key, find_preset
from llmpool.providers._provider import HttpProvider
from llmpool.providers._stream import AnswerStream

_CHAT = "/chat/completions"


class OpenAIProvider(HttpProvider):
    """
    One key at one OpenAI-compatible server.

    Every phase of a request (name, connection, handshake, sending, each byte of the answer) is under one
    deadline. Redirects are not followed and ``~/.netrc`` is not read.

    Args:
        base_url: with the version: ``https://api.openai.com/v1``.
        api_key: a text, ``"env:NAME"``, or a function, which is asked again once after a 401; None for
            a server without keys.
        model: the name sent when a call names none.
        headers: sent with every request.
        ping_path: the page that tells, under *base_url*, that the server is there.
        proxies: as for requests; None asks the environment, once.
        verify: True, or the path of a CA bundle to trust instead of the common ones.
        connect_timeout: seconds for each phase of connecting.

    Raises:
        ValueError: a wrong value, named by its field.
        TypeError: a wrong type, named by its field.
    """

    wire_format = "openai"

    def __init__(
        self,
        base_url: str,
        *,
        api_key: Key,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        ping_path: str = "/models",
        proxies: Mapping[str, str] | None = None,
        verify: bool | str = True,
        connect_timeout: float = 5.0,
    ) -> None:
        super().__init__(
            base_url,
            api_key,
            bearer,
            model=model,
            ping_path=ping_path,
            headers=headers,
            proxies=proxies,
            verify=verify,
            connect_timeout=connect_timeout,
        )
        self.base_url = base_url

    @classmethod
    def preset(
        cls,
        name: str,
        *,
        api_key: Key = None,
        model: str | None = None,
        base_url: str | None = None,
        **options: Any,
    ) -> OpenAIProvider:
        """
        Make one for a server that is known by *name*: its address, and a ping page that tells of the key.

        Names: ``openai``, ``groq``, ``mistral``, ``together``, ``fireworks``, ``deepseek``,
        ``openrouter``, and on this machine ``vllm``, ``llama.cpp``, ``ollama``, ``lmstudio``.

        Args:
            api_key: None reads the server's own variable of the environment, such as
                ``GROQ_API_KEY``; where that is not set, a server on this machine goes without.
            base_url: in the place of the known one, for a server on another machine.
            options: the further arguments of the class; what is given wins.

        Raises:
            ValueError: the name is not known, or there is no key; or as the class itself.
        """
        known = find_preset(name)
        return cls(
            base_url or known.base_url,
            api_key=find_key(name, known, api_key),
            model=model,
            **{"ping_path": known.page, **options},
        )

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """
        Answer *request*.

        Raises:
            ProviderError: of the class that tells what went wrong.
            ValueError: a streamed answer is asked for, for which there is another method.
        """
        body, reader = self._body(request), shapes.ChunkReader()
        return self._complete(_CHAT, body, timeout, reader, once=request.once)

    def stream(self, request: CompletionRequest, timeout: float) -> AnswerStream:
        """
        Begin to answer *request*.

        Raises:
            ProviderError: of the class that tells what went wrong.
        """
        body, reader = shapes.ask_streamed(self._body(request)), shapes.ChunkReader()
        return self._stream(_CHAT, body, timeout, reader, once=request.once)

    def embed(self, texts: Sequence[str], model: str | None, timeout: float) -> EmbeddingResponse:
        """
        Give one vector for each text.

        Raises:
            ProviderError: of the class that tells what went wrong.
        """
        body: dict[str, Any] = {"input": list(texts)}
        named = model or self.model
        if named is not None:
            body["model"] = named
        return shapes.read_embedding(self._account.ask("/embeddings", body, timeout))

    def forward(self, request: Forwarded, timeout: float) -> Passed:
        """
        Send on what a client of this format asks; its answer may be of any status.

        Raises:
            ProviderError: it was not answered at all.
        """
        return self._account.forward(request, timeout)

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        return shapes.write_request(request, self.model)
