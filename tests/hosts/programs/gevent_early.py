"""Patch first, then use the pool: its threads are greenlets, and the only native ones are gevent's own."""

# ruff: noqa: E402 - patching comes before every other import; that is what is shown
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os
import sys
import threading

import gevent
import house
from house_rules import checks_go_on


def native() -> int:
    """Count the native threads that are not gevent's own."""
    its_own: int = gevent.get_hub().threadpool.size
    return len(os.listdir("/proc/self/task")) - its_own


if __name__ == "__main__":
    pool = house.POOL
    assert not house.astray(pool, "greenlets", 60, 8)
    assert checks_go_on(pool, "eu")
    state = house.state(pool)
    assert state["in_flight"] == 0, state
    assert state["checker"], state
    assert native() == 1, os.listdir("/proc/self/task")
    if sys.argv[1] == "closed":
        pool.close()
        left = [each.name for each in threading.enumerate() if "llmpool-checker" in each.name]
        assert not left, left
    print("all went well")
