"""A Celery task that asks a pool: what is put off, for how long, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from checking import pool_of

from llmpool import (
    AuthenticationFailed,
    ConnectionFailed,
    InvalidRequest,
    LLMPoolError,
    NoHealthyDeployment,
    PoolClosed,
    QuotaExhausted,
    RateLimited,
    ServerFault,
)
from llmpool.contrib.celery import retry_later
from llmpool.testing import ScriptedProvider


def widest(low: float, high: float) -> float:
    """Be the worst of luck."""
    assert low <= high
    return high


class PutOff(Exception):
    """What a task raises that is put off."""


class Task:
    """As much of a task as is used."""

    def __init__(self, retries: int = 0) -> None:
        self.request = self
        self.retries = retries
        self.told: dict[str, Any] = {}

    def retry(self, **told: Any) -> PutOff:
        self.told = told
        return PutOff()


def countdown(error: Exception, retries: int = 0, **options: Any) -> float:
    """Give for how long a task is put off that meets *error*."""
    task = Task(retries)
    with pytest.raises(PutOff) as caught, retry_later(task, **{"spread": widest, **options}):
        raise error
    assert task.told["exc"] is error
    assert caught.value.__cause__ is error
    seconds: float = task.told["countdown"]
    return seconds


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateLimited("slow down", retry_after=2.0), 3.0),
        (RateLimited("slow down", retry_after=100.0), 125.0),
        (NoHealthyDeployment(retry_after=20.0), 25.0),
        (RateLimited("slow down", retry_after=3600.0), 750.0),
        (RateLimited("slow down"), 5.0),
        (NoHealthyDeployment(), 5.0),
        (ServerFault("HTTP 500"), 5.0),
        (ConnectionFailed("refused", sent="no"), 5.0),
    ],
    ids=str,
)
def test_for_how_long(error: LLMPoolError, seconds: float) -> None:
    """For as long as is named and a little longer, at most ten minutes and a quarter of them."""
    assert countdown(error) == seconds
    assert countdown(error, spread=min) <= seconds


def test_again_and_again() -> None:
    """Where nobody names a time it doubles, and ends at the longest."""
    error = ServerFault("HTTP 500")
    times = [countdown(error, retries) for retries in (0, 1, 2, 6, 7, 5000)]
    assert times == [5.0, 10.0, 20.0, 320.0, 600.0, 600.0]
    assert countdown(error, 5000, longest=30.0) == 30.0
    assert countdown(error, 1, spread=lambda low, high: low) == 5.0


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("too odd", status=400),
        AuthenticationFailed("wrong key"),
        QuotaExhausted("no money"),
        PoolClosed("closed"),
        TimeoutError("the caller's own"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_waiting_does_not_cure(error: BaseException) -> None:
    """It is raised as it is."""
    task = Task()
    with pytest.raises(type(error)) as caught, retry_later(task):
        raise error
    assert caught.value is error
    assert task.told == {}


def failure(*scripts: Any) -> LLMPoolError:
    """Give the error of a call that meets these answers, one from each deployment."""
    pool = pool_of(*(ScriptedProvider(each, repeat=True) for each in scripts))
    with pytest.raises(LLMPoolError) as caught:
        pool.complete("hello", retry="unsent", timeout=5)
    return caught.value


@pytest.mark.parametrize(
    ("make", "refused"),
    [
        (lambda: failure(ConnectionFailed("refused", sent="no")), True),
        (lambda: failure(RateLimited("slow down", retry_after=60.0)), True),
        (lambda: failure(RateLimited("a", retry_after=60.0), ServerFault("HTTP 500")), False),
        (lambda: failure(ConnectionFailed("reset", sent="maybe")), False),
        (lambda: NoHealthyDeployment(), True),
        (lambda: ConnectionFailed("refused", sent="no"), True),
        (lambda: ConnectionFailed("reset"), False),
    ],
    ids=["refused", "limited", "one of two", "reset", "nobody asked", "by hand", "lost by hand"],
)
def test_what_may_have_been_billed(make: Callable[[], LLMPoolError], refused: bool) -> None:
    """It is put off only if that is wanted."""
    error = make()
    assert countdown(error) > 0
    if refused:
        assert countdown(error, unsent=True) > 0
    else:
        with pytest.raises(type(error)), retry_later(Task(), unsent=True):
            raise error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"longest": 0}, "longest: wanted seconds > 0, got 0"),
        ({"longest": float("inf")}, "longest: wanted seconds > 0, got inf"),
        ({"unsent": "yes"}, "unsent: wanted True or False, got "),
    ],
)
def test_wrong_options(options: dict[str, Any], said: str) -> None:
    """They are told at once."""
    with pytest.raises((TypeError, ValueError)) as caught, retry_later(Task(), **options):
        raise AssertionError("nothing is to run")
    assert str(caught.value).startswith(said)


@pytest.mark.needs("celery")
class TestCelery:
    """Celery's own tasks, run in place."""

    def ask(self, *script: Any, max_retries: int = 3) -> Any:
        """Give the result of a task that asks one deployment."""
        from celery import Celery

        app: Any = Celery(
            "here", broker="memory://", backend="cache+memory://", set_as_current=False
        )
        pool = pool_of(ScriptedProvider(*script))

        @app.task(bind=True, max_retries=max_retries)
        def ask(task: Any, question: str) -> str:
            with retry_later(task):
                return pool.complete(question, retry=False).text

        self.task = ask
        return ask.apply(("hello",))

    def test_an_answer_at_last(self) -> None:
        """The task is run again until there is one."""
        result = self.ask(ServerFault("one"), ServerFault("two"), "fine")
        assert result.get() == "fine"

    def test_no_answer_at_all(self) -> None:
        """After the last time the pool's own error is raised."""
        result = self.ask(ServerFault("one"), ServerFault("two"), max_retries=1)
        with pytest.raises(ServerFault, match="two"):
            result.get()

    def test_a_task_that_is_called(self) -> None:
        """Called like a function it raises the error, for there is no queue."""
        self.ask("fine")
        pool = pool_of(ScriptedProvider(RateLimited("slow down", retry_after=5.0)))
        with pytest.raises(RateLimited), retry_later(self.task):
            pool.complete("hello", retry=False)
