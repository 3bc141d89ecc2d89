"""Telling of changes: to the log, to the checker, to the user's listeners."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from llmpool import _validators as valid
from llmpool.observers import Audience
from llmpool.roster import Change
from llmpool.status import Event, HealthCheckResult

if TYPE_CHECKING:
    from llmpool.checker import HealthChecker

_log = logging.getLogger("llmpool.health")
_checker_log = logging.getLogger("llmpool.checker")


class Announcer:
    """
    Tells of each change of a deployment's state, in the thread that made it, outside every lock.

    It holds neither the pool nor its checker, so that a forgotten pool is collected.
    """

    def __init__(self, pool: str, listeners: Sequence[Callable[[Event], object]]) -> None:
        self._pool = pool
        self._listeners = _checked(listeners)
        self._checker: weakref.ref[HealthChecker] | None = None
        self.audience: Audience | None = None  # replaced as a whole

    @property
    def listening(self) -> bool:
        """Whether telling of something runs code of the user's, which may take its time."""
        audience = self.audience
        return bool(self._listeners) or (audience is not None and audience.of_health)

    def tell_checker(self, checker: HealthChecker) -> None:
        """Tell *checker* from now on, and no other."""
        self._checker = weakref.ref(checker)

    def __call__(self, change: Change) -> None:
        """Tell of *change*; a listener that raises is logged and ignored."""
        level = logging.INFO if change.new in ("healthy", "draining") else logging.WARNING
        if change.new == "disabled":
            level = logging.ERROR
        _log.log(
            level,
            "pool %s: %s is %s, was %s%s",
            self._pool,
            change.deployment,
            change.new,
            change.old,
            f": {change.reason}" if change.reason else "",
            extra={
                "llmpool_pool": self._pool,
                "llmpool_deployment": change.deployment,
                "llmpool_state": change.new,
                "llmpool_former_state": change.old,
            },
        )
        checker = self._checker() if self._checker is not None else None
        if checker is not None:
            checker.changed(change.deployment, change.new)
        self._tell(
            Event(self._pool, change.deployment, change.old, change.new, change.reason, change.at)
        )

    def tell_of_checker(self, old: str, new: str, reason: str | None, at: float) -> None:
        """
        Tell of a change of the checker itself: "running", "degraded" (no threads for checks), "dead".

        Its event names no deployment: the field is empty.
        """
        level = logging.INFO if new == "running" else logging.WARNING
        said = f": {reason}" if reason else ""
        _checker_log.log(level, "pool %s: the checker is %s, was %s%s", self._pool, new, old, said)
        self._tell(Event(self._pool, "", old, new, reason, at))

    def tell_of_check(self, result: HealthCheckResult) -> None:
        """Tell of a check that has ended."""
        if self.audience is not None:
            self.audience.tell("check_ended", result)

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - a user's listener
                # The type alone: a listener's message may hold anything.
                _log.error("a listener raised %s and was ignored", type(error).__name__)
        if self.audience is not None:
            self.audience.tell("state_changed", event)


def _checked(listeners: Sequence[Any]) -> tuple[Any, ...]:
    if isinstance(listeners, (str, bytes)) or not isinstance(listeners, Iterable):
        valid.refuse("listeners", "a sequence of functions of one Event", listeners, kind=TypeError)
    given = tuple(listeners)
    for listener in given:
        if not callable(listener):
            valid.refuse("listeners", "functions of one Event", listener, kind=TypeError)
    return given
