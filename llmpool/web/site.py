"""The status site: one function from a request to a reply, for any framework to call."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from llmpool import ProviderPool, errors
from llmpool import _validators as valid
from llmpool.clock import Clock, SystemClock
from llmpool.web import assets, controls, feed, metrics, replies, wsgi
from llmpool.web.quorum import as_quorum
from llmpool.web.replies import Reply
from llmpool.web.sparing import Sparing

Pools = Mapping[str, ProviderPool]

_log = logging.getLogger("llmpool.web")


@attrs.frozen
class Asked:
    """A request; the headers' names are in lower case."""

    method: str
    page: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    request: Any
    secure: bool


class StatusSite:
    """
    The page that shows how pools are, the JSON that it draws, a health URL and the metrics.

    Nothing of it is secret, and only who has the permission changes anything. No deployment is asked, so
    no reply waits for one; looking at a pool lets its checker run, as a call does.

    Args:
        pools: a pool, pools by name, or a function that gives either, asked at each request.
        quorum: how many have to be healthy for a pool to be ready, or as a float which share of all.
        may_control: called with the framework's request; only by True itself it lets him drain and
            resume.
        refresh: seconds between two looks of the page.
        history: whether the last hour is kept and shown.
        registry: what Prometheus is shown, a ``prometheus_client.CollectorRegistry``.

    Threads: every method from any.

    Raises:
        ValueError: a wrong value, named by its field.
        TypeError: a wrong type, named by its field.
    """

    def __init__(
        self,
        pools: ProviderPool | Pools | Callable[[], ProviderPool | Pools],
        *,
        quorum: float = 1,
        may_control: Callable[[Any], bool] | None = None,
        refresh: float = 2.0,
        history: bool = True,
        registry: Any = None,
        clock: Clock | None = None,
    ) -> None:
        valid.as_seconds("refresh", refresh)
        valid.as_flag("history", history)
        self._pools = _checked(pools)
        self._quorum = as_quorum("quorum", quorum)
        self._permission = controls.Permission(may_control)
        self._refresh = float(refresh)
        self._history = history
        self._registry = registry
        self._clock: Clock = SystemClock() if clock is None else clock
        self._assets: Mapping[str, assets.Asset] | None = None
        self._health = Sparing[feed.Feed](self._clock.now)
        self._feeds = {shown: Sparing[bytes](self._clock.now) for shown in (False, True)}

    def respond(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        request: Any = None,
        *,
        secure: bool = False,
    ) -> Reply:
        """
        Answer a request.

        Args:
            path: below the mount, with the query if there is one: ``"/status?history=1"``.
            headers: the request's; their names in any case.
            request: what *may_control* is asked with.
            secure: whether it came by HTTPS, so that the page's cookie stays there.
        """
        page, _, query = path.partition("?")
        lowered = {name.lower(): value for name, value in headers.items()}
        told = self._answer(Asked(method, page, query, lowered, body, request, secure))
        return replies.without_body(told) if method == "HEAD" else told

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer as a WSGI application, mounted anywhere; the permission is asked with *environ*."""
        return wsgi.serve(self.respond, environ, start_response)

    def _answer(self, asked: Asked) -> Reply:
        answer, *methods = self._route(asked.page)
        if answer is None:
            return replies.of_text(404, "not found")
        if asked.method not in methods:
            allowed = ", ".join(methods)
            return replies.refusal(405, f"only {allowed}", ("Allow", allowed))
        told: Reply = answer(asked)
        return told

    def _route(self, page: str) -> tuple[Any, ...]:
        """Give what answers for a page, and the methods that it answers to."""
        if page == "/control":
            return self._control, "POST"
        shown = {
            "": self._page,
            "/": self._page,
            "/status": self._status,
            "/healthz": self._healthz,
            "/metrics": self._metrics,
        }.get(page)
        if shown is None and self._asset(page) is not None:
            shown = self._file
        return shown, "GET", "HEAD"

    # -- what can be seen -------------------------------------------------------------------

    def _page(self, asked: Asked) -> Reply:
        page = self._asset(f"/static/{assets.PAGE}")
        assert page is not None, "the package lacks its page"
        return replies.reply(200, page.kind, page.content, replies.NO_STORE, *self._cookie(asked))

    def _file(self, asked: Asked) -> Reply:
        asset = self._asset(asked.page)
        assert asset is not None
        return assets.show(asset, asked.headers.get("if-none-match", ""))

    def _status(self, asked: Asked) -> Reply:
        history = self._history and "history=1" in asked.query.split("&")
        pools, problem = self._found()
        rest = self._feeds[history].give(
            _identity(pools), lambda: self._feed(pools, problem, history=history)
        )
        own = {"controls": self._permission.has(asked.request)}
        # The rest may be what another viewer got.
        body = replies.dump(own)[:-1] + b"," + rest[1:]
        return replies.json_text(200, body, *self._cookie(asked))

    def _feed(self, pools: Pools, problem: str | None, *, history: bool) -> bytes:
        head = {"at": self._clock.utc().timestamp(), "refresh": self._refresh}
        rest = feed.feed(pools, problem, self._quorum, keep=self._history, history=history)
        return replies.dump({**head, **rest})

    def _healthz(self, asked: Asked) -> Reply:
        pools, problem = self._found()
        told = self._health.give(
            _identity(pools), lambda: feed.readiness(pools, problem, self._quorum)
        )
        return replies.of_json(200 if told["ready"] else 503, told)

    def _metrics(self, asked: Asked) -> Reply:
        return metrics.show(self._registry)

    def _cookie(self, asked: Asked) -> tuple[tuple[str, str], ...]:
        if not self._permission.possible:
            return ()
        return controls.new_cookie(asked.headers, secure=asked.secure)

    def _asset(self, page: str) -> assets.Asset | None:
        if self._assets is None:
            self._assets = assets.load()
        folder, name = page[: len(_FILES)], page[len(_FILES) :]
        return self._assets.get(name) if folder == _FILES else None

    def _found(self) -> tuple[Pools, str | None]:
        """Give the pools, and what is wrong if there are none."""
        try:
            found = self._pools()
            if isinstance(found, ProviderPool):
                found = {found.name: found}
            pools = {str(name): _as_pool(pool) for name, pool in found.items()}
        except Exception as error:  # noqa: BLE001 - the user's own function
            return {}, f"asking for the pools raised {type(error).__name__}"
        return pools, None if pools else "there are no pools"

    # -- what can be done -------------------------------------------------------------------

    def _control(self, asked: Asked) -> Reply:
        if len(asked.body) > controls.MOST_BYTES:
            return replies.refusal(413, f"the body is longer than {controls.MOST_BYTES} bytes")
        forged = controls.forged(asked.headers, secure=asked.secure)
        if forged is not None:
            return replies.refusal(403, forged)
        if not self._permission.has(asked.request):
            return replies.refusal(403, "you may not control the pools")
        order = controls.read(asked.body)
        if order is None:
            return replies.refusal(400, "wanted pool, deployment and action (drain or resume)")
        pool = self._found()[0].get(order.pool)
        if pool is None:
            return replies.refusal(404, "there is no such pool")
        answer = _obey(pool, order)
        self._health.forget()
        for kept in self._feeds.values():
            kept.forget()
        return answer


_FILES = "/static/"
_WANTED = "a ProviderPool, a mapping of names to them, or a function that gives one"


def _obey(pool: ProviderPool, order: controls.Order) -> Reply:
    try:
        if order.action == "drain":
            pool.drain(order.deployment, timeout=0.0)
        else:
            pool.resume(order.deployment)
        told = "pool %s: %s was ordered for %s on the status page"
        _log.info(told, pool.name, order.action, order.deployment)
        return replies.of_json(200, {"state": pool.health(order.deployment).state})
    except KeyError:
        return replies.refusal(404, "there is no such deployment")
    except errors.LLMPoolError as error:
        return replies.refusal(503, str(error))


def _identity(pools: Pools) -> object:
    """Give what tells these pools from others, and holds none of them."""
    return tuple((name, weakref.ref(pool)) for name, pool in pools.items())


def _checked(given: Any) -> Callable[[], Any]:
    if isinstance(given, Mapping):
        for pool in given.values():
            _as_pool(pool)
    if isinstance(given, (ProviderPool, Mapping)):
        return lambda: given
    if not callable(given):
        valid.refuse("pools", _WANTED, given, kind=TypeError)
    asked: Callable[[], Any] = given
    return asked


def _as_pool(given: object) -> ProviderPool:
    if not isinstance(given, ProviderPool):
        valid.refuse("pools", _WANTED, given, kind=TypeError)
    return given
