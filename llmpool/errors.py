"""The errors of llmpool: few, told apart by what the caller can do about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmpool.results import BatchResults

if TYPE_CHECKING:
    from llmpool.outcomes import Attempt

LONGEST_MESSAGE = 300


def one_line(text: str, most: int = LONGEST_MESSAGE) -> str:
    """Make a text of another's fit for a log: printable, one line, bounded."""
    kept = text[: most * 4]
    odd = {ord(sign): " " for sign in set(kept) if not sign.isprintable()}
    kept = " ".join(kept.translate(odd).split())
    return kept if len(kept) <= most else kept[: most - 1] + "…"


def real_delay(given: object) -> float | None:
    """Give a delay in seconds if it is one: a finite number above zero."""
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return None
    try:
        delay = float(given)
    except OverflowError:
        return None
    return delay if math.isfinite(delay) and delay > 0 else None


class LLMPoolError(Exception):
    """Every error that llmpool raises of its own accord, wrong arguments apart."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by calling the class: a user's own class below may want other arguments.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(
    kind: type[LLMPoolError], args: tuple[Any, ...], state: Mapping[str, Any]
) -> LLMPoolError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ProviderError(LLMPoolError):
    """
    One deployment answered badly, or not at all.

    A user's own provider raises it, or a class below it, message first and the rest by name;
    the pool fills in ``deployment`` and, when a call ends with it, ``attempts``. A value that makes no
    sense, such as a ``retry_after`` of NaN, is as if absent.

    Attributes:
        message: what happened, one line, without key or prompt.
        status: the HTTP status, where there was one.
        code: the API's own name for the error.
        retry_after: seconds, as the server named them, not clamped.
        request_id: the server's name for the request.
        deployment: the name of the deployment.
        attempts: every attempt of the call, oldest first.
        sent: ``"no"`` (the request cannot have been processed), ``"maybe"`` or ``"answered"``.
    """

    # Here too, for a user's own class whose constructor does not call ours.
    message: str = ""
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    request_id: str | None = None
    deployment: str | None = None
    attempts: tuple[Attempt, ...] = ()
    sent: str = "maybe"

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
        deployment: str | None = None,
        attempts: Sequence[Attempt] = (),
        sent: str | None = None,
    ) -> None:
        self.message = one_line(str(message))
        super().__init__(self.message)
        self.status = _real_status(status)
        self.code = None if code is None else one_line(str(code), 64)
        self.retry_after = real_delay(retry_after)
        self.request_id = None if request_id is None else one_line(str(request_id), 128)
        self.deployment = deployment
        self.attempts = tuple(attempts)
        known = sent if sent in ("no", "maybe", "answered") else None
        self.sent = known or ("maybe" if self.status is None else "answered")

    def __str__(self) -> str:
        head = self.message or type(self).__name__
        if self.deployment is not None:
            head = f"{self.deployment}: {head}"
        if len(self.attempts) < 2:
            return head
        return "\n".join(
            [
                f"{head} (after {len(self.attempts)} attempts)",
                *(f"  {number}. {attempt}" for number, attempt in enumerate(self.attempts, 1)),
            ]
        )


def _real_status(given: object) -> int | None:
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) == 3:
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int):
        return None
    return int(given)


class InvalidRequest(ProviderError):
    """The request itself was refused; no other deployment would take it."""


class ContextLengthExceeded(InvalidRequest):
    """The request is longer than the model's context."""


class ContentFiltered(InvalidRequest):
    """The request was refused by a content filter."""


class AuthenticationFailed(ProviderError):
    """The key was refused, or it does not permit this."""


class QuotaExhausted(ProviderError):
    """Money or quota is used up; waiting a little does not cure it."""


class RateLimited(ProviderError):
    """Too many requests or tokens at this moment."""


class ServerFault(ProviderError):
    """The server failed or was too busy."""


class ConnectionFailed(ProviderError):
    """The server could not be reached, or the connection broke."""


class DeadlineExceeded(ProviderError, TimeoutError):
    """The time for the call, or for the attempt, ran out."""


class MalformedResponse(ProviderError):
    """The answer is none: not JSON, empty, cut, or without choices."""


class StreamInterrupted(ProviderError):
    """
    A stream broke off after content had been delivered; it is never switched to another deployment.

    Attributes:
        partial: the text delivered until then; it stands in no message and no log.
    """

    partial: str = ""

    def __init__(self, message: str = "", *, partial: str = "", **facts: Any) -> None:
        super().__init__(message, **facts)
        self.partial = partial


class NoHealthyDeployment(LLMPoolError):
    """
    Nothing could be tried.

    Attributes:
        reasons: for each deployment by name, why it was not asked.
        retry_after: seconds until the first of them may be asked again, or None.
    """

    def __init__(
        self,
        message: str = "no deployment can be asked",
        *,
        reasons: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reasons: dict[str, str] = dict(reasons or {})
        self.retry_after = retry_after

    def __str__(self) -> str:
        reasons = (f"  {name}: {reason}" for name, reason in self.reasons.items())
        return "\n".join([self.message, *reasons])


class PoolClosed(LLMPoolError):
    """The pool was closed; it takes no more calls."""


class MapInterrupted(KeyboardInterrupt):
    """
    ``ProviderPool.map`` was interrupted.

    Attributes:
        results: a :class:`BatchResults` in the order of the requests; None where none was ready.
    """

    def __init__(self, message: str = "", results: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.results = BatchResults(results)

    def _repr_html_(self) -> str:
        return self.results._repr_html_()
