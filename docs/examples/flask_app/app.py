"""A small chat on a pool. ``flask --app app --debug run`` starts it, and no key is needed."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask, Response, current_app, jsonify, request, stream_with_context

from llmpool import LLMPoolError
from llmpool.contrib.flask import LLMPool, unavailable
from llmpool.testing import LocalServer

llm = LLMPool()


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application of *config* and of the variables that begin with ``FLASK_``."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    if not app.config.get("LLMPOOL_CONFIG") and not app.config.get("LLMPOOL_DEPLOYMENTS"):
        app.config["LLMPOOL_DEPLOYMENTS"] = stand_ins()
    llm.init_app(app)
    app.register_error_handler(LLMPoolError, unavailable)
    # An application with users asks who it is instead: may_view=lambda: current_user.is_admin
    app.register_blueprint(llm.blueprint(may_view=lambda: bool(current_app.debug)))
    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/ask", view_func=ask, methods=["POST"])
    app.add_url_rule("/stream", view_func=stream, methods=["POST"])
    return app


def index() -> Response:
    """Show the page."""
    return current_app.send_static_file("index.html")


def ask() -> Response:
    """Answer a question with all of the answer."""
    answer = llm.pool.complete(request.form["q"])
    return jsonify(text=answer.text, deployment=answer.deployment, pid=os.getpid())


def stream() -> Response:
    """Answer a question as the answer comes, in server-sent events."""
    answer = llm.pool.stream(request.form["q"])  # an error before the first words is a 503

    @stream_with_context
    def events() -> Iterator[str]:
        try:
            for chunk in answer:
                if chunk.text:
                    yield f"data: {json.dumps(chunk.text)}\n\n"
            yield "event: end\ndata: {}\n\n"
        except LLMPoolError as error:  # it breaks off, and the status went out long ago
            current_app.logger.warning("a stream broke off: %s", error)
            yield "event: broken\ndata: {}\n\n"

    response = Response(events(), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold the events back
    response.call_on_close(answer.close)  # whoever leaves early gives the place back
    return response


def stand_ins() -> list[dict[str, Any]]:
    """Describe two local servers that echo, for a trial without models and keys."""
    common = {"provider": "openai", "api_key": False, "model": "tiny", "proxies": {}}
    return [{"name": server.name, "base_url": server.url, **common} for server in servers()]


@functools.cache
def servers() -> list[LocalServer]:
    """Start them, once in each process."""
    return [LocalServer(name, chunk_delay=0.05).start() for name in ("eu", "us")]
