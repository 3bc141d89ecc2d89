"""Ctrl-C at any moment of a call over a real connection."""

from __future__ import annotations

import _socket
import os
import sys
import warnings

import pytest
from alone import alone
from scene import KEY, PATIENCE, PROMPT, Stage

from llmpool.providers._sockets import TimedSocket

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")

SCRIPT = """
    import queue, random, select
    pool = pool_of(
        deployment("eu", URLS[0], max_concurrent=1), health_check=HealthCheckConfig(enabled=False)
    )
    sent, lost = [], []
    go, rng, over = queue.SimpleQueue(), random.Random(7), threading.Event()

    def disturb():
        for number in range(200):
            go.get(timeout=60)
            select.select([], [], [], rng.random() / 200)
            os.kill(os.getpid(), signal.SIGINT)
            sent.append(number)

    def traffic():  # keeps the one place busy now and then, so that a call may have to wait
        while not over.wait(0.003):
            pool.complete(PROMPT, timeout=60)

    def complete():
        assert pool.complete(PROMPT, timeout=60).text

    def stream():
        for chunk in pool.stream(PROMPT, timeout=60):
            pass

    def held():
        with pool.stream(PROMPT, timeout=60) as stream:
            next(stream)

    def call():
        with pool.lease(timeout=60) as lease:
            pass

    # An interrupt that falls into a finaliser goes no further: Python hands it to this hook.
    sys.unraisablehook = lambda told: lost.append(told.exc_type)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    threads = [threading.Thread(target=traffic), threading.Thread(target=disturb)]
    for thread in threads:
        thread.start()
    interrupted = 0
    for number in range(200):
        cell = (complete, stream, held, call)[number % 4]
        try:
            go.put(None)
            while len(sent) == number:
                cell()
            select.select([], [], [], 0.05)
        except KeyboardInterrupt:
            interrupted += 1
        assert pool.complete(PROMPT, timeout=60).text
    over.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    errors = [status.total_errors for status in pool.all_health().values()]
    print(in_flight(pool), states(pool), errors)
    assert interrupted >= 100, interrupted
    assert set(lost) <= {KeyboardInterrupt}, lost
    print(len(pool._ledger._queue), len(pool._ledger._places.retrying))
    pool.close()
    print(descriptors() <= 16)
"""


def test_two_hundred_interrupts(stage: Stage) -> None:
    """After each the next call works; nobody is blamed, and no place or connection is kept."""
    eu = stage.server("eu")
    assert alone(SCRIPT, KEY, PROMPT, eu.url, measured=False) == [
        "[0] {'eu': 'healthy'} [0]",
        "0 0",
        "True",
    ]
    assert eu.wait_until_idle(PATIENCE)


def test_interrupt_while_a_socket_is_made() -> None:
    """What was made of it is closed, and nothing is said of what was not."""
    half_made = TimedSocket.__new__(TimedSocket)
    _socket.socket.__init__(half_made)  # type: ignore[call-arg]
    number = half_made.fileno()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del half_made
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
