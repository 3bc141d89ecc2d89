"""Gemini's own wire format: ``generateContent`` and its kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import attrs

from llmpool import _validators as valid
from llmpool.messages import CompletionRequest, CompletionResponse, EmbeddingResponse
from llmpool.providers import _gemini_request as requests
from llmpool.providers import _gemini_shapes as shapes
from llmpool.providers._keys import Key
from llmpool.providers._provider import HttpProvider
from llmpool.providers._stream import AnswerStream


class GeminiProvider(HttpProvider):
    """
    One key at Google's Gemini API, in its own format.

    Messages, tools and the fields of a request may be given in the OpenAI shape; :doc:`/how-to/vendors`
    tells what becomes of each.

    The arguments not named here are those of :class:`~llmpool.OpenAIProvider`.

    Args:
        base_url: with the version.
        ping_path: the page that tells, under *base_url*, that the server is there and takes the key.

    Raises:
        ValueError: a wrong value, named by its field.
        TypeError: a wrong type, named by its field.
    """

    def __init__(
        self,
        base_url: str = "https://generativelanguage.googleapis.com/v1beta",
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
            _sign,
            model=model,
            ping_path=ping_path,
            headers=headers,
            proxies=proxies,
            verify=verify,
            connect_timeout=connect_timeout,
        )
        self.base_url = base_url

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """
        Answer *request*.

        Raises:
            ProviderError: of the class that tells what went wrong.
            ValueError: no model is named; or a streamed answer is asked for, for which there is
                another method.
        """
        model = self._find_model(request.model)
        body, path = requests.write_request(request, model), f"{_page(model)}:generateContent"
        answer = self._complete(path, body, timeout, shapes.EventReader(), once=request.once)
        return answer if answer.model else attrs.evolve(answer, model=model)

    def stream(self, request: CompletionRequest, timeout: float) -> AnswerStream:
        """
        Begin to answer *request*.

        Raises:
            ProviderError: of the class that tells what went wrong.
            ValueError: no model is named.
        """
        model = self._find_model(request.model)
        body = requests.write_request(request, model)
        path = f"{_page(model)}:streamGenerateContent?alt=sse"
        return self._stream(path, body, timeout, shapes.EventReader(), once=request.once)

    def embed(self, texts: Sequence[str], model: str | None, timeout: float) -> EmbeddingResponse:
        """
        Give one vector for each text.

        Raises:
            ProviderError: of the class that tells what went wrong.
            ValueError: no model is named.
        """
        named = self._find_model(model)
        full = _page(named).removeprefix("/")
        requested: list[dict[str, Any]] = [
            {"model": full, "content": {"parts": [{"text": text}]}} for text in texts
        ]
        path, body = f"/{full}:batchEmbedContents", {"requests": requested}
        if len(requested) == 1:
            path, body = f"/{full}:embedContent", requested[0]
        answer = shapes.read_embeddings(self._account.ask(path, body, timeout))
        return attrs.evolve(answer, model=named)

    def _find_model(self, named: str | None) -> str:
        model = named or self.model
        if model is None:
            valid.refuse("model", "a name, which the URL needs", model)
        return model


def _sign(key: str) -> Mapping[str, str]:
    return {"x-goog-api-key": key}


def _page(model: str) -> str:
    """Give the path of a model; names of tuned ones bring their folder along."""
    return "/" + quote(model if "/" in model else f"models/{model}", safe="/")
