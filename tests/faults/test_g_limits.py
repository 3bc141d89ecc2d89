"""A machine that has run out: of threads, of descriptors; and a host that never runs a thread."""

from __future__ import annotations

import sys

import pytest
from alone import alone
from scene import KEY, PROMPT, Stage, hits

from llmpool.testing import CloseAfterReply, FailFirst, Ok, Reset, Sequence, Status

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="limits and descriptors are looked at as Linux has them"
)


def test_no_more_threads(stage: Stage) -> None:
    """Calls, streams and map work; checks say that they were not made; listeners are told once each way."""
    eu = stage.server("eu")
    script = """
        clock, events = ManualClock(), []
        pool = pool_of(deployment("eu", URLS[0]), clock=clock, listeners=[events.append])
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        threading.stack_size(1 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), most))
        try:
            threading.Thread(target=print).start()
        except RuntimeError as error:
            print(error)
        for _ in range(3):
            assert pool.complete(PROMPT).text
            assert "".join(chunk.text for chunk in pool.stream(PROMPT))
            assert len(pool.map([PROMPT] * 3, progress=False)) == 3
            for result in pool.check_now():
                print(result.deployment, result.healthy, result.error)
            clock.advance(1.0)
        print(pool.health_status().checker_alive, states(pool))
        print([(event.deployment, event.old, event.new) for event in events])
        events.clear()

        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        threading.stack_size(0)
        pool.complete(PROMPT)
        print(pool.health_status().checker_alive, pool.check_now()[0].healthy)
        print(sorted((event.old, event.new) for event in events))
        pool.close()
    """
    assert alone(script, KEY, PROMPT, eu.url) == [
        "can't start new thread",
        *["eu False not checked: no thread can be started"] * 3,
        "False {'eu': 'healthy'}",
        "[('', 'running', 'dead'), ('', 'running', 'degraded')]",
        "True True",
        "[('dead', 'running'), ('degraded', 'running')]",
    ]
    assert eu.hits("chat") == 3 * (1 + 1 + 3) + 1


def test_a_host_that_never_runs_threads(stage: Stage) -> None:
    """Sentence, trial and recovery come about by calls; nothing waits for a thread; the status tells."""
    eu, us = stage.server("eu", FailFirst(3, Reset())), stage.server("us")
    script = """
        threading.Thread.start = lambda thread: None
        clock = ManualClock()
        pool = pool_of(*map(deployment, ("eu", "us"), URLS), clock=clock)
        for _ in range(3):
            assert pool.complete(PROMPT).deployment == "us"
        print(states(pool))
        assert pool.complete(PROMPT).deployment == "us"
        clock.advance(5.0)
        print(states(pool))
        for _ in range(32):
            assert pool.complete(PROMPT).deployment == "eu"
        print(states(pool), pool.health_status().checker_alive)
        print(len(pool.map([PROMPT] * 3, progress=False)))
        print([result.error for result in pool.check_now()], states(pool))
        pool.start().join(10)
        pool.close()
    """
    assert alone(script, KEY, PROMPT, eu.url, us.url) == [
        "{'eu': 'unhealthy', 'us': 'healthy'}",
        "{'eu': 'recovering', 'us': 'healthy'}",
        "{'eu': 'healthy', 'us': 'healthy'} False",
        "3",
        "['not checked: no thread can be started', 'not checked: no thread can be started'] "
        "{'eu': 'healthy', 'us': 'healthy'}",
    ]
    assert hits(eu, us) == [3 + 32 + 3, 4]


def test_no_more_descriptors(stage: Stage) -> None:
    """That is this machine's trouble: nobody is sentenced, by a call or a check, and it passes."""
    eu, us = stage.server("eu"), stage.server("us")
    script = """
        pool = pool_of(*map(deployment, ("eu", "us"), URLS), clock=ManualClock())
        pool._checker.idle = False
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            print(error.strerror)
        for _ in range(5):
            for ask in (pool.complete, pool.stream, lambda _: pool.embed([PROMPT])):
                try:
                    ask(PROMPT)
                except ConnectionFailed as error:
                    assert {attempt.code for attempt in error.attempts} == {"descriptors"}, error
                    assert {attempt.sent for attempt in error.attempts} == {"no"}
        print([result.healthy for result in pool.check_now()])
        print(states(pool), in_flight(pool))
        for each in held:
            os.close(each)
        print([result.healthy for result in pool.check_now()])
        print(pool.complete(PROMPT).deployment, states(pool))
        pool.close()
    """
    assert alone(script, KEY, PROMPT, eu.url, us.url) == [
        "Too many open files",
        "[False, False]",
        "{'eu': 'healthy', 'us': 'healthy'} [0, 0]",
        "[True, True]",
        "eu {'eu': 'healthy', 'us': 'healthy'}",
    ]
    assert hits(eu, us) == [1, 0]


def test_sixty_four_threads_and_few_descriptors(stage: Stage) -> None:
    """Each deployment has as many connections as callers at most, whatever breaks off; none is left."""
    eu = stage.server("eu")
    us = stage.server("us", CloseAfterReply("at once"))
    sa = stage.server("sa", Sequence(tuple([Reset(), Status(500), Ok()] * 60)))
    script = """
        soft = 256
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
        pool = pool_of(
            *map(deployment, ("eu", "us", "sa"), URLS), strategy="round_robin",
            health_check=HealthCheckConfig(enabled=False, failure_threshold=9999),
        )
        before, ends = descriptors(), []
        def call():
            for number in range(10):
                try:
                    if number % 3:
                        ends.append(pool.complete(PROMPT, timeout=60).text)
                    else:
                        with pool.stream(PROMPT, timeout=60) as stream:
                            ends.append(next(stream).text)
                except ProviderError as error:
                    ends.append({attempt.code for attempt in error.attempts})
        threads = [threading.Thread(target=call) for _ in range(64)]
        for thread in threads:
            thread.start()
        most, pause = 0, threading.Event()
        while any(thread.is_alive() for thread in threads):
            most = max(most, descriptors())
            pause.wait(0.005)
        assert most <= before + len(URLS) * 64 + 8, (before, most)
        print(len(ends), any("descriptors" in end for end in ends), in_flight(pool))
        assert pool.complete(PROMPT).text
        pool.close()
        print(descriptors() - before)
    """
    assert alone(script, KEY, PROMPT, eu.url, us.url, sa.url) == ["640 False [0, 0, 0]", "0"]
