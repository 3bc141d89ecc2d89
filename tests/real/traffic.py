"""Callers that go on calling while something happens to the servers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from llmpool import LLMPoolError, ProviderPool

WAIT_SECONDS = 90.0


class Traffic:
    """
    Threads that call ``pool.complete`` one call after the other until the block is left.

    ``failures`` are the errors of calls, ``served`` counts the answers by deployment.
    """

    def __init__(self, pool: ProviderPool, callers: int) -> None:
        self._pool = pool
        self._stopped = threading.Event()
        # Guards the two fields below it, and tells of changes.
        self._changed = threading.Condition()
        self.served: Counter[str | None] = Counter()
        self.failures: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._call, args=(number,)) for number in range(callers)
        ]

    def _call(self, number: int) -> None:
        turn = 0
        while not self._stopped.is_set():
            turn += 1
            prompt = f"Caller {number} says {turn}."
            outcome: str | Exception | None
            try:
                outcome = self._pool.complete(prompt, max_tokens=4, timeout=WAIT_SECONDS).deployment
            except LLMPoolError as error:
                outcome = error
            with self._changed:
                if isinstance(outcome, Exception):
                    self.failures.append(outcome)
                else:
                    self.served[outcome] += 1
                self._changed.notify_all()

    def wait_for_answers(self, count: int, deployment: str | None = None) -> None:
        """Wait for so many further answers, of one deployment or of any."""
        with self._changed:
            goal = self._count(deployment) + count
            self._wait(lambda: self._count(deployment) >= goal)

    def _wait(self, fact: Callable[[], bool]) -> None:
        reached = self._changed.wait_for(lambda: bool(self.failures) or fact(), WAIT_SECONDS)
        assert not self.failures, self.failures[0]
        assert reached, f"only {dict(self.served)}: {self._pool.explain()}"

    def _count(self, deployment: str | None) -> int:
        return self.served.total() if deployment is None else self.served[deployment]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()
