"""
What the machine would find, were it there.

It takes a minute and is of the wide tier: by its name it is collected only where it is asked for.
"""

from __future__ import annotations

import gc
import logging

import pytest
from hypothesis import Phase
from planted import PLANTED
from playing import play

SEED = 1
ENOUGH = 600
"""Examples within which a planted bug is found; mostly it is one of the first few."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Log no changes: a record of each would be all one sees."""
    caplog.set_level(logging.CRITICAL, "llmpool")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found."""
    PLANTED[name](monkeypatch)
    with pytest.raises(AssertionError):
        play(ENOUGH, SEED, Phase.generate)
    gc.collect()  # the pool whose end was not waited for, before it is looked for what is in flight
