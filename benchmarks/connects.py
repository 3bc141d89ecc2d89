"""Who connects where: an audit hook sees it, whatever library does it."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any

from benchmarks.traffic import CALLER

_watching: set[Connects] = set()
_hooked: list[bool] = []


class Connects:
    """
    Notes when callers' threads try to connect to *port*. Attempts of other threads, which are checks,
    are not noted.

    Threads: noted by any.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._times: list[float] = []

    def taken(self) -> list[float]:
        """Give the times, and forget them."""
        times, self._times = self._times, []
        return times

    def __enter__(self) -> Connects:
        if not _hooked:
            _hooked.append(True)
            sys.addaudithook(_note)  # for good: there is no way to take one back
        _watching.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _watching.discard(self)

    def note(self, port: int) -> None:
        """Note an attempt."""
        if port == self._port:
            self._times.append(time.monotonic())


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event != "socket.connect" or not _watching:
        return
    address = args[1]
    if isinstance(address, tuple) and threading.current_thread().name.startswith(CALLER):
        for each in tuple(_watching):
            each.note(address[1])
