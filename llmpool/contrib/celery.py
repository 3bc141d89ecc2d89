"""Celery: a task that nobody could answer now goes back to its queue, for as long as it takes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

from llmpool import _validators as valid
from llmpool.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NoHealthyDeployment,
    ProviderError,
    QuotaExhausted,
)

_LASTING = (AuthenticationFailed, InvalidRequest, QuotaExhausted)
"""Errors that waiting does not cure."""
_FIRST = 5.0
"""Seconds before the first repetition where nobody names a time; they double with each."""


@contextlib.contextmanager
def retry_later(
    task: Any,
    *,
    longest: float = 600.0,
    unsent: bool = False,
    spread: Callable[[float, float], float] = random.uniform,
) -> Iterator[None]:
    """
    Have *task* (bound: ``bind=True``) run again later when the pool cannot answer within this block.

    It is put off until the pool or the server says that it may be asked again (``retry_after``), or for
    5 s, 10 s, 20 s and so on where nobody says. How often is the task's own ``max_retries``; after the
    last time, and for errors that waiting does not cure (a bad request, a wrong key, a spent quota, a
    closed pool), the error itself is raised. Every other exception passes, a soft time limit too.

    Args:
        longest: seconds at most, jitter apart; keep it well below the broker's visibility time-out, past
            which a message that waits is delivered once more.
        unsent: put off only what no server can have worked on, so that nothing is billed twice; it
            belongs together with ``retry="unsent"`` of the call.
        spread: gives a random number between two bounds, so that tasks do not come back all at once.

    Raises:
        celery.exceptions.Retry: the task is put off.
    """
    valid.as_seconds("longest", longest)
    valid.as_flag("unsent", unsent)
    try:
        yield
    except (ProviderError, NoHealthyDeployment) as error:
        if isinstance(error, _LASTING) or (unsent and not _refused(error)):
            raise
        raise task.retry(exc=error, countdown=_countdown(task, error, longest, spread)) from error


def _refused(error: ProviderError | NoHealthyDeployment) -> bool:
    if isinstance(error, NoHealthyDeployment):
        return True
    # The error of a lease has no attempts.
    return all(each.refused for each in error.attempts) if error.attempts else error.sent == "no"


def _countdown(
    task: Any,
    error: ProviderError | NoHealthyDeployment,
    longest: float,
    spread: Callable[[float, float], float],
) -> float:
    named = error.retry_after
    if named is None:
        # Not 2 ** retries, which a task that is repeated for ever makes a number beyond floats.
        delay = min(longest, _FIRST * 2.0 ** min(task.request.retries, 30))
        return spread(delay / 2, delay)
    delay = min(longest, named)
    return delay + spread(0.0, max(1.0, delay / 4))
