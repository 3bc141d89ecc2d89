"""The JSON that the page draws, and what a health URL answers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from llmpool import ProviderPool, __version__
from llmpool.web import watching
from llmpool.web.public import public
from llmpool.web.quorum import is_ready
from llmpool.web.watching import View

Feed = dict[str, Any]
Pools = Mapping[str, ProviderPool]


def feed(pools: Pools, problem: str | None, quorum: float, *, keep: bool, history: bool) -> Feed:
    """
    Tell how the pools are, as the page wants it.

    Args:
        problem: why there are no pools, or None.
        keep: whether each pool's history is kept from now on; *history*: whether it is shown.
    """
    return {
        "pid": os.getpid(),
        "version": __version__,
        "problem": problem,
        "pools": [
            _pool(name, watching.study(pool, history=keep), quorum, history=history)
            for name, pool in pools.items()
        ],
    }


def readiness(pools: Pools, problem: str | None, quorum: float) -> Feed:
    """Tell whether every pool is ready, and how each is, in a few words."""
    told = {name: _readiness(watching.glance(pool), quorum) for name, pool in pools.items()}
    ready = bool(told) and all(each["ready"] for each in told.values())
    return {"ready": ready, "problem": problem, "pools": told}


def _readiness(view: View, quorum: float) -> Feed:
    return {
        "ready": view.problem is None and is_ready(view.status, quorum),
        "problem": view.problem,
        "healthy_deployments": view.status.healthy_deployments,
        "total_deployments": view.status.total_deployments,
    }


def _pool(name: str, view: View, quorum: float, *, history: bool) -> Feed:
    told = {"name": name, **view.status.to_dict(), **_readiness(view, quorum)}
    for each in told["deployments"]:
        _fill(each, view)
    if history and view.history is not None:
        told["history"] = view.history.shown()
    return told


def _fill(told: Feed, view: View) -> None:
    """Add to a deployment's status its settings, its share, and whether it would be asked now."""
    name = told["name"]
    # Removed since its status was taken, it has neither of these.
    deployment, explained = view.settings.get(name), view.explained.get(name)
    told["priority"] = getattr(deployment, "priority", 0)
    told["weight"] = getattr(deployment, "weight", 0)
    told["region"] = getattr(deployment, "region", None)
    told["share"] = view.shares.get(name, 0.0) if view.shares else None
    told["eligible"] = explained is not None and explained.eligible
    told["why"] = "removed" if explained is None else public(explained.why)
    told["until"] = None if explained is None else explained.to_dict()["until"]
    told["reason"] = public(told["reason"])
    told["last_error"] = public(told["last_error"])
    if told["last_check"] is not None:
        told["last_check"]["error"] = public(told["last_check"]["error"])
