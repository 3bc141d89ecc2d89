"""What has happened so far: to the servers by the script, and to the deployments in the pool's eyes."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

import attrs

from llmpool import Event
from llmpool.commands._script import Act

OUT = frozenset({"unhealthy", "cooling", "disabled", "draining"})
"""States in which a deployment gets no calls."""

TONES = {
    "healthy": "good",
    "recovering": "warn",
    "cooling": "warn",
    "draining": "warn",
    "unhealthy": "bad",
    "disabled": "bad",
}

_SAID = {
    "healthy": "pool: {name} is healthy, it gets its share of calls",
    "recovering": "pool: {name} answers its checks; it is recovering, on a few calls at first",
    "cooling": "pool: {name} is cooling, it gets no calls",
    "draining": "pool: {name} is draining, it gets no new calls",
    "unhealthy": "pool: {name} is unhealthy, it gets no calls",
    "disabled": "pool: {name} is disabled, it gets no calls",
}

_ADDRESS = re.compile(r"^127\.0\.0\.1:\d+: ")  # the name tells more than a port


@attrs.frozen
class Happening:
    """One thing that happened, *at* seconds after the start."""

    at: float
    deployment: str
    said: str
    tone: str | None = None


@attrs.frozen
class Spell:
    """
    A time without calls, in seconds after the start.

    ``back_at`` is when the first calls were let through again, ``full_at`` when it was healthy
    again; None while that has not come.
    """

    deployment: str
    state: str
    reason: str | None
    out_at: float
    back_at: float | None = None
    full_at: float | None = None


class Chronicle:
    """
    Writes down what happens; a pool's listener.

    Threads: every method from any.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        # Guards the two lists.
        self._lock = threading.Lock()
        self._happenings: list[Happening] = []
        self._changes: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Write down a change of a deployment's state; the checker's own changes are not the demo's story."""
        if not event.deployment:
            return
        said = _SAID[event.new].format(name=event.deployment)
        if event.new in OUT and event.reason:
            said = f"{said}: {_ADDRESS.sub('', event.reason)}"
        happening = Happening(self.elapsed(event.at), event.deployment, said, TONES[event.new])
        with self._lock:  # critical section
            self._happenings.append(happening)
            self._changes.append(event)

    def elapsed(self, now: float) -> float:
        """Give the seconds since the start."""
        return now - self._start

    def note(self, act: Act, at: float) -> None:
        """Write down what the script has just done."""
        said = f"{act.server} {act.said}"
        with self._lock:  # critical section
            self._happenings.append(Happening(self.elapsed(at), act.server, said, "bold"))

    def happenings(self) -> tuple[Happening, ...]:
        """Give all of it, oldest first."""
        with self._lock:  # critical section
            return tuple(self._happenings)

    def spells(self) -> tuple[Spell, ...]:
        """Give the times without calls, oldest first."""
        with self._lock:  # critical section
            changes = list(self._changes)
        return spells(changes, self._start)


def spells(changes: Iterable[Event], start: float) -> tuple[Spell, ...]:
    """Read from changes of state who was out from when to when; the times count from *start*."""
    found: list[Spell] = []
    last: dict[str, int] = {}  # deployment -> where its latest spell stands
    for change in changes:
        at = change.at - start
        place = last.get(change.deployment)
        spell = found[place] if place is not None else None
        if change.new in OUT:
            if spell is None or spell.back_at is not None:
                last[change.deployment] = len(found)
                found.append(Spell(change.deployment, change.new, change.reason, at))
        elif place is not None and spell is not None:
            back = spell.back_at if spell.back_at is not None else at
            full = at if change.new == "healthy" and spell.full_at is None else spell.full_at
            found[place] = attrs.evolve(spell, back_at=back, full_at=full)
    return tuple(found)
