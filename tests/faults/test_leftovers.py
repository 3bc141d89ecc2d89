"""The checks that stand at the end of every test here find what they are to find."""

from __future__ import annotations

import logging
import pickle
import socket
import threading

import pytest
from leftovers import carried_by, left_in, logged, open_sockets, sockets_left, threads_left
from scene import ECHOES, KEY, PATIENCE, PROMPT, Stage, deployment, found_in, spellings

from llmpool import RateLimited
from llmpool.testing import Reset, Stall

INNOCENT = "HTTP 429: rate_limit_exceeded: Rate limit reached for tiny in your organization."


def test_key_and_prompt_are_found() -> None:
    """However they are written, and in part; what is no part of them is not."""
    for text in (*spellings(KEY), *spellings(PROMPT), KEY[5:14], PROMPT[20:40]):
        assert found_in(f"it said {text}.")
    assert found_in(INNOCENT) is None
    for write in ECHOES.values():
        body, kind, headers = write(KEY, PROMPT)
        assert found_in(f"{body} {kind} {headers}")


def test_key_in_an_error_is_found() -> None:
    """In its text, in its fields, in its cause, in what it was raised under, and in its pickle."""
    assert carried_by(RateLimited(INNOCENT)) == []
    assert carried_by(RateLimited(f"no: {KEY}"))
    assert carried_by(RateLimited("no", code=KEY))
    assert carried_by(RateLimited("no", request_id=KEY))
    caused, met = RateLimited("no"), RateLimited("no")
    caused.__cause__ = ValueError(KEY)
    met.__context__ = ValueError(KEY)
    assert carried_by(caused)
    assert carried_by(met)

    class Sly(Exception):
        def __reduce__(self) -> tuple[type[Exception], tuple[str]]:
            return ValueError, (PROMPT,)

    with pytest.raises(AssertionError):
        carried_by(Sly("fine"))
    assert PROMPT.encode()[:12] in pickle.dumps(Sly("fine"))


def test_key_in_the_log_is_found() -> None:
    """In the text and in whatever else a record carries."""

    def record(text: str, *args: object) -> logging.LogRecord:
        return logging.LogRecord("x", logging.INFO, "f", 1, text, args, None)

    assert logged([record(INNOCENT)]) == []
    assert logged([record("no: %s", KEY)])
    hidden = record("fine")
    hidden.__dict__["prompt"] = PROMPT
    assert logged([hidden])


def test_place_that_is_kept_is_found(stage: Stage) -> None:
    """A stream that is held is in flight; one in a trial holds that."""
    eu = stage.server("eu", Stall(1))
    pool = stage.pool(eu)
    with pool.stream(PROMPT):
        assert left_in(pool) == ["in flight on eu: 1"]
    assert left_in(pool) == []
    eu.behave(Reset())
    pool = stage.timed(eu)
    for _ in range(3):
        with pytest.raises(Exception, match="reset"):
            pool.complete(PROMPT, retry=False)
    stage.clock.advance(5.0)
    eu.behave(Stall(1))
    with pool.stream(PROMPT):
        assert left_in(pool) == ["in flight on eu: 1", "eu: recovering: no free trial of 1"]


def test_place_in_the_queue_is_found(stage: Stage) -> None:
    """Who waits is found as long as it waits."""
    eu = stage.server("eu", Stall(1))
    pool = stage.pool(deployment(eu, max_concurrent=1))
    done = threading.Event()

    def wait() -> None:
        eu.restore()
        pool.complete(PROMPT, timeout=PATIENCE)
        done.set()

    with pool.stream(PROMPT):
        thread = threading.Thread(target=wait)
        thread.start()
        pause = threading.Event()
        while not pool._ledger._queue:
            assert not pause.wait(0.005)
        assert "a place in the queue, or in the budget, is kept" in left_in(pool)
    assert done.wait(PATIENCE)
    thread.join(PATIENCE)


def test_thread_and_socket_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that runs on, whatever its name, and a socket that nobody closes."""
    monkeypatch.setattr("leftovers.PATIENCE", 0.05)
    earlier, release = set(threading.enumerate()), threading.Event()
    thread = threading.Thread(target=release.wait, args=(PATIENCE,), name="anything")
    thread.start()
    assert threads_left(earlier) == ["thread left: anything"]
    release.set()
    thread.join(PATIENCE)
    assert threads_left(earlier) == []
    count = open_sockets()
    monkeypatch.setattr("leftovers.CLOSING", 0.05)
    with socket.socket():
        assert sockets_left(count) == ["sockets left: 1"]
    assert sockets_left(count) == []
