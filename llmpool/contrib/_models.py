"""Names of models as labels of metrics: boundedly many, whatever callers ask for."""

from __future__ import annotations

import os
import threading

from llmpool.pool import ProviderPool

MOST_MODELS = 20
"""Names that callers made up and that get a label of their own, in each pool."""
OTHER = "other"
_LONGEST = 128


def label(name: str) -> str:
    """Give a name as a label, which must be encodable."""
    return name.encode("utf-8", "replace").decode()


class Models:
    """
    The names of models that are labels: those of the deployments, and the first that callers made up.

    It holds no pool.

    Threads: any; the lock guards the set.
    """

    def __init__(self, pool: ProviderPool) -> None:
        # It re-enters for a signal handler that calls the pool on the thread that holds it.
        self._lock = threading.RLock()
        self._known = {"", OTHER}
        for each in pool.deployments:
            self._known.update(map(label, each.models))
            self._known.add(label(each.upstream(None) or ""))
        self._most = len(self._known) + MOST_MODELS
        self._pid = os.getpid()

    def bounded(self, name: str | None) -> str:
        """Give the label of a name: itself, or "other"."""
        told = label(name or "")
        if self._pid != os.getpid():
            # Held at the fork, it may be, by a thread that is not here.
            self._lock = threading.RLock()
            self._pid = os.getpid()
        with self._lock:  # critical section
            if told in self._known:
                return told
            if len(told) > _LONGEST or len(self._known) >= self._most:
                return OTHER
            self._known.add(told)
            return told
