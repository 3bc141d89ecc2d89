"""The machine's own time."""

from __future__ import annotations

import datetime
import threading
import types

import pytest

from llmpool import clock
from llmpool.clock import SystemClock


class Bell:
    """An event that counts how long it was waited for, and is set at one of the waits."""

    def __init__(self, set_at: int | None = None) -> None:
        self.waits: list[float | None] = []
        self._set_at = set_at

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return len(self.waits) == self._set_at


class Turned(SystemClock):
    """A clock that moves on by half a second each time it is read."""

    def __init__(self) -> None:
        self.read = 100.0

    def now(self) -> float:  # type: ignore[override]
        self.read += 0.25
        return self.read


def test_the_time() -> None:
    """One is monotonic, the other aware of its zone."""
    first = SystemClock().now()
    assert SystemClock().now() >= first
    assert SystemClock().utc().utcoffset() == datetime.timedelta(0)


def test_a_wait() -> None:
    """It ends with the event or with its time."""
    rung = threading.Event()
    rung.set()
    assert SystemClock().wait(rung, None) is True
    assert SystemClock().wait(rung, 5.0) is True
    assert SystemClock().wait(threading.Event(), 0.0) is False


@pytest.mark.parametrize(
    ("timeout", "set_at", "waits"),
    [
        (10.0, 1, 1),
        (None, 4, 4),
        (1.0, None, 2),
        (0.0, None, 1),
        (-1.0, None, 1),
    ],
)
def test_a_wait_where_a_long_one_ignores_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, timeout: float | None, set_at: int | None, waits: int
) -> None:
    """It is made of waits of half a second at most, and none is negative."""
    monkeypatch.setattr(clock, "sys", types.SimpleNamespace(platform="win32"))
    bell = Bell(set_at)
    assert Turned().wait(bell, timeout) is (set_at is not None)  # type: ignore[arg-type]
    assert len(bell.waits) == waits
    assert all(wait is not None and 0.0 <= wait <= 0.5 for wait in bell.waits)
