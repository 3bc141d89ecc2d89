"""An observer that writes down what it is told, and by which thread."""

from __future__ import annotations

import threading
from typing import Any

from llmpool import AttemptFacts, CallEnd, CallFacts, Event, HealthCheckResult, Observer
from llmpool.outcomes import Attempt


class Witness(Observer):
    """
    Writes down all that it is told.

    Threads: any; the lock guards the list.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seen: list[tuple[str, tuple[Any, ...], str]] = []

    def _note(self, name: str, *facts: Any) -> None:
        with self._lock:
            self.seen.append((name, facts, threading.current_thread().name))

    def call_started(self, call: CallFacts) -> None:
        """Write it down."""
        self._note("call_started", call)

    def call_returned(self, call: CallFacts) -> None:
        """Write it down."""
        self._note("call_returned", call)

    def call_ended(self, call: CallFacts, end: CallEnd) -> None:
        """Write it down."""
        self._note("call_ended", call, end)

    def attempt_started(self, facts: AttemptFacts) -> None:
        """Write it down."""
        self._note("attempt_started", facts)

    def attempt_ended(self, attempt: Attempt, facts: AttemptFacts) -> None:
        """Write it down."""
        self._note("attempt_ended", attempt, facts)

    def check_ended(self, result: HealthCheckResult) -> None:
        """Write it down."""
        self._note("check_ended", result)

    def state_changed(self, event: Event) -> None:
        """Write it down."""
        self._note("state_changed", event)

    # -- what was seen ----------------------------------------------------------------------

    def names(self) -> list[str]:
        """Tell what there was of calls, in the order in which it came."""
        with self._lock:
            return [name for name, _, _ in self.seen if name not in OF_HEALTH]

    def of(self, name: str) -> list[Any]:
        """Give what was told of one kind; its facts alone, where there is one of them."""
        with self._lock:
            found = [facts for told, facts, _ in self.seen if told == name]
        return [facts[0] if len(facts) == 1 else facts for facts in found]

    def verdicts(self) -> list[tuple[str, str]]:
        """Tell of each attempt where it was made, and what came of it."""
        return [
            (attempt.deployment, str(attempt.verdict)) for attempt, _ in self.of("attempt_ended")
        ]

    def end(self) -> CallEnd:
        """Give the end of the one call that there was."""
        [(_, end)] = self.of("call_ended")
        assert isinstance(end, CallEnd)
        return end

    def threads(self, name: str) -> list[str]:
        """Name the threads in which things of one kind were told."""
        with self._lock:
            return [thread for told, _, thread in self.seen if told == name]


OF_HEALTH = ("check_ended", "state_changed")
PLAIN = ["call_started", "attempt_started", "attempt_ended", "call_ended", "call_returned"]
"""What is told of a call that succeeds at once."""
STREAMED = ["call_started", "attempt_started", "call_returned", "attempt_ended", "call_ended"]
"""What is told of a stream that is read to its end."""
