"""A pool in a forked child: no lock of the parent's, none of its counts, a checker of its own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest
from checking import WALL, Hang, Questions, in_thread, pool_of, threads_named, until
from forks import CHILD_WALL, in_child, read_report, report

from llmpool import Custom, Deployment, HealthCheckConfig, ProviderPool, _forks
from llmpool.testing import ScriptedProvider

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    # Python 3.12 warns of what is shown here to be safe.
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def live_pool(questions: Any = None, **settings: Any) -> ProviderPool:
    """Build a pool in real time whose checker asks very often."""
    return ProviderPool(
        [Deployment("a", ScriptedProvider("fine", repeat=True), **settings)],
        name="main",
        check=Custom(Questions() if questions is None else questions),
        health_check=HealthCheckConfig(0.02, unhealthy_interval=0.02),
    )


def uses(pool: ProviderPool) -> dict[str, Any]:
    """Use *pool* in every way, and tell what was seen."""
    before = pool.health("a")
    me = threading.current_thread().name  # a worker's, where a check forked
    seen = {
        "inherited": (before.total_requests, before.total_errors, before.requests_in_flight),
        "threads": [name for name in threads_named("llmpool-") if name != me],
        "text": pool.complete("hello", timeout=WALL).text,
        "checked": [result.healthy for result in pool.check_now()],
        "checkers": threads_named("llmpool-checker-"),
    }
    until(lambda: pool.health_status().checker_alive)
    seen["counted"] = pool.health("a").total_requests
    pool.close()
    seen["left"] = threads_named("llmpool-checker-")
    return seen


FRESH = {
    "inherited": (0, 0, 0),
    "threads": [],
    "text": "fine",
    "checked": [True],
    "checkers": ["llmpool-checker-main"],
    "counted": 1,
    "left": [],
}


@contextmanager
def held_by_another_thread(lock: Any) -> Iterator[None]:
    """Hold *lock* in a thread that a child will not have."""
    taken, give_back = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            assert give_back.wait(CHILD_WALL * 2)

    thread, _ = in_thread(hold)
    assert taken.wait(WALL)
    try:
        yield
    finally:
        give_back.set()
        thread.join(WALL)


def without_hook(pool: ProviderPool) -> None:
    """Take the fork hook from a pool, as under a host that forks behind Python's back."""
    _forks._homes.discard(pool._home)


@pytest.mark.parametrize("used", [False, True])
def test_a_fork(used: bool) -> None:
    """The child has its own checker and counts; the parent's are as they were."""
    pool = live_pool()
    if used:
        for _ in range(3):
            pool.complete("hello")
    assert in_child(lambda: uses(pool)) == FRESH
    assert pool.health("a").total_requests == (3 if used else 0)
    assert pool.health_status().checker_alive is used
    assert pool.complete("hello").text == "fine"


def test_a_child_of_a_child() -> None:
    """It is the same again."""
    pool = live_pool()
    pool.complete("hello")

    def fork_again() -> Any:
        pool.complete("hello")
        return in_child(lambda: uses(pool))

    assert in_child(fork_again) == FRESH


@pytest.mark.parametrize(
    "lock_of",
    [
        lambda pool: pool._ledger._lock,
        lambda pool: pool._home.lock,
        lambda pool: pool._checker._lock,
        lambda pool: pool._checker._examiner._lock,
        lambda pool: pool._checker._examiner._workers._guard,
    ],
    ids=["ledger", "pool", "checker", "examiner", "executor"],
)
def test_a_fork_while_a_lock_is_held(lock_of: Callable[[ProviderPool], Any]) -> None:
    """Its holder is not there in the child, which waits for nobody."""
    pool = live_pool()
    pool.complete("hello")
    with held_by_another_thread(lock_of(pool)):
        assert in_child(lambda: uses(pool)) == FRESH


def test_a_fork_under_load() -> None:
    """Time and again, while calls and checks go on, no child hangs."""

    class Plain:
        """A provider with no lock of its own, which would be its own to reset."""

        def complete(self, request: Any, timeout: float) -> str:
            return "fine"

    pool = ProviderPool(
        [Deployment("a", Plain())],
        name="main",
        health_check=HealthCheckConfig(0.02, unhealthy_interval=0.02, skip_after_traffic=False),
    )
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            pool.complete("hello")

    callers = [in_thread(call) for _ in range(4)]
    for _ in range(8):
        assert in_child(lambda: uses(pool)) == FRESH
    stop.set()
    for thread, _ in callers:
        thread.join(WALL)
        assert not thread.is_alive()


def test_calls_in_flight_at_the_fork() -> None:
    """The child is not held up by places that nobody there will give back."""
    hang = Hang()
    provider = ScriptedProvider(lambda request, timeout: hang() and "late", "fine", repeat=True)
    pool = ProviderPool([Deployment("a", provider, max_concurrent=1)], health_check=None)
    thread, found = in_thread(lambda: pool.complete("hello"))
    assert hang.entered.acquire(timeout=WALL)
    assert in_child(lambda: pool.complete("hello", timeout=WALL).text) == "fine"
    hang.open.set()
    thread.join(WALL)
    assert found[0].text == "late"


def test_a_stream_open_at_the_fork() -> None:
    """Dropped in the child, it changes nothing there nor here."""
    pool = pool_of(ScriptedProvider("one two", "fine"))
    kept = [pool.stream("hello")]

    def drop() -> tuple[int, int]:
        kept.clear()
        gc.collect()
        pool.complete("hello")
        status = pool.health("a")
        return status.requests_in_flight, status.total_requests

    # The child's script goes on from here: the first step is played.
    assert in_child(drop) == (0, 1)
    assert pool.health("a").requests_in_flight == 1
    assert "".join(chunk.text for chunk in kept[0]) == "one two"


def test_a_fork_from_a_checks_thread() -> None:
    """The child of a worker has neither workers nor checker, and uses the pool as any other."""
    told: list[Any] = []
    questions = Questions()
    pool = live_pool(questions)

    def fork() -> bool:
        questions.answers.clear()
        told.append(in_child(lambda: uses(pool)))
        return True

    questions.answers["a"] = fork
    pool.start()
    until(lambda: told)
    assert told == [FRESH]


def test_a_forked_child_that_returns_through_the_check() -> None:
    """It books its answer, finds nothing more to do, and ends."""
    pids: list[int] = []
    questions = Questions()
    pool = live_pool(questions)

    def fork() -> bool:
        questions.answers.clear()
        pid = os.fork()
        if pid:
            pids.append(pid)
        else:
            signal.alarm(int(CHILD_WALL))
        return True

    questions.answers["a"] = fork
    pool.start()
    until(lambda: pids)
    assert os.waitpid(pids[0], 0) == (pids[0], 0)


@pytest.mark.parametrize("held", [False, True])
def test_a_fork_without_the_hook(held: bool) -> None:
    """The first call in the child sees by the process id where it is."""
    pool = live_pool()
    without_hook(pool)
    pool.complete("hello")
    if held:
        with held_by_another_thread(pool._ledger._lock):
            assert in_child(lambda: uses(pool)) == FRESH
    else:
        assert in_child(lambda: uses(pool)) == FRESH
    assert pool.health("a").total_requests == 1


@pytest.mark.parametrize(
    "act",
    [
        lambda pool: pool.health("a").name,
        lambda pool: [deployment.name for deployment in pool.deployments],
        lambda pool: list(pool.all_health()),
        lambda pool: list(pool.explain()),
        lambda pool: repr(pool),
        lambda pool: pool.healthy_count(),
        lambda pool: pool.drain("a"),
        lambda pool: pool.resume("a"),
        lambda pool: pool.remove("a"),
        lambda pool: pool.add(Deployment("b", ScriptedProvider())),
        lambda pool: pool.start().stop(),
        lambda pool: pool.close(),
        lambda pool: pool.stream("hello").close(),
        lambda pool: pool.lease().__enter__().deployment.name,
    ],
)
def test_whatever_comes_first_without_the_hook(act: Callable[[ProviderPool], Any]) -> None:
    """Every method notices, though the ledger's lock was held at the fork."""
    pool = live_pool()
    without_hook(pool)
    with held_by_another_thread(pool._ledger._lock):
        in_child(lambda: (act(pool), None)[1])


def test_another_process_id_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the child's first call does, seen without a fork; a lock nobody will free is replaced."""

    class Lost:
        """A lock whose holder is not here."""

        def acquire(self, timeout: float) -> bool:
            return False

    class Late:
        """A lock whose last holder, another thread of the child's, has done all there is to do."""

        def acquire(self, timeout: float) -> bool:
            pool._home.pid = os.getpid()
            return True

        def release(self) -> None:
            pass

    class Provider(ScriptedProvider):
        resets = 0

        def reset_after_fork(self) -> None:
            self.resets += 1

    provider = Provider("fine", repeat=True)
    pool = pool_of(provider, enabled=False)
    pool.complete("hello")
    pool.start().stop()
    for lock in (pool._home.lock, Lost(), Late()):
        monkeypatch.setattr(pool._home, "pid", -1)
        monkeypatch.setattr(pool._home, "lock", lock)
        assert pool.complete("hello").text == "fine"
        assert pool._home.pid == os.getpid()
        assert pool._checker.handle is not None
        assert pool._checker.handle.stopped.is_set()
    assert provider.resets == 2
    assert pool.health("a").total_requests == 2
    pool._home.after_fork()  # what the hook does
    assert provider.resets == 3
    assert pool.health("a").total_requests == 0


def test_a_home_whose_owner_is_gone() -> None:
    """It keeps nobody alive, and there is nothing to reset."""

    class Owner:
        """Somebody who can be forgotten."""

        def reset(self) -> None:
            raise AssertionError("it is gone")

    home = _forks.Home(Owner().reset)
    gc.collect()
    home.pid = -1
    home.arrive()
    assert home.pid == os.getpid()


# -- the checker's handle ---------------------------------------------------------------------------


def test_a_handle_from_before_the_fork() -> None:
    """In the child it is that of the child's checker."""
    pool = live_pool()
    handle = pool.start()

    def stop() -> list[Any]:
        seen: list[Any] = [handle.alive, handle.join(0.0)]
        pool.complete("hello")
        seen.append(handle.alive)
        handle.stop()
        seen += [handle.join(WALL), handle.alive]
        pool.complete("hello")
        return [*seen, threads_named("llmpool-checker-")]

    assert in_child(stop) == [False, True, True, True, False, []]
    assert handle.alive


def test_a_checker_stopped_before_the_fork() -> None:
    """It stays stopped in the child, until it is started there."""
    pool = live_pool()
    pool.start().stop()

    def look() -> list[Any]:
        pool.complete("hello")
        stopped = threads_named("llmpool-checker-")
        pool.start()
        return [stopped, threads_named("llmpool-checker-")]

    assert in_child(look) == [[], ["llmpool-checker-main"]]


# -- multiprocessing --------------------------------------------------------------------------------


def use_in_process(pool: ProviderPool | None, connection: Connection) -> None:
    """Tell of a pool; without one, of one built here."""
    connection.send(uses(live_pool() if pool is None else pool))
    connection.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str) -> None:
    """A forked process uses the parent's pool as its own, a spawned one builds one."""
    pool = live_pool()
    pool.complete("hello")
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(
        target=use_in_process, args=(pool if method == "fork" else None, theirs), daemon=True
    )
    process.start()
    theirs.close()
    try:
        assert ours.poll(CHILD_WALL), "the child hung"
        assert ours.recv() == FRESH
        process.join(CHILD_WALL)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def test_a_pool_sent_to_a_spawned_process() -> None:
    """It is refused before anything is started, with a reason."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=uses, args=(live_pool(),))
    with pytest.raises(TypeError, match="the ProviderPool 'main' cannot be pickled"):
        process.start()


def test_the_report_of_a_child_that_fails() -> None:
    """This module's own means work: what a child raises is told."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        report(writable, lambda: 1 // 0)
    os.close(writable)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        read_report(readable, pid)
