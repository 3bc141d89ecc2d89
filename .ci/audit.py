"""
Ask for known vulnerabilities in what llmpool needs at run time, as it is installed here.

Exit status 1 tells of one. Where the advisory service cannot be reached nothing is known, which is
said in so many words and fails nothing: no network, no verdict.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

PACKAGE = "llmpool-sync"
SECONDS = 120


def needed(name: str) -> dict[str, str]:
    """Give the installed version of all that a distribution needs, and what these need."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        for line in metadata.requires(waiting.pop()) or ():
            wanted = Requirement(line)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            if wanted.name not in found:
                found[wanted.name] = metadata.version(wanted.name)
                waiting.append(wanted.name)
    return found


def ask(pinned: dict[str, str]) -> tuple[Any, str]:
    """Give the report of pip-audit, None if there is none, and the last line that it complained."""
    with tempfile.TemporaryDirectory() as folder:
        listed = pathlib.Path(folder) / "needed.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in pinned.items()))
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip"]
        command += ["--requirement", str(listed), "--vulnerability-service", "osv"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return None, f"no answer within {SECONDS} s"
    complaint = next(reversed(done.stderr.strip().splitlines()), "")
    try:
        return json.loads(done.stdout), complaint
    except ValueError:
        return None, complaint


def judge(report: Any, complaint: str, pinned: dict[str, str]) -> tuple[int, list[str]]:
    """Give the exit status and the lines to print."""
    if report is None:
        return 0, [f"audit skipped: the advisory service cannot be reached ({complaint[:200]})"]
    lines = []
    status = 0
    unknown = set(pinned)
    for entry in report["dependencies"]:
        if "skip_reason" in entry:
            continue  # to pip-audit that is no failure, and to us no verdict
        unknown.discard(entry["name"])
        for advisory in entry["vulns"]:
            status = 1
            fixed = ", ".join(advisory["fix_versions"]) or "nothing yet"
            lines.append(f"{entry['name']} {entry['version']}: {advisory['id']}, mended in {fixed}")
    if unknown:
        lines.append(f"audit skipped: nothing is known of {', '.join(sorted(unknown))}")
    if not lines:
        lines.append(f"no known vulnerability in {', '.join(pinned)}")
    return status, lines


def main() -> int:
    """Audit, and tell."""
    pinned = needed(PACKAGE)
    status, lines = judge(*ask(pinned), pinned)
    sys.stdout.write("\n".join(lines) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
