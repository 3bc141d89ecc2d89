"""An event that bears signal handlers."""

from __future__ import annotations

import threading


class Bell(threading.Event):
    """
    An event that may be set, and a wait for it broken off, at any moment.

    While a stock event begins a wait it holds a lock of its own, in Python code. A signal handler that sets
    it just then, on the very thread that waits, waits for that lock for ever; and an interrupt can leave
    it held, for whoever sets the event later. A bare lock has no such moment: it is shut, and ringing
    opens it. (``SimpleQueue.get()`` has none either, but forgets its time-out when a handler outlasts it.)

    Threads: any method from any thread, a signal handler's and a finaliser's too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rung = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def is_set(self) -> bool:
        """Tell whether it has rung."""
        return self._rung

    def set(self) -> None:
        """Ring, for good; again after an interrupt, if it may have fallen into the first time."""
        self._rung = True
        try:
            self._gate.release()
        except RuntimeError:  # opened already
            pass

    def clear(self) -> None:
        """Refuse: what has rung has rung."""
        raise TypeError("a Bell cannot be cleared")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it rings, at most *timeout* seconds; tell whether it has."""
        if not self._rung:
            try:
                self._gate.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
            finally:
                # Who comes through leaves it open for the next, and an interrupt between the two changes
                # nothing: there is no call of Python's here for it to come in by.
                if self._rung:
                    try:
                        self._gate.release()
                    except RuntimeError:  # it rang as the time was over
                        pass
        return self._rung
