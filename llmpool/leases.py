"""Leave to use a deployment's own client for one attempt."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from llmpool import clients, own_retries, spending
from llmpool import outcomes as out
from llmpool.claims import Claim
from llmpool.clock import Clock
from llmpool.config import Deployment
from llmpool.ledger import HealthLedger


class Lease:
    """
    One attempt on one deployment, made by hand.

    Attributes:
        deployment: which; it compares equal to its name.
        client: the client the deployment was configured with, or its provider.
        model: the deployment's own name for the model asked for, or None.
    """

    def __init__(self, claim: Claim, clock: Clock, model: str | None) -> None:
        self._now = clock.now
        self._claim = claim
        self._ends_at = claim.started_at + claim.timeout
        self.deployment: Deployment = claim.deployment
        provider = claim.deployment.provider
        self.client: Any = getattr(provider, "client", provider)
        own_retries.notice(self.client)
        self.model = model

    @property
    def remaining(self) -> float:
        """Seconds left for this attempt, never below zero."""
        return max(0.0, self._ends_at - self._now())

    def count(self, answer: object) -> None:
        """
        Count the tokens that *answer* tells of, an SDK's object or a body; the last one's stand.

        What a function returns to ``pool.call`` is counted without it. A stream, and what is done in a
        ``with`` block, is not.
        """
        usage = spending.read_usage(answer)
        if usage is not None:
            self._claim.usage = usage

    def __repr__(self) -> str:
        return f"<Lease on {self.deployment.name!r}, {self.remaining:.3f} s left>"


class LeaseContext:
    """
    ``with pool.lease() as lease``: what the block does is the attempt.

    An exception of the block, a known client's too, is judged like a provider's and goes on to the
    caller as it is; nothing is retried.

    Raises:
        RuntimeError: entered a second time.
    """

    def __init__(
        self, claim: Claim, ledger: HealthLedger, clock: Clock, obtain: Callable[[Claim], None]
    ) -> None:
        self._claim = claim
        self._ledger = ledger
        self._clock = clock
        self._obtain = obtain

    def __enter__(self) -> Lease:
        claim = self._claim
        if claim.entry is not None:
            raise RuntimeError("a lease is good for one block: ask the pool for another")
        story = claim.wish.story
        try:
            if story is not None:
                story.begin()
            self._obtain(claim)
            lease = Lease(claim, self._clock, claim.deployment.upstream(claim.wish.model))
            if story is not None:
                story.outlast()
                story.attempt(claim)
            return lease
        except BaseException as error:
            claim.release()
            self._tell_end(out.IGNORED, error)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        claim = self._claim
        outcome = out.IGNORED
        try:
            latency = self._clock.now() - claim.started_at
            if error is None:
                outcome = out.OK
                claim.settle(outcome, latency)
            elif isinstance(error, Exception):
                model = claim.wish.model
                outcome = clients.judge(
                    error,
                    passed_model=model is not None and model not in claim.deployment.models,
                    is_fair=lambda: claim.timeout >= self._ledger.fair_time(claim),
                )
                claim.settle(outcome, latency)
        finally:
            claim.release()
            self._tell_end(outcome, error)

    def _tell_end(self, outcome: out.Outcome, error: BaseException | None) -> None:
        story = self._claim.wish.story
        if story is None:
            return
        if error is not None:
            story.fail(error)
        try:
            story.finish(outcome, usage=self._claim.usage)
        finally:
            story.leave()
