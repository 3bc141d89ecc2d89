"""Which behaviour is in force where."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from llmpool.testing.received import ROUTES

if TYPE_CHECKING:
    from llmpool.testing.exchange import Exchange


class Turns:
    """
    How often each behaviour has come up since it was set.

    Threads: counted under the lock, which guards ``_counts`` alone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[int, int] = {}

    def take(self, behaviour: object) -> int:
        """Return 0 the first time, then 1, 2 …"""
        with self._lock:
            turn = self._counts.get(id(behaviour), 0)
            self._counts[id(behaviour)] = turn + 1
            return turn


@attrs.frozen(eq=False)
class Setting:
    """A behaviour in force on one route; ``released`` is set when another takes its place."""

    behaviour: Callable[[Exchange], None]
    turns: Turns = attrs.field(factory=Turns)
    released: threading.Event = attrs.field(factory=threading.Event)


class Plan:
    """
    The settings of all routes, and the one at the door, met before a request is read.

    Threads: the lock guards ``_routes`` and ``_door``.
    """

    def __init__(self, behaviour: Callable[[Exchange], None]) -> None:
        self._lock = threading.Lock()
        self._routes: dict[str, Setting] = {}
        self._door: Setting | None = None
        self.replace(behaviour, at_door=False)

    @property
    def door(self) -> Setting | None:
        """What a connection meets before its request is read, if anything."""
        with self._lock:
            return self._door

    def on(self, route: str) -> Setting:
        """Return what a request on *route* meets."""
        with self._lock:
            return self._routes[route]

    def replace(
        self, behaviour: Callable[[Exchange], None], *, at_door: bool
    ) -> frozenset[Setting]:
        """Set one behaviour everywhere; turns count across the routes. Return what it replaced."""
        turns = Turns()
        fresh = {route: Setting(behaviour, turns) for route in ROUTES}
        door = Setting(behaviour) if at_door else None
        with self._lock:
            old = {*self._routes.values(), *([self._door] if self._door else ())}
            self._routes, self._door = fresh, door
        return frozenset(old)

    def replace_on(self, route: str, behaviour: Callable[[Exchange], None]) -> frozenset[Setting]:
        """Set a behaviour on one route. Return what it replaced."""
        fresh = Setting(behaviour)
        with self._lock:
            old, self._routes[route] = self._routes[route], fresh
        return frozenset({old})
