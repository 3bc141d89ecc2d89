"""Bugs to be planted into the ledger, each of which the machine is to find."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from llmpool import booking
from llmpool.booking import Booking
from llmpool.claims import Claim
from llmpool.cooldowns import COOL_LEAST, COOL_MOST, THAW, CoolDown
from llmpool.entries import Entry
from llmpool.health import Health, State
from llmpool.ledger import HealthLedger
from llmpool.outcomes import Outcome, Verdict
from llmpool.places import Places
from llmpool.wishes import Wish

Plant = Callable[[pytest.MonkeyPatch], None]

PLANTED: dict[str, Plant] = {}


def planted(owner: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Plant the function, in the place of *owner*'s method of its name; its first argument is that."""

    def keep(bug: Callable[..., Any]) -> Callable[..., Any]:
        name, _, method = bug.__name__.partition("__")
        sound = getattr(owner, method)

        @functools.wraps(sound)
        def broken(*args: Any) -> Any:
            return bug(sound, *args)

        PLANTED[name] = lambda monkeypatch: monkeypatch.setattr(owner, method, broken)
        return bug

    return keep


@planted(HealthLedger)
def settled_twice__settle(
    sound: Any, ledger: HealthLedger, claim: Claim, outcome: Outcome, now: float, latency: float
) -> None:
    """An end counts again where the claim has ended already."""
    if claim.entry is not None:
        claim.entry.open.setdefault(claim.token, (claim.generation, now))
    sound(ledger, claim, outcome, now, latency)


@planted(Places)
def leaked_place__give_back(
    sound: Any, places: Places, entry: Entry, token: int, now: float
) -> bool:
    """Who gives back without an outcome keeps the place."""
    return False


@planted(Places)
def lost_waiter__serve(sound: Any, places: Places, now: float) -> None:
    """A place that becomes free is given to nobody who waits."""


@planted(CoolDown)
def shrunk_cool_down__begin(
    sound: Any, cooldown: CoolDown, delay: float, now: float, reason: str
) -> None:
    """The last word counts, and not the longest."""
    cooldown.since = now
    cooldown.until = now + min(max(delay, COOL_LEAST), COOL_MOST)
    cooldown.thaw_until = cooldown.until + THAW
    cooldown.reason = reason


@planted(CoolDown)
def cool_down_cleared_by_an_older_success__clear(
    sound: Any, cooldown: CoolDown, started_at: float
) -> None:
    """Whoever succeeds clears it."""
    cooldown.until = cooldown.thaw_until = 0.0


@planted(Health)
def two_trials__allowance(sound: Any, health: Health, now: float) -> int:
    """One that is being let back in gets two at a time."""
    allowed: int = sound(health, now)
    return max(2, allowed) if health.state is State.RECOVERING else allowed


@planted(Health)
def two_fail_open__allowance(sound: Any, health: Health, now: float) -> int:
    """One that serves a sentence gets two at a time."""
    allowed: int = sound(health, now)
    return max(2, allowed) if health.state is State.UNHEALTHY else allowed


@planted(Health)
def a_call_and_a_check_in_one_period__begin_try(sound: Any, health: Health, now: float) -> None:
    """The period's try is not taken by who begins it."""


@planted(Health)
def disabled_for_good__begin_check(sound: Any, health: Health, *_: Any) -> bool:
    """The checker asks at any time."""
    return True


@planted(Entry)
def one_more_than_allowed__recount(sound: Any, entry: Entry, now: float) -> None:
    """There is one place too many."""
    sound(entry, now)
    entry.limit += 1


@planted(Booking)
def blame_on_the_successor__book_call(
    sound: Any, books: Booking, claim: Claim, entry: Entry, *rest: Any
) -> None:
    """What a removed deployment did is booked for the new one of its name."""
    sound(books, claim, books._roster.entries.get(entry.name, entry), *rest)


@planted(Booking)
def stale_blame__book_call(
    sound: Any, books: Booking, claim: Claim, entry: Entry, *rest: Any
) -> None:
    """An outcome from before the last turn of events counts as a fresh one."""
    claim.generation = entry.health.generation
    sound(books, claim, entry, *rest)


@planted(Wish)
def endless_patience__note_wait(sound: Any, wish: Wish, since: float, now: float) -> None:
    """Each wait of a call may last as long as all of them."""


def errors_of_the_callers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is the caller's fault is counted as an error of the deployment's."""
    monkeypatch.setattr(booking, "_ERRORS", booking._ERRORS | {Verdict.CALLER})


PLANTED["errors_of_the_callers_own"] = errors_of_the_callers_own
