"""Looking at a pool: its checker runs from then on, and its history is kept."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping

import attrs

from llmpool import Deployment, Explanation, PoolHealthStatus, ProviderPool
from llmpool.web.history import History

_log = logging.getLogger("llmpool.web")

_NOTHING = PoolHealthStatus(
    total_deployments=0,
    healthy_deployments=0,
    avg_latency_ms=None,
    pool_healthy=False,
    deployments=(),
)


@attrs.frozen(kw_only=True)
class View:
    """
    A pool at one moment.

    ``problem`` is what is wrong with the pool itself, or None; ``shares`` are parts of the last hour's
    calls, and none while nobody called.
    """

    status: PoolHealthStatus = _NOTHING
    problem: str | None = None
    settings: Mapping[str, Deployment] = attrs.field(factory=dict)
    explained: Mapping[str, Explanation] = attrs.field(factory=dict)
    shares: Mapping[str, float] = attrs.field(factory=dict)
    history: History | None = None


def glance(pool: ProviderPool) -> View:
    """
    Look how *pool* is, and let its checker run from now on, as a call would.

    It asks no deployment, so that none can hold it up. A checker that its user has stopped stays so.
    """
    return _guarded(lambda: _status(pool))


def study(pool: ProviderPool, *, history: bool) -> View:
    """Look at all there is to see, and from the first time on keep a history, if wanted."""
    return _guarded(lambda: _all(pool, history=history))


def _status(pool: ProviderPool) -> View:
    pool._ensure_running()
    closed = pool._closed.is_set()
    return View(status=pool.health_status(), problem="the pool is closed" if closed else None)


def _all(pool: ProviderPool, *, history: bool) -> View:
    kept = _book.history(pool) if history else None
    asked_at = pool._clock.now()
    view = _status(pool)
    return attrs.evolve(
        view,
        settings={deployment.name: deployment for deployment in pool.deployments},
        explained=pool.explain(),
        shares=kept.look(view.status.deployments, asked_at) if kept is not None else {},
        history=kept,
    )


def _guarded(look: Callable[[], View]) -> View:
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - a pool that cannot tell how it is, is not well
        # The type alone: a message may hold anything. The page tells of it, so the log need not, each
        # time that somebody looks.
        _log.debug("looking at a pool raised %s", type(error).__name__)
        return View(problem=f"looking at it raised {type(error).__name__}")


class _Book:
    """
    The history of each pool that was looked at, one for all sites.

    Threads: every method from any. It holds no pool.
    """

    def __init__(self) -> None:
        self._histories: weakref.WeakKeyDictionary[ProviderPool, History]
        self._histories = weakref.WeakKeyDictionary()
        self._begin()

    def _begin(self) -> None:
        # Guards the histories.
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def history(self, pool: ProviderPool) -> History:
        """Give the history of *pool*, which is kept from the first time on."""
        if self._pid != os.getpid():
            self._begin()  # it may have been held at the fork, by a thread that is not here
        with self._lock:  # critical section
            history = self._histories.get(pool)
            if history is None:
                history = self._histories[pool] = History(pool._clock)
        pool.observe(history)  # the same one again is nothing new
        return history


_book = _Book()
