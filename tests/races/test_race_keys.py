"""A key that a function renews, under many threads."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from crowd import PATIENCE, caught, crowd, give_way

from llmpool.providers._keys import REMEMBERED, Secret

KEYS = tuple(f"sk-race-{number}" for number in range(REMEMBERED - 1))


class Forgetful(Secret):
    """The broken twin: it reads what it remembers, and then writes it."""

    __slots__ = ()

    def reveal(self) -> str | None:
        """Give the key; another's that came meanwhile is forgotten."""
        assert self._ask is not None
        key = self._ask()
        known = self._recent.copy()
        give_way()
        if key not in known:
            known.append(key)
        self._recent = known
        return key


def hammer(kind: Callable[[Callable[[], str]], Secret]) -> list[str]:
    """Have 64 threads use rotating keys; give what is wrong with what is remembered of them."""
    turns = itertools.cycle(KEYS)
    secret = kind(lambda: next(turns))
    forgotten: list[str] = []

    def use(number: int) -> None:
        for _ in range(10):
            key = secret.reveal()
            give_way()
            if key not in secret.known():
                forgotten.append("a key that is in use is not known")

    return crowd(use) + forgotten


def test_a_crowd_uses_a_key_that_rotates() -> None:
    """Each key that is in use is known, to be kept out of messages; where one gets lost it shows."""
    assert hammer(Secret) == []
    assert caught(lambda: hammer(Forgetful))


def test_two_threads_are_given_one_new_key() -> None:
    """It is remembered, with those before it, however often both note it."""
    together = threading.Barrier(2)
    keys = iter(["sk-race-old"])

    def renew() -> str:
        if (old := next(keys, None)) is not None:
            return old
        together.wait(PATIENCE)
        return "sk-race-new"

    secret = Secret(renew)
    assert secret.reveal() == "sk-race-old"
    given: list[str | None] = []
    threads = [threading.Thread(target=lambda: given.append(secret.reveal())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert given == ["sk-race-new"] * 2
    assert set(secret.known()) == {"sk-race-old", "sk-race-new"}
