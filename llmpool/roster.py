"""Who there is, who may be asked, who had better be waited for; the ledger's lock guards all of it."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from llmpool.affinity import home
from llmpool.entries import UNKNOWN_MODEL, Entry
from llmpool.health import State
from llmpool.quota import Quota
from llmpool.wishes import Refusal, Wish

_LIMITS = ("requests_per_minute", "tokens_per_minute")
SWEEP = 10.0
MOST_GROUPS = 256


@attrs.frozen
class Change:
    """A deployment went from one state to another."""

    deployment: str
    old: str
    new: str
    reason: str | None
    at: float


News = Change | Callable[[], None]
"""What is to be told outside the lock: a change, or something else that tells of itself."""


class Group:
    """The eligible deployments for one kind of wish, tier by tier."""

    __slots__ = ("many", "tiers")

    def __init__(self, tiers: tuple[tuple[Any, ...], ...]) -> None:
        self.tiers = tiers
        self.many = sum(map(len, tiers)) > 1


class Roster:
    """
    The entries, grouped by what calls want, and the times at which they change by themselves.

    Not thread-safe. *pick* chooses one of several entries.
    """

    def __init__(self, pick: Callable[[Sequence[Any]], Any], now: float) -> None:
        self.entries: dict[str, Entry] = {}
        self.groups: dict[Any, Group] = {}  # those that hold good
        self.limited = False  # somebody has a limit per minute
        self.news: list[News] = []
        self.sweep_at = now + SWEEP
        self.due_at = self.sweep_at  # of the first alarm or the sweep
        self._pick = pick
        self._alarms: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._in_use = False  # somebody has been chosen

    def add(self, entry: Entry, now: float) -> None:
        """
        Take in an entry.

        Raises:
            ValueError: its limits per minute are not those of its quota group.
        """
        mates = self._share_quota(entry, now)
        self.entries[entry.name] = entry
        for each in (*mates, entry):
            self.refresh(each, now)

    def _share_quota(self, entry: Entry, now: float) -> list[Entry]:
        """Give *entry* its quota, the group's if it is in one; give those whose quota changed with it."""
        deployment = entry.deployment
        wanted = (deployment.requests_per_minute, deployment.tokens_per_minute)
        group = deployment.quota_group
        known = () if group is None else self.entries.values()
        mates = [other for other in known if other.deployment.quota_group == group]
        shared = next((other.quota for other in mates if other.quota is not None), None)
        if shared is not None:
            for field, own, theirs in zip(_LIMITS, wanted, shared.limits, strict=True):
                if own not in (None, theirs) and theirs is not None:
                    raise ValueError(
                        f"{field}: wanted one limit for the quota_group {group!r}, got {theirs} "
                        f"and {own} for {entry.name!r}"
                    )
            first, second = shared.limits
            wanted = (first or wanted[0], second or wanted[1])
            if wanted == shared.limits:
                entry.quota = shared
                return []
        if wanted == (None, None):
            return []
        self.limited = True
        entry.quota = Quota(*wanted, now)
        if shared is not None:
            entry.quota.adopt(shared)
        for other in mates:
            other.quota = entry.quota
        return mates

    def remove(self, name: str, now: float) -> Entry:
        """Forget an entry."""
        entry = self.entries.pop(name)
        entry.removed = True
        self.refresh(entry, now)
        self.forget_groups()
        return entry

    # -- choosing ---------------------------------------------------------------------------

    def choose(self, wish: Wish, now: float) -> Entry | None:
        """Give one that may be asked now and has a free place."""
        if not (wish.avoid or wish.affinity):
            # Mostly the strategy's choice among all of a tier is free.
            for tier in self.group(wish).tiers[:1]:
                entry: Entry = self._pick(tier)
                if entry.in_flight < entry.limit and entry.has_room(wish.tokens, now):
                    return entry
        free = self.free(wish, now)
        if not free:
            return None
        if wish.affinity is not None:
            return home(wish.affinity, free)  # type: ignore[no-any-return]
        return free[0] if len(free) == 1 else self._pick(free)

    def free(self, wish: Wish, now: float) -> list[Entry]:
        """Give those that have a place and room for it, untried first, of the first tier that has any."""
        again: list[Entry] = []
        for tier in self.group(wish).tiers:
            free = [entry for entry in tier if entry.in_flight < entry.limit]
            if self.limited:
                free = [entry for entry in free if entry.has_room(wish.tokens, now)]
            untried = [entry for entry in free if entry.name not in wish.avoid]
            if untried:
                return untried
            again = again or [entry for entry in free if not wish.avoids(entry.name, now)]
        return again

    def group(self, wish: Wish) -> Group:
        """Give the eligible ones that such a wish may have."""
        return self.groups.get(wish.key) or self._find_group(wish)

    def _find_group(self, wish: Wish) -> Group:
        groups = self.groups  # read first: a guest may put others in their place meanwhile
        tiers: dict[int, list[Entry]] = {}
        for entry in list(self.entries.values()):
            if entry.eligible and entry.serves(*wish.key):
                tiers.setdefault(entry.priority, []).append(entry)
        group = Group(tuple(tuple(tiers[priority]) for priority in sorted(tiers)))
        if len(groups) >= MOST_GROUPS:
            groups.clear()
        groups[wish.key] = group
        self._in_use = True
        return group

    def forget_groups(self) -> None:
        """Note that others are eligible than before, or know other models."""
        self.groups = {}

    def others(self, entry: Entry, wish: Wish) -> bool:
        """Tell whether an untried one remains besides *entry*."""
        group = self.group(wish)
        if not wish.avoid:
            return group.many
        return any(
            other is not entry and other.name not in wish.avoid
            for tier in group.tiers
            for other in tier
        )

    def _matching(self, wish: Wish) -> list[Entry]:
        return [
            entry
            for entry in list(self.entries.values())
            if not entry.draining and entry.weight and entry.serves(*wish.key)
        ]

    def worth_waiting(self, wish: Wish, now: float, give_up_at: float) -> float | None:
        """
        Give the time at which to look again, or None where waiting does not help.

        *give_up_at* bounds the waits for a cool-down or a place; a pause before a return is bounded by
        the deadline alone.
        """
        soonest = math.inf
        for entry in self._matching(wish):
            health = entry.health
            if health.disabled_until is not None or health.state is State.UNHEALTHY:
                continue
            opens_at = entry.open_at(wish.tokens, now)
            back_at = wish.back_at(entry.name, now)
            if back_at > max(opens_at, now):
                soonest = min(soonest, back_at)
            elif now < opens_at <= give_up_at:
                soonest = min(soonest, opens_at)
            elif opens_at <= now < give_up_at:  # merely full: somebody's end wakes the queue
                soonest = min(soonest, give_up_at)
        return soonest if soonest <= wish.deadline_at and soonest != math.inf else None

    def least_bad(self, wish: Wish, now: float) -> Entry | None:
        """Give the unhealthy one that is soonest to recover and has nobody trying it, untried ones first."""
        bad = [
            entry
            for entry in self._last_resort(wish, now)
            if entry.in_flight < entry.limit and not wish.avoids(entry.name, now)
        ]
        return min(
            bad,
            key=lambda entry: (entry.name in wish.avoid, entry.health.opens_at),
            default=None,
        )

    def worth_pausing(self, wish: Wish, now: float) -> float | None:
        """Give the time at which an unhealthy one that was tried may be tried again."""
        times = [wish.back_at(entry.name, now) for entry in self._last_resort(wish, now)]
        return min((at for at in times if now < at < wish.deadline_at), default=None)

    def _last_resort(self, wish: Wish, now: float) -> list[Entry]:
        return [
            entry
            for entry in self._matching(wish)
            if entry.health.state is State.UNHEALTHY
            and entry.health.disabled_until is None
            and not entry.health.cooling(now)
            and entry.has_room(wish.tokens, now)
        ]

    def refusal(self, wish: Wish, now: float) -> Refusal:
        reasons = {}
        waits = []
        for entry in list(self.entries.values()):
            if not entry.deployment.knows(wish.model) or wish.model in entry.unknown:
                reasons[entry.name] = UNKNOWN_MODEL
            elif not entry.serves(*wish.key):
                reasons[entry.name] = "does not carry the tags, or has another upstream model"
            else:
                told = entry.explain(now, wish.tokens)
                until = "" if told.until is None else f", for {told.until:.1f} s"
                reasons[entry.name] = told.why + until
                if told.until is not None and entry.name not in wish.barred:
                    waits.append(told.until)
        return Refusal("nobody", reasons, min(waits, default=None))

    # -- time -------------------------------------------------------------------------------

    def catch_up(self, now: float) -> None:
        """Do what is due by *now*."""
        while self._alarms and self._alarms[0][0] <= now:
            at, _, entry = heapq.heappop(self._alarms)
            if entry.alarm_at is not None and entry.alarm_at <= at:
                entry.alarm_at = None
            self.refresh(entry, now)
        if now >= self.sweep_at:
            self.sweep_at = now + SWEEP
            for entry in list(self.entries.values()):
                entry.latencies.expire(now)
                entry.latency = entry.latencies.mean
        self.due_at = min(self.sweep_at, self._alarms[0][0] if self._alarms else math.inf)

    def refresh(self, entry: Entry, now: float) -> None:
        """Bring what is derived from an entry's health up to date, and note a change of its state."""
        health = entry.health
        health.tick(now)
        entry.recount(now)
        if entry.unknown:
            known = {model: end for model, end in entry.unknown.items() if end > now}
            if len(known) != len(entry.unknown):
                entry.unknown = known
                self.forget_groups()
        open_now = not entry.removed and not entry.draining and health.open_at(now) <= now
        eligible = open_now and bool(entry.weight)
        if eligible != entry.eligible:
            if eligible:
                # Who was away does not catch up in turns. Before the first call there are none, and a
                # look at all for each that is added would make a big pool slow to build.
                others = self.entries.values() if self._in_use else ()
                entry.turns = max((e.turns for e in others if e.eligible), default=0.0)
            entry.eligible = eligible
            self.forget_groups()
        state = entry.state(now)
        if state != entry.shown and not entry.removed:
            self.news.append(Change(entry.name, entry.shown, state, entry.reason(now), now))
            entry.shown = state
        ahead = [*entry.unknown.values()]
        upcoming = health.next_change(now)
        if upcoming is not None:
            ahead.append(upcoming)
        if entry.watched:
            ahead += [end for _, end in list(entry.open.values()) if end > now]
        if ahead:
            self.alarm(entry, min(ahead))

    def alarm(self, entry: Entry, at: float) -> None:
        if entry.alarm_at is None or at < entry.alarm_at:
            entry.alarm_at = at
            heapq.heappush(self._alarms, (at, next(self._order), entry))
            self.due_at = min(self.due_at, at)
