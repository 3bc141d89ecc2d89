"""The interpreter's end: never delayed by a pool, and never noisy about one."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest

WALL = 40.0
"""Seconds after which an interpreter hangs."""

GENEROUS = 15.0
"""Seconds that start and end of an interpreter take together on a machine with much else to do."""

PREFACE = """
import atexit, gc, sys, threading
from llmpool import *
from llmpool.testing import ScriptedProvider

forever = threading.Event()

class Hangs:
    def __init__(self):
        self.entered = threading.Semaphore(0)
    def complete(self, request, timeout):
        self.entered.release()
        forever.wait()
    def ping(self, timeout):
        self.entered.release()
        forever.wait()
    def stream(self, request, timeout):
        yield StreamChunk("a")
        forever.wait()

def pool_of(*providers, **settings):
    return ProviderPool(
        [Deployment(f"d{n}", each) for n, each in enumerate(providers)], name="main", **settings
    )

def in_thread(work):
    threading.Thread(target=work, daemon=True).start()

fine = ScriptedProvider("fine", repeat=True)
hangs = Hangs()
"""


def ends(script: str) -> list[str]:
    """Run *script* in an interpreter of its own; give what it says, if it ends in time and in peace."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREFACE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=WALL,
        check=False,
    )
    took = time.monotonic() - began
    assert (done.returncode, done.stderr) == (0, "")
    assert took < GENEROUS
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            """
            pool = pool_of(fine)
            pool.complete("hello")
            """,
            id="a pool at rest, never closed",
        ),
        pytest.param(
            """
            pool = pool_of(hangs)
            pool.start()
            assert hangs.entered.acquire(timeout=10)
            """,
            id="a hung check",
        ),
        pytest.param(
            """
            pool = pool_of(*[Hangs() for _ in range(8)], health_check=HealthCheckConfig(
                0.05, timeout=0.05, unhealthy_interval=0.05, max_workers=2))
            handle = pool.start()
            while pool.healthy_count():
                handle.stopped.wait(0.01)
            """,
            id="hung checks that were written off",
        ),
        pytest.param(
            """
            pool = pool_of(hangs, health_check=HealthCheckConfig(timeout=0.05))
            assert not pool.check_now()[0].healthy
            """,
            id="a hung check of a pass in the foreground",
        ),
        pytest.param(
            """
            pool = pool_of(hangs)
            stream = pool.stream("hello")
            assert next(stream).text == "a"
            """,
            id="an open stream",
        ),
        pytest.param(
            """
            pool = ProviderPool([Deployment("a", hangs, max_concurrent=1)], health_check=None)
            in_thread(lambda: pool.complete("hello"))
            assert hangs.entered.acquire(timeout=10)
            for _ in range(3):
                in_thread(lambda: pool.complete("hello"))
            while len(pool._ledger._queue) < 3:
                forever.wait(0.01)
            """,
            id="a call that hangs, and three that wait for its place",
        ),
        pytest.param(
            """
            pool = pool_of(hangs, health_check=None)
            in_thread(lambda: pool.map(["hello"] * 8, max_workers=4, progress=False))
            for _ in range(4):
                assert hangs.entered.acquire(timeout=10)
            """,
            id="many requests that hang",
        ),
        pytest.param(
            """
            pool = pool_of(hangs, health_check=None)
            lease = pool.lease()
            lease.__enter__()
            """,
            id="a lease that was never given back",
        ),
        pytest.param(
            """
            def block(event):
                forever.wait()
            pool = pool_of(hangs, listeners=[block], health_check=HealthCheckConfig(timeout=0.05))
            pool.start()
            while pool.healthy_count():
                forever.wait(0.01)
            """,
            id="a listener that blocks",
        ),
        pytest.param(
            """
            pool = pool_of(fine)
            pool.complete("hello")
            cycle = [pool]
            cycle.append(cycle)
            del pool, cycle
            """,
            id="a forgotten pool in a cycle",
        ),
        pytest.param(
            """
            pool = pool_of(fine, hangs)
            pool.start()
            assert hangs.entered.acquire(timeout=10)
            sys.exit(0)
            """,
            id="sys.exit",
        ),
    ],
)
def test_the_program_ends(script: str) -> None:
    """Nothing waits for a pool, and nothing is written to standard error."""
    assert ends(script) == []


def test_a_program_that_fails_on_its_own() -> None:
    """Its traceback is the only one, and its status is its own."""
    script = "pool = pool_of(fine)\npool.complete('hello')\nraise SystemExit('its own')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREFACE + script],
        capture_output=True,
        text=True,
        timeout=WALL,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "its own\n")


NOT_CHECKED = "not checked: no thread can be started"

USES = """
def use(when):
    for name, act in (
        ("complete", lambda: pool.complete("hello").text),
        ("stream", lambda: "".join(chunk.text for chunk in pool.stream("hello"))),
        ("call", lambda: pool.call(lambda lease: "called")),
        ("map", lambda: [each.text for each in pool.map(["a", "b"], progress=False)]),
        ("check", lambda: [result.error for result in pool.check_now()]),
        ("status", lambda: repr(pool)),
        ("start", lambda: type(pool.start()).__name__),
        ("close", lambda: pool.close()),
    ):
        try:
            print(when, name, act())
        except LLMPoolError as error:
            print(when, name, type(error).__name__, error)
"""


@pytest.mark.parametrize("started", [False, True])
def test_calls_in_atexit(started: bool) -> None:
    """They work; only where Python starts no more threads a check is not made, and says so."""
    lines = ends(
        f"""
        pool = pool_of(fine)
        if {started}:
            pool.complete("hello")
        {textwrap.indent(USES, " " * 8).strip()}
        atexit.register(use, "atexit")
        """
    )
    checked = lines.pop(4)
    assert checked in ("atexit check [None]", f"atexit check ['{NOT_CHECKED}']")
    assert lines == [
        "atexit complete fine",
        "atexit stream fine",
        "atexit call called",
        "atexit map ['fine', 'fine']",
        "atexit status <ProviderPool 'main': 1 of 1 healthy>",
        "atexit start HealthCheckerHandle",
        "atexit close None",
    ]


@pytest.mark.parametrize("started", [False, True])
def test_calls_in_a_finaliser_at_the_very_end(started: bool) -> None:
    """They work without threads, and none waits for one that can never run."""
    lines = ends(
        f"""
        pool = pool_of(fine)
        if {started}:
            pool.complete("hello")
        {textwrap.indent(USES, " " * 8).strip()}
        class Last:
            def __init__(self):
                self.use = use
                self.pool = pool
            def __del__(self):
                self.use("finaliser")
        # Kept by a module that outlives this one.
        sys.last_of_all = Last()
        """
    )
    assert lines == [] or lines[:3] == [
        "finaliser complete fine",
        "finaliser stream fine",
        "finaliser call called",
    ]
    if lines:
        assert lines[4] == f"finaliser check ['{NOT_CHECKED}']"
        assert lines[-1] == "finaliser close None"


def test_a_running_handle_as_the_programs_life() -> None:
    """A program may wait on the event, and end by it."""
    assert ends(
        """
        pool = pool_of(fine)
        with pool.start() as handle:
            in_thread(handle.stop)
            assert handle.stopped.wait(10)
        print("ends")
        """
    ) == ["ends"]
