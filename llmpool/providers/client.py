"""A client that the user brings: an SDK's, or anything of its shape."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from llmpool import _validators as valid
from llmpool import errors, own_retries
from llmpool.messages import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    Message,
    StreamChunk,
)
from llmpool.providers import _anthropic_request as anthropic_request
from llmpool.providers import _anthropic_shapes as anthropic
from llmpool.providers import _openai_shapes as openai
from llmpool.providers import _translate
from llmpool.providers._private import Private, texts_in
from llmpool.providers._stream import Reader

_OPENAI = "chat.completions.create"
_ANTHROPIC = "messages.create"


class ClientProvider:
    """
    A client object of the user's, for ``lease.client`` and for the pool's own methods.

    A client in the OpenAI SDK's shape is asked by its ``chat.completions.create`` and
    ``embeddings.create``, one in the Anthropic SDK's by its ``messages.create``; any other serves
    leases and ``pool.call`` alone. The client keeps its own key, connections and time-outs: each
    attempt's seconds are passed to it as ``timeout``, which most clients take for the time of one
    read, so that a dripping server can hold a call for longer. It is never closed by the pool.

    Its own errors are raised as they are; the pool reads them.

    Args:
        model: the name sent when a call names none.
        name: what the client is called in messages and in the ``repr``; by itself its class.

    Raises:
        TypeError: the client is a class, or asynchronous.
    """

    def __init__(self, client: Any, *, model: str | None = None, name: str | None = None) -> None:
        valid.as_text("model", model, none=True)
        valid.as_text("name", name, none=True)
        if client is None or isinstance(client, type):
            valid.refuse("client", "a client object", client, kind=TypeError)
        kind = type(client)
        self.client = client
        self.model = model
        self._name = name or f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        for path in (_OPENAI, _ANTHROPIC):
            if inspect.iscoroutinefunction(inspect.unwrap(self._method(path) or len)):
                raise TypeError(f"client: wanted a synchronous one, got {self._name}")
        own_retries.notice(client)

    def complete(self, request: CompletionRequest, timeout: float) -> CompletionResponse:
        """
        Answer *request*.

        Raises:
            ProviderError: the client gave no good answer; one of status 501 from a client that
                has no method for it.
            ValueError: a streamed answer is asked for, for which there is another method.
        """
        create, body = self._prepare(request)
        if body.get("stream"):
            valid.refuse("stream", "stream() for an answer as it comes", body["stream"])
        private = self._private(body)
        answer = _as_json(_ask(create, body, timeout), private)
        if self._method(_OPENAI) is None:
            return anthropic.read_message(answer)
        failed = openai.failure_in(answer)
        if failed is not None:
            raise _translate.answer_error(200, {}, failed, private)
        return openai.read_completion(answer)

    def stream(self, request: CompletionRequest, timeout: float) -> _ClientStream:
        """
        Begin to answer *request*.

        Raises:
            ProviderError: as :meth:`complete`.
        """
        create, body = self._prepare(request)
        reader: Reader = anthropic.EventReader()
        if self._method(_OPENAI) is not None:
            reader = openai.ChunkReader()
            body = openai.ask_streamed(body)
        body["stream"] = True
        private = self._private(body)
        events = _ask(create, body, timeout)
        if isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
            _as_json(events, private)
            raise _translate.no_answer("an answer that is no stream")
        return _ClientStream(events, reader, private)

    def embed(self, texts: Sequence[str], model: str | None, timeout: float) -> EmbeddingResponse:
        """
        Give one vector for each text.

        Raises:
            ProviderError: as :meth:`complete`.
        """
        create = self._method("embeddings.create")
        if create is None:
            raise self._unsupported("embeddings.create()")
        body: dict[str, Any] = {"input": list(texts)}
        if model or self.model:
            body["model"] = model or self.model
        return openai.read_embedding(_as_json(_ask(create, body, timeout), self._private(body)))

    def ping(self, timeout: float) -> None:
        """
        Ask for the list of models; of a client without one, for one token of an empty prompt.

        Raises:
            ProviderError: as :meth:`complete`.
        """
        models = self._method("models.list")
        if models is not None:
            _ask(models, {}, timeout)
            return
        self.complete(CompletionRequest((Message("user", ""),), max_tokens=1), timeout)

    def _method(self, path: str) -> Callable[..., Any] | None:
        """Give a method of the client's by its path; None where there is none."""
        found = functools.reduce(
            lambda holder, field: getattr(holder, field, None), path.split("."), self.client
        )
        return found if callable(found) else None

    def _prepare(self, request: CompletionRequest) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Give the method to ask by, and the request in its shape."""
        create = self._method(_OPENAI)
        if create is not None:
            return create, openai.write_request(request, self.model)
        create = self._method(_ANTHROPIC)
        if create is not None:
            return create, anthropic_request.write_request(request, self.model)
        raise self._unsupported(f"{_OPENAI}() and no {_ANTHROPIC}()")

    def _unsupported(self, methods: str) -> errors.ServerFault:
        return errors.ServerFault(f"{self._name} has no {methods}", status=501, sent="no")

    def _private(self, body: Mapping[str, Any]) -> Private:
        fields = (getattr(self.client, name, None) for name in ("api_key", "auth_token"))
        keys = tuple(key for key in fields if isinstance(key, str) and key)
        return Private(lambda: keys, functools.partial(texts_in, body))

    def __repr__(self) -> str:
        return f"ClientProvider({self._name}, model={self.model!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a ClientProvider cannot be pickled: its client holds a key and connections; build one "
            "in each process"
        )


class _ClientStream(Iterator[StreamChunk]):
    """
    The pieces of one answer, from the events that a client gives.

    A client's stream ends quietly wherever the server's did: without a finish reason it was cut.

    Raises:
        ProviderError: while iterating; and the client's own errors, as they are.
    """

    def __init__(
        self,
        events: Iterable[Any],
        reader: Reader,
        private: Private,
    ) -> None:
        self._given = events
        self._reader = reader
        self._private = private
        self._pieces = self._read(iter(events))

    def __next__(self) -> StreamChunk:
        return next(self._pieces)

    def _read(self, events: Iterator[Any]) -> Iterator[StreamChunk]:
        for event in events:
            payload = _as_json(event, self._private)
            failed = self._reader.failure_in(payload)
            if failed is not None:
                raise _translate.answer_error(200, {}, failed, self._private)
            yield from self._reader.read(payload)
        if not self._reader.whole:
            raise errors.StreamInterrupted("the stream ended without its end mark", sent="answered")

    def close(self) -> None:
        """Let go of the client's stream."""
        close = getattr(self._given, "close", None)
        if callable(close):
            close()


def _ask(method: Callable[..., Any], body: Mapping[str, Any], timeout: float) -> Any:
    """
    Call a client's method; what its signature does not know goes along as ``extra_body``.

    Raises:
        TypeError: it gave an awaitable.
    """
    given: dict[str, Any] = {"timeout": timeout, **body}
    try:
        known = inspect.signature(method).parameters
    except (TypeError, ValueError):
        known = None  # written in C, or a callable object of an odd kind
    if known is not None and not any(each.kind is each.VAR_KEYWORD for each in known.values()):
        further = {field: given.pop(field) for field in list(given) if field not in known}
        further.pop("timeout", None)
        if further and "extra_body" in known:
            given["extra_body"] = {**further, **(given.get("extra_body") or {})}
        else:
            given.update(further)  # for the method to refuse, by name
    answer = method(**given)
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()  # or Python warns that nobody awaited it
        raise TypeError("client: wanted a synchronous one, got an awaitable from it")
    return answer


def _as_json(answer: object, private: Private) -> Mapping[str, Any]:
    """
    Give what a client answered as decoded JSON.

    Raises:
        ProviderError: it is an error, which the SDKs take for an answer under a 200, or none.
    """
    plain = _plain(answer)
    if plain is None:
        # A text is what an SDK makes of a page under a 200.
        raise _translate.no_answer(f"a {type(answer).__name__} and no JSON object")
    if plain.get("error"):
        raise _translate.answer_error(200, {}, plain, private)
    return plain


def _plain(answer: Any) -> Mapping[str, Any] | None:
    if isinstance(answer, Mapping):
        return answer
    dump = getattr(answer, "model_dump", None)
    if not callable(dump) or isinstance(answer, type):
        return None
    try:
        # As it came, fields unknown to the SDK and all; a wrong shape is for us to judge.
        plain = dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
    except (TypeError, ValueError):
        plain = dump()  # of another pydantic, or of no pydantic at all
    return plain if isinstance(plain, Mapping) else None
