"""One call that observers are told of, from its beginning to its end."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import TypeVar
from urllib.parse import urlsplit

import attrs

from llmpool.calls import Call, Conduct, Retry, Send
from llmpool.claims import Claim
from llmpool.messages import CompletionResponse, EmbeddingResponse, Usage
from llmpool.observers import AttemptFacts, Audience, CallEnd, CallFacts
from llmpool.outcomes import IGNORED, OK, Attempt, Outcome, Verdict
from llmpool.wishes import Wish

_T = TypeVar("_T")


class Ticket:
    """
    Leave to do something once.

    Threads: any, signal handlers included; it holds no lock.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()
        self._queue.put(None)

    def take(self) -> bool:
        """Take it; False if it has been taken."""
        try:
            self._queue.get_nowait()
        except Empty:
            return False
        return True


@attrs.frozen
class _Begun:
    """An attempt that was begun, and leave to tell of its end."""

    facts: AttemptFacts
    at: float
    ticket: Ticket = attrs.field(factory=Ticket)


class Story:
    """
    What observers are told of one call: each thing once.

    It holds neither the claim nor the answer, so that a stream can be forgotten. In a forked child it
    tells nothing, for the call is the parent's.

    Threads: the caller's, or a stream's reader's; :meth:`forgotten` in any.

    Attributes:
        complete: whether there was an answer to its end; None where what came of the attempt tells.
    """

    complete: bool | None = None
    _begun: _Begun | None = None
    _lasts = False  # the caller has a stream or a lease, whose end is the call's
    _error: str | None = None
    _usage: Usage | None = None
    _first_content: float | None = None  # absolute
    _gaps: tuple[float, ...] = ()
    _answer: tuple[str | None, str | None, tuple[str, ...]] = (None, None, ())

    def __init__(self, audience: Audience, call: CallFacts, now: Callable[[], float]) -> None:
        self.call = call
        self._audience = audience
        self._now = now
        self._began = now()
        self._pid = os.getpid()
        self._end = Ticket()
        self._attempts: list[Attempt] = []

    # -- the call ---------------------------------------------------------------------------

    def carry(self, work: Callable[[], _T]) -> _T:
        """Do what the call consists of."""
        try:
            self.begin()
            return work()
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self.leave()

    def begin(self) -> None:
        """Tell that the call begins."""
        self._tell("call_started", self.call)

    def fail(self, error: BaseException | str) -> None:
        """Note what the caller is going to see; the first that is noted stays."""
        if self._error is None:
            self._error = error if isinstance(error, str) else type(error).__name__

    def outlast(self) -> None:
        """Let the call end where its present attempt does, and not where the caller goes on."""
        self._lasts = True

    def leave(self) -> None:
        """Tell that the caller goes on, and that the call has ended unless it lasts."""
        try:
            if not self._lasts:
                self.finish(IGNORED)  # if an interrupt came before somebody else could
                self._tell_end(complete=self._error is None)
        finally:
            self._tell("call_returned", self.call)

    def note(self, answer: object) -> None:
        """Note whose answer it is and how it ended, nothing of what it says."""
        if isinstance(answer, CompletionResponse):
            reasons = [answer.finish_reason, *(each.finish_reason for each in answer.choices[1:])]
            self.note_facts(answer.model, answer.id, reasons)
        elif isinstance(answer, EmbeddingResponse):
            self.note_facts(answer.model, None, ())

    def note_facts(
        self,
        model: str | None,
        name: str | None,
        finish_reasons: Iterable[str | None],
        gaps: Iterable[float] = (),
    ) -> None:
        """Note the facts of an answer, and the seconds of waiting for its pieces."""
        self._answer = (model, name, tuple(each for each in finish_reasons if each is not None))
        self._gaps = tuple(gaps)

    # -- its attempts -----------------------------------------------------------------------

    def attempt(self, claim: Claim) -> None:
        """Tell that a deployment is about to be asked."""
        provider = claim.deployment.provider
        base_url = getattr(provider, "base_url", None)
        address, port = _address(base_url) if isinstance(base_url, str) else (None, None)
        facts = AttemptFacts(
            call=self.call,
            number=len(self._attempts) + 1,
            deployment=claim.deployment.name,
            provider=type(provider).__name__,
            address=address,
            port=port,
            upstream=claim.deployment.upstream(claim.wish.model),
        )
        self._begun = _Begun(facts, claim.started_at)
        self._tell("attempt_started", facts)

    def finish(
        self,
        outcome: Outcome,
        latency: float | None = None,
        usage: Usage | None = None,
        first_content: float | None = None,
    ) -> None:
        """Tell what came of the present attempt, if there is one; a second time does nothing."""
        begun = self._begun
        try:
            if begun is not None and begun.ticket.take():
                self._tell_attempt(begun, outcome, latency, usage, first_content)
        finally:
            if self._lasts:
                whole = outcome.verdict is Verdict.OK if self.complete is None else self.complete
                self._tell_end(complete=whole)

    def forgotten(self, usage: Usage | None, first_content: float | None) -> None:
        """Tell of the end of a stream or a lease that nobody has any more."""
        self.finish(IGNORED, None, usage, first_content)

    # -- the telling ------------------------------------------------------------------------

    def _tell(self, name: str, *facts: object) -> None:
        if self._audience.hears(name) and os.getpid() == self._pid:
            self._audience.tell(name, *facts)

    def _tell_attempt(
        self,
        begun: _Begun,
        outcome: Outcome,
        latency: float | None,
        usage: Usage | None,
        first_content: float | None,
    ) -> None:
        self._usage = usage
        if first_content is not None:
            self._first_content = begun.at + first_content
        error = outcome.error
        took = self._now() - begun.at if latency is None else latency
        attempt = outcome.attempt(begun.facts.deployment, took)
        if error is not None:
            # What the server said may quote the prompt.
            attempt = attrs.evolve(attempt, error=type(error).__name__)
        self._attempts.append(attempt)
        facts = begun.facts
        if usage is not None or first_content is not None:
            facts = attrs.evolve(facts, usage=usage, first_content=first_content)
        self._tell("attempt_ended", attempt, facts)

    def _tell_end(self, *, complete: bool) -> None:
        if not (self._end.take() and self._audience.hears("call_ended")):
            return
        first = self._first_content
        model, name, finish_reasons = self._answer
        end = CallEnd(
            error=self._error,
            complete=complete,
            duration=self._now() - self._began,
            attempts=tuple(self._attempts),
            usage=self._usage,
            first_content=None if first is None else first - self._began,
            gaps=self._gaps,
            response_model=model,
            response_id=name,
            finish_reasons=finish_reasons,
        )
        self._tell("call_ended", self.call, end)


class ToldCall(Call[_T]):
    """A call whose attempts are told of."""

    def __init__(
        self, conduct: Conduct, wish: Wish, send: Send[_T], retry: Retry, keeps_claim: bool = False
    ) -> None:
        assert wish.story is not None
        self._story: Story = wish.story
        told = functools.partial(_send, self._story, send)
        super().__init__(conduct, wish, told, retry, keeps_claim)

    def _attempt(self) -> bool:
        known, done = len(self._ends), False
        try:
            done = super()._attempt()
            return done
        finally:
            if not (done and self._keeps_claim):
                # In a frame of its own: an outcome in this one, which the frames of its error lead
                # back to, would be in a ring with them.
                self._tell_end(known, done)

    def _tell_end(self, known: int, done: bool) -> None:
        claim: Claim | None = getattr(self, "claim", None)
        usage = None if claim is None else claim.usage
        if done:
            self._story.finish(OK, self.latency, usage)
        elif len(self._ends) > known:
            _, outcome, attempt = self._ends[-1]
            self._story.finish(outcome, attempt.latency, usage)
        else:
            self._story.finish(IGNORED, None, usage)


def _send(story: Story, send: Send[_T], claim: Claim) -> _T:
    story.attempt(claim)
    return send(claim)


def run(conduct: Conduct, wish: Wish, send: Send[_T], retry: Retry, keeps_claim: bool) -> Call[_T]:
    """Run a call that has a story."""
    story = wish.story
    assert story is not None

    def work() -> Call[_T]:
        done = ToldCall(conduct, wish, send, retry, keeps_claim).run()
        if keeps_claim:
            story.outlast()
        else:
            story.note(done.value)
        return done

    return story.carry(work)


@functools.lru_cache(maxsize=256)
def _address(base_url: str) -> tuple[str | None, int | None]:
    """Give the host and the port of a URL."""
    try:
        parts = urlsplit(base_url)
        return parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None, None
