"""What came of an attempt: a value for every end it can have, read from errors by fixed tables."""

from __future__ import annotations

import enum
import errno
import json
import socket
import ssl

import attrs

from llmpool import errors
from llmpool.codes import (
    BUSY_CODES,
    LOADING_CODE,
    MODEL_CODES,
    MODEL_STATUSES,
    class_of_code,
    class_of_status,
)


class Verdict(str, enum.Enum):
    """The class of an outcome; what each does to health and to the call stands in the reference."""

    OK = "ok"
    CALLER = "caller"
    RATE_LIMITED = "rate_limited"
    CONFIG = "config"
    UNKNOWN_MODEL = "unknown_model"
    BUSY = "busy"
    FAULT = "fault"
    UNSUPPORTED = "unsupported"
    IGNORED = "ignored"

    def __str__(self) -> str:
        return self.value


class Origin(str, enum.Enum):
    """Where a fault was found, which tells what evidence can clear it."""

    REACH = "reach"  # refused, DNS, TLS: a ping finds it and clears it
    SERVER = "server"  # 5xx, time-outs, stalls, wrong answers: only a completion clears it
    KEY = "key"  # a rejected key: a ping finds it and clears it
    NETWORK = "network"  # DNS, no route: ours, if it meets every deployment at once
    LOCAL = "local"  # out of descriptors: always ours


# Not slotted: one is made for every call, from a __dict__ (Call.attempts).
@attrs.frozen(slots=False)
class Attempt:
    """
    One try of a call, for the user to read.

    ``latency`` is in seconds. ``sent`` is ``"no"`` (cannot have been processed), ``"maybe"`` or
    ``"answered"``.
    """

    deployment: str
    verdict: Verdict
    error: str | None = None
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None
    sent: str = "answered"
    latency: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether it is certain that no work was done, hence nothing to pay for."""
        return self.verdict in _REFUSALS or (self.verdict is Verdict.FAULT and self.sent == "no")

    def __str__(self) -> str:
        said = self.error if self.error is not None else "answered"
        return (
            f"{self.deployment}: {said} [{self.verdict}, {self.latency:.3f} s, sent: {self.sent}]"
        )


@attrs.frozen
class Outcome:
    """
    What came of one attempt or check.

    ``fair`` is False for a time-out under a deadline too short to blame anyone. ``foreign`` marks an
    exception that is the caller's own: it passes through and is counted for nobody.
    """

    verdict: Verdict
    error: errors.ProviderError | None = None
    origin: Origin = Origin.SERVER
    retry_after: float | None = None
    loading: bool = False
    fair: bool = True
    foreign: bool = False

    @property
    def sent(self) -> str:
        """Whether the request can have been processed."""
        return "maybe" if self.error is None else self.error.sent

    @property
    def refused(self) -> bool:
        """Whether it is certain that no work was done."""
        return self.verdict in _REFUSALS or (self.verdict is Verdict.FAULT and self.sent == "no")

    @property
    def reason(self) -> str:
        """One line for people."""
        if self.error is None:
            return str(self.verdict)
        return self.error.message or type(self.error).__name__

    @property
    def blame(self) -> tuple[str, int | None]:
        """What makes two faults the same fault."""
        return type(self.error).__name__, None if self.error is None else self.error.status

    def attempt(self, deployment: str, latency: float) -> Attempt:
        """Tell it as the attempt that users see."""
        error = self.error
        if error is None:
            return Attempt(deployment, self.verdict, latency=latency)
        kind = type(error).__name__
        return Attempt(
            deployment,
            self.verdict,
            error=f"{kind}: {error.message}" if error.message else kind,
            status=error.status,
            code=error.code,
            retry_after=error.retry_after,
            sent=error.sent,
            latency=latency,
        )


OK = Outcome(Verdict.OK)
IGNORED = Outcome(Verdict.IGNORED)

_REFUSALS = frozenset(
    {
        Verdict.RATE_LIMITED,
        Verdict.CONFIG,
        Verdict.UNKNOWN_MODEL,
        Verdict.BUSY,
        Verdict.UNSUPPORTED,
    }
)

ACTIONABLE = (
    Verdict.CALLER,
    Verdict.CONFIG,
    Verdict.RATE_LIMITED,
    Verdict.UNKNOWN_MODEL,
    Verdict.BUSY,
    Verdict.FAULT,
    Verdict.UNSUPPORTED,
    Verdict.IGNORED,
)
"""Which of several errors a call raises: the one its reader can do most about comes first."""

_BY_CLASS: dict[type[errors.ProviderError], Verdict] = {
    errors.InvalidRequest: Verdict.CALLER,
    errors.AuthenticationFailed: Verdict.CONFIG,
    errors.QuotaExhausted: Verdict.CONFIG,
    errors.RateLimited: Verdict.RATE_LIMITED,
}
_TELLING = (
    *_BY_CLASS,
    errors.ServerFault,
    errors.ConnectionFailed,
    errors.DeadlineExceeded,
    errors.MalformedResponse,
    errors.StreamInterrupted,
)

_ORIGINS = {
    "network": Origin.NETWORK,
    "dns": Origin.NETWORK,
    "descriptors": Origin.LOCAL,
}
_ERRNOS = {
    errno.EMFILE: "descriptors",
    errno.ENFILE: "descriptors",
    errno.ENOBUFS: "descriptors",
    errno.EADDRNOTAVAIL: "descriptors",  # every local port is taken
    errno.ENETDOWN: "network",
    errno.ENETUNREACH: "network",
    errno.EHOSTUNREACH: "network",
}


def classify(error: BaseException, *, passed_model: bool = False, fair: bool = True) -> Outcome:
    """
    Read an exception that ended an attempt: its code, its delay, its status, its class, in this order.

    Args:
        passed_model: the model's name is the caller's own, passed through as it came.
        fair: the time given was long enough to blame a time-out on the deployment.
    """
    if isinstance(error, json.JSONDecodeError):
        # A sibling of OSError in requests. It holds the whole body, so nothing is chained to it.
        ours: errors.ProviderError = errors.MalformedResponse(
            "the answer is not JSON", sent="answered"
        )
    elif isinstance(error, errors.ProviderError):
        ours = error
    elif isinstance(error, TimeoutError):
        ours = errors.DeadlineExceeded(f"{type(error).__name__} in the provider")
    elif isinstance(error, OSError):
        ours = _from_os(error)
    else:
        return Outcome(Verdict.IGNORED, foreign=True)
    return _classify_ours(ours, passed_model, fair)


def _classify_ours(error: errors.ProviderError, passed_model: bool, fair: bool) -> Outcome:
    code = (error.code or "").lower()
    kind = class_of_code(code, error.status)
    if kind is None:
        says_nothing = not isinstance(error, _TELLING) and error.status is not None
        kind = class_of_status(error.status) if says_nothing else type(error)
    if type(error) is errors.ProviderError:
        error = _as(kind, error)
    retry_after = errors.real_delay(error.retry_after)
    gone = issubclass(kind, errors.InvalidRequest) and error.status in MODEL_STATUSES
    if gone or code in MODEL_CODES:
        return Outcome(Verdict.UNKNOWN_MODEL if passed_model else Verdict.CONFIG, error)
    if error.status == 501:
        return Outcome(Verdict.UNSUPPORTED, error)
    for base, verdict in _BY_CLASS.items():
        if issubclass(kind, base):
            return Outcome(verdict, error, _origin(error, kind, code), retry_after)
    if code in BUSY_CODES or _is_busy(error, kind, retry_after):
        loading = code == LOADING_CODE
        return Outcome(Verdict.BUSY, error, retry_after=retry_after, loading=loading)
    if issubclass(kind, errors.DeadlineExceeded) and not fair:
        return Outcome(Verdict.IGNORED, error, fair=False)
    return Outcome(Verdict.FAULT, error, _origin(error, kind, code))


def _is_busy(
    error: errors.ProviderError, kind: type[errors.ProviderError], retry_after: float | None
) -> bool:
    """Tell whether a server that fails says when it will be back, or that it has too much to do."""
    if error.status is None:
        return retry_after is not None and issubclass(kind, errors.ServerFault)
    return error.status == 529 or (retry_after is not None and 500 <= error.status <= 599)


def _origin(error: errors.ProviderError, kind: type[errors.ProviderError], code: str) -> Origin:
    if issubclass(kind, errors.AuthenticationFailed):
        # A key that is good but not for this passes on other pages.
        permission = error.status == 403 or code.startswith("permission")
        return Origin.SERVER if permission else Origin.KEY
    if issubclass(kind, (errors.ConnectionFailed, errors.DeadlineExceeded)):
        unsent = Origin.REACH if error.sent == "no" else Origin.SERVER
        return _ORIGINS.get(code, unsent)
    return Origin.SERVER


def _as(kind: type[errors.ProviderError], error: errors.ProviderError) -> errors.ProviderError:
    """Give a bare ProviderError of a user's provider the class that it stands for."""
    facts = {name: value for name, value in error.__dict__.items() if name in _FACTS}
    told = kind(error.message, **facts)
    told.__cause__ = error.__cause__
    return told.with_traceback(error.__traceback__)


_FACTS = frozenset(
    {"status", "code", "retry_after", "request_id", "deployment", "attempts", "sent"}
)


def _from_os(error: OSError) -> errors.ProviderError:
    """Read an OSError of a user's provider; only its kind is kept, for its text may hold anything."""
    number = error.errno if isinstance(error.errno, int) else 0
    code = "dns" if isinstance(error, socket.gaierror) else _ERRNOS.get(number)
    unsent = code is not None or isinstance(
        error, (ConnectionRefusedError, ssl.SSLCertVerificationError)
    )
    named = type(error).__name__
    # The numbers of look-ups and of TLS are their own, and no errno.
    if code != "dns" and not isinstance(error, ssl.SSLError) and number in errno.errorcode:
        named += f" ({errno.errorcode[number]})"
    return errors.ConnectionFailed(named, code=code, sent="no" if unsent else "maybe")
