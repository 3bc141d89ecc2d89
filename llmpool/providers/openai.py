"""The OpenAI wire format, which most servers speak: OpenAI, vLLM, llama.cpp, Ollama, Groq, Together …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from llmpool import _validators as valid
from llmpool.messages import CompletionRequest, CompletionResponse, EmbeddingResponse
from llmpool.providers import _openai_shapes as shapes
from llmpool.providers import _translate
from llmpool.providers._account import PLAIN, Account
from llmpool.providers._keys import Key
from llmpool.providers._openai_stream import OpenAIStream


class OpenAIProvider:
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
        valid.as_text("model", model, none=True)
        valid.as_text("ping_path", ping_path)
        if not ping_path.startswith("/"):
            valid.refuse("ping_path", "a path that begins with /", ping_path)
        self.model = model
        self.base_url = base_url
        self._ping_path = ping_path
        self._account = Account(
            base_url,
            api_key,
            _bearer,
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
            ValueError: a streamed answer is asked for, for which there is another method.
        """
        body = self._body(request)
        if body.get("stream"):
            valid.refuse("stream", "stream() for an answer as it comes", body["stream"])
        answer = self._account.ask("/chat/completions", body, timeout, once=request.once)
        failed = shapes.failure_in(answer)
        if failed is not None:
            raise _translate.answer_error(200, {}, failed, self._account.private(body))
        return shapes.read_completion(answer)

    def stream(self, request: CompletionRequest, timeout: float) -> OpenAIStream:
        """
        Begin to answer *request*.

        Raises:
            ProviderError: of the class that tells what went wrong.
        """
        body = {"stream_options": {"include_usage": True}, **self._body(request), "stream": True}
        if body["stream_options"] is None:
            del body["stream_options"]
        private = self._account.private(body)
        reply = self._account.open(
            "POST", "/chat/completions", body, timeout, private, PLAIN, once=request.once
        )
        return OpenAIStream(reply, private)

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

    def ping(self, timeout: float) -> None:
        """
        Ask for the list of models, or for the page named instead.

        Raises:
            ProviderError: of the class that tells what went wrong.
        """
        self._account.visit(self._ping_path, timeout)

    def close(self) -> None:
        """Close the idle connections."""
        self._account.close()

    def reset_after_fork(self) -> None:
        """Give up the parent's connections."""
        self._account.reset_after_fork()

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        return shapes.write_request(request, self.model)

    def __repr__(self) -> str:
        return f"OpenAIProvider({self._account!r}, model={self.model!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an OpenAIProvider cannot be pickled: it holds a key and connections; build one in "
            "each process"
        )


def _bearer(key: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {key}"}
