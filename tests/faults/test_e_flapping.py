"""A deployment that is up and down in turn, by the hour; the clock is turned by hand."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from checking import Hand
from scene import Stage

from llmpool import Custom, Deployment, Event, HealthCheckConfig, ProviderPool, ServerFault

MINUTE = 60.0


class Coin:
    """A provider that fails and answers as *pattern* says, again and again; it counts by the minute."""

    def __init__(self, clock: Any, pattern: str) -> None:
        self.clock = clock
        self.began = clock.now()
        self.pattern = pattern
        self.asked = 0
        self.by_minute: Counter[int] = Counter()

    def complete(self, request: Any, timeout: float) -> str:
        """Answer, or not."""
        word = self.pattern[self.asked % len(self.pattern)]
        self.asked += 1
        self.by_minute[int((self.clock.now() - self.began) // MINUTE)] += 1
        if word == "-":
            raise ServerFault("broke", status=500)
        return "fine"

    def ping(self, timeout: float) -> bool:
        """Be there."""
        return True


class Page:
    """A check's function that says of eu what *pattern* says; the others are well."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.asked = 0

    def __call__(self, deployment: Deployment) -> bool:
        if deployment.name != "eu":
            return True
        self.asked += 1
        return self.pattern[(self.asked - 1) % len(self.pattern)] == "+"


def flapping(
    stage: Stage, calls: str, page: Page | None, events: list[Event]
) -> tuple[ProviderPool, dict[str, Coin]]:
    """Give a pool of one that flaps and two that are well, and who counts for each."""
    coins = {name: Coin(stage.clock, calls if name == "eu" else "+") for name in ("eu", "us", "sa")}
    pool = stage.timed(
        *(Deployment(name, coin) for name, coin in coins.items()),
        strategy="least_connections",
        check=None if page is None else Custom(page),
        health_check=HealthCheckConfig(),
        rng=random.Random(7),
        listeners=[events.append],
    )
    pool._checker.idle = False  # turned by hand
    return pool, coins


def spans(events: list[Event]) -> list[float]:
    """Give how long each sentence was."""
    begun = [event.at for event in events if event.new == "unhealthy"]
    ended = [event.at for event in events if event.old == "unhealthy"]
    return [end - begin for begin, end in zip(begun, ended, strict=False)]


def late_share(coins: dict[str, Coin]) -> float:
    """Give the share of eu in the calls of the sixth to the tenth minute."""
    late = {
        name: sum(coin.by_minute[minute] for minute in range(5, 10)) for name, coin in coins.items()
    }
    return late["eu"] / sum(late.values())


def ten_minutes(pool: ProviderPool) -> None:
    """Make three calls a second, each of which succeeds, and turn the checker."""
    hand = Hand(pool)
    for _ in range(600):
        hand.tick(1.0)
        for _ in range(3):
            assert pool.complete("hello").text == "fine"


@pytest.mark.parametrize("calls", ["---+++", "----+"])
def test_calls_that_fail_in_rows_while_pings_answer(stage: Stage, calls: str) -> None:
    """The sentences grow, so that soon it has hardly a call, and little is to be told."""
    events: list[Event] = []
    pool, coins = flapping(stage, calls, None, events)
    ten_minutes(pool)
    assert late_share(coins) < 0.1
    assert len(events) <= 3 * 10
    grown = spans(events)
    assert grown[0] <= 15.0
    assert max(grown) >= 60.0


@pytest.mark.parametrize(("calls", "page"), [("+-", "+-"), ("---+++", "+"), ("---+++", "++---")])
def test_calls_that_fail_while_the_check_flaps_or_lies(stage: Stage, calls: str, page: str) -> None:
    """A check of one's own is believed, and even so it has under a tenth of the calls."""
    events: list[Event] = []
    flaps = Page(page)
    pool, coins = flapping(stage, calls, flaps, events)
    ten_minutes(pool)
    assert late_share(coins) < 0.1
    assert len(events) <= flaps.asked + 2


@pytest.mark.parametrize("page", ["+-", "++---"])
def test_checks_that_flap_without_traffic(stage: Stage, page: str) -> None:
    """They are no storm of events: one way and back takes as many checks as the thresholds say."""
    events: list[Event] = []
    flaps = Page(page)
    pool, _ = flapping(stage, "+", flaps, events)
    hand = Hand(pool)
    for _ in range(600):
        hand.tick(1.0)
    assert len(events) <= 2 * flaps.asked / len(page) + 1
    assert flaps.asked <= 600 / 4
