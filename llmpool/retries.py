"""How a call goes on after its first attempt failed, as a tenacity loop."""

from __future__ import annotations

import random
from collections.abc import Callable

import tenacity

from llmpool.config import RetryPolicy


def pause(policy: RetryPolicy, returns: int, rng: random.Random) -> float:
    """
    Draw the seconds before the next return to the same deployment.

    Full jitter over a doubling pause (Brooker, "Exponential Backoff and Jitter", AWS 2015).
    """
    return rng.uniform(0.0, min(policy.backoff_max, policy.backoff_initial * 2.0**returns))


def repeat(
    attempt: Callable[[], bool],
    *,
    stop: Callable[[], bool],
    wait: Callable[[], float],
    hold_back: Callable[[float], None],
) -> bool:
    """
    Attempt until it succeeds or *stop* says so; tell whether it succeeded.

    Between two attempts *hold_back* gets the seconds that *wait* drew. It does not sleep: it notes from
    when on the same deployment may be asked again, and the ledger waits for that or for something
    better, in turn with other callers.
    """
    repeated = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda done: not done),
        stop=lambda _: stop(),
        wait=lambda _: wait(),
        sleep=hold_back,
        retry_error_callback=lambda _: False,
    )
    return repeated(attempt)
