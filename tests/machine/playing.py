"""Runs of the machine."""

from __future__ import annotations

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test
from pool_machine import PoolMachine

STEPS = 40


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
