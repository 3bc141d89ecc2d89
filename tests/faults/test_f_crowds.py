"""Many callers at once: at a fleet that is down, at one that comes back, at one that fails fast."""

from __future__ import annotations

import functools
import threading
from collections import Counter

import pytest
from crowds import Turnstile, crowd, until
from scene import ANSWER, PATIENCE, PROMPT, Reader, Stage, deployment, hits, states, verdicts
from stand import HandClock

from llmpool import (
    CompletionRequest,
    ConnectionFailed,
    Deployment,
    HealthCheckConfig,
    NoHealthyDeployment,
    ProviderPool,
    RetryPolicy,
    ServerFault,
)
from llmpool.testing import FailFirst, LocalServer, ManualClock, Refuse, Reset, Status


class Counted(ManualClock):
    """A clock that counts how often it is looked at."""

    looks = 0

    def now(self) -> float:
        """Give the time."""
        self.looks += 1
        return super().now()


def down(pool: ProviderPool) -> None:
    """Ask until nobody is healthy."""
    while pool.healthy_count():
        with pytest.raises((ConnectionFailed, ServerFault)):
            pool.complete(PROMPT)


def test_everybody_is_down(stage: Stage) -> None:
    """A call is refused at once and without a busy loop, with the reason of each and the time to wait."""
    clock = Counted()
    eu, us = stage.server("eu", Refuse()), stage.server("us", Reset())
    pool = stage.pool(eu, us, clock=clock, fail_open=False)
    down(pool)
    asked = us.hits("chat")
    began, looks = clock.now(), clock.looks
    with pytest.raises(NoHealthyDeployment) as caught:
        pool.complete(PROMPT)
    assert clock.now() == began
    assert clock.looks - looks < 20
    assert set(caught.value.reasons) == {"eu", "us"}
    assert "refused" in caught.value.reasons["eu"]
    assert caught.value.retry_after is not None
    assert 0.0 < caught.value.retry_after <= 5.0
    assert us.hits("chat") == asked


def test_a_crowd_while_everybody_is_down(stage: Stage) -> None:
    """The last resort is tried by one call at a time each; the others are refused without waiting."""
    eu, us = stage.server("eu", Status(500)), stage.server("us", Status(502))
    pool = stage.pool(eu, us, clock=HandClock(), retry=RetryPolicy(max_attempts=1))
    down(pool)
    held = Turnstile()
    for server in (eu, us):
        server.forget()
        server.behave(held)
    callers = crowd(12, lambda: pool.complete(PROMPT, timeout=PATIENCE))
    until(lambda: sum(not caller.is_alive() for caller in callers) == 10)
    until(lambda: hits(eu, us) == [1, 1])
    held.let(2)
    ends = Counter(end_of(caller) for caller in callers)
    assert ends == {ANSWER: 2, "NoHealthyDeployment": 10}
    assert (eu.peak, us.peak) == (1, 1)


def end_of(caller: Reader) -> str:
    """Give the text of an answer, or the class of an error."""
    try:
        return str(caller.result().text)
    except Exception as error:
        return type(error).__name__


def in_flight(server: LocalServer, number: int) -> None:
    """Wait until a server is asked so many things at once."""
    until(lambda: server.in_flight == number)


def test_a_crowd_at_the_end_of_a_sentence(stage: Stage) -> None:
    """One request reaches the server, then two, four, eight and so on, each for a success."""
    clock = HandClock()
    eu = stage.server("eu", FailFirst(3, Reset()))
    pool = stage.pool(eu, clock=clock, fail_open=False)
    for _ in range(3):
        with pytest.raises(ConnectionFailed):
            pool.complete(PROMPT, retry=False)
    held = Turnstile()
    eu.behave(held)
    eu.forget()
    clock.advance(5.0)
    callers = crowd(50, lambda: pool.complete(PROMPT, timeout=600.0))
    for done, room in enumerate((1, 2, 4, 8, 16, 32)):
        in_flight(eu, room)
        clock.until_asleep(50 - done - room)
        assert eu.hits("chat") == done + room
        held.let()
    held.let(50)
    assert [caller.result().text for caller in callers] == [ANSWER] * 50
    assert eu.hits("chat") == 50
    assert eu.peak == 32


def test_one_fails_fast_and_the_others_are_slow(stage: Stage) -> None:
    """Before it is taken out it has no more than its share of the requests, as idle as it looks."""
    black, us, sa = stage.server("eu", Status(500)), stage.server("us"), stage.server("sa")
    held = Turnstile()
    us.behave(held)
    sa.behave(held)
    pool = stage.timed(
        black,
        us,
        sa,
        strategy="least_connections",
        health_check=HealthCheckConfig(enabled=False, failure_threshold=99),
    )

    def settled(number: int) -> bool:
        asked = sum(hits(black, us, sa)) == number
        return asked and not pool.health("eu").requests_in_flight

    callers = []
    for number in range(1, 31):
        callers.append(Reader(lambda: pool.complete(PROMPT, retry=False, timeout=600.0)))
        until(functools.partial(settled, number))
        assert black.hits("chat") <= number / 3 + 1
    assert hits(black) == [10]
    assert states(pool)["eu"] == "unhealthy"
    held.let(20)
    assert Counter(end_of(caller) for caller in callers) == {ANSWER: 20, "ServerFault": 10}


class Storm:
    """
    A provider that all deployments of a fleet share: four calls of five fail.

    The first attempts of all callers meet; each further one is held until it is let go.
    """

    def __init__(self, callers: int) -> None:
        self.let_go = threading.Event()
        self.attempts = 0
        self._meet = threading.Barrier(callers)
        self._lock = threading.Lock()
        self._asked: set[str] = set()

    def complete(self, request: CompletionRequest, timeout: float) -> str:
        """Meet or be held, then answer or fail."""
        who = str(request.messages[0].content)
        with self._lock:
            self.attempts += 1
            serial = self.attempts
            first = who not in self._asked
            self._asked.add(who)
        if first:
            self._meet.wait(PATIENCE)
        else:
            assert self.let_go.wait(PATIENCE)
        if serial % 5:
            raise ServerFault("broke", status=500)
        return ANSWER


def test_four_calls_of_five_fail(stage: Stage) -> None:
    """The retries under way are a fifth of the load: the rest ends with the error that it had."""
    for _ in range(3):
        storm = Storm(40)
        pool = stage.timed(
            *(Deployment(f"d{number}", storm) for number in range(12)),
            strategy="round_robin",
            health_check=HealthCheckConfig(enabled=False, failure_threshold=99),
        )
        callers = [
            Reader(functools.partial(pool.complete, f"number {number}", timeout=600.0))
            for number in range(40)
        ]
        until(functools.partial(still_there, callers, storm))
        assert 3 <= storm.attempts - 40 <= 0.2 * 40
        storm.let_go.set()
        ends = Counter(end_of(caller) for caller in callers)
        assert set(ends) == {ANSWER, "ServerFault"}
        assert storm.attempts - 40 <= 2 * 0.2 * 40  # each that was held has one more attempt
        assert set(states(pool).values()) == {"healthy"}


def still_there(callers: list[Reader], storm: Storm) -> bool:
    """Tell whether all have ended but those that are held in a retry."""
    alive = sum(caller.is_alive() for caller in callers)
    return storm.attempts > 40 and alive == storm.attempts - 40


def test_a_queue_for_one_place(stage: Stage) -> None:
    """The server is asked in the order of arrival; whose time is over leaves, and holds up nobody."""
    clock, held = HandClock(), Turnstile()
    eu = stage.server("eu", held)
    pool = stage.pool(deployment(eu, max_concurrent=1), clock=clock)
    callers = []
    for number in range(12):
        hurried = number in (4, 7)
        ask = functools.partial(
            pool.complete, f"number {number}", timeout=1.0 if hurried else 600.0
        )
        callers.append(Reader(ask))
        in_flight(eu, 1)
        clock.until_asleep(number)
    clock.advance(1.0)
    late = [callers.pop(7), callers.pop(4)]
    assert [end_of(caller) for caller in late] == ["DeadlineExceeded"] * 2
    clock.until_asleep(9)
    for caller in callers:
        held.let()
        assert caller.result().text == ANSWER
    order = [request.prompt for request in eu.requests]
    assert order == [f"number {number}" for number in range(12) if number not in (4, 7)]
    assert eu.peak == 1


def test_one_client_in_two_deployments(stage: Stage) -> None:
    """It may be: each has a health of its own, and the client is closed once."""
    eu = stage.server("eu", FailFirst(3, Reset()))
    provider = deployment(eu).provider
    pool = stage.timed(Deployment("one", provider), Deployment("two", provider))
    for _ in range(3):
        with pytest.raises(ConnectionFailed):
            pool.complete(PROMPT, retry=False)
    assert states(pool) == {"one": "unhealthy", "two": "healthy"}
    assert verdicts(pool.complete(PROMPT)) == [("two", "ok")]
    pool.remove("one")
    assert verdicts(pool.complete(PROMPT)) == [("two", "ok")]
