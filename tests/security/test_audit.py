"""The audit of what the package needs tells a vulnerability, its absence, and that nothing is known."""

from __future__ import annotations

import importlib.util
import pathlib
from typing import Any

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / ".ci" / "audit.py"
PINNED = {"requests": "2.34.2", "urllib3": "2.2.0"}
BAD = {"id": "GHSA-1", "fix_versions": ["2.6.0"], "aliases": [], "description": ""}


def entry(name: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, "version": PINNED[name], **facts}


@pytest.mark.parametrize(
    ("report", "status", "said"),
    [
        (None, 0, ["audit skipped: the advisory service cannot be reached (no such name)"]),
        (
            {"dependencies": [entry("requests", vulns=[]), entry("urllib3", vulns=[])]},
            0,
            ["no known vulnerability in requests, urllib3"],
        ),
        (
            {"dependencies": [entry("requests", vulns=[]), entry("urllib3", vulns=[BAD])]},
            1,
            ["urllib3 2.2.0: GHSA-1, mended in 2.6.0"],
        ),
        (
            {
                "dependencies": [
                    entry("requests", vulns=[]),
                    entry("urllib3", skip_reason="not found"),
                ]
            },
            0,
            ["audit skipped: nothing is known of urllib3"],
        ),
    ],
    ids=["no network", "none", "one", "not looked up"],
)
def test_a_report(report: Any, status: int, said: list[str]) -> None:
    """What pip-audit passes over counts as unknown, and not as good."""
    pytest.importorskip("packaging.requirements")
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    assert audit.judge(report, "no such name", PINNED) == (status, said)
