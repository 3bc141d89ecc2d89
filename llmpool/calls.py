"""One call of a user's, from its first claim to its answer or its one error."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from llmpool import clients, errors, fallback, retries
from llmpool import outcomes as out
from llmpool._made import made
from llmpool.claims import Claim, LastingClaim
from llmpool.clock import Clock
from llmpool.config import RetryPolicy
from llmpool.entries import UNKNOWN_MODEL
from llmpool.ledger import HealthLedger
from llmpool.outcomes import OK, Attempt, Outcome, Verdict
from llmpool.wishes import Refusal, Wish

_T = TypeVar("_T")
Send = Callable[[Claim], _T]
_SUCCESS = {**Attempt("", Verdict.OK).__dict__}  # a plain dict, which is copied as a whole
Retry = bool | str


@attrs.frozen
class Conduct:
    """What all calls of a pool have in common."""

    ledger: HealthLedger
    policy: RetryPolicy
    clock: Clock
    rng: random.Random


class Call(Generic[_T]):
    """
    The state of one call: what was tried, what came of it, what may still be tried.

    Once it has run, ``value`` is what came, ``claim`` whence, ``latency`` the seconds of the attempt
    that answered, and ``failed`` the attempts before it, oldest first.

    Threads: it belongs to the caller's thread, where every attempt runs.
    """

    value: _T
    claim: Claim
    latency = 0.0
    failed: tuple[Attempt, ...] = ()
    _worked = 0  # attempts that may have done work
    _returns = 0  # attempts on a deployment that was asked before
    _over = False
    _sent_on = False  # the last error was the request's own, and others are able

    def __init__(
        self,
        conduct: Conduct,
        wish: Wish,
        send: Send[_T],
        retry: Retry,
        keeps_claim: bool = False,
    ) -> None:
        self._conduct = conduct
        self._wish = wish
        self._send = send
        self._retry = retry
        self._keeps_claim = keeps_claim
        self._ends: list[tuple[Claim, Outcome, Attempt]] = []

    def run(self) -> Call[_T]:
        """
        Attempt until one succeeds.

        Raises:
            ProviderError: the most actionable of the attempts' errors.
            NoHealthyDeployment: nothing could be asked.
            PoolClosed: the pool is closed.
        """
        try:
            # The first attempt does not pass through tenacity: that costs more than all the rest.
            done = self._attempt()
            if not done and not self._stop():
                self._hold_back(self._pause())
                done = retries.repeat(
                    self._attempt,
                    stop=self._stop,
                    wait=self._pause,
                    hold_back=self._hold_back,
                )
            if not done:
                raise self._failure()
            return self
        finally:
            # The errors hold frames, and these hold the call: a ring, were they kept.
            if self._ends:
                self.failed = tuple(end[2] for end in self._ends)
                self._ends.clear()

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt of a call that succeeded, oldest first."""
        facts = _SUCCESS.copy()
        facts["deployment"] = self.claim.entry.name  # type: ignore[union-attr]  # it was taken
        facts["latency"] = self.latency
        last = made(Attempt, facts)
        return (*self.failed, last) if self.failed else (last,)

    def hand_over(self) -> _T:
        """Give the value, and hold on to neither it nor its claim."""
        value = self.value
        del self.value, self.claim
        return value

    def _attempt(self) -> bool:
        """Make one attempt; tell whether it succeeded. If not, its end was noted."""
        conduct = self._conduct
        ledger = conduct.ledger
        kind = LastingClaim if self._keeps_claim else Claim
        claim = self.claim = kind(ledger, self._wish)
        done = False
        try:
            refusal = ledger.take(claim)
            if refusal is not None:
                self._refused(refusal)
                return False
            # No try within the try: between the two an interrupt would find neither.
            self.value = self._send(claim)
        except Exception as error:
            # Before there was a place, it is no attempt's end: a strategy's own, or nobody to ask.
            if claim.entry is None or self._failed(claim, error):
                raise
            return False
        else:
            now = conduct.clock.now()
            self.latency = now - claim.started_at
            if not self._keeps_claim:
                ledger.settle(claim, OK, now, self.latency)
            done = True
            return True
        finally:
            if not done:
                claim.release()

    def _failed(self, claim: Claim, error: Exception) -> bool:
        """Book a failed attempt; tell whether the error is the caller's own."""
        now = self._conduct.clock.now()
        latency = now - claim.started_at
        ledger = self._conduct.ledger
        outcome = clients.judge(
            error,
            passed_model=self._passes_model(claim),
            is_fair=lambda: claim.timeout >= ledger.fair_time(claim),
        )
        ledger.settle(claim, outcome, now, latency)
        if outcome.foreign:
            return True
        name = claim.deployment.name
        self._ends.append((claim, outcome, outcome.attempt(name, latency)))
        if name in self._wish.avoid:
            self._returns += 1
        self._sent_on = bool(self._wish.fallback_on) and self._sends_on(claim, outcome)
        free = outcome.refused or self._sent_on
        if not free:
            self._worked += 1
        self._wish.avoid |= {name}
        if outcome.verdict is Verdict.UNSUPPORTED or getattr(outcome.error, "code", None) == "tls":
            # What is missing there, or its certificate, is no other a moment later.
            self._wish.barred |= {name}
        if self._retry is True:  # else no time is kept for others: what was sent is not repeated
            left = self._conduct.policy.max_attempts - self._worked
            self._wish.attempts_left = max(1, left)
        # A retry that leaves one which has just been taken out, or that follows a refusal, adds no
        # load; every other one is under the budget.
        self._wish.budgeted = not (free or claim.taken_out)
        return False

    def _sends_on(self, claim: Claim, outcome: Outcome) -> bool:
        """Leave the call to those able to answer what was refused, if it is to be sent on for that."""
        wish = self._wish
        name = fallback.meaning(outcome)
        if name not in wish.fallback_on:
            return False
        rest = fallback.unable(name, claim.deployment, self._conduct.ledger.deployments())
        wish.avoid |= rest
        wish.barred |= rest
        return True

    def _passes_model(self, claim: Claim) -> bool:
        model = self._wish.model
        return model is not None and model not in claim.deployment.models

    def _refused(self, refusal: Refusal) -> None:
        """Note that nothing more can be asked; a call that has asked nobody ends with that."""
        self._over = True
        if refusal.why == "closed" or not self._ends:
            raise self.refusal(refusal, self._wish)

    @staticmethod
    def refusal(refusal: Refusal, wish: Wish) -> errors.LLMPoolError:
        """Give the error of a call that could ask nobody."""
        if refusal.why == "closed":
            return errors.PoolClosed("the pool is closed")
        if refusal.why == "late":
            return errors.DeadlineExceeded(
                "the call's time was over before a deployment could be asked", sent="no"
            )
        if refusal.reasons and set(refusal.reasons.values()) == {UNKNOWN_MODEL}:
            return errors.InvalidRequest(
                f"no deployment knows the model {wish.model!r}", code="model_not_found", sent="no"
            )
        return errors.NoHealthyDeployment(
            "no deployment can be asked now",
            reasons=refusal.reasons,
            retry_after=refusal.retry_after,
        )

    def _stop(self) -> bool:
        if self._over or self._retry is False:
            return True
        _, last, _ = self._ends[-1]
        ends_it = last.verdict is Verdict.CALLER or (self._retry == "unsent" and not last.refused)
        if ends_it and not self._sent_on:
            return True
        return (
            self._worked >= self._conduct.policy.max_attempts
            or self._conduct.clock.now() >= self._wish.deadline_at
        )

    def _pause(self) -> float:
        return retries.pause(self._conduct.policy, self._returns, self._conduct.rng)

    def _hold_back(self, seconds: float) -> None:
        """Let the same deployment be asked again after *seconds*, while returns are left."""
        may_return = self._returns < self._conduct.policy.max_attempts - 1
        self._wish.return_at = self._conduct.clock.now() + seconds if may_return else None

    def _failure(self) -> errors.LLMPoolError:
        """Give the one error of a call that failed everywhere."""
        self._acquit()
        # A call that waited out its deadline after refusals still tells of them.
        _, outcome, attempt = min(
            self._ends,
            key=_rank,
        )
        assert isinstance(outcome.error, errors.ProviderError)
        error = copy.copy(outcome.error)
        if error.deployment is None:
            error.deployment = attempt.deployment
        error.attempts = tuple(end[2] for end in self._ends)
        error.__cause__ = outcome.error.__cause__
        return error.with_traceback(outcome.error.__traceback__)

    def _acquit(self) -> None:
        """
        Take back this call's marks for a fault that met it in several places.

        A request that brings down every server it is sent to says nothing about the servers.
        """
        places: dict[Any, set[str]] = {}
        for claim, outcome, _ in self._ends:
            if self._is_server_fault(outcome):
                places.setdefault(outcome.blame, set()).add(claim.deployment.name)
        self._conduct.ledger.take_back(
            [
                claim
                for claim, outcome, _ in self._ends
                if self._is_server_fault(outcome) and len(places[outcome.blame]) > 1
            ]
        )

    @staticmethod
    def _is_server_fault(outcome: Outcome) -> bool:
        return outcome.verdict is Verdict.FAULT and outcome.origin is out.Origin.SERVER


def _rank(end: tuple[Claim, Outcome, Attempt]) -> tuple[int, str]:
    """Order the ends of a call by what its reader can do; of the request's own errors the first leads."""
    place = out.ACTIONABLE.index(end[1].verdict)
    return place, end[2].deployment if place else ""
