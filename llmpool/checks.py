"""The questions a checker asks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import attrs

from llmpool import _validators as valid
from llmpool import errors
from llmpool.clients import read_client_error
from llmpool.config import Deployment
from llmpool.health import Evidence
from llmpool.messages import CompletionRequest, CompletionResponse, Message
from llmpool.outcomes import OK, Outcome, Verdict, classify
from llmpool.status import HealthCheckResult
from llmpool.wire import scrub

NO_PING_PAGE = frozenset({403, 404, 405, 501})
"""Statuses with which a server says that it is there and has no such page."""

_ABOUT_THE_REQUEST = frozenset({Verdict.CALLER, Verdict.UNSUPPORTED})


class Check(Protocol):
    """What a checker runs. It may block as long as it likes: its deadline is kept from outside."""

    evidence: Evidence
    skippable: bool

    def ask(self, deployment: Deployment, timeout: float) -> Outcome | HealthCheckResult:
        """Ask *deployment*; every exception is a failed check."""
        ...


@attrs.frozen
class Ping:
    """
    Ask whether a deployment can be reached, at no cost where the wire format allows it.

    A provider without a ``ping`` gets a one-token request with empty content; an answer that finds
    fault with that request means reachable.
    """

    evidence = Evidence.PING
    skippable = True

    def ask(self, deployment: Deployment, timeout: float) -> Outcome:
        """Ask *deployment*; what it raises is judged as a call's error."""
        ping = getattr(deployment.provider, "ping", None)
        has_page = ping is not None
        nothing = functools.partial(_complete_nothing, deployment)
        ask: Callable[[float], object] = nothing if ping is None else ping
        try:
            said = _plainly(lambda: ask(timeout))
        except errors.ProviderError as error:
            if has_page and error.status in NO_PING_PAGE:
                return OK
            if classify(error).verdict in _ABOUT_THE_REQUEST:
                return OK
            raise
        _refuse_coroutine("ping" if has_page else "complete", said)
        if has_page and said is False:
            _refuse("ping() answered False")
        return OK


def _plainly(ask: Callable[[], object]) -> object:
    """Call *ask*, and put the pool's error in the place of a known client's, with nothing chained to it."""
    try:
        return ask()
    except Exception as error:
        ours = read_client_error(error)
        if ours is None:
            raise
    raise ours


def _complete_nothing(deployment: Deployment, timeout: float) -> object:
    model = deployment.upstream(None)
    request = CompletionRequest((Message("user", ""),), model=model, max_tokens=1)
    return deployment.provider.complete(request, timeout)


@attrs.frozen
class Probe:
    """
    Send a real completion, "ping", and demand a good answer.

    It costs a few tokens each time, and it is the only check that finds a server whose pages answer
    while its completions hang.
    """

    model: str | None = attrs.field(default=None, validator=valid.text(none=True))
    max_tokens: int = attrs.field(default=1, validator=valid.count(1))
    evidence = Evidence.COMPLETION
    skippable = True

    def ask(self, deployment: Deployment, timeout: float) -> Outcome:
        """Ask *deployment*; what it raises is judged as a call's error."""
        model = deployment.upstream(self.model)
        request = CompletionRequest("ping", model=model, max_tokens=self.max_tokens)
        try:
            answer = _plainly(lambda: deployment.provider.complete(request, timeout))
        except errors.ProviderError as error:
            outcome = classify(error)
            if outcome.verdict in _ABOUT_THE_REQUEST:
                return attrs.evolve(outcome, verdict=Verdict.FAULT)
            return outcome
        _refuse_coroutine("complete", answer)
        if not isinstance(answer, (CompletionResponse, str)):
            _refuse(f"complete() answered {valid.describe(answer)}")
        return OK


@attrs.frozen
class Custom:
    """
    Call ``fn(deployment)``.

    ``True`` is healthy, a :class:`HealthCheckResult` is what it says; anything else, and any exception,
    is a failed check.

    Raises:
        TypeError: *fn* cannot be called, or is a coroutine function.
    """

    fn: Callable[[Deployment], Any] = attrs.field()
    evidence = Evidence.COMPLETION
    skippable = False

    @fn.validator
    def _check_fn(self, _: attrs.Attribute[Any], fn: object) -> None:
        if not callable(fn):
            valid.refuse("fn", "a function of one deployment", fn, kind=TypeError)
        if _is_async(fn):
            raise TypeError("fn: wanted a plain function, got a coroutine function")

    def ask(self, deployment: Deployment, timeout: float) -> Outcome | HealthCheckResult:
        """Ask *deployment*; the checker bounds the time."""
        try:
            said = _plainly(lambda: self.fn(deployment))
        except errors.ProviderError as error:
            # Of any kind: no error of a check's own is a rate limit or a caller's mistake.
            return attrs.evolve(classify(error), verdict=Verdict.FAULT)
        _refuse_coroutine("the check", said)
        if said is not True and not isinstance(said, HealthCheckResult):
            _refuse(f"the check answered {valid.describe(said)}, not True")
        return OK if said is True else said


def as_check(given: object) -> Check:
    """
    Give the check a user wants; None is a ping.

    Raises:
        TypeError: it is not a check.
    """
    if given is None:
        return Ping()
    if isinstance(given, type) or not isinstance(getattr(given, "evidence", None), Evidence):
        wanted = "Ping(), Probe(…) or Custom(function)"
        valid.refuse("check", wanted, given, kind=TypeError)
    return given  # type: ignore[return-value]  # evidence marks the checks, which have ask()


def run(
    check: Check, deployment: Deployment, timeout: float
) -> tuple[Outcome, str | None, HealthCheckResult | None]:
    """
    Ask, and turn whatever comes into an outcome.

    Returns:
        The outcome, the error in one line (None when healthy), and the result a custom check gave.
    """
    try:
        said = check.ask(deployment, timeout)
    except BaseException as error:  # noqa: BLE001 - a check's callable
        # The one place, besides the metronome's top, where everything is caught: a check that ends
        # with SystemExit must not end the thread that watches all the others.
        outcome = classify(error)
        told = outcome.reason if isinstance(error, errors.ProviderError) else _told(error)
        if outcome.foreign:
            outcome = _fault(told)
        return outcome, told, None
    if isinstance(said, HealthCheckResult):
        given = attrs.evolve(said, deployment=deployment.name)
        if said.healthy is True:
            return OK, None, given
        told = scrub(str(said.error or "unhealthy"), (), ())
        return _fault(told), told, attrs.evolve(given, healthy=False, error=told)
    return said, None if said.verdict is Verdict.OK else said.reason, None


def late(timeout: float) -> Outcome:
    """Give the outcome of a check that did not end in time."""
    error = errors.DeadlineExceeded(f"the check did not end within {timeout:g} s")
    return Outcome(Verdict.FAULT, error)


def _is_async(fn: object) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    inner = getattr(type(fn), "__call__", None)  # noqa: B004 - an object's own may be async
    return any(
        test(each)
        for test in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        for each in (fn, inner)
    )


def _refuse_coroutine(what: str, said: object) -> None:
    if inspect.iscoroutine(said):
        said.close()  # or Python warns that nobody awaited it
        _refuse(f"{what} answered a coroutine; llmpool is synchronous")


def _refuse(reason: str) -> NoReturn:
    raise errors.ServerFault(reason)


def _fault(reason: str) -> Outcome:
    return Outcome(Verdict.FAULT, errors.ServerFault(reason))


def _told(error: BaseException) -> str:
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - a user's __str__
        said = ""
    return scrub(f"{type(error).__name__}: {said}" if said else type(error).__name__, (), ())
