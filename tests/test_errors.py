"""The errors: what they say, how they travel."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import traceback
from typing import Any

import pytest

from llmpool import errors
from llmpool.errors import one_line, real_delay
from llmpool.outcomes import Attempt, Verdict

PROVIDER_ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.ProviderError)
]
ATTEMPTS = (
    Attempt("eu", Verdict.RATE_LIMITED, "RateLimited: slow down", 429, "slow_down", 2.5, latency=1),
    Attempt("us", Verdict.FAULT, "ServerFault: HTTP 500", 500, sent="answered", latency=0.5),
)
FACTS: dict[str, Any] = {
    "status": 429,
    "code": "slow_down",
    "retry_after": 2.5,
    "request_id": "req_1",
    "deployment": "eu",
    "attempts": ATTEMPTS,
    "sent": "maybe",
}


class Homemade(errors.RateLimited):
    """A user's own class with a constructor of its own."""

    def __init__(self, seconds: int, *, unit: str) -> None:
        super().__init__(f"wait {seconds} {unit}", retry_after=seconds)
        self.unit = unit


class Mute(errors.ServerFault):
    """A user's own class whose constructor does not call ours."""

    def __init__(self, anything: object) -> None:
        pass


WAYS = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "old pickle": lambda error: pickle.loads(pickle.dumps(error, protocol=0)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
each_way = pytest.mark.parametrize("travel", WAYS.values(), ids=WAYS)


@each_way
@pytest.mark.parametrize("kind", PROVIDER_ERRORS)
def test_a_provider_error_travels(kind: type[errors.ProviderError], travel: Any) -> None:
    """Nothing is lost: class, message, every fact, every attempt."""
    error = kind("slow down", **FACTS)
    there = travel(error)
    assert type(there) is kind
    assert there.__dict__ == error.__dict__
    assert (str(there), repr(there), there.args) == (str(error), repr(error), error.args)
    assert there.attempts == ATTEMPTS


@each_way
@pytest.mark.parametrize(
    "error",
    [
        errors.LLMPoolError("any"),
        errors.PoolClosed("the pool is closed"),
        errors.NoHealthyDeployment("none", reasons={"eu": "cooling"}, retry_after=3.0),
        errors.StreamInterrupted("cut", partial="Once upon", deployment="eu"),
        errors.MapInterrupted("interrupted", ["one", None]),
        Homemade(3, unit="s"),
        Mute(object),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_travels(error: BaseException, travel: Any) -> None:
    """So do the rest, and a user's own with other arguments."""
    there = travel(error)
    assert type(there) is type(error)
    assert there.__dict__ == error.__dict__
    assert (str(there), there.args) == (str(error), error.args)


def test_the_message_comes_first_and_the_rest_by_name() -> None:
    """As a user's own provider raises it."""
    error = errors.RateLimited("slow down", status=429, retry_after=2.0)
    assert (error.message, error.status, error.retry_after) == ("slow down", 429, 2.0)
    assert (error.code, error.request_id, error.deployment, error.attempts) == (None,) * 3 + ((),)
    with pytest.raises(TypeError):
        errors.RateLimited("slow down", 429)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (errors.ServerFault("x"), "maybe"),
        (errors.ServerFault("x", status=500), "answered"),
        (errors.ServerFault("x", status=500, sent="no"), "no"),
        (errors.ServerFault("x", sent="perhaps"), "maybe"),
        (Mute(1), "maybe"),
    ],
)
def test_whether_the_request_was_sent(error: errors.ProviderError, sent: str) -> None:
    """A status is an answer; without one it may have been, unless it is said."""
    assert error.sent == sent


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"status": "429"}, 429),
        ({"status": 503}, 503),
        ({"status": "x"}, None),
        ({"status": "٤٢٩"}, None),
        ({"status": "9" * 5000}, None),
        ({"status": True}, None),
        ({"status": 4.5}, None),
        ({"code": 429}, "429"),
        ({"code": "a\nb"}, "a b"),
        ({"code": "x" * 100}, "x" * 63 + "…"),
        ({"retry_after": 2}, 2.0),
        ({"retry_after": math.nan}, None),
        ({"retry_after": "2"}, None),
        ({"request_id": 7}, "7"),
    ],
)
def test_facts_that_make_no_sense(given: dict[str, Any], kept: object) -> None:
    """They are put right or are as if absent: an error about an error helps nobody."""
    assert getattr(errors.ServerFault("x", **given), next(iter(given))) == kept


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("two\nlines", "two lines"),
        ("\x1b[31mred\x1b[0m\r", "[31mred [0m"),
        ("x" * 1000, "x" * 299 + "…"),
        (ValueError("an exception"), "an exception"),
        ("half \ud83d of a sign", "half of a sign"),
    ],
)
def test_a_message_of_anothers(message: Any, shown: str) -> None:
    """It is one printable, bounded line."""
    error = errors.ServerFault(message)
    assert error.message == shown
    assert str(error) == shown
    assert error.args == (shown,)


def test_what_is_shown_of_one_attempt() -> None:
    """One line that names the deployment."""
    assert str(errors.ServerFault("HTTP 500")) == "HTTP 500"
    assert str(errors.ServerFault()) == "ServerFault"
    error = errors.ServerFault("HTTP 500", deployment="eu", attempts=ATTEMPTS[1:])
    assert str(error) == "eu: HTTP 500"


@pytest.mark.parametrize("kind", PROVIDER_ERRORS)
def test_what_is_shown_of_several_attempts(kind: type[errors.ProviderError]) -> None:
    """A line each, oldest first, under one that sums up; a time-out, an OSError too, is no exception."""
    error = kind("slow down", deployment="eu", attempts=ATTEMPTS)
    assert str(error).splitlines() == [
        "eu: slow down (after 2 attempts)",
        "  1. eu: RateLimited: slow down [rate_limited, 1.000 s, sent: answered]",
        "  2. us: ServerFault: HTTP 500 [fault, 0.500 s, sent: answered]",
    ]
    shown = "".join(traceback.format_exception_only(kind, error))
    assert "after 2 attempts" in shown


def test_a_deadline_is_a_time_out() -> None:
    """Code that catches TimeoutError catches it."""
    with pytest.raises(TimeoutError, match="late"):
        raise errors.DeadlineExceeded("late", sent="no")
    assert errors.DeadlineExceeded("late").errno is None


def test_the_text_of_a_broken_stream() -> None:
    """It is on the error, and in nothing that is shown."""
    error = errors.StreamInterrupted("the stream broke off", partial="Once upon a time", status=200)
    assert error.partial == "Once upon a time"
    assert "Once" not in f"{error} {error!r} {error.args}"


def test_nothing_could_be_tried() -> None:
    """A line for each deployment says why."""
    error = errors.NoHealthyDeployment(
        reasons={"eu": "cooling: slow down, for 3.0 s", "us": "disabled: wrong key"}, retry_after=3
    )
    assert str(error).splitlines() == [
        "no deployment can be asked",
        "  eu: cooling: slow down, for 3.0 s",
        "  us: disabled: wrong key",
    ]
    assert str(errors.NoHealthyDeployment("none")) == "none"


def test_an_interrupted_map() -> None:
    """It is a KeyboardInterrupt that carries what is done and shows none of it."""
    error = errors.MapInterrupted("interrupted", ("an answer", None))
    assert isinstance(error, KeyboardInterrupt)
    assert not isinstance(error, Exception)
    assert error.results == ["an answer", None]
    assert str(error) == "interrupted"
    assert "answer" not in repr(error)


@pytest.mark.parametrize("kind", [*PROVIDER_ERRORS, errors.NoHealthyDeployment, errors.PoolClosed])
def test_one_class_over_all(kind: type[Exception]) -> None:
    """One except clause catches whatever the pool raises of its own accord."""
    assert issubclass(kind, errors.LLMPoolError)


def test_a_line_of_its_own_length() -> None:
    """Shorter ones are left as they are."""
    assert one_line(" a \t b ", 3) == "a b"
    assert one_line("abcd", 3) == "ab…"


@pytest.mark.parametrize("given", [None, True, "5", 0, -1, 0.0, math.nan, math.inf, 10**400])
def test_a_delay_that_is_none(given: object) -> None:
    """Only finite numbers above zero are delays."""
    assert real_delay(given) is None
    assert real_delay(2) == 2.0
