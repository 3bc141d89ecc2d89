"""A blueprint of what a pool tells of itself over HTTP."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from flask import Blueprint, Response, abort, request
from werkzeug.wrappers import Response as AnyResponse

from llmpool import _validators as valid
from llmpool.contrib.flask import registered
from llmpool.pool import ProviderPool
from llmpool.web import StatusSite

Permission = Callable[[], object]
"""Asked within a request; only True itself is a yes."""

_LONGEST_BODY = 4096


def blueprint(
    may_view: Permission | bool,
    may_control: Permission | None,
    quorum: float,
    registry: object,
    name: str,
    url_prefix: str | None,
) -> Blueprint:
    """Make the blueprint that ``LLMPool.blueprint()`` describes."""
    pages = _Pages(may_view, may_control, quorum, registry)
    made = Blueprint(name, __name__, url_prefix=url_prefix)
    made.add_url_rule("/healthz", "healthz", lambda: pages.answer("/healthz"))
    made.add_url_rule("/", "page", lambda: pages.show("/"))
    made.add_url_rule("/status", "status", lambda: pages.show("/status"))
    made.add_url_rule("/metrics", "metrics", lambda: pages.show("/metrics"))
    made.add_url_rule("/static/<name>", "static", lambda name: pages.show(f"/static/{name}"))
    made.add_url_rule("/control", "control", pages.control, methods=["POST"])
    return made


class _Pages:
    """One site for all applications: it remembers nothing but by pool."""

    def __init__(
        self,
        may_view: Permission | bool,
        may_control: Permission | None,
        quorum: float,
        registry: object,
    ) -> None:
        if not isinstance(may_view, bool) and not _is_plain(may_view):
            wanted = "a plain function without arguments, True or False"
            valid.refuse("may_view", wanted, may_view, kind=TypeError)
        if may_control is not None and not _is_plain(may_control):
            wanted = "a plain function without arguments, or None"
            valid.refuse("may_control", wanted, may_control, kind=TypeError)
        self._may_view = may_view
        permission = None if may_control is None else lambda _: may_control() is True
        self._site = StatusSite(_pools, quorum=quorum, may_control=permission, registry=registry)

    def answer(self, path: str, body: bytes = b"") -> AnyResponse:
        """Answer whoever asks; of what comes with the request only *body* is looked at."""
        registered.pool()  # raises where there is none; the site would hide it
        query = request.query_string.decode("latin-1")
        reply = self._site.respond(
            "GET" if request.method == "HEAD" else request.method,  # werkzeug drops the body itself
            f"{path}?{query}",
            dict(request.headers),
            body,
            request,
            secure=request.is_secure,
        )
        return Response(reply.body, reply.status, list(reply.headers))

    def show(self, path: str) -> AnyResponse:
        """Answer those who may view."""
        return self._refusal() or self.answer(path)

    def control(self) -> AnyResponse:
        """Do what is asked of a deployment, for those who may control."""
        refusal = self._refusal()
        if refusal is not None:
            return refusal
        # Flask reads a body of any length into memory unless the application sets a limit.
        length = request.content_length
        if length is None:
            abort(411)
        if length > _LONGEST_BODY:
            abort(413)
        return self.answer("/control", request.get_data())

    def _refusal(self) -> AnyResponse | None:
        """Give None for those who may view; for others what the application's function does, or a 403."""
        allowed = self._may_view if isinstance(self._may_view, bool) else self._may_view()
        if allowed is True:
            return None
        # A function that is decorated to demand a login gives the way there.
        return allowed if isinstance(allowed, AnyResponse) else abort(403)


def _pools() -> dict[str, ProviderPool]:
    pool = registered.pool()
    return {pool.name: pool}


def _is_plain(given: object) -> bool:
    return callable(given) and not inspect.iscoroutinefunction(given)
