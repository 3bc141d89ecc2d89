"""Programs of their own: an interpreter under a wall limit, which has to end in peace."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from scene import found_in

WALL = 90.0
"""Seconds after which an interpreter hangs, on a machine with much else to do."""

PREFACE = """
import os, resource, signal, sys, threading, time
from llmpool import *
from llmpool.testing import *

KEY, PROMPT, *URLS = sys.argv[1:]

def deployment(name, url, **options):
    return Deployment(name, OpenAIProvider(url, api_key=KEY, model="tiny"), **options)

def pool_of(*deployments, **options):
    options.setdefault("name", "main")
    options.setdefault("strategy", "primary")
    return ProviderPool(deployments, **options)

def states(pool):
    return {name: status.state for name, status in pool.all_health().items()}

def in_flight(pool):
    return [status.requests_in_flight for status in pool.all_health().values()]

def descriptors():
    return len(os.listdir("/proc/self/fd"))
"""


def alone(script: str, key: str, prompt: str, *urls: str, measured: bool = True) -> list[str]:
    """
    Run *script* in an interpreter of its own; give the lines that it prints.

    Not *measured* is one that is interrupted anywhere: the lock of coverage's own tracer bears that ill.

    Raises:
        AssertionError: it failed, said anything on standard error, or showed the key or the prompt.
    """
    program = PREFACE + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, key, prompt, *urls],
        capture_output=True,
        text=True,
        timeout=WALL,
        check=False,
        env={
            name: value
            for name, value in os.environ.items()
            if measured or not name.startswith("COVERAGE_PROCESS")
        },
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert found_in(done.stdout) is None
    return done.stdout.splitlines()
