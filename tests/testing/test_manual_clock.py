"""The clock turned by hand."""

from __future__ import annotations

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmpool.testing import ManualClock


def test_it_stands_still() -> None:
    """Time is what it was until somebody moves it."""
    clock = ManualClock()
    assert clock.now() == clock.now() == 1000.0
    clock.advance(2.5)
    assert clock.now() == 1002.5
    assert ManualClock(start=5.0).now() == 5.0
    assert repr(clock) == "ManualClock(now=1002.5)"


def test_its_wall_clock_moves_along() -> None:
    """It is aware and advances by the same seconds."""
    clock = ManualClock()
    before = clock.utc()
    clock.advance(3600)
    assert before.tzinfo is datetime.timezone.utc
    assert clock.utc() - before == datetime.timedelta(hours=1)


def test_a_wait_takes_no_time() -> None:
    """It moves the hands instead; a set event ends it before they move."""
    clock = ManualClock()
    event = threading.Event()
    assert clock.wait(event, 30.0) is False
    assert clock.wait(event, -1.0) is False
    assert clock.now() == 1030.0
    event.set()
    assert clock.wait(event, 30.0) is True
    assert clock.wait(event, None) is True
    assert clock.now() == 1030.0


def test_a_wait_without_end() -> None:
    """No hand-turned clock could end it, so it is an error of the test."""
    with pytest.raises(AssertionError, match="without end"):
        ManualClock().wait(threading.Event(), None)


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_going_back(seconds: float) -> None:
    """A monotonic clock does not."""
    clock = ManualClock()
    with pytest.raises(ValueError, match="seconds: wanted"):
        clock.advance(seconds)
    assert clock.now() == 1000.0


def test_many_hands_on_it() -> None:
    """No movement is lost."""
    clock = ManualClock(start=0.0)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(clock.advance, [1.0] * 800))
    assert clock.now() == 800.0
