"""What has reached the server."""

from __future__ import annotations

import threading
from collections import deque

from llmpool.testing.received import ROUTES, Received


class Journal:
    """
    Requests received and connections accepted.

    Threads: the lock guards every field; the condition on it wakes those who wait.
    """

    def __init__(self, remember: int) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._requests: deque[Received] = deque(maxlen=remember)
        self._hits = dict.fromkeys(ROUTES, 0)
        self._serial = 0
        self._connections = 0
        self._in_flight: set[int] = set()
        self._peak = 0

    def connect(self) -> int:
        """Note a connection and give its number."""
        with self._lock:
            self._connections += 1
            self._changed.notify_all()
            return self._connections

    def enter(self, request: Received) -> int:
        """Note a request and give its number, by which it is to leave."""
        with self._lock:
            self._serial += 1
            self._requests.append(request)
            self._hits[request.route] += 1
            self._in_flight.add(self._serial)
            self._peak = max(self._peak, len(self._in_flight))
            self._changed.notify_all()
            return self._serial

    def leave(self, serial: int) -> None:
        """Note that a request is done with, answered or not; once is enough."""
        with self._lock:
            self._in_flight.discard(serial)
            self._changed.notify_all()

    def forget(self) -> None:
        """Start counting anew; what is in flight stays in flight."""
        with self._lock:
            self._requests.clear()
            self._hits = dict.fromkeys(ROUTES, 0)
            self._connections = 0
            self._peak = len(self._in_flight)

    @property
    def requests(self) -> tuple[Received, ...]:
        """The requests still remembered, oldest first."""
        with self._lock:
            return tuple(self._requests)

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        with self._lock:
            return self._connections

    @property
    def in_flight(self) -> int:
        """How many requests are being answered or hang."""
        with self._lock:
            return len(self._in_flight)

    @property
    def peak(self) -> int:
        """The most requests that were in flight at once."""
        with self._lock:
            return self._peak

    def hits(self, route: str | None) -> int:
        """Count the requests on a route, or on all."""
        with self._lock:
            return self._count(route)

    def _count(self, route: str | None) -> int:
        return sum(self._hits.values()) if route is None else self._hits[route]

    def wait_hits(self, hits: int, timeout: float, route: str | None) -> bool:
        """Wait until so many requests have come; tell whether they have."""
        with self._lock:
            return self._changed.wait_for(lambda: self._count(route) >= hits, timeout)

    def wait_connections(self, connections: int, timeout: float) -> bool:
        """Wait until so many connections were accepted; tell whether they were."""
        with self._lock:
            return self._changed.wait_for(lambda: self._connections >= connections, timeout)

    def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing is in flight; tell whether that came."""
        with self._lock:
            return self._changed.wait_for(lambda: not self._in_flight, timeout)
