"""Work done in a forked child, under a wall limit; what it gives comes back through a pipe."""

from __future__ import annotations

import faulthandler
import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable
from typing import Any

CHILD_WALL = 90.0
"""Seconds after which a child hangs, on a machine with much else to do."""


def in_child(work: Callable[[], Any]) -> Any:
    """
    Fork, do *work* in the child, and give what it returns.

    Raises:
        AssertionError: the child raised, with its traceback, or hung.
    """
    readable, writable = os.pipe()
    # Before the fork: a child may hang in the hooks that run before its first line.
    faulthandler.register(signal.SIGUSR1, writable)
    pid = os.fork()
    if pid == 0:
        report(writable, work)
    faulthandler.unregister(signal.SIGUSR1)
    os.close(writable)
    return read_report(readable, pid)


def report(writable: int, work: Callable[[], Any]) -> None:
    """Do *work*, write what it returns or raises, and end this process, whatever it is."""
    signal.alarm(int(CHILD_WALL * 2))  # should the parent be gone by then
    try:
        try:
            told = (True, work())
        except BaseException:
            told = (False, traceback.format_exc())
        with os.fdopen(writable, "wb") as pipe:
            pickle.dump(told, pipe)
    finally:
        os._exit(0)


def read_report(readable: int, pid: int) -> Any:
    """Give what the child wrote, and reap it."""
    with os.fdopen(readable, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], CHILD_WALL)
        if not ready:
            os.kill(pid, signal.SIGUSR1)  # it tells where it hangs
            said, _, _ = select.select([pipe], [], [], 5.0)
            told = os.read(readable, 65536) if said else b""
            os.kill(pid, signal.SIGKILL)
        else:
            told = pipe.read()
    os.waitpid(pid, 0)
    assert ready, f"the child hung: {told.decode()}"
    assert told, "the child died"
    good, value = pickle.loads(told)
    assert good, value
    return value
