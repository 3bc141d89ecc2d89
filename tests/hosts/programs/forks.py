"""
Fork again and again while four threads use the pool; the children use it too, and end as any process.

The first word tells when: ``anytime``, with the ledger's lock ``held`` by another thread, or from the
thread of a ``check``.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import house
from house_rules import PATIENCE, live_here

from llmpool import Custom, Deployment, ProviderPool

FORKS = 8


@contextmanager
def under_load(pool: ProviderPool) -> Iterator[None]:
    """Ask from four threads all the while; demand the right answers."""
    over = threading.Event()
    broken: list[str] = []

    def ask(label: str) -> None:
        turn = 0
        while not over.is_set():
            broken.extend(house.astray(pool, f"{label}, turn {turn}", 6, 1))
            turn += 1

    crowd = [threading.Thread(target=ask, args=(f"parent {n}",)) for n in range(4)]
    for thread in crowd:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in crowd:
            thread.join()
    assert not broken, broken


@contextmanager
def held(pool: ProviderPool) -> Iterator[None]:
    """Have another thread hold the ledger's lock."""
    taken, give_back = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._ledger._lock:
            taken.set()
            give_back.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(PATIENCE)
    try:
        yield
    finally:
        give_back.set()
        thread.join()


def child_of(pool: ProviderPool) -> int:
    """Fork; in the child, use the pool and leave by way of the interpreter's own end."""
    pid = os.fork()
    if pid == 0:
        broken = live_here(pool, "child")
        sys.exit(f"in a child: {broken}" if broken else 0)
    return pid


def wait_for(pid: int) -> None:
    """Wait for a child; demand that it ended in peace."""
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def fork_anytime(pool: ProviderPool) -> None:
    """Fork under load, several children at a time."""
    with under_load(pool):
        for _ in range(FORKS // 2):
            for pid in [child_of(pool) for _ in range(2)]:
                wait_for(pid)


def fork_while_held(pool: ProviderPool) -> None:
    """Fork under load, at a moment when the lock is held."""
    with under_load(pool):
        for _ in range(FORKS // 2):
            with held(pool):
                pid = child_of(pool)
            wait_for(pid)


def fork_in_checks() -> None:
    """Fork from the threads of checks, which have a life of their own in the parent."""
    pids: list[int] = []
    forked = threading.Event()

    def check(deployment: Deployment) -> bool:
        if os.getpid() == parent and len(pids) < FORKS:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    broken = live_here(pool, "child of a check")
                    if broken:
                        print("in a child:", broken)
                    status = 1 if broken else 0
                finally:
                    # This thread's caller is the parent's business.
                    os._exit(status)
            pids.append(pid)
        elif len(pids) >= FORKS:
            forked.set()
        return True

    parent = os.getpid()
    pool = house.build(check=Custom(check))
    with under_load(pool):
        assert forked.wait(PATIENCE)
    for pid in pids:
        wait_for(pid)


if __name__ == "__main__":
    when = sys.argv[1]
    if when == "check":
        fork_in_checks()
    else:
        assert not house.astray(house.POOL, "before", 8)
        {"anytime": fork_anytime, "held": fork_while_held}[when](house.POOL)
        broken_here = live_here(house.POOL, "parent, after")
        assert not broken_here, broken_here
    print("all went well")
