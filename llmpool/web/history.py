"""What happened in a pool over the last hour, gathered by listening alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from queue import SimpleQueue
from typing import Any

from llmpool.clock import Clock
from llmpool.outcomes import Attempt, Verdict
from llmpool.status import DeploymentStatus, Event
from llmpool.web.buckets import COUNT, STEP, Line, place_of

HOUR = STEP * COUNT
MOST_DEPLOYMENTS = 2048
"""So many have a history; beyond it the ones that were heard of longest ago lose theirs."""
BATCH = 256
"""So many notes are left before the thread that leaves one more books them all."""
MOST_NOTES = 65_536
PATIENCE = 5.0
"""Seconds after which whoever holds the lock is taken to have gone, as a broken-off thread may."""

_Note = tuple[float, str, Any, float]


class History:
    """
    An observer of one pool, for the status page; it starts no thread, and does not hold the pool.

    Threads: every method from any. A call leaves a note and never waits; notes are booked by who looks,
    or by every 256th call. A forked child begins anew, as the pool's own counts do.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._chapter = _Chapter(clock.now())

    # -- what the pool tells ----------------------------------------------------------------

    def attempt_ended(self, attempt: Attempt, facts: object) -> None:
        """Note an attempt."""
        self._leave((self._clock.now(), attempt.deployment, attempt.verdict, attempt.latency))

    def state_changed(self, event: Event) -> None:
        """Note a change of a deployment's state."""
        if event.deployment:
            self._leave((event.at, event.deployment, event.new, 0.0))

    def _leave(self, note: _Note) -> None:
        chapter = self._here()
        waiting = chapter.notes.qsize()
        if waiting < MOST_NOTES:
            chapter.notes.put(note)
        if waiting >= BATCH and chapter.lock.acquire(blocking=False):
            try:
                chapter.book(self._clock.now())
            finally:
                chapter.lock.release()

    # -- what the page asks -----------------------------------------------------------------

    def look(self, statuses: Collection[DeploymentStatus], at: float) -> dict[str, float]:
        """
        Take in how the deployments were at a time; give each one's part of the calls, 0 to 1.

        There are no parts while nobody called.
        """
        chapter = self._open()
        try:
            now = self._clock.now()
            chapter.roster = frozenset(status.name for status in statuses)
            chapter.book(now)
            for status in statuses:
                line = chapter.line(status.name, now)
                if line.spells.state != status.state:
                    line.spells.note(status.state, at)
            return chapter.shares(place_of(now) - COUNT + 1)
        finally:
            chapter.lock.release()

    def shown(self) -> dict[str, Any]:
        """Give the hour as the feed has it."""
        chapter = self._open()
        try:
            now = self._clock.now()
            chapter.book(now)
            return chapter.shown(now, self._clock.utc().timestamp() - now)
        finally:
            chapter.lock.release()

    def _here(self) -> _Chapter:
        chapter = self._chapter
        if chapter.pid != os.getpid():
            chapter = self._chapter = _Chapter(self._clock.now())
        return chapter

    def _open(self) -> _Chapter:
        """Give the chapter with its lock held; a new one if nobody gives that up."""
        chapter = self._here()
        if not chapter.lock.acquire(timeout=PATIENCE):
            chapter = self._chapter = _Chapter(self._clock.now())
            chapter.lock.acquire()
        return chapter


class _Chapter:
    """What one process knows."""

    def __init__(self, now: float) -> None:
        self.pid = os.getpid()
        self.notes: SimpleQueue[_Note] = SimpleQueue()
        # Guards the fields below it. Not re-entrant: a signal handler that calls the pool upon its
        # holder leaves its note and goes on.
        self.lock = threading.Lock()
        self._first = place_of(now)
        self._turned = self._first
        self._lines: dict[str, Line] = {}
        self.roster: frozenset[str] = frozenset()  # who was there at the last look

    def book(self, now: float) -> None:
        """Book the notes that were left."""
        for _ in range(self.notes.qsize()):
            at, name, what, latency = self.notes.get_nowait()
            line = self.line(name, at)
            if isinstance(what, Verdict):
                line.count(what, latency, at)
            else:
                line.spells.note(what, at)
        if place_of(now) > self._turned:
            self._turn(now)

    def line(self, name: str, now: float) -> Line:
        """Give the line of a deployment, which is heard of now."""
        line = self._lines.get(name)
        if line is None:
            if len(self._lines) >= MOST_DEPLOYMENTS:
                self._make_room()
            line = self._lines[name] = Line(now)
        line.seen_at = max(line.seen_at, now)
        return line

    def _make_room(self) -> None:
        """Forget the eighth that was heard of longest ago: so it is done seldom."""
        by_age = sorted(self._lines, key=lambda name: self._lines[name].seen_at)
        for name in by_age[: MOST_DEPLOYMENTS // 8]:
            del self._lines[name]

    def _turn(self, now: float) -> None:
        self._turned = place_of(now)
        for name, line in list(self._lines.items()):
            if line.seen_at <= now - HOUR and name not in self.roster:
                del self._lines[name]
            else:
                line.turn(self._turned)
                line.spells.forget(now - HOUR)

    def shares(self, first: int) -> dict[str, float]:
        """Give each deployment's part of the calls since the bucket *first*."""
        calls = {
            name: sum(bucket.calls for bucket in line.buckets(first))
            for name, line in self._lines.items()
        }
        total = sum(calls.values())
        return {name: count / total for name, count in calls.items()} if total else {}

    def shown(self, now: float, offset: float) -> dict[str, Any]:
        """Give the hour; *offset* is what makes of monotonic seconds those since 1970."""
        newest = place_of(now)
        first = max(self._first, newest - COUNT + 1)
        count = newest - first + 1
        return {
            "step": STEP,
            "at": [round(place * STEP + offset, 3) for place in range(first, newest + 1)],
            "deployments": {
                name: {
                    **line.columns(first, count),
                    "states": [
                        [round(at + offset, 3), state]
                        for at, state in line.spells.shown(now - HOUR, now)
                    ],
                }
                for name, line in self._lines.items()
            },
        }
