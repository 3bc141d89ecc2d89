"""What happens to the demo's servers, and when."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from llmpool.clock import Clock
from llmpool.testing import Behaviour, Exchange, Hang, RateLimited, Refuse

LENGTH = 15.0
"""Seconds for which the times below are meant."""

FRAME = 0.25

WORKS = "works"


def answer_at_once(exchange: Exchange) -> None:
    """
    Answer normally, a stream too in one piece.

    A stream that breaks off after its first words is the one failure that no pool may hide: its
    reader has those words already. Sent in one piece it comes whole or not at all.
    """
    exchange.send(attrs.evolve(exchange.answer(), streamed=False, framing="length"))


@attrs.frozen
class Act:
    """
    One thing that happens to a server.

    Attributes:
        at: seconds from the start of a demo of the usual length.
        state: what the server is from now on, in a word.
        said: the same in a sentence that begins with the server's name.
        behaviour: makes the server's behaviour for a demo that runs at a given pace.
    """

    at: float
    server: str
    state: str
    said: str
    behaviour: Callable[[float], Behaviour]


ACTS = (
    Act(2.0, "eu", "killed", "is killed: it refuses connections", lambda _: Refuse()),
    Act(4.5, "us", "hangs", "hangs: it takes questions and never answers", lambda _: Hang()),
    Act(7.0, "eu", WORKS, "is started again", lambda _: answer_at_once),
    Act(
        9.5,
        "asia",
        "rate-limits",
        "rate-limits: it answers 429 and names a time to wait",
        lambda pace: RateLimited(retry_after=round(2.0 * pace, 2)),
    ),
    Act(11.0, "us", WORKS, "answers again", lambda _: answer_at_once),
    Act(12.5, "asia", WORKS, "has no limit any more", lambda _: answer_at_once),
)
"""Two of the three are out at times, never all."""


def scaled(acts: Sequence[Act], seconds: float) -> list[Act]:
    """Give the acts with the times they have in a demo of *seconds*."""
    return [attrs.evolve(act, at=act.at * seconds / LENGTH) for act in acts]


def pace(seconds: float) -> float:
    """Give the factor for time-outs and intervals: a short demo needs shorter ones."""
    return min(1.0, seconds / LENGTH)


def play(
    acts: Sequence[Act],
    seconds: float,
    clock: Clock,
    perform: Callable[[Act], None],
    frame: Callable[[], None],
) -> None:
    """Perform each act in its time, and show a frame every now and then, for *seconds*."""
    start = now = clock.now()
    end = start + seconds
    ahead = deque((start + act.at, act) for act in acts)
    never = threading.Event()
    while now < end:
        while ahead and ahead[0][0] <= now:
            perform(ahead.popleft()[1])
        frame()
        wake = min(end, now + FRAME, ahead[0][0] if ahead else end)
        now = clock.now()
        if now < wake:
            clock.wait(never, wake - now)
            now = max(wake, clock.now())
    for _, act in ahead:
        perform(act)
