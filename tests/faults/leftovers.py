"""What a test must not leave: places, threads, sockets; keys and prompts where they can be read."""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
import traceback
from collections.abc import Iterable

from scene import PATIENCE, found_in

from llmpool import ProviderPool
from llmpool.claims import Claim
from llmpool.wishes import Wish

CLOSING = 30.0
"""Seconds that a server's threads may take to close their sockets."""


def carried_by(error: BaseException) -> list[str]:
    """Say where in an error, in those behind it, or in its pickle the key or the prompt stands."""
    problems = []
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        named = type(one).__name__
        written = {
            "str": str(one),
            "repr": repr(one),
            "args": repr(one.args),
            "fields": repr(vars(one)),
            "traceback": "".join(traceback.format_exception_only(type(one), one)),
        }
        for how, text in written.items():
            piece = found_in(text)
            if piece is not None:
                problems.append(f"{how} of {named}: {piece!r}")
    again = pickle.dumps(error)
    piece = found_in(again.decode("utf-8", "replace"))
    if piece is not None:
        problems.append(f"pickle of {type(error).__name__}: {piece!r}")
    assert repr(pickle.loads(again)) == repr(error)
    return problems


def left_in(pool: ProviderPool) -> list[str]:
    """Say what is in flight, held or waiting in a pool, and whether its places can be taken again."""
    ledger = pool._ledger
    ledger.tick()  # finds what was forgotten
    problems = [
        f"in flight on {name}: {status.requests_in_flight}"
        for name, status in pool.all_health().items()
        if status.requests_in_flight
    ]
    if ledger._queue or ledger._places.retrying or not ledger.lost.empty():
        problems.append("a place in the queue, or in the budget, is kept")
    if pool._closed.is_set():
        return problems
    names = frozenset(ledger.names())
    for name, told in pool.explain().items():
        if "no free" in told.why:
            problems.append(f"{name}: {told.why}")
        if told.eligible:
            wish = Wish(None, frozenset(), pool._clock.now() + 60.0, 0.0, False, 1)
            wish.avoid = wish.barred = names - {name}
            claim = Claim(ledger, wish)
            refusal = claim.take()
            if refusal is not None:
                problems.append(f"{name} is eligible and cannot be claimed: {refusal}")
            claim.release()
    return problems


def shown_by(pool: ProviderPool) -> list[str]:
    """Say where in what a pool shows the key or the prompt stands."""
    shown = {
        "repr": repr(pool),
        "health": repr(pool.all_health()),
        "html": pool._repr_html_(),
        "explain": repr(pool.explain()),
        "dict": repr(pool.health_status().to_dict()),
        "deployments": repr(pool.deployments) + repr([d.provider for d in pool.deployments]),
    }
    return [f"{how}: {found_in(text)!r}" for how, text in shown.items() if found_in(text)]


def logged(records: Iterable[logging.LogRecord]) -> list[str]:
    """Say where in the log the key or the prompt stands, whatever a formatter would show."""
    problems = []
    for record in records:
        piece = found_in(f"{record.getMessage()} {vars(record)!r}")
        if piece is not None:
            problems.append(f"logged by {record.name}: {piece!r}")
    return problems


def threads_left(earlier: set[threading.Thread]) -> list[str]:
    """Say which threads have not ended, whoever made them."""
    end = time.monotonic() + PATIENCE
    left = []
    for thread in set(threading.enumerate()) - earlier:
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            left.append(f"thread left: {thread.name}")
    return left


def open_sockets() -> int:
    """Count the open sockets of this process."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
        except OSError:
            pass  # closed meanwhile, such as the one that lists
    return count


def sockets_left(earlier: int) -> list[str]:
    """Say how many sockets more than *earlier* stay open; threads of a server may be at closing some."""
    pause = threading.Event()
    end = time.monotonic() + CLOSING
    while (count := open_sockets()) > earlier:
        if time.monotonic() > end:
            return [f"sockets left: {count - earlier}"]
        pause.wait(0.005)
    return []
