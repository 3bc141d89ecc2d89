"""How a lock is taken that somebody else holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from stand import PATIENCE, Caller, Stand, deployment, end

from llmpool import turnstile
from llmpool.bell import Bell
from llmpool.claims import Claim


class Held:
    """A lock that is held by somebody else, and is let go at one of the tries for it."""

    def __init__(self, tries: int) -> None:
        self.tries = tries

    def acquire(self, blocking: bool) -> bool:
        """Try."""
        assert not blocking, "that would be to queue"
        self.tries -= 1
        return self.tries <= 0


def napping(monkeypatch: pytest.MonkeyPatch, nap: Callable[[float], object]) -> None:
    """Let *nap* be done in the place of a sleep."""

    class Napping(Bell):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            nap(timeout)
            return False

    monkeypatch.setattr(turnstile, "Bell", Napping)


def test_coming_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sleeps between the tries double up to the longest."""
    naps: list[float] = []
    napping(monkeypatch, naps.append)
    lock: Any = Held(tries=8)
    turnstile.come_back(lock)
    assert lock.tries == 0
    assert naps == pytest.approx([50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1e-3, 1e-3])


class Watched:
    """The ledger's own lock, and how it was asked for."""

    def __init__(self, stand: Stand) -> None:
        self._lock = stand.ledger._lock
        self.release = self._lock.release
        self.tried = threading.Event()
        self.asked: set[bool] = set()
        stand.ledger._lock = self  # type: ignore[assignment]

    def acquire(self, blocking: bool = True) -> bool:
        """Note it, and that it was in vain."""
        self.asked.add(blocking)
        taken = self._lock.acquire(blocking)
        if not taken:
            self.tried.set()
        return taken


def entering(stand: Stand, claim: Claim, act: str) -> Callable[[], object]:
    """Give one of the three ways into the ledger's sections."""
    ways: dict[str, Callable[[], object]] = {
        "take": claim.take,
        "settle": lambda: claim.settle(end("ok")),
        "status": stand.ledger.status,
    }
    return ways[act]


@pytest.mark.parametrize("act", ["take", "settle", "status"])
def test_nobody_queues_for_the_ledger(act: str) -> None:
    """Who finds it taken never waits in the lock itself, and gets in when it is free."""
    stand = Stand(deployment("eu"))
    claim = stand.claim() if act == "take" else stand.take()
    lock = Watched(stand)
    thread = threading.Thread(target=entering(stand, claim, act), daemon=True)

    assert lock.acquire(False)
    thread.start()
    assert lock.tried.wait(PATIENCE)
    lock.release()
    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert lock.asked == {False}


def interrupt(_: float) -> None:
    """Be Ctrl-C."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("act", ["take", "settle", "status"])
def test_an_interrupt_while_coming_back(monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """It goes through; no place is taken, and the lock is the holder's alone."""
    napping(monkeypatch, interrupt)
    stand = Stand(deployment("eu"))
    claim = stand.claim() if act == "take" else stand.take()
    holder = stand.ledger._lock
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with holder:
            inside.set()
            leave.wait(PATIENCE)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert inside.wait(PATIENCE)
    mended = stand.ledger._mend

    def let_go_and_mend() -> None:
        leave.set()
        mended()

    stand.ledger._mend = let_go_and_mend  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        entering(stand, claim, act)()
    thread.join(PATIENCE)
    monkeypatch.undo()
    claim.release()

    caller = Caller(stand.claim())
    assert caller.answer() == "eu"
    caller.claim.release()
    assert stand.in_flight() == {"eu": 0}
