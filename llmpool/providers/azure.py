"""The OpenAI wire format as Azure serves it: other addresses, and another header for the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import attrs

from llmpool import _validators as valid
from llmpool.messages import CompletionRequest, CompletionResponse, EmbeddingResponse
from llmpool.providers import _openai_shapes as shapes
from llmpool.providers._account import bearer
from llmpool.providers._forward import Forwarded, Passed
from llmpool.providers._keys import Key
from llmpool.providers._provider import HttpProvider
from llmpool.providers._stream import AnswerStream

_UNDATED = frozenset({"v1", "latest", "preview"})
"""Versions of the API whose URLs name no deployment."""
_OF_A_DEPLOYMENT = frozenset(
    {
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/images/edits",
        "/images/generations",
    }
)
"""Pages that a dated version has under each deployment, and not under the resource."""


class AzureOpenAIProvider(HttpProvider):
    """
    One key, or one identity, at one Azure OpenAI resource.

    With a dated *api_version* requests go to ``/openai/deployments/{deployment}/…``, without one to
    ``/openai/v1/…``, where the deployment is the ``model`` of the request.

    The arguments not named here are those of :class:`~llmpool.OpenAIProvider`.

    Args:
        endpoint: of the resource: ``https://my-resource.openai.azure.com``.
        deployment: Azure's name for what is deployed there; for a call that names no model.
        api_version: a date such as ``"2024-10-21"``; ``"preview"`` for the previews of the v1 API.
        api_key: as of :class:`~llmpool.OpenAIProvider`; sent as ``api-key``.
        token: in the place of a key: a function that gives a Microsoft Entra token, as
            ``azure.identity.get_bearer_token_provider`` makes one, or the token's text; sent as a bearer
            token, and asked for again once after a 401.
        model: another name for *deployment*.
        ping_path: under ``/openai``, or under ``/openai/v1``; the list of models tells of the key too.

    Raises:
        ValueError: a wrong value, named by its field.
        TypeError: a wrong type, named by its field.
    """

    wire_format = "openai"

    def __init__(
        self,
        endpoint: str,
        *,
        deployment: str | None = None,
        api_version: str | None = None,
        api_key: Key = None,
        token: Key = None,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
        ping_path: str = "/models",
        proxies: Mapping[str, str] | None = None,
        verify: bool | str = True,
        connect_timeout: float = 5.0,
    ) -> None:
        valid.as_text("endpoint", endpoint)
        valid.as_text("deployment", deployment, none=True)
        valid.as_text("model", model, none=True)
        valid.as_text("api_version", api_version, none=True)
        if deployment and model:
            raise ValueError("deployment, model: wanted one of them, got both")
        if (api_key is None) == (token is None):
            raise ValueError("api_key, token: wanted one of them, got " + _how_many(api_key))
        self._dated = api_version is not None and api_version not in _UNDATED
        self.base_url = _root(endpoint) + ("/openai" if self._dated else "/openai/v1")
        version = f"?{urlencode({'api-version': api_version})}" if api_version else ""
        super().__init__(
            self.base_url + version,
            token if api_key is None else api_key,
            bearer if api_key is None else _sign,
            model=deployment or model,
            ping_path=ping_path,
            headers=headers,
            proxies=proxies,
            verify=verify,
            connect_timeout=connect_timeout,
        )

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """
        Answer *request*.

        Raises:
            ProviderError: of the class that tells what went wrong.
            ValueError: a streamed answer is asked for, for which there is another method; or no
                deployment is named where the URL must.
        """
        body, reader = shapes.write_request(request, self.model), shapes.ChunkReader()
        path = self._path(body, "/chat/completions")
        return self._complete(path, body, timeout, reader, once=request.once)

    def stream(self, request: CompletionRequest, timeout: float) -> AnswerStream:
        """
        Begin to answer *request*.

        Raises:
            ProviderError: of the class that tells what went wrong.
            ValueError: no deployment is named where the URL must.
        """
        body = shapes.ask_streamed(shapes.write_request(request, self.model))
        path, reader = self._path(body, "/chat/completions"), shapes.ChunkReader()
        return self._stream(path, body, timeout, reader, once=request.once)

    def embed(self, texts: Sequence[str], model: str | None, timeout: float) -> EmbeddingResponse:
        """
        Give one vector for each text, by the deployment that *model* names.

        Raises:
            ProviderError: of the class that tells what went wrong.
            ValueError: no deployment is named where the URL must.
        """
        body: dict[str, Any] = {"input": list(texts)}
        if model or self.model:
            body["model"] = model or self.model
        path = self._path(body, "/embeddings")
        return shapes.read_embedding(self._account.ask(path, body, timeout))

    def forward(self, request: Forwarded, timeout: float) -> Passed:
        """
        Send on what a client of the OpenAI format asks; its answer may be of any status.

        Raises:
            ProviderError: it was not answered at all.
            ValueError: no deployment is named where the URL must.
        """
        page = request.page
        if page.partition("?")[0] in _OF_A_DEPLOYMENT:
            page = self._path({"model": request.model or self.model}, page)
        return self._account.forward(attrs.evolve(request, page=page), timeout)

    def _path(self, body: Mapping[str, Any], page: str) -> str:
        if not self._dated:
            return page
        deployment = body.get("model")
        if not isinstance(deployment, str):
            valid.refuse("model", "the name of a deployment, which the URL needs", deployment)
        return f"/deployments/{quote(deployment, safe='')}{page}"

    def __repr__(self) -> str:
        return f"AzureOpenAIProvider({self._account!r}, deployment={self.model!r})"


def _sign(key: str) -> Mapping[str, str]:
    return {"api-key": key}


def _how_many(api_key: Key) -> str:
    return "neither" if api_key is None else "both"


def _root(endpoint: str) -> str:
    """Give the resource's own URL; people copy it with one of the paths below it, or a whole page's."""
    root = endpoint.strip().rstrip("/")
    if "?" in root or "/deployments" in root:
        valid.refuse("endpoint", "a resource's URL, without a deployment and a query", endpoint)
    return root.removesuffix("/v1").removesuffix("/openai") if "/openai" in root else root
