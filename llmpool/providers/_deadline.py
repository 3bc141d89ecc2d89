"""The one clock that a request, its connection and its answer share."""

from __future__ import annotations

from time import monotonic


class Deadline:
    """
    A moment on the monotonic clock by which the next wait must have ended.

    Whoever waits asks :meth:`remaining` before each wait, so that a peer that sends
    a byte now and then gains nothing. A stream moves it between its chunks.

    Threads: moved by the thread that reads; others may look at it.
    """

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at

    def __repr__(self) -> str:
        return f"<Deadline in {self.remaining():.3f} s>"

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Set a deadline so many seconds from now."""
        return cls(monotonic() + seconds)

    def move(self, seconds: float) -> None:
        """Demand that the next wait ends within so many seconds from now."""
        self.at = monotonic() + seconds

    def remaining(self) -> float:
        """Say how many seconds are left; zero once it has passed."""
        left = self.at - monotonic()
        return left if left > 0.0 else 0.0
