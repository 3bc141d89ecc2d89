"""Buckets for requests and tokens a minute: pure rules, and what holds of them whatever is asked."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmpool.quota import GRAIN, MINUTE, SLACK, Bucket, Quota

PERIOD = MINUTE + SLACK

few = settings(max_examples=30)
"""Rules as plain as these show a fault soon; the fast tests are to stay fast."""


def admitted(bucket: Bucket, asked: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Ask one piece after the other, each so many seconds later; give those that went, and when."""
    now = 0.0
    went = []
    for pause, piece in asked:
        now += pause
        if bucket.ready_at(piece, now) <= now:
            bucket.take(piece, now)
            went.append((now, piece))
    return went


def heaviest_minute(went: list[tuple[float, int]]) -> int:
    """Give the most that may come in any sixty seconds, when the first is late on its way."""
    return max(
        (
            sum(piece for at, piece in went[first:] if at < began + PERIOD)
            for first, (began, _) in enumerate(went)
        ),
        default=0,
    )


@few
@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0.0, 5.0), st.just(1)), max_size=60),
)
def test_requests_at_any_times(limit: int, asked: list[tuple[float, int]]) -> None:
    """No sixty seconds, however they are cut, see more of them than the limit."""
    assert heaviest_minute(admitted(Bucket(limit, 0.0), asked)) <= limit


@pytest.mark.parametrize("limit", [1, 2, 7, 30])
def test_requests_without_a_pause(limit: int) -> None:
    """Asked for as often as can be, they come to the limit each minute, but for the tenth."""
    went = admitted(Bucket(limit, 0.0), [(0.25, 1)] * 1200)

    assert heaviest_minute(went) <= limit
    assert len(went) >= 5 * (limit - math.ceil(limit / 10)) - limit / 5 - 1  # a quarter of a second


@few
@given(
    st.integers(100, 10_000),
    st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(1, 3000)), max_size=40),
)
def test_pieces_of_any_size(limit: int, asked: list[tuple[float, int]]) -> None:
    """What goes in sixty seconds passes the limit by no more than a piece that is larger than the bucket."""
    bucket = Bucket(limit, 0.0)
    went = admitted(bucket, asked)
    largest = max((piece for _, piece in went), default=0)

    assert heaviest_minute(went) <= limit + max(0.0, largest - bucket.size)


@few
@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.floats(0.0, 30.0), st.integers(0, 3000)), max_size=40),
)
def test_pieces_that_are_put_back(limit: int, asked: list[tuple[float, int]]) -> None:
    """Nothing is lost: the bucket is as full as if they had never been taken."""
    bucket, other = Bucket(limit, 0.0), Bucket(limit, 0.0)
    start = bucket.size / 2
    bucket.take(start, 0.0)
    other.take(start, 0.0)
    for _, piece in asked:
        bucket.take(piece, 0.0)
    for _, piece in reversed(asked):
        bucket.take(-piece, 0.0)
    now = sum(pause for pause, _ in asked)

    assert bucket.level(now) == pytest.approx(other.level(now), abs=limit * 1e-6 + 1e-6)


@few
@given(
    st.integers(1, 10**7),
    st.floats(1e3, 1e9),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=30),
)
def test_the_time_that_is_named(limit: int, began: float, pieces: list[int]) -> None:
    """A piece goes at the very moment it was told to come back at; never is it told a moment ago."""
    bucket = Bucket(limit, began)
    now = began
    for piece in pieces:
        at = bucket.ready_at(piece, now)
        assert at == now or (at > now and bucket.ready_at(piece, at) <= at)
        now = at
        bucket.take(piece, now)


@few
@given(st.integers(1, 10**7), st.lists(st.tuples(st.floats(0, 90), st.integers(-900, 900))))
def test_what_is_left(limit: int, steps: list[tuple[float, int]]) -> None:
    """It is never more than the bucket holds, and comes back in full."""
    bucket = Bucket(limit, 0.0)
    now = 0.0
    for pause, piece in steps:
        now += pause
        bucket.take(piece, now)
        assert bucket.level(now) <= bucket.size
    assert bucket.level(now + 1e12) == bucket.size


def test_a_clock_that_stands() -> None:
    """A time before the last one adds nothing and takes nothing."""
    bucket = Bucket(60, 100.0)
    bucket.take(6, 100.0)

    assert bucket.level(40.0) == 0.0
    assert bucket.level(100.0) == 0.0


@pytest.mark.parametrize(("limit", "at_once"), [(1, 1), (3, 1), (10, 1), (20, 2), (600, 60)])
def test_a_burst(limit: int, at_once: int) -> None:
    """A tenth of the limit may go at once, and always one."""
    assert len(admitted(Bucket(limit, 0.0), [(0.0, 1)] * limit)) == at_once


@pytest.mark.parametrize(("limit", "share"), [(1, 1.0), (2, 1 / 2), (10, 1 / 10), (100, 1 / 91)])
def test_after_a_burst(limit: int, share: float) -> None:
    """The next one goes after an even share of the minute."""
    bucket = Bucket(limit, 0.0)
    bucket.take(bucket.size, 0.0)

    assert bucket.ready_at(1, 0.0) == pytest.approx(share * PERIOD, rel=1e-4)


def test_a_limit_beyond_all_measure() -> None:
    """It is none."""
    bucket = Bucket(10**400, 0.0)
    bucket.take(10**9, 0.0)
    assert bucket.ready_at(10**9, 0.0) == 0.0


def test_a_piece_larger_than_the_bucket() -> None:
    """It goes when the bucket is full, and its debt is paid off before the next."""
    bucket = Bucket(600, 0.0)
    bucket.take(1, 0.0)
    assert bucket.ready_at(500, 0.0) == pytest.approx(1 / bucket.rate, abs=1e-3)

    bucket.take(499, 1.0)
    assert bucket.level(1.0) == pytest.approx(bucket.size - 499)
    assert bucket.ready_at(1, 1.0) == pytest.approx(1.0 + 440 / bucket.rate, abs=1e-3)


class TestQuota:
    """Both limits together."""

    def test_without_limits(self) -> None:
        """Everything goes."""
        quota = Quota(None, None, 0.0)
        quota.take(10**9, 0.0)
        quota.settle(5, 10**9, 0.0, sent=False)

        assert quota.ready_at(10**9, 0.0) == 0.0
        assert quota.left(0.0) == (None, None)
        assert quota.limits == (None, None)

    def test_the_later_of_two(self) -> None:
        """An attempt waits for both, and is told which of them it waits for longest."""
        quota = Quota(10, 6000, 0.0)
        quota.take(600, 0.0)

        assert quota.ready_at(1, 0.0) == pytest.approx(PERIOD / 10, abs=1e-3)
        assert quota.spent(1, 0.0) == "10 requests a minute"
        assert quota.ready_at(600, 0.0) == pytest.approx(600 * PERIOD / 5401, abs=1e-3)
        assert quota.spent(600, 0.0) == "6000 tokens a minute"
        assert quota.limits == (10, 6000)

    def test_a_limit_of_tokens_alone(self) -> None:
        """An attempt of which nothing is known waits until there is no debt."""
        quota = Quota(None, 600, 0.0)
        quota.take(60, 0.0)

        assert quota.spent(0, 0.0) == "600 tokens a minute"
        assert quota.ready_at(0, 0.0) == pytest.approx(PERIOD / 541, abs=1e-3)
        assert quota.left(0.0) == (None, 0)

    @pytest.mark.parametrize(
        ("used", "sent", "left"),
        [
            (100, True, (1, 900)),  # as thought
            (30, True, (1, 970)),
            (450, True, (1, 550)),
            (0, True, (1, 1000)),  # refused
            (0, False, (2, 1000)),  # unsent
            (2500, True, (1, 0)),
        ],
    )
    def test_the_true_figure(self, used: int, sent: bool, left: tuple[int, int]) -> None:
        """It takes the place of the estimate; an attempt that was never sent is no request."""
        quota = Quota(20, 10_000, 0.0)
        quota.take(100, 0.0)
        quota.settle(100, used, 0.0, sent=sent)

        assert quota.left(0.0) == left

    @few
    @given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.booleans())))
    def test_many_ends(self, ends: list[tuple[int, int, bool]]) -> None:
        """Whatever was thought, in the end the true figures are missing, and the requests sent."""
        quota = Quota(10**6, 10**6, 0.0)
        for thought, _, _ in ends:
            quota.take(thought, 0.0)
        for thought, used, sent in ends:
            quota.settle(thought, used, 0.0, sent=sent)

        requests, tokens = quota.requests, quota.tokens
        assert requests is not None
        assert tokens is not None
        assert requests.level(0.0) == pytest.approx(10**5 - sum(sent for _, _, sent in ends))
        assert tokens.level(0.0) == pytest.approx(10**5 - sum(used for _, used, _ in ends))

    def test_rounding(self) -> None:
        """What is missing by rounding alone holds up nobody."""
        bucket = Bucket(600, 0.0)
        for _ in itertools.repeat(None, 60):
            bucket.take(1, 0.0)
        bucket.take(GRAIN, 0.0)
        at = PERIOD / 541 * (1 + GRAIN)
        assert bucket.ready_at(1, at) <= at
