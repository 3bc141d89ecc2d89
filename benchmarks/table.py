"""
The tables of ``docs/explanation/performance.rst``, written from ``benchmarks/results.json``.

``python -m benchmarks.table`` puts those of a new run into the page.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "explanation" / "performance.rst"
BEGIN, END = ".. Written by benchmarks/table.py: begin.", ".. Written by benchmarks/table.py: end."


def tables(report: dict[str, Any]) -> str:
    """Write a table for each benchmark of a run."""
    ran = report["machine"]
    parts = [
        f"CPython {ran['python']} on {ran['system']}, {ran['cores']} cores. Middle of the rounds, with the "
        "least and the most.\n"
    ]
    for benchmark in report["benchmarks"]:
        heading = benchmark["title"]
        parts.append(f"{heading}\n{'^' * len(heading)}\n")
        parts.append(f"``python -m benchmarks {benchmark['name']}``\n")
        if benchmark["problem"]:
            parts.append("It could not be measured on that run.\n")
            continue
        parts.append(_table(benchmark["figures"]))
    return "\n".join(parts)


def _table(figures: list[dict[str, Any]]) -> str:
    lines = [".. list-table::", "    :header-rows: 1", "    :widths: 44 14 20 14 8", ""]
    head = ("Measured", "Middle", "Least to most", "To reach", "")
    for row in (head, *map(_row, figures)):
        lines += [
            f"    {'* ' if not place else '  '}- {cell}".rstrip() for place, cell in enumerate(row)
        ]
    return "\n".join(lines) + "\n"


def _row(figure: dict[str, Any]) -> tuple[str, ...]:
    if figure["median"] is None:
        return figure["what"], "never", "", figure["reach"] or "", ""
    verdict = {None: "", True: "reached", False: "missed"}[figure["met"]]
    spread = ""
    if figure["rounds"] > 1:
        spread = f"{_end(figure['low'])} to {_end(figure['high'])}"
    return (
        figure["what"],
        f"{figure['median']:g} {figure['unit']}".strip(),
        spread,
        figure["reach"] or "",
        verdict,
    )


def _end(value: float | None) -> str:
    """Write an end of a spread; without a number it is endless, as the p99 of those who fail too often."""
    return "∞" if value is None else f"{value:g}"


def put_into(page: str, report: dict[str, Any]) -> str:
    """
    Give *page* with the tables of *report* between its two marks.

    Raises:
        ValueError: the page has no such marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"wanted {BEGIN!r} and {END!r} in the page")
    return f"{before}{BEGIN}\n\n{tables(report)}\n{END}{after}"


def main() -> int:
    """Write the page anew."""
    report = json.loads(RESULTS.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(put_into(page, report), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
