"""Counting instructions by valgrind's callgrind: the same on a busy machine as on an idle one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAM = shutil.which("valgrind")
_ROOT = Path(__file__).parents[1]
_TOTAL = re.compile(r"Collected\s*:\s*(\d+)")


def count(*command: str) -> int:
    """
    Count the instructions of a Python program.

    Raises:
        RuntimeError: it failed.
    """
    assert PROGRAM is not None
    done = subprocess.run(
        [PROGRAM, "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, *command],
        cwd=_ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    found = _TOTAL.search(done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-500:]}")
    return int(found[1])


def per_call(work: str, few: int = 100, many: int = 600) -> float:
    """Count the instructions of one piece of a work in :mod:`benchmarks.work`, its beginnings apart."""
    least, most = (count("-m", "benchmarks.work", work, str(times)) for times in (few, many))
    return (most - least) / (many - few)
