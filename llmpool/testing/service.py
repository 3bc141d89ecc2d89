"""What the local server serves when nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from llmpool._validators import refuse
from llmpool.testing.answers import (
    Answer,
    answer_chat,
    completion_body,
    embeddings_body,
    error_body,
    models_body,
    stream_reply,
)
from llmpool.testing.received import Received
from llmpool.testing.reply import Reply, json_reply

Delay = float | Callable[[Received], float]

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
            return json_reply(error_body(f"Unknown request URL: {request.path}"), 404)
        if request.method not in (wanted, "HEAD" if wanted == "GET" else wanted):
            return json_reply(error_body(f"Not allowed: {request.method}"), 405, {"Allow": wanted})
        if self.api_keys and request.route != "health":
            bearer = request.headers.get("authorization", "").partition(" ")[2]
            if not {bearer, request.headers.get("api-key", "")} & set(self.api_keys):
                body = error_body("Incorrect API key provided.", code="invalid_api_key")
                return json_reply(body, 401)
        return None

    def _serve(self, request: Received, serial: int, changes: dict[str, Any]) -> Reply:
        if request.route == "health":
            return json_reply({"status": "ok"})
        if request.route == "models":
            return self._show_models(request)
        try:
            body = request.json
        except ValueError:
            return json_reply(error_body("The body of the request is not JSON."), 400)
        wrong = _find_wrong_field(request.route, body)
        if wrong:
            return json_reply(error_body(f"Missing or wrong parameter: '{wrong}'."), 400)
        model = str(body.get("model") or self.model)
        if self.strict_model and model != self.model:
            message = f"The model '{model}' does not exist."
            return json_reply(error_body(message, code="model_not_found"), 404)
        text = ""
        if request.route == "chat":  # outside the try: an error in there is its author's to see
            text = self.reply(request) if self.reply else f"echo: {request.prompt}"
        try:
            if request.route == "embeddings":
                return json_reply(embeddings_body(body, model))
            id = f"chatcmpl-{self.name}-{serial}"
            answer = answer_chat(body, id=id, model=model, prompt=request.prompt, text=text)
            return _write_chat(attrs.evolve(answer, **changes), body)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            return json_reply(error_body(f"Wrong parameter: {type(error).__name__}."), 400)

    def _show_models(self, request: Received) -> Reply:
        models = models_body(self.model)
        wanted = request.path.rstrip("/").partition("/models")[2].strip("/")
        if not wanted:
            return json_reply(models)
        if wanted == self.model:
            return json_reply(models["data"][0])
        message = f"The model '{wanted}' does not exist."
        return json_reply(error_body(message, code="model_not_found"), 404)


def _find_wrong_field(route: str, body: Any) -> str | None:
    """Name the field that is missing, empty, or of the wrong type."""
    field = "messages" if route == "chat" else "input"
    given = body.get(field) if isinstance(body, dict) else None
    if route == "chat":
        right = isinstance(given, list) and all(isinstance(each, dict) for each in given)
    else:
        right = isinstance(given, (str, list))
    return None if right and given else field


def _write_chat(answer: Answer, body: dict[str, Any]) -> Reply:
    if body.get("stream"):
        options = body.get("stream_options") or {}
        return stream_reply(answer, include_usage=bool(options.get("include_usage")))
    return json_reply(completion_body(answer))
