"""The questions: what each takes for a good answer, and what for none."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest

from llmpool import checks
from llmpool.checks import Custom, Ping, Probe
from llmpool.config import Deployment
from llmpool.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    MalformedResponse,
    ProviderError,
    RateLimited,
    ServerFault,
)
from llmpool.messages import CompletionResponse
from llmpool.outcomes import Origin, Verdict
from llmpool.status import HealthCheckResult
from llmpool.testing import ScriptedProvider


class WithoutPing:
    """A provider that can only complete, by a script."""

    def __init__(self, *steps: Any, model: str | None = None) -> None:
        self.script = ScriptedProvider(*steps)
        self.model = model

    def complete(self, request: Any, timeout: float) -> Any:
        return self.script.complete(request, timeout)


def asked(check: checks.Check, provider: Any) -> tuple[Verdict, str | None]:
    """Run *check*; give the verdict and the error."""
    outcome, error, given = checks.run(check, Deployment("eu", provider), 2.0)
    assert given is None
    assert outcome.verdict is Verdict.OK or error
    return outcome.verdict, error


# -- Ping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, True, "pong"])
def test_a_ping_that_returns(answer: Any) -> None:
    """Returning is enough, and it is given the time it has."""
    provider = ScriptedProvider(ping_steps=[answer])
    assert asked(Ping(), provider) == (Verdict.OK, None)
    assert [ping.timeout for ping in provider.pings] == [2.0]


def test_a_ping_that_says_no() -> None:
    """False is no."""
    verdict, error = asked(Ping(), ScriptedProvider(ping_steps=[False]))
    assert (verdict, error) == (Verdict.FAULT, "ping() answered False")


def test_an_asynchronous_ping() -> None:
    """What it would find is never found: the check fails and says why."""

    class Asynchronous(ScriptedProvider):
        async def ping(self, timeout: float | None = None) -> None:  # type: ignore[override]
            raise AssertionError("nobody awaits it")

    verdict, error = asked(Ping(), Asynchronous())
    assert verdict is Verdict.FAULT
    assert error == "ping answered a coroutine; llmpool is synchronous"


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_server_without_a_ping_page(status: int) -> None:
    """It is there: that is what a ping asks."""
    error = ProviderError("no such page", status=status)
    assert asked(Ping(), ScriptedProvider(ping_steps=[error])) == (Verdict.OK, None)


def test_a_ping_page_that_finds_fault_with_the_request() -> None:
    """Who can say so is reachable."""
    error = InvalidRequest("bad header", status=400)
    assert asked(Ping(), ScriptedProvider(ping_steps=[error])) == (Verdict.OK, None)


@pytest.mark.parametrize(
    ("error", "verdict", "origin"),
    [
        (ConnectionFailed("refused", sent="no"), Verdict.FAULT, Origin.REACH),
        (ConnectionFailed("no such name", sent="no", code="dns"), Verdict.FAULT, Origin.NETWORK),
        (ConnectionRefusedError(111, "refused"), Verdict.FAULT, Origin.REACH),
        (ConnectionResetError(104, "reset"), Verdict.FAULT, Origin.SERVER),
        (DeadlineExceeded("too slow"), Verdict.FAULT, Origin.SERVER),
        (TimeoutError("too slow"), Verdict.FAULT, Origin.SERVER),
        (AuthenticationFailed("who?", status=401), Verdict.CONFIG, Origin.KEY),
        (RateLimited("slow down", status=429), Verdict.RATE_LIMITED, Origin.SERVER),
        (ServerFault("oh no", status=500), Verdict.FAULT, Origin.SERVER),
    ],
)
def test_a_ping_that_fails(error: Exception, verdict: Verdict, origin: Origin) -> None:
    """Its error is judged as a call's is, so that the evidence fits what it can clear."""
    deployment = Deployment("eu", ScriptedProvider(ping_steps=[error]))
    outcome, told, _ = checks.run(Ping(), deployment, 2.0)
    assert (outcome.verdict, outcome.origin) == (verdict, origin)
    assert told


def test_a_provider_without_ping() -> None:
    """It gets a request for one token with empty content, under its own model's name."""
    provider = WithoutPing("", model="tiny")
    assert asked(Ping(), provider) == (Verdict.OK, None)
    (call,) = provider.script.calls
    assert call.request.model == "tiny"
    assert call.request.max_tokens == 1
    assert [message.content for message in call.request.messages] == [""]
    assert call.timeout == 2.0


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (InvalidRequest("empty content", status=400), Verdict.OK),
        (InvalidRequest("empty content", status=422), Verdict.OK),
        (ServerFault("no chat here", status=501), Verdict.OK),
        (InvalidRequest("no such model", status=404, code="model_not_found"), Verdict.CONFIG),
        (AuthenticationFailed("no", status=403), Verdict.CONFIG),
        (ServerFault("oh no", status=500), Verdict.FAULT),
        (ConnectionFailed("refused", sent="no"), Verdict.FAULT),
    ],
)
def test_a_provider_without_ping_that_refuses(error: Exception, verdict: Verdict) -> None:
    """Fault found with the request means reachable; fault of its own does not."""
    assert asked(Ping(), WithoutPing(error))[0] is verdict


def test_a_provider_without_ping_that_is_asynchronous() -> None:
    """The coroutine is closed, and the check fails."""

    class Asynchronous:
        async def complete(self, request: Any, timeout: float) -> None:
            raise AssertionError("nobody awaits it")

    # Deployment may refuse it at once; the check must hold for what gets by.
    deployment = Deployment("eu", WithoutPing())
    object.__setattr__(deployment, "provider", Asynchronous())
    for check in (Ping(), Probe()):
        outcome, error, _ = checks.run(check, deployment, 2.0)
        assert outcome.verdict is Verdict.FAULT
        assert error == "complete answered a coroutine; llmpool is synchronous"


# -- Probe --------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["p", "", CompletionResponse(finish_reason="length")])
def test_a_probe_that_is_answered(answer: Any) -> None:
    """Any completion will do, an empty one of one token too."""
    assert asked(Probe(), ScriptedProvider(answer)) == (Verdict.OK, None)


def test_what_a_probe_sends() -> None:
    """A real prompt, few tokens, and the deployment's own name of the model."""
    provider = ScriptedProvider("p", "p", model="tiny")
    deployment = Deployment("eu", provider, models={"fast": "tiny-2"})
    checks.run(Probe(), deployment, 2.0)
    checks.run(Probe("fast", 3), deployment, 2.0)
    requests = [call.request for call in provider.calls]
    assert [(request.model, request.max_tokens) for request in requests] == [
        ("tiny", 1),
        ("tiny-2", 3),
    ]
    assert {request.messages[0].content for request in requests} == {"ping"}


@pytest.mark.parametrize(
    ("step", "verdict"),
    [
        (ServerFault("oh no", status=500), Verdict.FAULT),
        (MalformedResponse("HTML"), Verdict.FAULT),
        (InvalidRequest("max_tokens", status=400), Verdict.FAULT),
        (ServerFault("no chat here", status=501), Verdict.FAULT),
        (AuthenticationFailed("who?", status=401), Verdict.CONFIG),
        (RateLimited("slow down", status=429), Verdict.RATE_LIMITED),
        (json.JSONDecodeError("what?", "<html>", 0), Verdict.FAULT),
        (lambda request, timeout: 42, Verdict.FAULT),
        (lambda request, timeout: None, Verdict.FAULT),
    ],
)
def test_a_probe_without_a_good_answer(step: Any, verdict: Verdict) -> None:
    """It fails, for it demands one: a request found at fault is no excuse."""
    assert asked(Probe(), ScriptedProvider(step))[0] is verdict


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": ""}, "model: wanted a text that is not empty"),
        ({"model": 7}, "model: wanted a text"),
        ({"max_tokens": 0}, "max_tokens: wanted a whole number >= 1, got 0"),
        ({"max_tokens": True}, "max_tokens: wanted a whole number >= 1, got True"),
    ],
)
def test_a_probe_made_wrong(arguments: dict[str, Any], said: str) -> None:
    """It is refused with the field, what is wanted and what came."""
    with pytest.raises((TypeError, ValueError), match=said):
        Probe(**arguments)


# -- Custom -------------------------------------------------------------------------------------


def test_a_function_that_says_true() -> None:
    """True is healthy, and the function saw the deployment."""
    seen: list[Deployment] = []

    def fine(deployment: Deployment) -> bool:
        seen.append(deployment)
        return True

    deployment = Deployment("eu", ScriptedProvider())
    assert checks.run(Custom(fine), deployment, 2.0)[0].verdict is Verdict.OK
    assert seen == [deployment]


@pytest.mark.parametrize("answer", [None, False, 1, "yes", "no", [True], object()])
def test_a_function_that_says_anything_else(answer: Any) -> None:
    """Only True is True."""
    verdict, error = asked(Custom(lambda deployment: answer), ScriptedProvider())
    assert verdict is Verdict.FAULT
    assert error is not None
    assert error.startswith("the check answered ")


def test_a_function_that_answers_a_coroutine() -> None:
    """It is closed unawaited, and the check fails with the reason."""

    async def fine() -> bool:
        return True

    verdict, error = asked(Custom(lambda deployment: fine()), ScriptedProvider())
    assert (verdict, error) == (
        Verdict.FAULT,
        "the check answered a coroutine; llmpool is synchronous",
    )


def run_custom(answer: Any) -> tuple[Verdict, str | None, HealthCheckResult]:
    deployment = Deployment("eu", ScriptedProvider())
    outcome, error, given = checks.run(Custom(lambda deployment: answer), deployment, 2.0)
    assert given is not None
    return outcome.verdict, error, given


def test_a_function_that_answers_a_result() -> None:
    """It is what it says, its fields kept."""
    good = HealthCheckResult("eu", True, latency=0.25)
    assert run_custom(good) == (Verdict.OK, None, good)
    bad = HealthCheckResult("eu", False, error="queue too long")
    assert run_custom(bad) == (Verdict.FAULT, "queue too long", bad)


def test_a_result_of_another_name_or_without_a_reason() -> None:
    """The name is the asked deployment's; a reason is made up."""
    verdict, error, given = run_custom(HealthCheckResult("us", False))
    assert (verdict, error) == (Verdict.FAULT, "unhealthy")
    assert (given.deployment, given.healthy) == ("eu", False)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("odd"), "ValueError: odd"),
        (ValueError(), "ValueError"),
        (Unprintable(), "Unprintable"),
        (TimeoutError("its own"), "TimeoutError: its own"),
        (socket.gaierror(-2, "unknown"), "gaierror: [Errno -2] unknown"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseException("bare"), "BaseException: bare"),
        (asyncio.CancelledError(), "CancelledError"),
        (ServerFault("of ours"), "of ours"),
        (RateLimited("not for us", status=429), "not for us"),
        (InvalidRequest("nor this", status=400), "nor this"),
        (ValueError("two\nlines \x1b[31m sk-secret0123"), "ValueError: two lines [31m [key]"),
    ],
)
def test_a_function_that_raises(error: BaseException, told: str) -> None:
    """Whatever it is, it is a failed check; what is told of it is one clean line."""

    def broken(deployment: Deployment) -> bool:
        raise error

    assert asked(Custom(broken), ScriptedProvider()) == (Verdict.FAULT, told)


async def asynchronous(deployment: Deployment) -> bool:
    return True


async def asynchronous_generator(deployment: Deployment) -> AsyncIterator[bool]:
    yield True


class AsynchronousCall:
    async def __call__(self, deployment: Deployment) -> bool:
        return True

    async def method(self, deployment: Deployment) -> bool:
        return True

    @classmethod
    async def of_class(cls, deployment: Deployment) -> bool:
        return True


@pytest.mark.parametrize(
    "fn",
    [
        asynchronous,
        asynchronous_generator,
        functools.partial(asynchronous),
        functools.partial(functools.partial(asynchronous)),
        AsynchronousCall(),
        functools.partial(AsynchronousCall()),
        AsynchronousCall().method,
        AsynchronousCall.of_class,
    ],
)
def test_an_asynchronous_function(fn: Callable[..., Any]) -> None:
    """It is refused at construction, in whatever wrapping."""
    with pytest.raises(TypeError, match=r"^fn: wanted a plain function, got a coroutine function"):
        Custom(fn)


def test_a_synchronous_wrapper_of_an_asynchronous_function() -> None:
    """What runs the loop itself is a plain function, whatever it wraps."""

    @functools.wraps(asynchronous)
    def plain(deployment: Deployment) -> bool:
        return asyncio.run(asynchronous(deployment))

    assert asked(Custom(plain), ScriptedProvider()) == (Verdict.OK, None)


@pytest.mark.parametrize("fn", [None, "fine", 3])
def test_no_function(fn: Any) -> None:
    """It is refused at construction."""
    with pytest.raises(TypeError, match="fn: wanted a function of one deployment, got "):
        Custom(fn)


# -- all of them --------------------------------------------------------------------------------


def test_what_counts_as_a_check() -> None:
    """An instance of ours or of a user's own kind; None is a ping."""

    @attrs.frozen
    class Own(Ping):
        pass

    assert checks.as_check(None) == Ping()
    assert checks.as_check(Own()) == Own()
    for wrong in (Ping, "ping", lambda deployment: True):
        with pytest.raises(TypeError, match=r"check: wanted Ping\(\), Probe\(…\) or Custom"):
            checks.as_check(wrong)


def test_a_check_that_was_too_late() -> None:
    """It is a fault of the deployment's, found by what cannot clear it."""
    outcome = checks.late(0.5)
    assert (outcome.verdict, outcome.origin) == (Verdict.FAULT, Origin.SERVER)
    assert outcome.reason == "the check did not end within 0.5 s"
