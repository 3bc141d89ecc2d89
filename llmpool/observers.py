"""Observers: what they may be told of, and the telling, which no observer can spoil."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from llmpool import _validators as valid

if TYPE_CHECKING:
    from llmpool.messages import Usage
    from llmpool.outcomes import Attempt
    from llmpool.status import Event, HealthCheckResult

_log = logging.getLogger("llmpool.observers")


@attrs.frozen(eq=False)
class CallFacts:
    """
    One call of a user's, from its beginning on; the same object in all that is told of it.

    Attributes:
        pool: the pool's name.
        model: the name that the caller asked for, or None.
        kind: ``"chat"``, ``"embeddings"``, ``"text_completion"``, ``"call"`` and ``"lease"`` for what is
            done by hand, ``"other"`` for a further page of an API.
        stream: whether the answer was asked for as it comes.
        notes: the observers' own; each under a key that no other has, itself for one.
    """

    pool: str
    model: str | None
    kind: str
    stream: bool = False
    notes: dict[Any, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class AttemptFacts:
    """
    One attempt of a call.

    Attributes:
        call: the call that it belongs to.
        number: from 1 on, in its call.
        deployment: its name.
        provider: the name of the provider's class.
        address: the provider's host, or None where that is not known.
        port: its port, or None.
        upstream: the deployment's own name for the model, or None.
        usage: tokens, once they were told.
        first_content: seconds from its beginning to the first content of a stream; else None.
    """

    call: CallFacts
    number: int
    deployment: str
    provider: str
    address: str | None = None
    port: int | None = None
    upstream: str | None = None
    usage: Usage | None = None
    first_content: float | None = None

    @property
    def pool(self) -> str:
        """The pool's name."""
        return self.call.pool

    @property
    def model(self) -> str | None:
        """The name that the caller asked for, or None."""
        return self.call.model

    @property
    def kind(self) -> str:
        """What was asked for."""
        return self.call.kind

    @property
    def stream(self) -> bool:
        """Whether the answer was asked for as it comes."""
        return self.call.stream


@attrs.frozen(kw_only=True)
class CallEnd:
    """
    What came of a call.

    Attributes:
        error: the name of the class of what was raised; None where nothing was.
        complete: whether there was an answer, and it was read to its end.
        duration: seconds from the call's beginning to its end, a stream's reader's time included.
        attempts: those that were told of, oldest first.
        usage: tokens of the last attempt, once they were told.
        first_content: seconds from the call's beginning to the first content of a stream; else None.
        gaps: seconds of waiting for each piece of a stream after those with its first content, the first ten
            thousand.
        response_model: the model that the answer names.
        response_id: the name of the answer.
        finish_reasons: one for each choice that told one.
    """

    error: str | None
    complete: bool
    duration: float
    attempts: tuple[Attempt, ...] = ()
    usage: Usage | None = None
    first_content: float | None = None
    gaps: tuple[float, ...] = attrs.field(default=(), repr=False)
    response_model: str | None = None
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()


class Observer:
    """
    What :meth:`ProviderPool.observe` takes: any object with some of these methods, of this class or not.

    Each is called outside every lock, in the thread in which it happened, and what it takes the caller
    waits for. One that raises is logged by the type of its error and ignored. None is given a prompt, an
    answer or a key; in an ``Attempt``, ``error`` is the name of a class and no text. They are looked up
    once, in ``observe()``. The pool holds its observers; one that holds the pool keeps it alive.
    """

    def call_started(self, call: CallFacts) -> None:
        """Take note that a call begins, in the caller's thread."""

    def call_returned(self, call: CallFacts) -> None:
        """
        Take note that the caller goes on, in the thread of :meth:`call_started`; the last observer first.

        It is the last of a call, unless what the caller has is a stream that is still to be read. Of a
        lease whose block is never left it is not told.
        """

    def call_ended(self, call: CallFacts, end: CallEnd) -> None:
        """
        Take note that a call has ended, a stream with its last chunk, an error, or being left.

        A stream or a lease that was forgotten ends in the thread of whoever asks the pool next.
        """

    def attempt_started(self, facts: AttemptFacts) -> None:
        """Take note that a deployment is about to be asked."""

    def attempt_ended(self, attempt: Attempt, facts: AttemptFacts) -> None:
        """Take note of what came of an attempt that was started: once each, however it ended."""

    def check_ended(self, result: HealthCheckResult) -> None:
        """Take note of a check; not in a caller's thread but where a caller asked for it."""

    def state_changed(self, event: Event) -> None:
        """Take note of a change of a deployment's state, or of the checker's."""


_OF_CALLS = (
    "call_started",
    "call_returned",
    "call_ended",
    "attempt_started",
    "attempt_ended",
)
_OF_HEALTH = ("check_ended", "state_changed")
_Ears = Mapping[str, tuple[Callable[..., object], ...]]


class Audience:
    """
    The observers of a pool; it never changes, another takes its place.

    Threads: any.
    """

    def __init__(self, ears: _Ears, observers: tuple[object, ...]) -> None:
        self._ears = ears
        self._observers = observers
        self.of_calls = any(map(ears.__getitem__, _OF_CALLS))
        self.of_health = any(map(ears.__getitem__, _OF_HEALTH))

    @classmethod
    def of_one(cls, observer: object) -> Audience:
        """
        Look up what *observer* wants to be told of.

        Raises:
            TypeError: it wants to be told of nothing.
        """
        ears = {name: _ears(observer, name) for name in (*_OF_CALLS, *_OF_HEALTH)}
        if isinstance(observer, type) or not any(ears.values()):
            wanted = "an object with a method of llmpool.Observer"
            valid.refuse("observer", wanted, observer, kind=TypeError, private=True)
        return cls(ears, (observer,))

    def joined_by(self, other: Audience) -> Audience:
        """Give one with the observers of *other* too; who is there already is told once."""
        if any(known is each for known in self._observers for each in other._observers):
            return self
        ears = {name: (*own, *other._ears[name]) for name, own in self._ears.items()}
        # In the other order, for what one takes back lies upon what those before it did.
        ears["call_returned"] = (*other._ears["call_returned"], *self._ears["call_returned"])
        return Audience(ears, (*self._observers, *other._observers))

    def hears(self, name: str) -> bool:
        """Tell whether somebody wants to be told of something."""
        return bool(self._ears[name])

    def tell(self, name: str, *facts: object) -> None:
        """
        Tell all of something, whatever one of them does.

        Raises:
            BaseException: an observer's own that is no Exception, a Ctrl-C for one; after all were told.
        """
        broken: BaseException | None = None
        for ear in self._ears[name]:
            try:
                ear(*facts)
            except Exception as error:  # noqa: BLE001 - a user's observer
                # The type alone: an observer's message may hold anything.
                told = type(error).__name__
                _log.error("an observer's %s raised %s and was ignored", name, told)
            except BaseException as error:  # noqa: BLE001 - raised below
                broken = error
        if broken is not None:
            try:
                raise broken
            finally:
                del broken  # it holds this frame


def _ears(observer: object, name: str) -> tuple[Callable[..., object], ...]:
    """Give an observer's method; nothing for none, and for one of Observer's own."""
    if getattr(type(observer), name, None) is getattr(Observer, name):
        return ()
    ear = getattr(observer, name, None)
    return (ear,) if callable(ear) else ()
