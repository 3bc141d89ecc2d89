"""The executor whose hung worker can hold up nothing."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from llmpool._threads import DaemonExecutor, daemon, join_all, start

WALL = 30.0


class Gate:
    """A function that waits until it is let go; it counts who is inside."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.workers: list[int | None] = []

    def __call__(self, executor: DaemonExecutor) -> str:
        self.workers.append(executor.worker())
        self.entered.release()
        assert self.open.wait(WALL)
        return "late"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def two() -> DaemonExecutor:
    return DaemonExecutor(2, "llmpool-two")


def workers_of(prefix: str) -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(prefix)}


class NoThreads:
    """Thread.start as under a limit that *allowed* further threads reach."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, allowed: int = 0) -> None:
        self.allowed = allowed
        self._start = threading.Thread.start
        monkeypatch.setattr(threading.Thread, "start", lambda thread: self.start(thread))

    def start(self, thread: threading.Thread) -> None:
        if self.allowed == 0:
            raise RuntimeError("can't start new thread")
        self.allowed -= 1
        self._start(thread)


def test_it_works_as_the_stock_one() -> None:
    """Results, errors and the order of a map are those of a ThreadPoolExecutor."""
    with DaemonExecutor(3, "llmpool-any") as executor:
        assert isinstance(executor, ThreadPoolExecutor)
        assert executor.submit(pow, 2, exp=5).result(WALL) == 32
        assert list(executor.map(str, range(20), timeout=WALL)) == [str(n) for n in range(20)]
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result(WALL)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, BaseException])
def test_a_call_that_wants_to_end_the_thread(kind: type[BaseException]) -> None:
    """Its worker lives on, and the future has the exception."""
    executor = DaemonExecutor(1, "llmpool-one")

    def leave() -> None:
        raise kind

    with pytest.raises(kind):
        executor.submit(leave).result(WALL)
    assert executor.submit(str, 1).result(WALL) == "1"


def test_there_are_never_more_workers_than_wanted(two: DaemonExecutor, gate: Gate) -> None:
    """The rest waits in the queue, and is done in order by those who come free."""
    pending = [two.submit(gate, two) for _ in range(5)]
    for _ in range(2):
        assert gate.entered.acquire(timeout=WALL)
    assert workers_of("llmpool-two") == {"llmpool-two-1", "llmpool-two-2"}
    assert not gate.entered.acquire(blocking=False)
    gate.open.set()
    assert [future.result(WALL) for future in pending] == ["late"] * 5
    assert set(gate.workers) == {1, 2}


def test_workers_are_daemons_that_leave_when_nothing_is_queued(two: DaemonExecutor) -> None:
    """An executor at rest has no thread, and what it was given is not kept alive."""

    class Thing:
        pass

    thing = Thing()
    ref = weakref.ref(thing)
    assert two.submit(lambda given: threading.current_thread().daemon, thing).result(WALL)
    assert join_all([t for t in threading.enumerate() if "llmpool-two" in t.name], WALL) == []
    del thing
    gc.collect()
    assert ref() is None


def test_a_worker_that_hangs_is_replaced(two: DaemonExecutor, gate: Gate) -> None:
    """Written off, it counts no longer: what waited behind it is done, by another."""
    hung = [two.submit(gate, two) for _ in range(2)]
    for _ in range(2):
        assert gate.entered.acquire(timeout=WALL)
    behind = two.submit(two.worker)
    assert wait([behind], timeout=0.05).done == set()
    worker = gate.workers[0]
    assert worker is not None
    two.write_off(worker)
    assert behind.result(WALL) == 3
    gate.open.set()
    assert [future.result(WALL) for future in hung] == ["late"] * 2


def test_a_worker_written_off_twice_or_after_its_end(two: DaemonExecutor) -> None:
    """Nothing comes of it."""
    worker = two.submit(two.worker).result(WALL)
    assert worker == 1
    two.write_off(worker)
    two.write_off(worker)
    assert two.worker() is None
    assert two.submit(two.worker).result(WALL) == 2


def test_a_written_off_worker_takes_no_further_job(gate: Gate) -> None:
    """When its call ends after all, it leaves: its place is another's."""
    one = DaemonExecutor(1, "llmpool-one")
    one.submit(gate, one)
    assert gate.entered.acquire(timeout=WALL)
    one.write_off(1)
    second = Gate()
    one.submit(second, one)
    assert second.entered.acquire(timeout=WALL)
    third = one.submit(one.worker)
    gate.open.set()
    assert wait([third], timeout=0.05).done == set()
    second.open.set()
    assert third.result(WALL) == 2


def test_what_goes_before_the_queue(gate: Gate) -> None:
    """It is done next, in front of what has waited longer."""
    one = DaemonExecutor(1, "llmpool-one")
    order: list[str] = []
    one.submit(gate, one)
    assert gate.entered.acquire(timeout=WALL)
    queued = [one.submit(order.append, "second"), one.submit_first(order.append, "first")]
    gate.open.set()
    assert wait(queued, timeout=WALL).not_done == set()
    assert order == ["first", "second"]


def test_shutting_down(two: DaemonExecutor, gate: Gate) -> None:
    """It waits for nobody; the queue is dropped only if that is asked for."""
    running = [two.submit(gate, two) for _ in range(2)]
    for _ in range(2):
        assert gate.entered.acquire(timeout=WALL)
    queued = two.submit(str, 1)
    two.shutdown(wait=True)
    assert not queued.cancelled()
    two.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        queued.result(WALL)
    gate.open.set()
    assert [future.result(WALL) for future in running] == ["late"] * 2
    assert two.submit(str, 2).result(WALL) == "2"


def test_a_queued_call_that_was_cancelled(gate: Gate) -> None:
    """It is passed over."""
    one = DaemonExecutor(1, "llmpool-one")
    one.submit(gate, one)
    assert gate.entered.acquire(timeout=WALL)
    queued = one.submit(pytest.fail, "must not run")
    assert queued.cancel()
    gate.open.set()
    assert one.submit(str, 1).result(WALL) == "1"


def test_no_thread_can_be_started(two: DaemonExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody to run it a call is refused, and nothing of it stays in the queue."""
    limit = NoThreads(monkeypatch)
    for submit in (two.submit, two.submit_first):
        with pytest.raises(RuntimeError, match="can't start new thread"):
            submit(pytest.fail, "must not run")
    limit.allowed = 1
    assert two.submit(str, 1).result(WALL) == "1"


def test_an_interpreter_that_ends(two: DaemonExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is started any more, for before Python 3.12 that would wait for ever."""
    monkeypatch.setattr("sys.is_finalizing", lambda: True)
    with pytest.raises(RuntimeError, match="at interpreter shutdown"):
        two.submit(pytest.fail, "must not run")


def test_fewer_threads_than_wanted(
    two: DaemonExecutor, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who are there do it all."""
    NoThreads(monkeypatch, allowed=1)
    running = two.submit(gate, two)
    queued = two.submit(two.worker)
    gate.open.set()
    assert running.result(WALL) == "late"
    assert queued.result(WALL) == 1


def test_no_thread_for_a_hung_workers_place(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nobody left to run them, queued calls are cancelled rather than forgotten."""
    one = DaemonExecutor(1, "llmpool-one")
    NoThreads(monkeypatch, allowed=1)
    one.submit(gate, one)
    assert gate.entered.acquire(timeout=WALL)
    queued: Future[Any] = one.submit(pytest.fail, "must not run")
    one.write_off(1)
    assert queued.cancelled()


def test_a_forked_child(two: DaemonExecutor, gate: Gate) -> None:
    """Told of the fork, it forgets workers that are not there, and hires its own."""
    for _ in range(3):
        two.submit(gate, two)
    for _ in range(2):
        assert gate.entered.acquire(timeout=WALL)
    with two._guard:  # as by a thread that exists in the parent alone
        two.reset_after_fork()
        assert two.submit(str, 1).result(WALL) == "1"


def test_joining(gate: Gate) -> None:
    """All under one time-out; who is late is named; oneself and the unstarted are passed over."""
    executor = DaemonExecutor(1, "llmpool-one")
    stuck = daemon("llmpool-stuck", lambda: gate(executor))
    never = daemon("llmpool-never", pytest.fail)
    quick = daemon("llmpool-quick", lambda: None)
    start(stuck)
    start(quick)
    assert join_all([quick, stuck, never], 0.05) == ["llmpool-stuck"]
    assert join_all([threading.current_thread()], WALL) == [threading.current_thread().name]
    gate.open.set()
    assert join_all([quick, stuck, never], None) == []


HUNG_AT_EXIT = """
import threading, time
from llmpool._threads import DaemonExecutor
executor = DaemonExecutor(4, "llmpool-any")
entered = threading.Semaphore(0)
def hang():
    entered.release()
    threading.Event().wait()
for _ in range(8):
    executor.submit(hang)
for _ in range(4):
    assert entered.acquire(timeout=30)
print("ends")
"""

AT_EXIT = """
import atexit
from llmpool._threads import DaemonExecutor
executor = DaemonExecutor(1, "llmpool-any")
class Last:
    def __del__(self):
        use("finaliser")
def use(when):
    try:
        print(when, executor.submit(str, 1).result(30))
    except RuntimeError as error:
        print(when, "refused")
atexit.register(use, "atexit")
last = Last()
"""


def run(source: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_interpreter_ends_while_calls_hang() -> None:
    """Nothing waits for them."""
    assert run(HUNG_AT_EXIT) == "ends\n"


def test_submitting_while_the_interpreter_ends() -> None:
    """It works while Python still starts threads, and is refused at once where it does not."""
    in_atexit, *in_finaliser = run(AT_EXIT).splitlines()
    assert in_atexit in ("atexit 1", "atexit refused")
    # Python promises no finaliser to what still lives at its end, and now and then calls none.
    assert in_finaliser in (["finaliser refused"], [])
