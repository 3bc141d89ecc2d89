"""What is costly to make is kept for a while, by a clock and a cost that are set by hand."""

from __future__ import annotations

import pytest

from llmpool.testing import ManualClock
from llmpool.web.sparing import Sparing


class Workshop:
    """Makes numbers, each at the same cost."""

    def __init__(self, cost: float) -> None:
        self.clock = ManualClock()
        self.cost = cost
        self.made = 0
        self.spent = 0.0
        self.sparing = Sparing[int](self.clock.now, lambda: self.spent)

    def make(self) -> int:
        """Make the next number."""
        self.made += 1
        self.spent += self.cost
        return self.made

    def give(self, key: object = "key") -> int:
        """Give a number."""
        return self.sparing.give(key, self.make)


def test_what_is_cheap() -> None:
    """It is made anew each time."""
    shop = Workshop(0.05)
    assert [shop.give() for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(("cost", "kept"), [(0.0625, 0.625), (0.5, 5.0), (1.0, 10.0), (60.0, 10.0)])
def test_what_is_costly(cost: float, kept: float) -> None:
    """It is kept ten times as long as it took, and ten seconds at most."""
    shop = Workshop(cost)
    assert shop.give() == 1
    shop.clock.advance(kept - 0.001)
    assert shop.give() == 1
    shop.clock.advance(0.002)
    assert [shop.give(), shop.give()] == [2, 2]


def test_another_key() -> None:
    """It is never answered with what was made for the one before."""
    shop = Workshop(1.0)
    assert [shop.give("a"), shop.give("b"), shop.give("a"), shop.give("a")] == [1, 2, 3, 3]


def test_forgetting() -> None:
    """It is made anew, however costly."""
    shop = Workshop(1.0)
    shop.give()
    shop.sparing.forget()
    assert shop.give() == 2


def test_what_has_become_cheap() -> None:
    """It is kept no longer."""
    shop = Workshop(1.0)
    shop.give()
    shop.clock.advance(10.1)
    shop.cost = 0.0
    assert [shop.give(), shop.give()] == [2, 3]


def test_while_another_is_at_it() -> None:
    """One that was kept until then is given in the meantime, but not for longer than ten seconds."""
    shop = Workshop(0.5)
    shop.give()
    shop.clock.advance(6.0)
    meanwhile: list[int] = []

    def make() -> int:
        meanwhile.append(shop.give())
        shop.clock.advance(9.5)
        meanwhile.append(shop.give())
        return shop.make()

    assert shop.sparing.give("key", make) == 3
    assert meanwhile == [1, 2]


def test_a_making_that_fails() -> None:
    """The next one makes it."""
    shop = Workshop(0.5)
    shop.give()
    shop.clock.advance(6.0)

    def fail() -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shop.sparing.give("key", fail)
    assert shop.give() == 2
