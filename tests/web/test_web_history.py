"""The last hour by a hand-turned clock, beside a model that keeps everything."""

from __future__ import annotations

import gc
import itertools
import math
import os
import sys
import threading
import weakref
from typing import Any

import pytest
from forks import in_child
from hypothesis import given, settings
from hypothesis import strategies as some
from viewer import Viewer, pool_of

from llmpool import Attempt, Deployment, Event, ProviderPool, Verdict
from llmpool.status import DeploymentStatus
from llmpool.testing import ManualClock, ScriptedProvider
from llmpool.web import StatusSite, history
from llmpool.web.history import History
from llmpool.web.spells import FINEST, MOST, Spells

ERRORS = {Verdict.RATE_LIMITED, Verdict.CONFIG, Verdict.BUSY, Verdict.FAULT}
STEP, HOUR = 30.0, 3600.0


class Past:
    """A history, its clock, and short words for what happens."""

    def __init__(self, start: float = 1000.0) -> None:
        self.clock = ManualClock(start)
        self.history = History(self.clock)

    def call(self, name: str, verdict: Verdict = Verdict.OK, latency: float = 0.1) -> None:
        """End an attempt."""
        self.history.attempt_ended(Attempt(name, verdict, latency=latency), None)

    def change(self, name: str, state: str, ago: float = 0.0) -> None:
        """Change a state."""
        at = self.clock.now() - ago
        self.history.state_changed(Event("main", name, "?", state, None, at))

    def look(self, **states: str) -> dict[str, float]:
        """Look at deployments in these states; give the shares."""
        statuses = [
            DeploymentStatus(name=name, healthy=state == "healthy", state=state)
            for name, state in states.items()
        ]
        return self.history.look(statuses, self.clock.now())

    def columns(self, name: str) -> Any:
        """Give what is shown of a deployment."""
        return self.history.shown()["deployments"][name]

    def states(self, name: str) -> list[tuple[float, str]]:
        """Give its states, with the seconds since each began."""
        now = self.clock.utc().timestamp()
        return [(round(now - at, 2), state) for at, state in self.columns(name)["states"]]


# -- buckets ------------------------------------------------------------------------------------


def test_buckets() -> None:
    """Each is half a minute; there are as many as the history is old, and 120 at most."""
    past = Past(start=1000.0)  # ten seconds into a bucket
    past.call("eu", latency=0.1)
    past.call("eu", Verdict.FAULT, latency=5.0)
    past.clock.advance(20.0)
    past.call("eu", latency=0.2)
    past.call("us", Verdict.CALLER)
    shown = past.history.shown()
    assert shown["step"] == 30.0
    began = past.clock.utc().timestamp()
    assert shown["at"] == [began - 30.0, began]
    eu, us = shown["deployments"]["eu"], shown["deployments"]["us"]
    assert (eu["calls"], eu["errors"]) == ([2, 1], [1, 0])
    assert eu["p50_ms"] == pytest.approx([100.0, 200.0], rel=0.05)
    assert eu["p99_ms"] == pytest.approx([100.0, 200.0], rel=0.05)
    assert (us["calls"], us["errors"]) == ([0, 1], [0, 0])
    assert us["p50_ms"] == us["p99_ms"] == [None, None]
    past.clock.advance(10 * HOUR)
    assert len(past.history.shown()["at"]) == 120


def test_quantiles_of_a_bucket() -> None:
    """They are those of the calls that succeeded within it, to within 5 %."""
    past = Past()
    for number in range(1, 101):
        past.call("eu", latency=number / 100)
    for _ in range(1000):
        past.call("eu", Verdict.FAULT, latency=60.0)
    past.clock.advance(STEP)
    past.call("eu", latency=7.0)
    eu = past.columns("eu")
    assert eu["p50_ms"] == pytest.approx([500.0, 7000.0], rel=0.05)
    assert eu["p99_ms"] == pytest.approx([990.0, 7000.0], rel=0.05)


def test_what_is_an_hour_old() -> None:
    """A call is shown until its bucket is the 121st."""
    past = Past(start=0.0)
    past.call("eu")
    past.clock.advance(HOUR - 0.001)
    past.call("eu")
    assert past.columns("eu")["calls"] == [1, *([0] * 118), 1]
    past.clock.advance(0.002)
    assert sum(past.columns("eu")["calls"]) == 1
    past.clock.advance(HOUR - STEP)
    assert sum(past.columns("eu")["calls"]) == 0


def test_notes_that_come_late() -> None:
    """They count in the bucket that is the newest by then."""
    past = Past(start=0.0)
    past.clock.advance(STEP)
    late = Attempt("eu", Verdict.OK, latency=0.1)
    past.call("eu")
    past.history.shown()
    chapter = past.history._chapter
    chapter.notes.put((STEP - 1.0, late.deployment, late.verdict, late.latency))
    assert past.columns("eu")["calls"] == [0, 2]


def test_shares() -> None:
    """Each deployment's part of the last hour's calls; nobody has one before the first call."""
    past = Past(start=0.0)
    assert past.look(eu="healthy", us="healthy") == {}
    for name in ("eu", "eu", "eu", "gone"):
        past.call(name)
    assert past.look(eu="healthy", us="healthy") == {"eu": 0.75, "us": 0.0, "gone": 0.25}
    past.clock.advance(HOUR)
    past.call("us")
    shares = past.look(eu="healthy", us="healthy")
    assert (shares["eu"], shares["us"]) == (0.0, 1.0)


@settings(max_examples=40)
@given(
    some.lists(
        some.one_of(
            some.tuples(
                some.sampled_from(["eu", "us"]),
                some.sampled_from(list(Verdict)),
                some.floats(0.001, 30.0),
            ),
            some.sampled_from([1.0, 13.0, 29.999, 30.0, 95.0, 1800.0, 3570.0]),
            some.just("look"),
        ),
        max_size=60,
    )
)
def test_buckets_beside_a_model(story: list[Any]) -> None:
    """Whatever happens and whenever one looks: counts are exact, quantiles within 5 %."""
    past = Past(start=1234.5)
    first = int(1234.5 // STEP)
    kept: list[tuple[int, str, Verdict, float]] = []
    for event in story:
        if isinstance(event, float):
            past.clock.advance(event)
        elif event == "look":
            past.look(eu="healthy")
        else:
            past.call(*event)
            kept.append((int(past.clock.now() // STEP), *event))
    newest = int(past.clock.now() // STEP)
    places = range(max(first, newest - 119), newest + 1)
    shown = past.history.shown()
    assert len(shown["at"]) == len(places)
    for name, columns in shown["deployments"].items():
        for number, place in enumerate(places):
            here = [call for call in kept if call[0] == place and call[1] == name]
            good = sorted(call[3] for call in here if call[2] is Verdict.OK)
            assert columns["calls"][number] == len(here)
            assert columns["errors"][number] == sum(call[2] in ERRORS for call in here)
            for column, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
                value = columns[column][number]
                if not good:
                    assert value is None
                else:
                    rank = max(1, math.ceil(round(share * len(good), 6)))
                    assert value == pytest.approx(good[rank - 1] * 1000.0, rel=0.05)
    told = {call[1] for call in kept if call[0] in places}
    assert told <= shown["deployments"].keys()


# -- states -------------------------------------------------------------------------------------


def test_states() -> None:
    """Each is told with the time at which it began, the first from the first look on."""
    past = Past()
    past.look(eu="healthy")
    past.clock.advance(100.0)
    past.change("eu", "unhealthy")
    past.clock.advance(60.0)
    past.change("eu", "recovering")
    past.clock.advance(30.0)
    past.change("eu", "healthy", ago=10.0)
    assert past.states("eu") == [
        (190.0, "healthy"),
        (90.0, "unhealthy"),
        (30.0, "recovering"),
        (10.0, "healthy"),
    ]
    assert past.columns("eu")["calls"] == [0] * len(past.history.shown()["at"])


def test_states_of_more_than_an_hour() -> None:
    """The one that lasted until then is cut off at the hour; those before it are forgotten."""
    past = Past()
    past.look(eu="healthy")
    past.clock.advance(100.0)
    past.change("eu", "unhealthy")
    past.clock.advance(HOUR)
    past.look(eu="unhealthy")
    past.clock.advance(STEP)
    past.change("eu", "healthy")
    past.clock.advance(20.0)
    assert past.states("eu") == [(HOUR, "unhealthy"), (20.0, "healthy")]


def test_a_state_that_nobody_told_of() -> None:
    """A look finds it, as after a checker that was stopped."""
    past = Past()
    past.look(eu="healthy")
    past.clock.advance(100.0)
    past.look(eu="disabled")
    assert past.states("eu") == [(100.0, "healthy"), (0.0, "disabled")]


def test_a_look_that_was_overtaken() -> None:
    """A change between the taking of a status and its being noted is not undone."""
    past = Past()
    past.look(eu="healthy")
    taken_at = past.clock.now()
    past.clock.advance(20.0)
    past.change("eu", "unhealthy")
    old = DeploymentStatus(name="eu", healthy=True, state="healthy")
    past.history.look([old], taken_at)
    past.clock.advance(20.0)
    assert past.states("eu") == [(40.0, "healthy"), (20.0, "unhealthy")]


def test_a_change_of_the_checker() -> None:
    """It is no deployment's."""
    past = Past()
    past.change("", "dead")
    assert past.history.shown()["deployments"] == {}


@pytest.mark.parametrize(
    ("story", "shown"),
    [
        (
            [(0, "healthy"), (100, "cooling"), (101, "healthy")],
            "0 healthy, 100 cooling, 110 healthy",
        ),
        (
            [
                (0, "healthy"),
                (100, "cooling"),
                (101, "healthy"),
                (103, "cooling"),
                (104, "healthy"),
            ],
            "0 healthy, 100 cooling, 110 healthy",
        ),
        (
            [(0, "healthy"), (100, "cooling"), (102, "unhealthy"), (103, "healthy")],
            "0 healthy, 100 unhealthy, 110 healthy",
        ),
        ([(0, "healthy"), (3, "unhealthy"), (4, "healthy")], "0 unhealthy, 10 healthy"),
        ([(0, "unhealthy"), (20, "healthy"), (22, "unhealthy")], "0 unhealthy"),
        (
            [(0, "cooling"), (1, "healthy"), (12, "cooling"), (13, "healthy")],
            "0 cooling, 20 healthy",
        ),
        ([(0, "healthy"), (100, "odd"), (101, "disabled")], "0 healthy, 100 odd, 110 disabled"),
        ([(0, "healthy"), (50, "unhealthy"), (49, "cooling")], "0 healthy, 50 unhealthy"),
        ([(0, "healthy"), (50, "draining"), (49, "cooling")], "0 healthy, 50 cooling, 60 draining"),
    ],
)
def test_states_in_quick_succession(story: list[tuple[float, str]], shown: str) -> None:
    """Each is shown for ten seconds at least; within them the worst stands for all."""
    spells = Spells(10.0)
    for at, state in story:
        spells.note(state, float(at))
    assert ", ".join(f"{at:g} {state}" for at, state in spells.shown(-1.0, 200.0)) == shown


@settings(max_examples=40)
@given(
    some.lists(
        some.tuples(
            some.floats(0.0, 25.0),
            some.sampled_from(["healthy", "cooling", "unhealthy", "draining", "disabled"]),
        ),
        min_size=1,
        max_size=50,
    )
)
def test_states_beside_a_model(story: list[tuple[float, str]]) -> None:
    """No two are the same or closer than ten seconds; the last is true; trouble is never left out."""
    spells = Spells(10.0)
    now, all_told = 0.0, []
    for after, state in story:
        now += after
        spells.note(state, now)
        all_told.append((now, state))
    shown = spells.shown(-1.0, now + 10.0)
    assert shown[-1][1] == story[-1][1]
    for (began, state), (later, other) in itertools.pairwise(shown):
        assert later - began >= 10.0 - 1e-6
        assert state != other
    for (_, before), (at, state) in zip([(0.0, None), *all_told], all_told, strict=False):
        if state == before:
            continue
        worst = [shown_as for began, shown_as in shown if began <= at + 1e-6][-1]
        weights = ["healthy", "draining", "cooling", "unhealthy", "disabled"]
        assert weights.index(worst) >= weights.index(state)
    spells.forget(now - 50.0)
    assert spells.shown(now - 50.0, now + 10.0) == [
        (max(began, now - 50.0), state)
        for number, (began, state) in enumerate(shown)
        if number + 1 == len(shown) or shown[number + 1][0] > now - 50.0
    ]


def test_states_that_change_all_the_time() -> None:
    """There is room for some hundred, finely as long as it goes; the trouble among them is not lost."""
    spells = Spells()
    for second in range(200):
        spells.note("cooling" if second % 2 else "healthy", float(second))
    assert len(spells.shown(0.0, 200.0)) == 200
    for second in range(200, 7200):
        spells.note("cooling" if second % 7 == 0 else "healthy", float(second))
        if second == 5000:
            spells.note("disabled", 5000.5)
        spells.forget(second - HOUR)
        assert len(spells._spells) <= MOST
    assert "disabled" in {state for _, state in spells.shown(0.0, 7200.0)}
    for second in range(8000, 8100, 3):
        spells.forget(second - 100.0)
        spells.note("healthy" if second % 2 else "cooling", float(second))
    spells.note("healthy", 8101.0)
    shown = spells.shown(8050.0, 8101.0 + FINEST)
    assert len(shown) == 18
    assert {later - began for (began, _), (later, _) in itertools.pairwise(shown[1:-2])} == {3.0}


# -- bounds -------------------------------------------------------------------------------------


def test_deployments_that_are_removed() -> None:
    """They drop out an hour after they were heard of last, whether anybody looks or not."""
    past = Past()
    past.call("old")
    past.look(spare="healthy")
    past.clock.advance(HOUR - STEP)
    assert past.history.shown()["deployments"].keys() == {"old", "spare"}
    past.clock.advance(2 * STEP)
    for _ in range(history.BATCH + 1):
        past.call("new")
    assert past.history._chapter._lines.keys() == {"new", "spare"}
    past.clock.advance(STEP)
    past.look(new="healthy")
    assert past.history.shown()["deployments"].keys() == {"new"}


def test_deployments_that_nobody_calls() -> None:
    """What is known of their states stays, however seldom one looks."""
    past = Past()
    past.look(spare="healthy")
    past.clock.advance(100.0)
    past.change("spare", "unhealthy")
    past.clock.advance(3 * HOUR)
    past.look(spare="unhealthy")
    assert past.states("spare") == [(HOUR, "unhealthy")]


def test_deployments_by_the_thousand() -> None:
    """Those that were heard of longest ago make room for the new."""
    past = Past()
    for number in range(5000):
        past.clock.advance(0.01)
        past.call(f"d{number}")
    kept = past.history.shown()["deployments"]
    assert len(kept) <= history.MOST_DEPLOYMENTS
    assert "d4999" in kept
    assert "d0" not in kept
    assert len(past.history._chapter._lines) <= history.MOST_DEPLOYMENTS


def test_an_hour_of_everything_takes_little_room() -> None:
    """One deployment that is called all the time and changes all the time: some tens of kilobytes."""

    def size(thing: Any, seen: set[int]) -> int:
        if id(thing) in seen or isinstance(thing, (type, str)):
            return 0
        seen.add(id(thing))
        return sys.getsizeof(thing) + sum(size(each, seen) for each in gc.get_referents(thing))

    past = Past()
    for number in range(3600):
        past.clock.advance(1.0)
        past.call("eu", latency=0.01 * (number % 97 + 1))
        past.change("eu", "cooling" if number % 2 else "healthy")
        past.change("eu", ("unhealthy", "recovering", "healthy")[number // 11 % 3])
    past.history.shown()
    line = past.history._chapter._lines["eu"]
    assert size(line, set()) < 120_000


def test_notes_that_nobody_books(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number they are dropped; no call ever waits for the lock."""
    monkeypatch.setattr(history, "MOST_NOTES", 1000)
    past = Past()
    chapter = past.history._chapter
    with chapter.lock:
        for _ in range(history.MOST_NOTES + 10):
            past.call("eu")
    assert chapter.notes.qsize() == history.MOST_NOTES
    past.call("eu")
    assert chapter.notes.qsize() == 0


def test_a_lock_that_is_never_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while the history begins anew, and the page is shown."""
    monkeypatch.setattr(history, "PATIENCE", 0.01)
    past = Past()
    past.call("eu")
    past.history.shown()
    past.history._chapter.lock.acquire()
    assert past.look(us="healthy") == {}
    assert past.history.shown()["deployments"].keys() == {"us"}


def test_many_threads() -> None:
    """No call is lost or counted twice, whoever books them."""
    past = Past()
    start = threading.Barrier(9)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def call() -> None:
        start.wait(10.0)
        for number in range(2000):
            past.call(f"d{number % 3}")

    threads = [threading.Thread(target=call) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        start.wait(10.0)
        while any(thread.is_alive() for thread in threads):
            past.history.shown()
            threads[-1].join(0.001)
        for thread in threads:
            thread.join(20.0)
            assert not thread.is_alive()
    finally:
        sys.setswitchinterval(interval)
    shown = past.history.shown()["deployments"]
    assert sum(sum(each["calls"]) for each in shown.values()) == 16_000


# -- in a pool ----------------------------------------------------------------------------------


def test_a_pool_is_listened_to_from_the_first_look_on() -> None:
    """Calls and changes of state after it are in the feed, with shares; those before it are not."""
    provider = ScriptedProvider("fine", repeat=True)
    clock = ManualClock()
    pool = ProviderPool(
        [Deployment("eu", provider), Deployment("us", provider)],
        name="main",
        strategy="primary",
        health_check=None,
        clock=clock,
    )
    viewer = Viewer(StatusSite(pool))
    pool.complete("before")
    assert viewer.deployments()["eu"]["share"] is None
    for _ in range(3):
        pool.complete("after")
    clock.advance(20.0)
    pool.drain("eu", timeout=0.0)
    pool.complete("elsewhere")
    assert {name: each["share"] for name, each in viewer.deployments().items()} == {
        "eu": 0.75,
        "us": 0.25,
    }
    shown = viewer.pools("/status?history=1")["main"]["history"]
    assert sum(shown["deployments"]["eu"]["calls"]) == 3
    assert [state for _, state in shown["deployments"]["eu"]["states"]] == ["healthy", "draining"]
    assert "history" not in viewer.pools("/status?history=0&xhistory=1")["main"]


def test_two_sites_of_one_pool() -> None:
    """They share one history, so that looking costs the calls nothing more."""
    pool = pool_of("eu")
    first, second = Viewer(StatusSite(pool)), Viewer(StatusSite({"again": pool}))
    first.pools()
    second.pools()
    pool.complete("hello")
    for viewer in (first, second):
        (told,) = viewer.pools("/status?history=1").values()
        assert sum(told["history"]["deployments"]["eu"]["calls"]) == 1


def test_a_site_without_history() -> None:
    """Nothing is listened to: no share, no history, nothing more for a call to do."""
    pool = pool_of("eu")
    viewer = Viewer(StatusSite(pool, history=False))
    told = viewer.pools("/status?history=1")["main"]
    assert "history" not in told
    pool.complete("hello")
    assert viewer.deployments()["eu"]["share"] is None


def test_a_forgotten_pool() -> None:
    """Neither its history nor a site that was given it by a function keeps it alive."""
    pools = [pool_of("eu")]
    site = StatusSite(lambda: pools[0])
    Viewer(site).pools("/status?history=1")
    gone = weakref.ref(pools.pop())
    gc.collect()
    assert gone() is None


def test_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins anew, and waits for no lock that was held when it was made."""
    from llmpool.web import watching

    pool = pool_of("eu")
    viewer = Viewer(StatusSite(pool))
    viewer.pools()
    pool.complete("hello")
    kept = watching._book.history(pool)
    with watching._book._lock, kept._chapter.lock:
        monkeypatch.setattr(kept._chapter, "pid", -1)
        monkeypatch.setattr(watching._book, "_pid", -1)
        shown = viewer.pools("/status?history=1")["main"]["history"]["deployments"]
    assert sum(shown["eu"]["calls"]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork() -> None:
    """The child begins anew, as the pool's counts do, though every lock was held at the fork."""
    pool = pool_of("eu")
    viewer = Viewer(StatusSite(pool))
    viewer.pools()
    pool.complete("hello")
    viewer.pools()
    from llmpool.web import watching

    def calls() -> int:
        shown = viewer.pools("/status?history=1")["main"]["history"]["deployments"]
        return sum(shown["eu"]["calls"])

    def child() -> tuple[int, int]:
        before = calls()
        pool.complete("hello")
        return before, calls()

    kept = watching._book.history(pool)
    with watching._book._lock, kept._chapter.lock:
        told = in_child(child)
    assert told == (0, 1)
    assert calls() == 1
