"""What the end of an attempt is judged to be, row by row."""

from __future__ import annotations

import concurrent.futures
import errno
import json
import math
import pickle
import socket
import ssl
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from llmpool import errors
from llmpool.codes import class_of_code, class_of_status
from llmpool.outcomes import ACTIONABLE, IGNORED, OK, Attempt, Origin, Outcome, Verdict, classify

ALL = (
    errors.ProviderError,
    errors.InvalidRequest,
    errors.ContextLengthExceeded,
    errors.ContentFiltered,
    errors.AuthenticationFailed,
    errors.QuotaExhausted,
    errors.RateLimited,
    errors.ServerFault,
    errors.ConnectionFailed,
    errors.DeadlineExceeded,
    errors.MalformedResponse,
    errors.StreamInterrupted,
)


class Homemade(errors.ProviderError):
    """A user's own class, right below ours."""


class HomemadeLimit(errors.RateLimited):
    """A user's own class, below one that tells."""


class Mute(errors.ServerFault):
    """A user's own class whose constructor does not call ours."""

    def __init__(self) -> None:
        pass


def bare(**facts: Any) -> errors.ProviderError:
    """Give what a user's provider raises that knows no more."""
    return errors.ProviderError("it failed", **facts)


# -- what a user's own provider raises ----------------------------------------------------------

ROWS: list[tuple[errors.ProviderError, str, type[errors.ProviderError]]] = [
    # Nothing but a class.
    (bare(), "fault", errors.ProviderError),
    (errors.InvalidRequest(), "caller", errors.InvalidRequest),
    (errors.ContextLengthExceeded(), "caller", errors.ContextLengthExceeded),
    (errors.ContentFiltered(), "caller", errors.ContentFiltered),
    (errors.AuthenticationFailed(), "config", errors.AuthenticationFailed),
    (errors.QuotaExhausted(), "config", errors.QuotaExhausted),
    (errors.RateLimited(), "rate_limited", errors.RateLimited),
    (errors.ServerFault(), "fault", errors.ServerFault),
    (errors.ConnectionFailed(), "fault", errors.ConnectionFailed),
    (errors.DeadlineExceeded(), "fault", errors.DeadlineExceeded),
    (errors.MalformedResponse(), "fault", errors.MalformedResponse),
    (errors.StreamInterrupted(), "fault", errors.StreamInterrupted),
    # Nothing but a status.
    (bare(status=200), "fault", errors.ServerFault),
    (bare(status=302), "fault", errors.ServerFault),
    (bare(status=400), "caller", errors.InvalidRequest),
    (bare(status=401), "config", errors.AuthenticationFailed),
    (bare(status=402), "config", errors.QuotaExhausted),
    (bare(status=403), "config", errors.AuthenticationFailed),
    (bare(status=404), "config", errors.InvalidRequest),
    (bare(status=405), "config", errors.InvalidRequest),
    (bare(status=407), "fault", errors.ConnectionFailed),
    (bare(status=408), "fault", errors.ServerFault),
    (bare(status=409), "fault", errors.ServerFault),
    (bare(status=410), "config", errors.InvalidRequest),
    (bare(status=413), "caller", errors.ContextLengthExceeded),
    (bare(status=414), "caller", errors.InvalidRequest),
    (bare(status=418), "fault", errors.ServerFault),
    (bare(status=422), "caller", errors.InvalidRequest),
    (bare(status=429), "rate_limited", errors.RateLimited),
    (bare(status=431), "caller", errors.InvalidRequest),
    (bare(status=499), "fault", errors.ServerFault),
    (bare(status=500), "fault", errors.ServerFault),
    (bare(status=501), "unsupported", errors.ServerFault),
    (bare(status=503), "fault", errors.ServerFault),
    (bare(status=529), "busy", errors.ServerFault),
    (bare(status=599), "fault", errors.ServerFault),
    # Nothing but a code, in whatever spelling.
    (bare(code="context_length_exceeded"), "caller", errors.ContextLengthExceeded),
    (bare(code="content_filter"), "caller", errors.ContentFiltered),
    (bare(code="insufficient_quota"), "config", errors.QuotaExhausted),
    (bare(code="FAILED_PRECONDITION"), "config", errors.QuotaExhausted),
    (bare(code="invalid_api_key"), "config", errors.AuthenticationFailed),
    (bare(code="RESOURCE_EXHAUSTED"), "rate_limited", errors.RateLimited),
    (bare(code="slow_down"), "rate_limited", errors.RateLimited),
    (bare(code="DeploymentNotFound"), "config", errors.InvalidRequest),
    (bare(code="overloaded_error"), "busy", errors.ServerFault),
    (bare(code="queue_full"), "busy", errors.ServerFault),
    (bare(code="loading_model"), "busy", errors.ServerFault),
    (bare(code="anything"), "fault", errors.ProviderError),
    # A code tells more than a status, and both more than a class that says nothing.
    (bare(code="insufficient_quota", status=429), "config", errors.QuotaExhausted),
    (bare(code="content_filter", status=403), "caller", errors.ContentFiltered),
    (bare(code="rate_limit_exceeded", status=403), "rate_limited", errors.RateLimited),
    (bare(code="rate_limit_exceeded", status=413), "caller", errors.ContextLengthExceeded),
    (bare(code="failed_precondition", status=400), "config", errors.QuotaExhausted),
    (bare(code="failed_precondition", status=412), "fault", errors.ServerFault),
    (bare(code="overloaded_error", status=200), "busy", errors.ServerFault),
    (bare(code="overloaded", status=429), "busy", errors.ServerFault),
    (bare(code="anything", status=401), "config", errors.AuthenticationFailed),
    # A code tells more than a class; a class that tells is kept, and tells more than a status.
    (errors.RateLimited(code="insufficient_quota"), "config", errors.RateLimited),
    (errors.ServerFault(code="rate_limit_exceeded"), "rate_limited", errors.ServerFault),
    (errors.InvalidRequest(code="overloaded_error"), "busy", errors.InvalidRequest),
    (errors.QuotaExhausted(status=429), "config", errors.QuotaExhausted),
    (errors.ContentFiltered(status=403), "caller", errors.ContentFiltered),
    (errors.RateLimited(status=503, retry_after=5), "rate_limited", errors.RateLimited),
    (errors.MalformedResponse(status=200), "fault", errors.MalformedResponse),
    (errors.InvalidRequest(status=500), "caller", errors.InvalidRequest),
    (errors.ServerFault(status=400), "fault", errors.ServerFault),
    (errors.InvalidRequest(status=501), "unsupported", errors.InvalidRequest),
    (errors.InvalidRequest(status=404), "config", errors.InvalidRequest),
    (errors.ServerFault(status=404), "fault", errors.ServerFault),
    # Any 5xx that names a delay, and a server's fault that names one.
    (bare(status=500, retry_after=1), "busy", errors.ServerFault),
    (errors.ServerFault(status=503, retry_after=1), "busy", errors.ServerFault),
    (errors.ServerFault(retry_after=1), "busy", errors.ServerFault),
    (errors.ConnectionFailed(status=502, retry_after=1), "busy", errors.ConnectionFailed),
    (errors.ConnectionFailed(retry_after=1), "fault", errors.ConnectionFailed),
    (bare(retry_after=1), "fault", errors.ProviderError),
    (bare(status=408, retry_after=1), "fault", errors.ServerFault),
    (bare(status=501, retry_after=1), "unsupported", errors.ServerFault),
    (bare(status=503, retry_after=math.nan), "fault", errors.ServerFault),
    # Classes of the user's own are kept.
    (Homemade(), "fault", Homemade),
    (Homemade(status=429), "rate_limited", Homemade),
    (Homemade(status=404), "config", Homemade),
    (Homemade(code="billing_error"), "config", Homemade),
    (HomemadeLimit(status=500), "rate_limited", HomemadeLimit),
    (Mute(), "fault", Mute),
]


@pytest.mark.parametrize(
    ("error", "verdict", "kind"),
    ROWS,
    ids=[f"{type(row[0]).__name__} {row[0].status} {row[0].code}" for row in ROWS],
)
def test_an_error_of_a_users_provider(
    error: errors.ProviderError, verdict: str, kind: type[errors.ProviderError]
) -> None:
    """Its code, its delay, its status and its class are read, in this order."""
    outcome = classify(error)
    assert str(outcome.verdict) == verdict
    assert type(outcome.error) is kind
    assert not outcome.foreign
    told = outcome.attempt("eu", 0.25)
    assert (told.deployment, str(told.verdict), told.latency) == ("eu", verdict, 0.25)
    assert (told.status, told.code, told.sent) == (error.status, error.code, error.sent)


@pytest.mark.parametrize(
    "error",
    [
        bare(status=404),
        bare(code="model_not_found"),
        bare(code="NOT_FOUND", status=404),
        errors.InvalidRequest(status=410),
        errors.InvalidRequest(code="invalid_model", status=400),
        Homemade(status=404),
    ],
)
def test_a_model_that_is_not_there(error: errors.ProviderError) -> None:
    """A name that the caller passed through is his; the deployment's own is its configuration."""
    assert classify(error).verdict is Verdict.CONFIG
    assert classify(error, passed_model=True).verdict is Verdict.UNKNOWN_MODEL


def test_a_class_is_filled_in() -> None:
    """A bare error becomes the class that it stands for, with all that was said, so that except works."""
    cause = ValueError("from the SDK")
    attempt = Attempt("eu", Verdict.FAULT)
    try:
        raise errors.ProviderError(
            "slow down", status=429, code="x", retry_after=2.5, request_id="r", deployment="eu",
            attempts=[attempt], sent="maybe",
        ) from cause  # fmt: skip
    except errors.ProviderError as raised:
        given = raised
    told = classify(given).error
    assert type(told) is errors.RateLimited
    assert told.__dict__ == given.__dict__
    assert told.__cause__ is cause
    assert told.__traceback__ is given.__traceback__


@pytest.mark.parametrize("delay", [0.01, 2.5, 86400.0, 1e9])
@pytest.mark.parametrize(
    "kind", [errors.RateLimited, errors.ServerFault, errors.ContextLengthExceeded]
)
def test_a_delay(kind: type[errors.ProviderError], delay: float) -> None:
    """The true value is in the outcome and on the error; clamping is the health rules'."""
    outcome = classify(kind("later", retry_after=delay))
    assert outcome.retry_after == delay
    assert outcome.error is not None
    assert outcome.error.retry_after == delay


@pytest.mark.parametrize("delay", [0, -1, math.nan, math.inf, -math.inf, True, "2", None, 10**400])
def test_a_delay_set_afterwards_that_is_none(delay: Any) -> None:
    """It never gets into the health rules, where a NaN would bar a deployment for ever."""
    error = errors.RateLimited("later")
    error.retry_after = delay
    assert classify(error).retry_after is None


def test_loading() -> None:
    """Loading a model is told from being overloaded."""
    assert classify(bare(code="loading_model")).loading
    assert not classify(bare(code="overloaded_error")).loading


# -- time-outs, the network, strangers ----------------------------------------------------------


@pytest.mark.parametrize(
    "error", [errors.DeadlineExceeded("late"), TimeoutError("late"), TimeoutError(110, "late")]
)
def test_a_time_out(error: Exception) -> None:
    """It is a fault, unless the time given was too short to be fair."""
    blamed = classify(error)
    assert (blamed.verdict, blamed.origin, blamed.fair) == (Verdict.FAULT, Origin.SERVER, True)
    excused = classify(error, fair=False)
    assert (excused.verdict, excused.fair, excused.foreign) == (Verdict.IGNORED, False, False)
    assert isinstance(excused.error, errors.DeadlineExceeded)


def test_an_unfair_deadline_and_another_end() -> None:
    """Only a time-out is excused by it."""
    assert classify(errors.ServerFault("500"), fair=False).verdict is Verdict.FAULT
    late = errors.DeadlineExceeded("late", status=529)
    assert classify(late, fair=False).verdict is Verdict.BUSY


@pytest.mark.parametrize(
    ("error", "origin", "sent"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Origin.REACH, "no"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Origin.SERVER, "maybe"),
        (BrokenPipeError(errno.EPIPE, "pipe"), Origin.SERVER, "maybe"),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), Origin.NETWORK, "no"),
        (OSError(errno.ENETUNREACH, "no route"), Origin.NETWORK, "no"),
        (OSError(errno.EHOSTUNREACH, "no route"), Origin.NETWORK, "no"),
        (OSError(errno.ENETDOWN, "down"), Origin.NETWORK, "no"),
        (OSError(errno.EMFILE, "too many"), Origin.LOCAL, "no"),
        (OSError(errno.ENFILE, "too many"), Origin.LOCAL, "no"),
        (OSError(errno.EADDRNOTAVAIL, "no port"), Origin.LOCAL, "no"),
        (ssl.SSLCertVerificationError("expired"), Origin.REACH, "no"),
        (ssl.SSLError("broken"), Origin.SERVER, "maybe"),
        (requests.ConnectionError("refused"), Origin.SERVER, "maybe"),
        (FileNotFoundError(errno.ENOENT, "x", "/a/file"), Origin.SERVER, "maybe"),
        (OSError("words", "words"), Origin.SERVER, "maybe"),
        (OSError(), Origin.SERVER, "maybe"),
    ],
)
def test_an_os_error(error: OSError, origin: Origin, sent: str) -> None:
    """It is a fault of the connection, and where it was found tells what can clear it."""
    outcome = classify(error)
    assert (outcome.verdict, outcome.origin, outcome.sent) == (Verdict.FAULT, origin, sent)
    assert outcome.refused is (sent == "no")
    assert type(outcome.error) is errors.ConnectionFailed


def test_the_words_of_an_os_error() -> None:
    """Only its kind is told: its text may hold a path, an address or a header."""
    told = classify(FileNotFoundError(errno.ENOENT, "no such", "/home/me/key-abc")).reason
    assert told == "FileNotFoundError (ENOENT)"
    assert classify(socket.gaierror(socket.EAI_NONAME, "name")).reason == "gaierror"


@pytest.mark.parametrize(
    ("error", "origin"),
    [
        (errors.ConnectionFailed("refused", sent="no"), Origin.REACH),
        (errors.ConnectionFailed("reset", sent="maybe"), Origin.SERVER),
        (errors.ConnectionFailed("no name", code="dns", sent="no"), Origin.NETWORK),
        (errors.ConnectionFailed("no route", code="network", sent="no"), Origin.NETWORK),
        (errors.ConnectionFailed("full", code="descriptors", sent="no"), Origin.LOCAL),
        (errors.DeadlineExceeded("connecting", sent="no"), Origin.REACH),
        (errors.DeadlineExceeded("no name", code="dns", sent="no"), Origin.NETWORK),
        (errors.DeadlineExceeded("reading", sent="answered"), Origin.SERVER),
        (errors.ServerFault("refused", sent="no"), Origin.SERVER),
        (errors.AuthenticationFailed("wrong"), Origin.KEY),
        (errors.AuthenticationFailed("wrong", status=401), Origin.KEY),
        (errors.AuthenticationFailed("not for this", status=403), Origin.SERVER),
        (errors.AuthenticationFailed("not for this", code="permission_error"), Origin.SERVER),
        (errors.QuotaExhausted("empty"), Origin.SERVER),
        (errors.InvalidRequest("gone", status=404), Origin.SERVER),
    ],
)
def test_where_a_fault_was_found(error: errors.ProviderError, origin: Origin) -> None:
    """A ping clears what a ping can find: a key, the way there; never a permission or a purse."""
    assert classify(error).origin is origin


@pytest.mark.parametrize(
    "error",
    [json.JSONDecodeError("no", "a secret body", 0), requests.JSONDecodeError("no", "x", 0)],
)
def test_an_answer_that_is_no_json(error: Exception) -> None:
    """It is a malformed answer; the body, which the exception holds, is not carried along."""
    outcome = classify(error)
    assert outcome.verdict is Verdict.FAULT
    assert type(outcome.error) is errors.MalformedResponse
    assert outcome.sent == "answered"
    assert b"secret" not in pickle.dumps(outcome.error)
    assert outcome.error.__context__ is None


@pytest.mark.parametrize(
    "error",
    [
        TypeError("a bug"),
        ValueError("a bug"),
        KeyError("x"),
        StopIteration(),
        RuntimeError("theirs"),
        AssertionError(),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        concurrent.futures.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(),
        GeneratorExit(),
        errors.PoolClosed("closed"),
        errors.NoHealthyDeployment("none"),
        errors.LLMPoolError("ours, and no provider's"),
    ],
)
def test_a_strangers_exception(error: BaseException) -> None:
    """It is the caller's own: ignored, and marked so that it passes through."""
    outcome = classify(error)
    assert (outcome.verdict, outcome.foreign, outcome.error) == (Verdict.IGNORED, True, None)


@given(
    kind=st.sampled_from([*ALL, Homemade, HomemadeLimit]),
    status=st.none() | st.integers(-1, 1000) | st.sampled_from(["429", "x", 4.5, True]),
    code=st.none() | st.text(max_size=5) | st.sampled_from(["slow_down", "not_found", 429, b"x"]),
    retry_after=st.none() | st.floats() | st.integers() | st.text(max_size=3),
    sent=st.sampled_from([None, "no", "maybe", "answered", "perhaps"]),
    passed=st.booleans(),
    fair=st.booleans(),
)
def test_any_combination(
    kind: type[errors.ProviderError], status: Any, code: Any, retry_after: Any, sent: Any,
    passed: bool, fair: bool,
) -> None:  # fmt: skip
    """It has a verdict, a delay that is one, and an attempt in one line; nothing is raised."""
    error = kind("it\nfailed", status=status, code=code, retry_after=retry_after, sent=sent)
    outcome = classify(error, passed_model=passed, fair=fair)
    assert outcome.verdict is not Verdict.OK
    assert outcome.verdict in ACTIONABLE
    assert outcome.retry_after is None or 0 < outcome.retry_after < math.inf
    assert str(outcome.attempt("eu", 1.0)).isprintable()
    assert outcome.sent in ("no", "maybe", "answered")
    assert outcome.fair or outcome.verdict is Verdict.IGNORED


# -- the values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "refused"),
    [
        (classify(errors.RateLimited("x")), True),
        (classify(errors.QuotaExhausted("x")), True),
        (classify(bare(status=404), passed_model=True), True),
        (classify(bare(status=529)), True),
        (classify(bare(status=501)), True),
        (classify(errors.ConnectionFailed("x", sent="no")), True),
        (classify(errors.ConnectionFailed("x")), False),
        (classify(errors.ServerFault("x", status=500)), False),
        (classify(errors.InvalidRequest("x")), False),
        (OK, False),
        (IGNORED, False),
    ],
)
def test_whether_work_can_have_been_done(outcome: Outcome, refused: bool) -> None:
    """A refusal did none for certain; a fault did none only if nothing was sent."""
    assert outcome.refused is refused


def test_an_outcome_without_an_error() -> None:
    """It tells its verdict."""
    assert OK.reason == "ok"
    assert IGNORED.sent == "maybe"
    assert OK.attempt("eu", 0.5) == Attempt("eu", Verdict.OK, latency=0.5)
    assert OK.blame == ("NoneType", None)


def test_an_outcome_with_a_silent_error() -> None:
    """It tells the error's class."""
    outcome = classify(errors.ServerFault())
    assert outcome.reason == "ServerFault"
    assert outcome.attempt("eu", 0.0).error == "ServerFault"
    assert classify(Mute()).attempt("eu", 0.0).error == "Mute"


def test_the_same_fault() -> None:
    """Faults are the same if class and status are; what was said may differ."""
    assert classify(bare(status=500)).blame == classify(errors.ServerFault("b", status=500)).blame
    assert classify(bare(status=500)).blame != classify(bare(status=502)).blame


def test_an_attempt_for_people() -> None:
    """It is one line that names the deployment and ends in the facts."""
    outcome = classify(errors.RateLimited("slow\ndown", status=429))
    assert str(outcome.attempt("eu", 0.1234)) == (
        "eu: RateLimited: slow down [rate_limited, 0.123 s, sent: answered]"
    )
    assert str(OK.attempt("eu", 1)) == "eu: answered [ok, 1.000 s, sent: answered]"


def test_the_order_of_what_is_shown() -> None:
    """Every verdict but OK has its place; the caller's own mistake comes first."""
    assert ACTIONABLE[:3] == (Verdict.CALLER, Verdict.CONFIG, Verdict.RATE_LIMITED)
    assert {*ACTIONABLE, Verdict.OK} == set(Verdict)


@pytest.mark.parametrize("verdict", Verdict)
def test_a_verdict_in_a_text(verdict: Verdict) -> None:
    """It is its value, on every Python."""
    assert f"{verdict}" == str(verdict) == verdict.value


def test_codes_are_known_in_lower_case() -> None:
    """An unknown code says nothing, and no status is no fault of the caller's."""
    assert class_of_code("anything", 400) is None
    assert class_of_status(None) is errors.ServerFault
