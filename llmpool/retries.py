"""How a call goes on after its first attempt failed, as a tenacity loop."""

from __future__ import annotations

import random
from collections.abc import Callable

import tenacity

from llmpool.config import RetryPolicy

MOST_DOUBLINGS = 64
"""A nanosecond becomes centuries; further on a float overflows."""


def pause(policy: RetryPolicy, returns: int, rng: random.Random) -> float:
    """
    Draw the seconds before the next return to the same deployment.

    Full jitter over a doubling pause (Brooker, "Exponential Backoff and Jitter", AWS 2015).
    """
    doubled = policy.backoff_initial * 2.0 ** min(returns, MOST_DOUBLINGS)
    return rng.uniform(0.0, min(policy.backoff_max, doubled))


def repeat(
    attempt: Callable[[], bool],
    *,
    stop: Callable[[], bool],
    wait: Callable[[], float],
    hold_back: Callable[[float], None],
) -> bool:
    """
    Attempt until it succeeds or *stop* says so; tell whether it succeeded.

    What *attempt* raises ends it, and is raised.

    Between two attempts *hold_back* gets the seconds that *wait* drew. It does not sleep: it notes from
    when on the same deployment may be asked again, and the ledger waits for that or for something
    better, in turn with other callers.
    """
    # The functions go by way of the arguments: a Retrying is a ring of references, and would keep the
    # whole call until the garbage is next collected.
    repeated = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda done: not done),
        stop=lambda state: state.kwargs["stop"](),
        wait=lambda state: state.kwargs["wait"](),
        before_sleep=_hold_back,
        sleep=lambda seconds: None,
        retry_error_callback=lambda state: False,
    )
    thrown: list[BaseException] = []
    done = repeated(
        _attempt, attempt=attempt, thrown=thrown, stop=stop, wait=wait, hold_back=hold_back
    )
    if thrown:
        raise thrown.pop()
    return done


def _attempt(*, attempt: Callable[[], bool], thrown: list[BaseException], **_: object) -> bool:
    try:
        return attempt()
    except BaseException as error:  # noqa: BLE001 - raised again as soon as tenacity is left
        # It would keep the error in a frame that the error keeps: a ring with the whole call in it.
        thrown.append(error)
        return True


def _hold_back(state: tenacity.RetryCallState) -> None:
    assert state.next_action is not None
    state.kwargs["hold_back"](state.next_action.sleep)
