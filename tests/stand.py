"""A ledger on a stand: bare deployments, a clock turned by hand, ends of attempts by name."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import attrs

from llmpool import errors, strategies
from llmpool.claims import Claim, LastingClaim
from llmpool.config import Deployment, RetryPolicy
from llmpool.health import Evidence, Limits
from llmpool.ledger import HealthLedger
from llmpool.outcomes import IGNORED, OK, Outcome, classify
from llmpool.roster import Change
from llmpool.status import HealthCheckResult
from llmpool.testing import ManualClock
from llmpool.wishes import Refusal, Wish

PATIENCE = 30.0
"""Real seconds within which every thread of a test gets where it is going."""

ENDS: dict[str, Outcome] = {
    "ok": OK,
    "ignored": IGNORED,
    "500": classify(errors.ServerFault("broke", status=500)),
    "hang": classify(errors.DeadlineExceeded("hung")),
    "short": classify(errors.DeadlineExceeded("hung"), fair=False),
    "refused": classify(errors.ConnectionFailed("refused", sent="no")),
    "dns": classify(errors.ConnectionFailed("no such name", code="dns", sent="no")),
    "fds": classify(errors.ConnectionFailed("too many files", code="descriptors", sent="no")),
    "429": classify(errors.RateLimited("slow down", status=429)),
    "529": classify(errors.ServerFault("overloaded", status=529)),
    "loading": classify(errors.ServerFault("loading", status=503, code="loading_model")),
    "401": classify(errors.AuthenticationFailed("wrong key", status=401)),
    "quota": classify(errors.QuotaExhausted("no money", status=429)),
    "400": classify(errors.InvalidRequest("bad request", status=400)),
    "501": classify(errors.ServerFault("not implemented", status=501)),
    "unknown": classify(
        errors.InvalidRequest("no such model", status=404, code="model_not_found"),
        passed_model=True,
    ),
    "foreign": classify(TypeError("the caller's own")),
}
"""What may come of an attempt or of a check."""


def end(word: str) -> Outcome:
    """Give the outcome that *word* names; ``429:7`` carries a Retry-After of 7 s."""
    kind, _, delay = word.partition(":")
    return attrs.evolve(ENDS[kind], retry_after=float(delay)) if delay else ENDS[kind]


class Mute:
    """A provider that nobody is to ask."""

    def __init__(self, model: str | None = None) -> None:
        self.model = model

    def complete(self, request: Any, timeout: float) -> Any:
        """Refuse to be asked."""
        raise AssertionError("unscripted call")


def deployment(name: str, *, model: str | None = None, **options: Any) -> Deployment:
    """Give a deployment with a provider that nobody is to ask."""
    return Deployment(name, Mute(model), **options)


class HandClock(ManualClock):
    """
    A clock on which threads really wait: for their event, or until the hands pass their time.

    Threads: any; the condition guards the count.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._asleep = 0

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for *event* or the hands; one that nobody ends is an AssertionError."""
        assert timeout is not None
        end_at = self.now() + timeout
        self._count(1)
        try:
            for _ in range(int(PATIENCE / 0.005)):
                if event.wait(0.005):
                    return True
                if self.now() >= end_at:
                    return event.is_set()
            raise AssertionError("nobody ended this wait")
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._changed:
            self._asleep += more
            self._changed.notify_all()

    def until_asleep(self, number: int) -> None:
        """Wait until so many threads wait on this clock."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._asleep == number, PATIENCE)


class Stand:
    """A ledger, its clock, and what it told of changes."""

    def __init__(
        self,
        *deployments: Deployment,
        strategy: Any = "least_connections",
        limits: Limits = Limits(),  # noqa: B008 - frozen
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        clock: ManualClock | None = None,
        rng: random.Random | None = None,
        listener: Callable[[Change], None] | None = None,
    ) -> None:
        self.clock = ManualClock() if clock is None else clock
        self.changes: list[Change] = []
        self.policy = policy
        rng = random.Random(1) if rng is None else rng
        self.ledger = HealthLedger(
            deployments,
            strategy=strategies.resolve(strategy, rng),
            limits=limits,
            policy=policy,
            clock=self.clock,
            rng=rng,
            listener=self.changes.append if listener is None else listener,
        )

    # -- claims -----------------------------------------------------------------------------

    def wish(
        self,
        model: str | None = None,
        tags: tuple[str, ...] = (),
        timeout: float = 600.0,
        max_wait: float | None = None,
        fail_open: bool = True,
        **later: Any,
    ) -> Wish:
        """Give what a call asks; *later* are the fields that change as it goes on."""
        wish = Wish(
            model,
            frozenset(tags),
            self.clock.now() + timeout,
            self.policy.max_wait if max_wait is None else max_wait,
            fail_open,
            self.policy.max_attempts,
        )
        for field, value in later.items():
            assert hasattr(wish, field)
            setattr(wish, field, frozenset(value) if field in ("avoid", "barred") else value)
        return wish

    def claim(self, *, lasting: bool = False, **wish: Any) -> Claim:
        """Give a claim, not yet taken."""
        return (LastingClaim if lasting else Claim)(self.ledger, self.wish(**wish))

    def take(self, **wish: Any) -> Claim:
        """Take a claim that there must be."""
        claim = self.claim(**wish)
        refusal = claim.take()
        assert refusal is None, refusal
        return claim

    def where(self, **wish: Any) -> str:
        """Give the name of the deployment that a call gets, and give it back."""
        claim = self.take(**wish)
        claim.release()
        return claim.deployment.name

    def all_asked(self, **wish: Any) -> set[str]:
        """Give the names of all that such calls get when there are many of them at once."""
        claims = [self.take(**wish) for _ in range(2 * len(self.ledger.names()))]
        for claim in claims:
            claim.release()
        return {claim.deployment.name for claim in claims}

    def refusal(self, **wish: Any) -> Refusal:
        """Take a claim that there must not be; tell why."""
        claim = self.claim(**wish)
        refusal = claim.take()
        assert refusal is not None, claim.deployment
        return refusal

    def ask(self, name: str, *words: str) -> None:
        """Ask *name*, and no other, so often; the attempts end as *words* say."""
        others = set(self.ledger.names()) - {name}
        for word in words:
            claim = self.take(avoid=others, barred=others)
            assert claim.deployment == name
            claim.settle(end(word))

    def check(self, name: str, word: str, evidence: Evidence = Evidence.PING) -> bool:
        """Check *name*; the check ends as *word* says."""
        return self.ledger.check_settled(
            self.ledger.check_begun(name),
            evidence,
            end(word),
            HealthCheckResult(name, word == "ok"),
        )

    # -- views ------------------------------------------------------------------------------

    def state(self, name: str) -> str:
        """Give the state that users see."""
        return self.ledger.status()[name].state

    def states(self) -> str:
        """Give the states of all, in order."""
        return " ".join(status.state for status in self.ledger.status().values())

    def in_flight(self) -> dict[str, int]:
        """Give the places that are taken."""
        return {name: it.requests_in_flight for name, it in self.ledger.status().items()}

    def told(self) -> list[tuple[str, str, str]]:
        """Give the changes that were told, and forget them."""
        told = [(change.deployment, change.old, change.new) for change in self.changes]
        self.changes.clear()
        return told


class Caller(threading.Thread):
    """A thread that takes one claim; it is joined when its answer is asked for."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(name="caller", daemon=True)
        self.claim = claim
        self._refusal: Refusal | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Take the claim."""
        try:
            self._refusal = self.claim.take()
        except BaseException as error:
            self._error = error

    def answer(self) -> Refusal | str:
        """Give the refusal, or the name of the deployment."""
        self.join(PATIENCE)
        assert not self.is_alive()
        if self._error is not None:
            raise self._error
        return self._refusal if self._refusal is not None else self.claim.deployment.name
