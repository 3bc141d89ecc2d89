"""What the local server serves when nothing is wrong."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import attrs

from llmpool._validators import refuse
from llmpool.testing import anthropic_answers, gemini_answers
from llmpool.testing.answers import (
    Answer,
    answer_chat,
    completion_body,
    embeddings_body,
    models_body,
    stream_reply,
)
from llmpool.testing.received import Received
from llmpool.testing.reply import Reply, json_reply
from llmpool.testing.spoken import Format, as_openai, name_method
from llmpool.testing.troubles import Trouble

Delay = float | Callable[[Received], float]

_KEY_HEADERS = ("api-key", "x-api-key", "x-goog-api-key")
_MODELS: dict[Format, Callable[[str], dict[str, Any]]] = {
    "openai": models_body,
    "anthropic": anthropic_answers.models_body,
    "gemini": gemini_answers.models_body,
}
_METHODS = {"chat": "POST", "embeddings": "POST", "models": "GET", "health": "GET"}


def to_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the keys as a tuple; a single text is not taken for its letters."""
    if isinstance(keys, str):
        refuse("api_keys", "a tuple of keys", keys, kind=TypeError)
    return tuple(keys)


@attrs.frozen(kw_only=True)
class Service:
    """
    The well-behaved side of a server: its model, its keys, its pace.

    Keys and the reply function do not show in the ``repr``.
    """

    name: str
    model: str
    api_keys: tuple[str, ...] = attrs.field(default=(), converter=to_keys, repr=False)
    strict_model: bool = False
    reply: Callable[[Received], str] | None = attrs.field(default=None, repr=False)
    latency: Delay = 0.0
    chunk_delay: float = 0.0

    def answer(self, request: Received, serial: int, **changes: Any) -> Reply:
        """
        Build the normal answer to a request.

        *changes* replace fields of a chat answer (``text``, ``model``,
        ``finish_reason``) and do nothing on other routes.
        """
        reply = self._refuse(request) or self._serve(request, serial, changes)
        return reply.with_headers({"x-request-id": f"req-{self.name}-{serial}"})

    def _refuse(self, request: Received) -> Reply | None:
        """Return the error that a wrong address, method or key earns."""
        wanted = _METHODS.get(request.route)
        if wanted is None:
            trouble = Trouble(404, f"Unknown request URL: {request.path}")
        elif request.method not in (wanted, "HEAD" if wanted == "GET" else wanted):
            said = f"Not allowed: {request.method}"
            trouble = Trouble(405, said, headers={"Allow": wanted})
        elif self.api_keys and request.route != "health" and not self._knows(request):
            trouble = Trouble(401, "Incorrect API key provided.", code="invalid_api_key")
        else:
            return None
        return trouble.reply(request.format)

    def _knows(self, request: Received) -> bool:
        """Tell whether a request has a good key in any of the places where keys are sent."""
        bearer = request.headers.get("authorization", "").partition(" ")[2]
        given = {request.headers.get(name, "") for name in _KEY_HEADERS}
        return bool({bearer, *given, *parse_qs(request.query).get("key", [])} & set(self.api_keys))

    def _serve(self, request: Received, serial: int, changes: dict[str, Any]) -> Reply:
        if request.route == "health":
            return json_reply({"status": "ok"})
        if request.route == "models":
            return self._show_models(request)
        format = request.format
        try:
            body = request.json
        except ValueError:
            return Trouble(400, "The body of the request is not JSON.").reply(format)
        try:
            body = as_openai(format, request.path, body)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            return _wrong(error).reply(format)
        wrong = _find_wrong_field(request.route, body)
        if wrong:
            return Trouble(400, f"Missing or wrong parameter: '{wrong}'.").reply(format)
        model = str(body.get("model") or self.model)
        if self.strict_model and model != self.model:
            return _no_model(model).reply(format)
        text = ""
        if request.route == "chat":  # outside the try: an error in there is its author's to see
            text = self.reply(request) if self.reply else f"echo: {request.prompt}"
        try:
            if request.route == "embeddings":
                return json_reply(_write_vectors(request, body, model))
            id = f"chatcmpl-{self.name}-{serial}"
            answer = answer_chat(body, id=id, model=model, prompt=request.prompt, text=text)
            return _write_chat(attrs.evolve(answer, **changes), body, format)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            return _wrong(error).reply(format)

    def _show_models(self, request: Received) -> Reply:
        models = _MODELS[request.format](self.model)
        wanted = request.path.rstrip("/").partition("/models")[2].strip("/")
        if not wanted:
            return json_reply(models)
        if wanted == self.model:
            return json_reply(next(iter(models.get("data") or models["models"])))
        return _no_model(wanted).reply(request.format)


def _find_wrong_field(route: str, body: Any) -> str | None:
    """Name the field that is missing, empty, or of the wrong type."""
    field = "messages" if route == "chat" else "input"
    given = body.get(field) if isinstance(body, dict) else None
    if route == "chat":
        right = isinstance(given, list) and all(isinstance(each, dict) for each in given)
    else:
        right = isinstance(given, (str, list))
    return None if right and given else field


def _wrong(error: Exception) -> Trouble:
    return Trouble(400, f"Wrong parameter: {type(error).__name__}.")


def _no_model(model: str) -> Trouble:
    return Trouble(404, f"The model '{model}' does not exist.", code="model_not_found")


def _write_chat(answer: Answer, body: dict[str, Any], format: Format) -> Reply:
    if format == "anthropic":
        streamed, whole = anthropic_answers.message_stream, anthropic_answers.message_body
    elif format == "gemini":
        streamed, whole = gemini_answers.content_stream, gemini_answers.content_body
    else:
        options = body.get("stream_options") or {}
        counted = bool(options.get("include_usage"))
        streamed, whole = functools.partial(stream_reply, include_usage=counted), completion_body
    return streamed(answer) if body.get("stream") else json_reply(whole(answer))


def _write_vectors(request: Received, body: dict[str, Any], model: str) -> dict[str, Any]:
    if request.format == "gemini":
        many = name_method(request.path) == "batchEmbedContents"
        return gemini_answers.embeddings_body(body, many=many)
    return embeddings_body(body, model)
