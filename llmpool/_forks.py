"""Beginning anew in a forked child."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable


class Home:
    """
    The process that its owner works in.

    It holds *reset*, a method of the owner's, weakly, so that a forgotten owner is collected.
    """

    def __init__(self, reset: Callable[[], None]) -> None:
        # Guards the process id, and what its owner replaces under it. It re-enters for a signal handler
        # that calls the owner on the thread that holds it.
        self.lock = threading.RLock()
        self.pid = os.getpid()
        self._reset = weakref.WeakMethod(reset)
        _homes.add(self)

    def arrive(self) -> None:
        """Reset the owner when this process is a fork of the one it last worked in."""
        # uWSGI forks without running Python's hooks, and there Thread.is_alive() says True of the
        # parent's thread: only the process id tells.
        if self.pid == os.getpid():
            return
        if not self.lock.acquire(timeout=5.0):
            self.lock = threading.RLock()  # held at the fork, by a thread that is not here
            self.lock.acquire()
        try:
            if self.pid != os.getpid():
                self._begin_anew()
        finally:
            self.lock.release()

    def after_fork(self) -> None:
        """Reset the owner in a child that has no other thread yet."""
        self.lock = threading.RLock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        reset = self._reset()
        if reset is not None:
            reset()
        self.pid = os.getpid()


_homes: weakref.WeakSet[Home] = weakref.WeakSet()
"""What is to be reset in a forked child, by one hook for all: a hook can never be taken back."""


def _reset_all() -> None:  # pragma: no cover - runs in a forked child only
    for home in list(_homes):
        home.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - missing on Windows alone
    os.register_at_fork(after_in_child=_reset_all)
