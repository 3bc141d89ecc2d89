"""What any process that uses the pool of ``house.py`` must find true."""

from __future__ import annotations

import faulthandler
import threading
import time
from typing import Any

import house

from llmpool import ProviderPool

PATIENCE = 20.0
"""Seconds within which a check must come."""

_pause = threading.Event()


def checks_go_on(pool: ProviderPool, *names: str) -> bool:
    """Wait until the deployments of these names, or all, have been found well anew."""
    names = names or house.NAMES
    before = house.state(pool)["checked"]
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        now = house.state(pool)["checked"]
        if all(now[name] not in (None, before[name]) for name in names):
            return True
        # Nothing tells of a check that has found nothing new.
        _pause.wait(0.02)
    return False


def live_here(pool: ProviderPool, label: str, number: int = 24) -> dict[str, Any]:
    """Use *pool* from several threads in this process, and tell what broke the rules."""
    # Where something hangs, the log is to say what.
    faulthandler.dump_traceback_later(2 * PATIENCE)
    before = house.state(pool)
    broken: dict[str, Any] = {}
    astray = house.astray(pool, label, number)
    if astray:
        broken["answers of others"] = astray
    if not checks_go_on(pool):
        broken["no checks"] = house.state(pool)
    after = house.state(pool)
    wanted = {
        "in_flight": 0,
        "checkers": 1,
        "checker": True,
        "healthy": list(house.NAMES),
        "asked": before["asked"] + number,
    }
    broken.update({name: after[name] for name in wanted if after[name] != wanted[name]})
    faulthandler.cancel_dump_traceback_later()
    return broken
