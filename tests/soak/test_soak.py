"""Two minutes of everything at once; at the end nothing is lost, mixed up, kept or left over."""

from __future__ import annotations

import logging
import sys

import pytest
from soak import STAGE, WARM_UP, soak

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="reads what the process holds from /proc"
)


def test_soak(seconds: float, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Each call ends in time with its own answer or one error of ours; nothing grows, nothing is left."""
    caplog.set_level(logging.CRITICAL)  # kept records would be memory that grows
    print(f"\nsoak of {seconds:g} s, --soak-seed={seed}", flush=True)
    assert soak(seed, seconds, max(WARM_UP + 2, round(seconds / STAGE))) == []
