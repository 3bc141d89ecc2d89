"""The Flask extension as an application uses it; mypy reads this file and nobody runs it."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, redirect
from werkzeug.wrappers import Response as Redirection

from llmpool import CompletionResponse, LLMPoolError, ProviderPool
from llmpool.contrib.flask import LLMPool, unavailable

llm = LLMPool()


def is_admin() -> bool:
    """Say yes."""
    return True


def log_in() -> Redirection:
    """Send to the login."""
    return redirect("/login")


def make(app: Flask, pool: ProviderPool) -> Blueprint:
    """Use everything that is public."""
    LLMPool(app, pool=pool)
    llm.init_app(app)
    llm.init_app(app, pool)
    app.register_error_handler(LLMPoolError, unavailable)
    app.register_blueprint(llm.blueprint(may_view=True))
    app.register_blueprint(llm.blueprint(may_view=log_in, url_prefix=None))
    return llm.blueprint(may_view=is_admin, may_control=is_admin, quorum=0.5, name="models")


def view() -> Response:
    """Ask the pool."""
    pool: ProviderPool = llm.pool
    answer: CompletionResponse = pool.complete("hello")
    return Response(answer.text)
