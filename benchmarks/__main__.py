"""Run benchmarks: ``python -m benchmarks [NAME …]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks.measure import Figure, Scale
from benchmarks.suite import BY_NAME, SUITE, Benchmark

ROOT = Path(__file__).parents[1]


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BY_NAME))
    parser.add_argument("--rounds", type=int, default=None, help="rounds of each (5; quick: 1)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="just enough to see that all of it works, and not to judge by",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the figures there too")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and end")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in BY_NAME]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds: wanted at least 1")
    return given


def run_alone(benchmark: Benchmark, scale: Scale, into: Path) -> None:
    """Run one in this process, and write its figures."""
    figures: list[Figure] = []
    try:
        figures = benchmark.load()(scale)
        if scale.quick:  # too little was done to judge by
            figures = [attrs.evolve(figure, limit=None) for figure in figures]
    finally:
        into.write_text(json.dumps([figure.to_dict() for figure in figures]))
    for figure in figures:
        print(figure, flush=True)


def run_apart(benchmark: Benchmark, given: argparse.Namespace) -> dict[str, Any]:
    """Run one in a process of its own, within its time: what one imports weighs on no other."""
    print(f"{benchmark.title} ({benchmark.name})", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as room:
        into = Path(room) / "figures.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks",
            "--alone",
            "--json",
            str(into),
            benchmark.name,
        ]
        command += ["--quick"] if given.quick else []
        command += [] if given.rounds is None else ["--rounds", str(given.rounds)]
        problem = None
        try:
            # Peers say more than was asked, and look for proxies.
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=_environment(),
                stderr=subprocess.PIPE,
                timeout=benchmark.limit,
            )
        except subprocess.TimeoutExpired:
            problem = f"not done within {benchmark.limit:g} s"
        else:
            if done.returncode:
                problem = done.stderr.decode(errors="replace").strip().splitlines()[-1]
        figures = json.loads(into.read_text()) if into.exists() else []
    if problem is not None:
        print(f"  failed: {problem}", flush=True)
    seconds = round(time.monotonic() - began, 1)
    print(f"  took {seconds:g} s", flush=True)
    return {
        "name": benchmark.name,
        "title": benchmark.title,
        "seconds": seconds,
        "problem": problem,
        "figures": figures,
    }


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return {**kept, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "CRITICAL"}


def machine() -> dict[str, Any]:
    """Say what it ran on."""
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cores": os.cpu_count(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; give 1 if something could not be measured."""
    given = read_arguments(arguments)
    if given.list:
        for benchmark in SUITE:
            print(f"{benchmark.name:<12} {benchmark.title}")
        return 0
    if given.alone:
        rounds = given.rounds or (1 if given.quick else 5)
        run_alone(BY_NAME[given.names[0]], Scale(rounds, given.quick), given.json)
        return 0
    chosen = [BY_NAME[name] for name in given.names] or list(SUITE)
    failed = False
    for benchmark in chosen:
        told = run_apart(benchmark, given)
        failed = failed or told["problem"] is not None
        if given.json is not None:  # each time, so that nothing is lost of a run broken off
            known = json.loads(given.json.read_text()) if given.json.exists() else {}
            given.json.write_text(json.dumps(merged(known, told, given.quick), indent=1) + "\n")
    return int(failed)


def merged(known: dict[str, Any], told: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Put one benchmark's figures in the place of its earlier ones, in the order of the suite."""
    by_name = {each["name"]: each for each in known.get("benchmarks", ())}
    by_name[told["name"]] = told
    ordered = [by_name[benchmark.name] for benchmark in SUITE if benchmark.name in by_name]
    return {"machine": machine(), "quick": quick, "benchmarks": ordered}


if __name__ == "__main__":
    sys.exit(main())
