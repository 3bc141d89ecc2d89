"""What came of an attempt: a value for every end it can have, read from errors by fixed tables."""

from __future__ import annotations

import enum
import json

import attrs

from llmpool import errors


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


@attrs.frozen(slots=False)  # made for every call, and twice as quick without slots
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

    def __str__(self) -> str:
        said = self.error if self.error is not None else "answered"
        return (
            f"{self.deployment}: {said} [{self.verdict}, {self.latency:.3f} s, sent: {self.sent}]"
        )


_SUCCESS = Attempt("", Verdict.OK)


def succeeded(deployment: str, latency: float) -> Attempt:
    """Give the attempt that went well; made for every call, so without the checks of ``__init__``."""
    attempt = object.__new__(Attempt)
    facts = attempt.__dict__
    facts.update(_SUCCESS.__dict__)
    facts["deployment"] = deployment
    facts["latency"] = latency
    return attempt


@attrs.frozen
class Outcome:
    """
    What came of one attempt or check.

    ``fair`` is False for a time-out under a deadline too short to blame anyone. ``foreign`` marks an
    exception that is the caller's own: it passes through and is counted for nobody.
    """

    verdict: Verdict
    error: Exception | None = None
    origin: Origin = Origin.SERVER
    retry_after: float | None = None
    loading: bool = False
    fair: bool = True
    foreign: bool = False

    @property
    def sent(self) -> str:
        """Whether the request can have been processed."""
        return self.error.sent if isinstance(self.error, errors.ProviderError) else "maybe"

    @property
    def refused(self) -> bool:
        """Whether it is certain that no work was done."""
        return self.verdict in _REFUSALS or (self.verdict is Verdict.FAULT and self.sent == "no")

    @property
    def reason(self) -> str:
        """One line for people."""
        if self.error is None:
            return str(self.verdict)
        return getattr(self.error, "message", "") or type(self.error).__name__

    @property
    def blame(self) -> tuple[str, int | None]:
        """What makes two faults the same fault."""
        return type(self.error).__name__, getattr(self.error, "status", None)

    def attempt(self, deployment: str, latency: float) -> Attempt:
        """Tell it as the attempt that users see."""
        error = self.error
        if not isinstance(error, errors.ProviderError):
            return Attempt(deployment, self.verdict, latency=latency)
        return Attempt(
            deployment,
            self.verdict,
            error=f"{type(error).__name__}: {self.reason}",
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

MODEL_CODES = frozenset({"model_not_found", "not_found", "deploymentnotfound", "invalid_model"})
LOADING_CODE = "loading_model"
BUSY_CODES = frozenset(
    {"overloaded_error", "server_is_overloaded", "overloaded", "queue_full", LOADING_CODE}
)
_LOCAL_CODES = {
    "network": Origin.NETWORK,
    "dns": Origin.NETWORK,
    "descriptors": Origin.LOCAL,
}


def classify(error: BaseException, *, passed_model: bool = False, fair: bool = True) -> Outcome:
    """
    Read an exception that ended an attempt.

    Args:
        passed_model: the model's name is the caller's own, passed through as it came.
        fair: the time given was long enough to blame a time-out on the deployment.
    """
    if isinstance(error, errors.ProviderError):
        return _classify_ours(error, passed_model, fair)
    if isinstance(error, json.JSONDecodeError):
        return Outcome(Verdict.FAULT, errors.MalformedResponse("the answer is not JSON"))
    if isinstance(error, TimeoutError):
        late = errors.DeadlineExceeded(f"{type(error).__name__} in the provider")
        return _classify_ours(late, passed_model, fair)
    if isinstance(error, OSError):
        return _classify_os(error)
    return Outcome(Verdict.IGNORED, foreign=True)


def _classify_ours(error: errors.ProviderError, passed_model: bool, fair: bool) -> Outcome:
    code = (error.code or "").lower()
    if code in MODEL_CODES or (error.status == 404 and type(error) is errors.InvalidRequest):
        verdict = Verdict.UNKNOWN_MODEL if passed_model else Verdict.CONFIG
        return Outcome(verdict, error)
    for kind, verdict in _BY_CLASS.items():
        if isinstance(error, kind):
            origin = Origin.KEY if kind is errors.AuthenticationFailed else Origin.SERVER
            return Outcome(verdict, error, origin, retry_after=error.retry_after)
    if error.status == 501:
        return Outcome(Verdict.UNSUPPORTED, error)
    if _is_busy(error, code):
        loading = code == LOADING_CODE
        return Outcome(Verdict.BUSY, error, retry_after=error.retry_after, loading=loading)
    if isinstance(error, errors.DeadlineExceeded) and not fair:
        return Outcome(Verdict.IGNORED, error, fair=False)
    if isinstance(error, errors.ConnectionFailed):
        unsent = Origin.REACH if error.sent == "no" else Origin.SERVER
        return Outcome(Verdict.FAULT, error, _LOCAL_CODES.get(code, unsent))
    if type(error) is errors.ProviderError and error.status is not None:
        return _classify_ours(_by_status(error), passed_model, fair)
    return Outcome(Verdict.FAULT, error)


def _is_busy(error: errors.ProviderError, code: str) -> bool:
    if code in BUSY_CODES or error.status == 529:
        return True
    answered_5xx = error.status is not None and 500 <= error.status <= 599
    return answered_5xx and error.retry_after is not None


def _by_status(error: errors.ProviderError) -> errors.ProviderError:
    """Give a bare ProviderError of a user's provider the class that its status stands for."""
    assert error.status is not None
    kind = class_of_status(error.status)
    return kind(error.message, **{field: getattr(error, field) for field in _FACTS})


_FACTS = ("status", "code", "retry_after", "request_id", "deployment", "attempts", "sent")

_BY_STATUS: dict[int, type[errors.ProviderError]] = {
    401: errors.AuthenticationFailed,
    402: errors.QuotaExhausted,
    403: errors.AuthenticationFailed,
    407: errors.ConnectionFailed,
    408: errors.ServerFault,
    409: errors.ServerFault,
    429: errors.RateLimited,
}


def class_of_status(status: int) -> type[errors.ProviderError]:
    """Give the error that an HTTP status stands for when nothing else is known."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status <= 499:
        return errors.InvalidRequest
    return errors.ServerFault


def _classify_os(error: OSError) -> Outcome:
    """Read an OSError of a user's provider; only its kind is kept, its text may hold anything."""
    refused = isinstance(error, ConnectionRefusedError)
    ours = errors.ConnectionFailed(type(error).__name__, sent="no" if refused else "maybe")
    return Outcome(Verdict.FAULT, ours, Origin.REACH if refused else Origin.SERVER)
