"""The event that those who wait for a place wait for."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

import pytest
from checking import WALL, in_thread

from llmpool.bell import Bell


def test_ringing() -> None:
    """What has rung has rung, however often; nobody waits for it any longer."""
    bell = Bell()
    assert not bell.is_set()
    assert not bell.wait(0.0)
    assert not bell.wait(-1.0)

    bell.set()
    bell.set()

    assert bell.is_set()
    assert bell.wait()
    assert bell.wait(0.0)
    with pytest.raises(TypeError, match="a Bell cannot be cleared"):
        bell.clear()


class Gate:
    """A bell's lock to which something happens as the wait ends."""

    def __init__(self, bell: Bell, act: Callable[[], bool]) -> None:
        self.real = bell._gate
        self.act = act

    def acquire(self, timeout: float) -> bool:
        """Let it happen."""
        return self.act()

    def release(self) -> None:
        """Open the real one."""
        self.real.release()


def test_it_rings_as_the_time_is_over() -> None:
    """The wait tells so."""
    bell = Bell()

    def too_late() -> bool:
        bell.set()
        return False

    bell._gate = Gate(bell, too_late)  # type: ignore[assignment]
    assert bell.wait(1.0)


def test_an_interrupt_as_one_is_let_through() -> None:
    """Those who wait behind are let through all the same."""
    bell = Bell()
    gate = bell._gate

    def broken_off() -> bool:
        bell.set()
        assert gate.acquire(blocking=False)  # through, and shut again behind
        raise KeyboardInterrupt

    bell._gate = Gate(bell, broken_off)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        bell.wait(WALL)
    assert gate.acquire(blocking=False)


def test_an_interrupt_as_it_rings() -> None:
    """Rung again, it opens."""
    bell = Bell()
    bell._rung = True  # and no further
    gate = bell._gate
    bell.set()
    assert gate.acquire(blocking=False)


def test_two_who_ring_at_once() -> None:
    """It rings once."""
    bell = Bell()
    bell.set()
    bell._rung = False  # as the other one saw it

    bell.set()

    assert bell.wait(0.0)


def test_many_who_wait() -> None:
    """One ring wakes them all."""
    bell = Bell()
    waiters = [in_thread(lambda: bell.wait(WALL)) for _ in range(8)]

    bell.set()

    for thread, _ in waiters:
        thread.join(WALL)
    assert [answer for _, answers in waiters for answer in answers] == [True] * 8


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_a_signal_handler_that_rings() -> None:
    """It ends the wait of the thread on which it runs."""
    bell = Bell()
    former = signal.signal(signal.SIGTERM, lambda number, frame: bell.set())
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    try:
        timer.start()
        assert bell.wait(WALL)
    finally:
        timer.join(WALL)
        signal.signal(signal.SIGTERM, former)
