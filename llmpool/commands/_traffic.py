"""The demo's callers: threads that ask the pool without pause, and the count of what came of it."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Mapping

import attrs

from llmpool import CompletionResponse, LLMPoolError, ProviderPool
from llmpool.clock import Clock

CALL_TIMEOUT = 10.0
_EVERY_STREAM = 4
_ERRORS_KEPT = 5
_AFTER_FAILURE = 0.1


@attrs.frozen
class Count:
    """What the calls have come to so far; ``slowest`` is in seconds."""

    answered: int = 0
    streamed: int = 0
    failed: int = 0
    failovers: int = 0
    slowest: float = 0.0
    by_deployment: Mapping[str, int] = attrs.field(factory=dict)
    errors: tuple[str, ...] = ()

    @property
    def calls(self) -> int:
        """All that have ended."""
        return self.answered + self.failed

    def share(self, deployment: str) -> float:
        """Give the part of all answers that came from *deployment*, 0 to 1."""
        return self.by_deployment.get(deployment, 0) / max(1, self.answered)


class Tally:
    """
    Counts calls.

    Threads: every method from any.
    """

    def __init__(self) -> None:
        # Guards the fields below it.
        self._lock = threading.Lock()
        self._count = Count()
        self._by_deployment: Counter[str] = Counter()

    def answered(self, answer: CompletionResponse, took: float, *, streamed: bool) -> None:
        """Count an answer; each step from one deployment to another is a failover."""
        asked = [attempt.deployment for attempt in answer.attempts]
        moves = sum(former != later for former, later in itertools.pairwise(asked))
        with self._lock:  # critical section
            count = self._count
            self._by_deployment[asked[-1]] += 1
            self._count = attrs.evolve(
                count,
                answered=count.answered + 1,
                streamed=count.streamed + streamed,
                failovers=count.failovers + moves,
                slowest=max(count.slowest, took),
            )

    def failed(self, reason: str) -> None:
        """Count a failed call; the first few different reasons are kept."""
        with self._lock:  # critical section
            count = self._count
            errors = tuple(dict.fromkeys((*count.errors, reason)))[:_ERRORS_KEPT]
            self._count = attrs.evolve(count, failed=count.failed + 1, errors=errors)

    def count(self) -> Count:
        """Give the count at this moment."""
        with self._lock:  # critical section
            return attrs.evolve(self._count, by_deployment=dict(self._by_deployment))


class Traffic:
    """Threads that ask *pool*, each one question after another, every fourth for a stream."""

    def __init__(self, pool: ProviderPool, tally: Tally, clock: Clock) -> None:
        self._pool = pool
        self._tally = tally
        self._clock = clock
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, threads: int) -> None:
        """
        Start asking.

        Raises:
            RuntimeError: no more threads can be started.
        """
        for number in range(1, threads + 1):
            name = f"llmpool-demo-{number}"
            thread = threading.Thread(target=self._ask_on, args=(number,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout: float) -> list[str]:
        """Ask no more, and wait for the calls in flight; name the threads that do not end in time."""
        self._stopped.set()
        end = self._clock.now() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - self._clock.now()))
        return [thread.name for thread in self._threads if thread.is_alive()]

    def _ask_on(self, thread: int) -> None:
        turn = 0
        while not self._stopped.is_set():
            turn += 1
            if not self.ask(f"question {thread}.{turn}", streamed=turn % _EVERY_STREAM == 0):
                self._clock.wait(self._stopped, _AFTER_FAILURE)

    def ask(self, question: str, *, streamed: bool) -> bool:
        """Ask one question; tell whether its own answer came."""
        began = self._clock.now()
        try:
            answer = self._stream(question) if streamed else self._complete(question)
        except LLMPoolError as error:
            said = str(error).partition("\n")[0]
            self._tally.failed(f"{type(error).__name__}: {said}")
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, this call has failed
            self._tally.failed(type(error).__name__)
            return False
        if answer.text != f"echo: {question}":  # what the local servers answer
            self._tally.failed("an answer that belongs to another question")
            return False
        self._tally.answered(answer, self._clock.now() - began, streamed=streamed)
        return True

    def _complete(self, question: str) -> CompletionResponse:
        return self._pool.complete(question, timeout=CALL_TIMEOUT)

    def _stream(self, question: str) -> CompletionResponse:
        with self._pool.stream(question, timeout=CALL_TIMEOUT) as stream:
            for _ in stream:
                pass
        return stream.response
