"""Processes forked while others use the pool: bare, from a check's thread, and by multiprocessing."""

from __future__ import annotations

import pytest
from hosted import WALL, Launch, python

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("when", ["anytime", "held", "check"])
def test_bare_forks(when: str, launch: Launch) -> None:
    """The child hangs on nothing, has its own checker and counts, and gets its own answers."""
    program = launch(python("-W", "ignore::DeprecationWarning", "-m", "forks", when))
    assert program.ended(WALL) == 0
    assert "all went well" in program.log


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, launch: Launch) -> None:
    """Forked processes use the pool they inherit as their own, the others build it."""
    program = launch(python("-W", "ignore::DeprecationWarning", "-m", "processes", method))
    assert program.ended(WALL) == 0
    assert "all went well" in program.log
