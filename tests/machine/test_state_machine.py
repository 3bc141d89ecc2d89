"""
Whatever happens to a pool, in whatever order, its books are right and its rules hold.

By default a fixed few examples are drawn, the same in each run. ``LLMPOOL_MACHINE_EXAMPLES`` wants so
many, drawn anew; ``LLMPOOL_MACHINE_SEED`` draws those of a run before, whose seed it printed.
"""

from __future__ import annotations

import logging
import os
import secrets

import pytest
from hypothesis import Phase
from playing import play

FEW = 70
FIRST_SEED = 1
EXAMPLES = int(os.environ.get("LLMPOOL_MACHINE_EXAMPLES", FEW))
SEED = int(
    os.environ.get("LLMPOOL_MACHINE_SEED")
    or (FIRST_SEED if EXAMPLES == FEW else secrets.randbits(32))
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Log no changes: a record of each would be all one sees."""
    caplog.set_level(logging.CRITICAL, "llmpool")


@pytest.mark.timeout(900 + EXAMPLES)  # a failure is made small before it is shown
def test_anything_in_any_order() -> None:
    """No count is lost, no place kept, no limit passed, no wait too long, nobody lost for ever."""
    print(f"LLMPOOL_MACHINE_EXAMPLES={EXAMPLES} LLMPOOL_MACHINE_SEED={SEED}")
    play(EXAMPLES, SEED, Phase.generate, Phase.shrink)
