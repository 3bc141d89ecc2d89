"""The demo's script: what happens to the servers and when, without a server or a second."""

from __future__ import annotations

import itertools

from llmpool.commands._script import ACTS, LENGTH, WORKS, Act, pace, play, scaled
from llmpool.testing import ManualClock, Ok


def act(at: float, server: str = "eu") -> Act:
    return Act(at, server, WORKS, "works", lambda _: Ok())


def test_the_servers_at_every_moment() -> None:
    """Each is out once and works at the end; two are out together at times, never all three."""
    states = dict.fromkeys(("eu", "us", "asia"), WORKS)
    most_out = 0
    was_out = set()
    for each in ACTS:
        states[each.server] = each.state
        out = {server for server, state in states.items() if state != WORKS}
        was_out |= out
        most_out = max(most_out, len(out))
    assert most_out == 2
    assert was_out == set(states)
    assert set(states.values()) == {WORKS}


def test_the_times_of_the_acts() -> None:
    """They come one after another, with time at the end in which everybody gets well."""
    times = [each.at for each in ACTS]
    assert all(former < later for former, later in itertools.pairwise(times))
    assert times[-1] + 2.0 < LENGTH


def test_a_demo_of_another_length() -> None:
    """The acts keep their places in it; a long one runs no slower, a short one faster."""
    assert [each.at for each in scaled([act(3.0), act(6.0)], LENGTH / 3)] == [1.0, 2.0]
    assert (pace(LENGTH / 3), pace(LENGTH), pace(LENGTH * 4)) == (1 / 3, 1.0, 1.0)


def test_the_behaviours_of_the_acts() -> None:
    """Each makes one that a server can be given; the wait a server names goes with the pace."""
    made = [each.behaviour(0.5) for each in ACTS]
    assert all(map(callable, made))
    assert [getattr(each, "retry_after", None) for each in made].count(1.0) == 1


def test_playing() -> None:
    """Each act is performed in its time, frames come in between, and the end is on time."""
    clock = ManualClock(100.0)
    performed: list[tuple[float, float]] = []
    frames: list[float] = []
    play(
        [act(0.0), act(0.6), act(0.7)],
        1.0,
        clock,
        lambda each: performed.append((each.at, round(clock.now() - 100.0, 3))),
        lambda: frames.append(round(clock.now() - 100.0, 3)),
    )
    assert performed == [(0.0, 0.0), (0.6, 0.6), (0.7, 0.7)]
    assert frames == [0.0, 0.25, 0.5, 0.6, 0.7, 0.95]
    assert clock.now() == 101.0


def test_playing_on_a_machine_that_stands_still() -> None:
    """What was missed is made up for at the end, so that every server is restored."""
    clock = ManualClock()
    performed: list[float] = []
    play(
        [act(0.2), act(0.8)],
        1.0,
        clock,
        lambda each: performed.append(each.at),
        lambda: clock.advance(5.0),
    )
    assert performed == [0.2, 0.8]
