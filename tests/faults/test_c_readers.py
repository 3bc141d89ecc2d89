"""Streams in the hands of readers who stop, forget, raise, or hand them on."""

from __future__ import annotations

import gc
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from scene import ANSWER, PATIENCE, PROMPT, Reader, Stage, deployment, states, verdicts

from llmpool import CompletionStream, ProviderPool
from llmpool.testing import LocalServer, Reset, Stall


class Holder:
    """Holds a stream, and itself."""

    def __init__(self, stream: CompletionStream) -> None:
        self.stream = stream
        self.me = self


def break_out(stream: CompletionStream) -> None:
    """Read one chunk and leave the block."""
    with stream:
        for _ in stream:
            break


def close(stream: CompletionStream) -> None:
    """Close it, twice."""
    next(stream)
    stream.close()
    stream.close()


def forget(stream: CompletionStream) -> None:
    """Read one chunk and read no more."""
    next(stream)


def forget_in_a_cycle(stream: CompletionStream) -> None:
    """Leave it to the collector."""
    next(stream)
    Holder(stream)


def raise_inside(stream: CompletionStream) -> None:
    """Raise an error of one's own in the loop."""

    def read() -> None:
        with stream:
            for _ in stream:
                _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        read()


each_way = pytest.mark.parametrize(
    "leave", [break_out, close, forget, forget_in_a_cycle, raise_inside]
)


def _stopped(stage: Stage, server: LocalServer) -> bool:
    return server.wait_until_idle(PATIENCE)


@each_way
def test_reader_who_stops(stage: Stage, leave: Callable[[CompletionStream], None]) -> None:
    """The place is given back, nobody is blamed, and the server is told by the connection's end."""
    eu = stage.server("eu", Stall(1))
    pool = stage.pool(deployment(eu, max_concurrent=1))
    leave(pool.stream(PROMPT))
    gc.collect()
    status = pool.health("eu")
    assert (status.requests_in_flight, status.total_errors) == (0, 0)
    assert (status.consecutive_failures, status.state) == (0, "healthy")
    assert eu.wait_until_idle(PATIENCE)
    eu.restore()
    assert pool.complete(PROMPT, timeout=PATIENCE).text == ANSWER


def recovering(stage: Stage) -> tuple[ProviderPool, LocalServer]:
    """Give a pool whose one deployment has served its sentence and is to be tried."""
    eu = stage.server("eu", Reset())
    pool = stage.timed(eu)
    for _ in range(3):
        with pytest.raises(Exception, match="reset"):
            pool.complete(PROMPT, retry=False)
    assert states(pool) == {"eu": "unhealthy"}
    eu.behave(Stall(1))
    stage.clock.advance(5.0)
    assert states(pool) == {"eu": "recovering"}
    return pool, eu


@each_way
def test_reader_who_stops_in_a_trial(
    stage: Stage, leave: Callable[[CompletionStream], None]
) -> None:
    """The trial is given back too, and nothing has been proven by it."""
    pool, eu = recovering(stage)
    leave(pool.stream(PROMPT))
    gc.collect()
    assert states(pool) == {"eu": "recovering"}
    assert not pool.health("eu").healthy
    eu.restore()
    assert verdicts(pool.complete(PROMPT)) == [("eu", "ok")]
    assert pool.health("eu").healthy


def test_forgotten_stream_collected_while_the_ledger_is_locked(stage: Stage) -> None:
    """Its finaliser waits for no lock: it leaves a note, and the next to come by gives the place back."""
    pool = stage.pool(deployment(stage.server("eu", Stall(1)), max_concurrent=1))
    stream = pool.stream(PROMPT)
    gone = weakref.ref(stream)
    forget_in_a_cycle(stream)
    del stream

    def collect() -> None:
        with pool._ledger._lock:
            gc.collect()

    Reader(collect).result()
    assert gone() is None
    assert pool.health("eu").requests_in_flight == 0


def test_forgotten_stream_collected_by_another_thread(stage: Stage) -> None:
    """The same when the lock is held by one thread and another collects."""
    pool = stage.pool(deployment(stage.server("eu", Stall(1)), max_concurrent=1))
    forget_in_a_cycle(pool.stream(PROMPT))
    with pool._ledger._lock:
        Reader(gc.collect).result()
    assert pool.health("eu").requests_in_flight == 0


def test_place_of_a_forgotten_stream_that_somebody_waits_for(stage: Stage) -> None:
    """Who waits for it gets it, although no call comes by and no checker runs."""
    eu = stage.server("eu", Stall(1))
    pool = stage.pool(deployment(eu, max_concurrent=1))
    forget_in_a_cycle(pool.stream(PROMPT))
    eu.restore()
    waiting = Reader(lambda: pool.complete(PROMPT, timeout=PATIENCE))
    gc.collect()
    assert waiting.result().text == ANSWER


def test_stream_read_in_another_thread(stage: Stage) -> None:
    """It may be opened in one thread and read in another; the counts are right."""
    pool = stage.pool(stage.server("eu"))
    handed: queue.Queue[CompletionStream] = queue.Queue()
    reader = Reader(lambda: "".join(chunk.text for chunk in handed.get(timeout=PATIENCE)))
    stream = pool.stream(PROMPT)
    assert pool.health("eu").requests_in_flight == 1
    handed.put(stream)
    assert reader.result() == ANSWER
    status = pool.health("eu")
    assert (status.requests_in_flight, status.total_requests, status.total_errors) == (0, 1, 0)
    assert verdicts(stream.response) == [("eu", "ok")]


def test_stream_closed_while_another_thread_reads_it(stage: Stage) -> None:
    """The reader comes to the stream's end, and nobody is blamed."""
    eu = stage.server("eu", Stall(1))
    pool = stage.pool(eu)
    stream = pool.stream(PROMPT)
    begun = threading.Event()

    def read() -> list[Any]:
        chunks = []
        for chunk in stream:
            chunks.append(chunk)
            begun.set()
        return chunks

    reader = Reader(read)
    assert begun.wait(PATIENCE)
    stream.close()
    assert reader.result()
    status = pool.health("eu")
    assert (status.requests_in_flight, status.total_errors) == (0, 0)


def test_stream_kept_beyond_its_pool(stage: Stage) -> None:
    """A stream that is open when its pool is closed goes on to its end."""
    pool = stage.pool(stage.server("eu"))
    stream = pool.stream(PROMPT)
    pool.close()
    assert "".join(chunk.text for chunk in stream) == ANSWER
    assert stream.response.text == ANSWER
