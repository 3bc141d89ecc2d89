"""The OpenAI wire format, which most servers speak: OpenAI, vLLM, llama.cpp, Ollama, Groq, Together …"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from llmpool import _validators as valid
from llmpool.messages import CompletionRequest, CompletionResponse, EmbeddingResponse
from llmpool.providers import _openai_shapes as shapes
from llmpool.providers import _translate
from llmpool.providers._http import ACCEPTED, Deadline, HttpClient, OpenReply
from llmpool.providers._keys import Key, Secret
from llmpool.providers._openai_stream import OpenAIStream
from llmpool.providers._private import Private, keys_in, texts_in

_PACKED = {"Accept-Encoding": ACCEPTED}
_PLAIN = {"Accept-Encoding": "identity"}


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
        self._key = Secret(api_key)
        self.model = model
        self.base_url = base_url
        self._ping_path = ping_path
        self._http = HttpClient(
            base_url,
            auth=self._authorization,
            headers=headers,
            proxies=proxies,
            verify=verify,
            connect_timeout=connect_timeout,
        )
        known, further = self._key.known, keys_in(headers, base_url)
        self._secrets = lambda: (*known(), *further)

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
        answer = self._ask("/chat/completions", body, timeout, request.once)
        failed = shapes.failure_in(answer)
        if failed is not None:
            raise _translate.answer_error(200, {}, failed, self._private(body))
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
        private = self._private(body)
        reply = self._open(
            "POST", "/chat/completions", body, timeout, private, _PLAIN, request.once
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
        return shapes.read_embedding(self._ask("/embeddings", body, timeout))

    def ping(self, timeout: float) -> None:
        """
        Ask for the list of models, or for the page named instead.

        Raises:
            ProviderError: of the class that tells what went wrong.
        """
        reply = self._open("GET", self._ping_path, None, timeout, self._private({}), _PACKED)
        _translate.plainly(lambda: _translate.read_whole(reply))

    def close(self) -> None:
        """Close the idle connections."""
        self._http.close()

    def reset_after_fork(self) -> None:
        """Give up the parent's connections."""
        self._http.reset_after_fork()

    def _authorization(self) -> Mapping[str, str]:
        key = self._key.reveal()
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        return shapes.write_request(request, self.model)

    def _private(self, body: Mapping[str, Any]) -> Private:
        return Private(self._secrets, functools.partial(texts_in, body))

    def _ask(
        self, path: str, body: Mapping[str, Any], timeout: float, once: bool = False
    ) -> Mapping[str, Any]:
        """Send *body* and give the object that is answered."""
        private = self._private(body)
        reply = self._open("POST", path, body, timeout, private, _PACKED, once)
        whole = _translate.plainly(lambda: _translate.read_whole(reply))
        return _translate.read_object(whole, private)

    def _open(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout: float,
        private: Private,
        headers: Mapping[str, str],
        once: bool = False,
    ) -> OpenReply:
        """Send a request, twice if a function may give a better key; give a good answer's head."""
        deadline = Deadline.after(timeout)
        renewals = 1 if self._key.renewable and not once else 0
        while True:
            reply = _translate.plainly(
                lambda: self._http.open(
                    method, path, json=body, headers=headers, deadline=deadline, once=once
                )
            )
            if _translate.is_good(reply.status):
                return reply
            whole = _translate.plainly(functools.partial(_translate.read_whole, reply))
            if reply.status != 401 or not renewals:
                raise _translate.answer_error(whole.status, whole.headers, whole.body, private)
            renewals -= 1

    def __repr__(self) -> str:
        return f"OpenAIProvider({self._http!r}, model={self.model!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an OpenAIProvider cannot be pickled: it holds a key and connections; build one in "
            "each process"
        )
