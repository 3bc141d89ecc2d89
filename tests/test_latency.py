"""What is remembered of latencies, and for how long."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmpool.latency import HALF, Latencies


def filled(*seconds: float, now: float = 0.0) -> Latencies:
    """Give a memory of calls that all ended at *now*."""
    latencies = Latencies()
    for each in seconds:
        latencies.add(each, now)
    return latencies


def exact(seconds: list[float], share: float) -> float:
    """Give the quantile by counting."""
    ordered = sorted(seconds)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def test_unmeasured() -> None:
    """There is nothing to tell."""
    latencies = Latencies()
    latencies.expire(1000.0)
    assert latencies.count == 0
    assert latencies.mean is None
    assert latencies.worst == 0.0
    assert latencies.quantile(0.5) is None


@given(
    st.lists(st.floats(1e-5, 600.0), min_size=1, max_size=200),
    st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]),
)
def test_quantiles(seconds: list[float], share: float) -> None:
    """They are right to within 5 %."""
    found = filled(*seconds).quantile(share)
    assert found == pytest.approx(exact(seconds, share), rel=0.05)


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, 1e-5), (1e-9, 1e-5), (5000.0, 615.0)])
def test_beyond_the_scale(seconds: float, shown: float) -> None:
    """What is shorter or longer than any call counts as the shortest or the longest."""
    assert filled(seconds).quantile(0.5) == pytest.approx(shown, rel=0.1)


def test_a_quantile_asked_again() -> None:
    """It follows what came since: at once while there is little, within 32 calls later."""
    latencies = filled(1.0)
    assert latencies.quantile(0.5) == latencies.quantile(0.5) == pytest.approx(1.0, rel=0.05)
    latencies.add(10.0, 0.0)
    latencies.add(10.0, 0.0)
    assert latencies.quantile(0.5) == pytest.approx(10.0, rel=0.05)
    for _ in range(200):
        latencies.add(10.0, 0.0)
    assert latencies.quantile(0.99) == pytest.approx(10.0, rel=0.05)
    for _ in range(33):
        latencies.add(100.0, 0.0)
    assert latencies.quantile(0.99) == pytest.approx(100.0, rel=0.05)


def test_the_mean() -> None:
    """It moves a tenth of the way with each call."""
    latencies = filled(1.0, 2.0)
    assert latencies.mean == pytest.approx(1.1)
    for _ in range(100):
        latencies.add(3.0, 0.0)
    assert latencies.mean == pytest.approx(3.0, rel=0.01)


def test_a_measurement_in_the_older_half() -> None:
    """It still counts; after two halves it is forgotten."""
    latencies = filled(1.0)
    latencies.add(100.0, HALF)
    assert latencies.count == 2
    assert latencies.quantile(0.5) == pytest.approx(1.0, rel=0.05)
    latencies.add(100.0, 2 * HALF)
    assert latencies.count == 2
    assert latencies.quantile(0.01) == pytest.approx(100.0, rel=0.05)


def test_a_pause_longer_than_the_memory() -> None:
    """Nothing from before it is left."""
    latencies = filled(1.0, 1.0, 1.0)
    latencies.add(5.0, 10 * HALF)
    assert latencies.count == 1
    assert latencies.quantile(0.01) == pytest.approx(5.0, rel=0.05)
    assert latencies.worst == 5.0


def test_time_alone() -> None:
    """It makes a deployment unmeasured again, so that it is tried again."""
    latencies = filled(1.0)
    latencies.expire(HALF - 1)
    assert (latencies.count, latencies.mean) == (1, 1.0)
    latencies.expire(HALF + 1)
    assert (latencies.count, latencies.mean) == (1, None)
    assert latencies.quantile(0.5) == pytest.approx(1.0, rel=0.05)
    latencies.expire(2 * HALF + 2)
    assert (latencies.count, latencies.mean, latencies.worst) == (0, None, 0.0)
    assert latencies.quantile(0.5) is None
    latencies.expire(9 * HALF)
    assert latencies.count == 0


@given(st.lists(st.tuples(st.floats(0, 700), st.floats(0, 100)), max_size=60))
def test_the_worst(calls: list[tuple[float, float]]) -> None:
    """No call in memory took longer, by more than the scale is coarse."""
    latencies = Latencies()
    now = 0.0
    kept: list[tuple[float, float]] = []
    for seconds, pause in calls:
        now += pause
        latencies.add(seconds, now)
        kept.append((now, seconds))
        recent = [each for at, each in kept if now - at < HALF]
        assert latencies.worst >= min(max(recent), 615.0) * 0.999
