"""
Whatever happens to a pool, in whatever order, its books are right and its rules hold.

By default a fixed few examples are drawn, the same in each run. ``LLMPOOL_MACHINE_EXAMPLES`` wants so
many, drawn anew; ``LLMPOOL_MACHINE_SEED`` draws those of a run before, whose seed it printed.
"""

from __future__ import annotations

import gc
import logging
import os
import secrets

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test
from planted import PLANTED
from pool_machine import PoolMachine

FEW, STEPS = 70, 40
FIRST_SEED = 1
ENOUGH = 200
"""Examples within which a planted bug is found; mostly it is one of the first few."""
EXAMPLES = int(os.environ.get("LLMPOOL_MACHINE_EXAMPLES", FEW))
SEED = int(
    os.environ.get("LLMPOOL_MACHINE_SEED")
    or (FIRST_SEED if EXAMPLES == FEW else secrets.randbits(32))
)


def play(examples: int, seed: int, *phases: Phase) -> None:
    """Let the machine run through so many examples."""

    @hypothesis.seed(seed)
    class Machine(PoolMachine):
        pass

    profile = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=phases,
        print_blob=False,
    )
    run_state_machine_as_test(Machine, settings=profile)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Log no changes: a record of each would be all one sees."""
    caplog.set_level(logging.CRITICAL, "llmpool")


@pytest.mark.timeout(900 + EXAMPLES)  # a failure is made small before it is shown
def test_anything_in_any_order() -> None:
    """No count is lost, no place kept, no limit passed, no wait too long, nobody lost for ever."""
    print(f"LLMPOOL_MACHINE_EXAMPLES={EXAMPLES} LLMPOOL_MACHINE_SEED={SEED}")
    play(EXAMPLES, SEED, Phase.generate, Phase.shrink)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found."""
    PLANTED[name](monkeypatch)
    with pytest.raises(AssertionError):
        play(ENOUGH, FIRST_SEED, Phase.generate)
    gc.collect()  # the pool whose end was not waited for, before it is looked for what is in flight
