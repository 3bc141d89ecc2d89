"""Streams: held until their first content, then watched by three clocks, released however they end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import attrs

from llmpool import clients, errors
from llmpool import outcomes as out
from llmpool.claims import Claim
from llmpool.clock import Clock
from llmpool.gathered import Gathered
from llmpool.messages import CompletionResponse, StreamChunk
from llmpool.outcomes import Attempt, Outcome, Verdict

if TYPE_CHECKING:
    from llmpool.telling import Story

HELD_EVENTS = 64
HELD_BYTES = 256 * 1024
MOST_GAPS = 10_000


@attrs.frozen
class StreamClocks:
    """
    Seconds that a stream may take.

    ``gap`` runs between data events, which pings do not reset; ``total_at`` is the call's deadline,
    absolute. The third clock, until the first content, is the claim's time-out. Only time spent waiting
    for the deployment counts: a slow reader is not its fault.
    """

    gap: float | None
    total_at: float


class Opened:
    """
    A stream of one deployment, read up to its first content.

    Until then nothing has been delivered, so whatever goes wrong is still failed over unseen.
    """

    def __init__(
        self, source: Iterator[StreamChunk], claim: Claim, clock: Clock, clocks: StreamClocks
    ) -> None:
        self.source = source
        self.claim = claim
        self._now = clock.now
        self._clocks = clocks
        self._limit: Callable[[float], None] | None = getattr(source, "limit", None)
        self._seen = False  # a data event has come
        self.waited = clock.now() - claim.started_at
        self.gaps: list[float] | None = None if claim.wish.story is None else []

    def next(self, *, committed: bool) -> StreamChunk | None:
        """
        Read the next chunk under the clocks; None at the end.

        Raises:
            DeadlineExceeded: a clock ran out.
        """
        began = self._now()
        limit = self._left(committed, began)
        if limit <= 0.0:
            raise errors.DeadlineExceeded("the stream's time is over")
        if self._limit is not None and math.isfinite(limit):
            self._limit(limit)
        try:
            chunk = next(self.source, None)
        finally:
            took = self._now() - began
            self.waited += took
        self._seen = True
        if committed and self.gaps is not None and chunk is not None and len(self.gaps) < MOST_GAPS:
            self.gaps.append(took)
        if chunk is not None and not isinstance(chunk, StreamChunk):
            if not isinstance(chunk, str):
                raise TypeError(
                    f"stream: wanted StreamChunk or str from the provider, got a "
                    f"{type(chunk).__name__}"
                )
            chunk = StreamChunk(chunk)
        return chunk

    def _left(self, committed: bool, now: float) -> float:
        clocks = self._clocks
        ends = [clocks.total_at - now]
        if not committed:
            ends.append(self.claim.timeout - (now - self.claim.started_at))
        if self._seen and clocks.gap is not None:
            ends.append(clocks.gap)
        return min(ends)

    def commit(self) -> list[StreamChunk]:
        """
        Read until the first content, and give what was held.

        Raises:
            MalformedResponse: the stream ended without content and without a finish reason.
        """
        held: list[StreamChunk] = []
        size = 0
        while True:
            chunk = self.next(committed=False)
            if chunk is None:
                if any(piece.finish_reason for piece in held):
                    return held
                raise errors.MalformedResponse("the stream ended before any content")
            held.append(chunk)
            size += _size_of(chunk)
            if chunk.has_content:
                self.claim.first_content = self.waited
                return held
            if len(held) >= HELD_EVENTS or size >= HELD_BYTES:
                return held

    def close(self) -> None:
        """Let go of the connection."""
        close = getattr(self.source, "close", None)
        if callable(close):
            close()


def _size_of(chunk: StreamChunk) -> int:
    return len(str(chunk.raw)) if chunk.raw is not None else 0


class CompletionStream(Iterator[StreamChunk]):
    """
    An answer as it comes: an iterator of :class:`StreamChunk`, and a context manager.

    ``text`` is what has come so far, ``response`` the whole once the stream has ended. Closed early,
    forgotten, or left by an exception of the reader's own, it gives its place back and blames nobody.

    Threads: one reader at a time, in any thread.

    Raises:
        StreamInterrupted: while iterating; the stream broke off after its first content.
    """

    def __init__(
        self, opened: Opened, held: list[StreamChunk], attempts: tuple[Attempt, ...], clock: Clock
    ) -> None:
        self._opened = opened
        self._claim = opened.claim
        self._held = iter(held)
        self._failed = attempts
        self._clock = clock
        self._answer = Gathered()
        self._ended = False
        self.deployment = opened.claim.deployment.name

    def __next__(self) -> StreamChunk:
        if self._ended:
            raise StopIteration
        chunk = next(self._held, None)
        if chunk is None:
            chunk = self._read()
        if chunk is None:
            raise StopIteration
        self._answer.add(chunk)
        return chunk

    def _read(self) -> StreamChunk | None:
        try:
            try:
                chunk = self._opened.next(committed=True)
            except Exception as error:
                if self._ended:
                    return None  # closed by another thread, which is what broke the read off
                outcome = self._judge(error)
                self._end(outcome, error if outcome.foreign else errors.StreamInterrupted.__name__)
                if outcome.foreign:
                    raise
                failure = self._interrupted(outcome)
                error.__traceback__ = None
            else:
                if chunk is None:
                    self._end(out.OK)
                return chunk
        except BaseException as error:
            # The reader's own, or a signal handler's, which may come while the end is booked.
            self._end(out.IGNORED, error)
            raise
        # Outside the block, so that nothing of the transport is chained to it.
        try:
            raise failure
        finally:
            # It holds this frame; held by it, the reader's frames would wait for the garbage collector.
            del failure, outcome

    def _judge(self, error: Exception) -> Outcome:
        outcome = clients.judge(error)
        if (
            isinstance(outcome.error, TimeoutError)
            and self._clock.now() >= self._opened._clocks.total_at
        ):
            # The call's own deadline ended an answer that was coming.
            return attrs.evolve(outcome, verdict=Verdict.IGNORED)
        return outcome

    def _interrupted(self, outcome: Outcome) -> errors.StreamInterrupted:
        cause = outcome.error
        assert isinstance(cause, errors.ProviderError)
        error = errors.StreamInterrupted(
            f"the stream broke off: {outcome.reason}",
            partial=self.text,
            status=cause.status,
            code=cause.code,
            retry_after=cause.retry_after,
            request_id=cause.request_id,
            deployment=self.deployment,
            sent="answered",
        )
        last = outcome.attempt(self.deployment, self._opened.waited)
        error.attempts = (*self._failed, last)
        return error

    def _end(self, outcome: Outcome, error: BaseException | str | None = None) -> None:
        if self._ended:
            return
        try:
            # Not before the block: an interrupt between would leave it ended, and the place taken.
            self._ended = True
            self._claim.usage = self._answer.usage
            self._claim.settle(outcome, self._opened.waited)
        finally:
            self._claim.release()
            try:
                self._opened.close()
            finally:
                if self._claim.wish.story is not None:
                    self._tell_end(self._claim.wish.story, outcome, error)

    def _tell_end(self, story: Story, outcome: Outcome, error: BaseException | str | None) -> None:
        if error is not None:
            story.fail(error)
        claim, opened = self._claim, self._opened
        story.note_facts(*self._answer.facts(), opened.gaps or ())
        story.finish(outcome, opened.waited, claim.usage, claim.first_content)

    def close(self) -> None:
        """Stop reading; the place is given back and nobody is blamed."""
        self._end(out.IGNORED)

    @property
    def text(self) -> str:
        """The text so far, of the first choice."""
        return self._answer.text(0)

    @property
    def response(self) -> CompletionResponse:
        """The answer so far; whole once the iteration has ended."""
        done = Attempt(self.deployment, Verdict.OK, latency=self._opened.waited)
        return self._answer.response(
            deployment=self.deployment,
            latency=self._opened.waited,
            attempts=(*self._failed, done),
            cost=self._cost(),
        )

    def _cost(self) -> float | None:
        usage = self._answer.usage
        prices = self._claim.deployment.prices
        return None if usage is None or prices is None else prices.cost(usage)

    def __iter__(self) -> CompletionStream:
        return self

    def __enter__(self) -> CompletionStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # No lock here: the claim leaves a note of its own, and closing a socket waits for nothing.
        if not getattr(self, "_ended", True):
            self._opened.close()

    def __repr__(self) -> str:
        return f"<CompletionStream from {self.deployment!r}, {'ended' if self._ended else 'open'}>"
