"""The status page as an application uses it; mypy reads this file and nobody runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmpool import PoolHealthStatus, ProviderPool
from llmpool.web import Reply, StatusSite, as_quorum, is_ready


def is_admin(environ: dict[str, Any]) -> bool:
    """Say who may control."""
    return environ.get("REMOTE_USER") == "admin"


def pools() -> Mapping[str, ProviderPool]:
    """Give the pools, when they are asked for."""
    return {}


def make(pool: ProviderPool) -> list[StatusSite]:
    """Use everything that is public."""
    return [
        StatusSite(pool),
        StatusSite({"main": pool}, quorum=2, may_control=is_admin, refresh=5.0, history=False),
        StatusSite(pools, quorum=0.5, registry=object()),
        StatusSite(lambda: pool),
    ]


def show(site: StatusSite, status: PoolHealthStatus) -> tuple[int, bytes, bool]:
    """Ask as a framework would."""
    reply: Reply = site.respond(
        "GET", "/status?history=1", {"Host": "h"}, request=None, secure=True
    )
    application = site.wsgi
    chunks: list[bytes] = application({}, lambda status, headers: None)
    quorum: int | float = as_quorum("MIN_HEALTHY", 0.5)
    return reply.status, reply.body + chunks[0], is_ready(status, quorum)
