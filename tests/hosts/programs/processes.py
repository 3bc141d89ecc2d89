"""Use the pool in the processes of ``multiprocessing``, started as the first word says."""

from __future__ import annotations

import multiprocessing
import os
import sys
from typing import Any

import house
from forks import under_load
from house_rules import live_here


def work(label: str) -> tuple[int, dict[str, Any]]:
    """Use this process's pool; tell which process it is, and what broke the rules."""
    return os.getpid(), live_here(house.POOL, label)


if __name__ == "__main__":
    assert not house.astray(house.POOL, "before", 8)
    with under_load(house.POOL), multiprocessing.get_context(sys.argv[1]).Pool(2) as workers:
        told = workers.map(work, [f"task {n}" for n in range(6)], chunksize=1)
        workers.close()
        workers.join()
    broken = [what for _, what in told if what]
    assert not broken, broken
    assert os.getpid() not in {pid for pid, _ in told}
    print("all went well")
