"""A pool for each Flask application: ``llm = LLMPool(app)``, then ``llm.pool.complete(...)`` in its views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmpool import _validators as valid
from llmpool.contrib._optional import load
from llmpool.pool import ProviderPool

load("flask", "llmpool.contrib.flask", "flask")

from llmpool.contrib.flask import config, registered  # noqa: E402 - they need it too
from llmpool.contrib.flask.commands import commands  # noqa: E402
from llmpool.contrib.flask.errors import unavailable  # noqa: E402

if TYPE_CHECKING:
    from flask import Blueprint, Flask

    from llmpool.contrib.flask.pages import Permission

__all__ = ["LLMPool", "unavailable"]


class LLMPool:
    """
    A Flask extension: one pool for each application, in each of its processes.

    It holds no application. The pool stands in ``app.extensions["llmpool"]``, is made of the keys of
    ``app.config`` that begin with ``LLMPOOL_``, and starts nothing before a process makes its first call or
    shows its first status page. The application also gets the commands of ``flask llmpool``.

    Threads: any.

    Args:
        app: an application to begin with; others by :meth:`init_app`.
        pool: a pool that is made already, for every application that is not given one of its own.
    """

    def __init__(self, app: Flask | None = None, *, pool: ProviderPool | None = None) -> None:
        self._given = _checked(pool)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, pool: ProviderPool | None = None) -> None:
        """
        Give an application its pool: *pool*, or that of the constructor, or one that its config describes.

        Raises:
            ConfigError: the config makes no pool; every problem is in it, with its key.
            RuntimeError: the application has one already.
        """
        config.set_defaults(app.config)
        if registered.NAME in app.extensions:
            raise RuntimeError(
                f"the application {app.name!r} has a pool already: init_app() once is enough"
            )
        given = _checked(pool) or self._given
        app.extensions[registered.NAME] = given or config.build(app.config, app.name)
        app.cli.add_command(commands)

    @property
    def pool(self) -> ProviderPool:
        """
        The pool of the current application.

        Raises:
            RuntimeError: there is no application context, or the application has no pool.
        """
        return registered.pool()

    def blueprint(
        self,
        *,
        may_view: Permission | bool = False,
        may_control: Permission | None = None,
        quorum: float = 1,
        registry: object = None,
        name: str = "llmpool",
        url_prefix: str | None = "/llmpool",
    ) -> Blueprint:
        """
        Make a blueprint of ``healthz``, for all, and of ``status``, ``metrics`` and a page, for some.

        One blueprint serves any number of applications. Permissions are plain functions without arguments,
        asked within each request; only True itself is a yes.

        Args:
            may_view: who sees more than ``healthz``; True for everybody. A response that it gives, such as
                the way to a login, is the answer; anything else is a 403.
            may_control: who may also drain and resume deployments; without it nobody.
            quorum: ``healthz`` is 200 while so many deployments are healthy, or, as a float up to 1.0,
                such a share of them; else 503.
            registry: the ``prometheus_client.CollectorRegistry`` that ``metrics`` shows.
            name: of the blueprint, and so of its endpoints.
            url_prefix: where it stands, unless ``register_blueprint()`` says otherwise.

        Raises:
            ValueError: a wrong value, named.
            TypeError: a wrong type, named.
        """
        from llmpool.contrib.flask.pages import blueprint

        return blueprint(may_view, may_control, quorum, registry, name, url_prefix)


def _checked(pool: ProviderPool | None) -> ProviderPool | None:
    if pool is not None and not isinstance(pool, ProviderPool):
        valid.refuse("pool", "a ProviderPool or None", pool, kind=TypeError)
    return pool
