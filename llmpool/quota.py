"""Requests and tokens a minute: what may be sent before a server must refuse. Pure: the time is given."""

from __future__ import annotations

MINUTE = 60.0
SLACK = 0.5
"""Seconds by which a request may come later than another: the first ones open connections."""
BURST = 0.1
"""The share of a minute's limit that may go at once."""
LARGEST = 10**15
"""Beyond this a limit is none, and floats would lose the ones."""
GRAIN = 1e-6
"""The share of a bucket below which a difference is one of rounding."""


class Bucket:
    """
    A token bucket for a limit per minute, of requests or of tokens.

    A tenth of the limit may go at once, the rest evenly, at such a rate that no sixty seconds, however
    they are cut, see more whole pieces than the limit. A piece that is larger than the bucket goes
    when it is full, and leaves a debt: so it may pass the limit, by no more than itself.

    Not thread-safe. Times are monotonic seconds.
    """

    __slots__ = ("_at", "_level", "limit", "rate", "size")

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        most = float(min(limit, LARGEST))
        self.size = max(1.0, BURST * most)
        # Whole pieces that are together less than the limit and one more are at most the limit.
        self.rate = (most + 1.0 - self.size * (1.0 + 2.0 * GRAIN)) / (MINUTE + SLACK)
        self._level = self.size
        self._at = now

    def level(self, now: float) -> float:
        """Give what is left; below zero it is a debt."""
        if now > self._at:
            self._level = min(self.size, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def ready_at(self, amount: float, now: float) -> float:
        """Give the time from which *amount* may be taken; not later than *now* when it may now."""
        missing = min(amount, self.size) - self.level(now)
        return now if missing <= self.size * GRAIN else now + missing / self.rate

    def take(self, amount: float, now: float) -> None:
        """Take *amount*, or put back one below zero; what does not fit in is dropped."""
        self._level = min(self.size, self.level(now) - amount)


class Quota:
    """
    What a deployment, or a group of them, may be sent each minute.

    An attempt takes one request and the tokens it is thought to need; what it really needed is set right
    when it ends.

    Not thread-safe.
    """

    __slots__ = ("requests", "tokens")

    def __init__(self, requests: int | None, tokens: int | None, now: float) -> None:
        self.requests = None if requests is None else Bucket(requests, now)
        self.tokens = None if tokens is None else Bucket(tokens, now)

    @property
    def limits(self) -> tuple[int | None, int | None]:
        """Give the limits per minute, of requests and of tokens."""
        return (
            None if self.requests is None else self.requests.limit,
            None if self.tokens is None else self.tokens.limit,
        )

    def ready_at(self, tokens: int, now: float) -> float:
        """Give the time from which an attempt of so many tokens may be made."""
        at = now
        if self.requests is not None:
            at = self.requests.ready_at(1, now)
        if self.tokens is not None:
            at = max(at, self.tokens.ready_at(max(1, tokens), now))
        return at

    def adopt(self, former: Quota) -> None:
        """Go on with the buckets of *former*, as empty as they are."""
        self.requests = former.requests or self.requests
        self.tokens = former.tokens or self.tokens

    def left(self, now: float) -> tuple[int | None, int | None]:
        """Give the whole requests and tokens that may go at once."""
        return (
            None if self.requests is None else _whole(self.requests, now),
            None if self.tokens is None else _whole(self.tokens, now),
        )

    def take(self, tokens: int, now: float) -> None:
        """Take an attempt's part."""
        if self.requests is not None:
            self.requests.take(1, now)
        if self.tokens is not None:
            self.tokens.take(tokens, now)

    def settle(self, taken: int, used: int, now: float, *, sent: bool) -> None:
        """Set right what an attempt took: *taken* tokens, of which it *used* so many."""
        if self.tokens is not None:
            self.tokens.take(used - taken, now)
        if self.requests is not None and not sent:
            self.requests.take(-1, now)

    def spent(self, tokens: int, now: float) -> str:
        """Name the limit that holds an attempt of so many tokens up longest."""
        requests = self.requests
        at = self.ready_at(tokens, now)
        if requests is not None and requests.ready_at(1, now) >= at:
            return f"{requests.limit} requests a minute"
        assert self.tokens is not None
        return f"{self.tokens.limit} tokens a minute"


def _whole(bucket: Bucket, now: float) -> int:
    return max(0, int(bucket.level(now) + bucket.size * GRAIN))
