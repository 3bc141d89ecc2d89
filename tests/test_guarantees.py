"""The documentation keeps its word: each promise names tests that exist, each public name is described."""

from __future__ import annotations

import ast
import functools
import pathlib
import re

import pytest

import llmpool
import llmpool.testing

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAMED = re.compile(r"``(tests/[\w/]+\.py)::(\w+)``")

PAGE = DOCS / "explanation" / "guarantees.rst"
THREATS = DOCS / "explanation" / "threats.rst"
FAULTS = DOCS / "explanation" / "faults.rst"
ROOMS = ROOT / "tests" / "faults"


@functools.cache
def found_in(path: pathlib.Path) -> frozenset[str]:
    """Give the names of the tests in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.rst")), ids=lambda page: page.stem)
def test_a_test_that_is_named(page: pathlib.Path) -> None:
    """It exists, under that name and in that file."""
    missing = [
        f"{path}::{name}"
        for path, name in NAMED.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / path).is_file() or name not in found_in(ROOT / path)
    ]
    assert not missing


def promises(page: pathlib.Path) -> list[str]:
    """Give each promise with its proofs: a line at the margin and what is indented below it."""
    promise = re.compile(r"^\S.+\.\n {4}\S.*\n(?:(?: {4}.*)?\n)*", re.M)
    return promise.findall(page.read_text(encoding="utf-8") + "\n")


def sections() -> list[str]:
    """Give each section of the page, with its title."""
    return re.split(r"\n(?=[^\n]+\n-{3,}\n)", PAGE.read_text(encoding="utf-8"))[1:]


@pytest.mark.parametrize(
    "part",
    [*promises(PAGE), *promises(THREATS), *sections()],
    ids=lambda part: part.partition("\n")[0],
)
def test_a_promise(part: str) -> None:
    """At least one test proves it."""
    assert NAMED.search(part)


def rows() -> list[str]:
    """Give the lines of the tables of faults, without their heads."""
    tables = FAULTS.read_text(encoding="utf-8").split(".. list-table::")[1:]
    return [row for table in tables for row in re.split(r"\n    \* - ", table)[2:]]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.partition("\n")[0])
def test_a_fault(row: str) -> None:
    """It is told what is done about it, and at least one test shows it; an exception gives its reason."""
    fault, done, shown = row.split("\n      - ")
    assert fault
    assert done
    assert NAMED.search(shown)
    assert "*Exception" not in done or re.search(r"\*Exception:\* \w.{20}", done)


@pytest.mark.parametrize("letter", "ABCDEFGH")
def test_a_section_of_faults(letter: str) -> None:
    """It has a table, and names tests of all the rooms that bear its letter."""
    page = FAULTS.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^{letter}\. .+?(?=^[A-Z]\. |\Z)", page, re.M | re.S)
    named = {pathlib.Path(path).name for path, _ in NAMED.findall(section)}
    rooms = {path.name for path in ROOMS.glob(f"test_{letter.lower()}_*.py")}
    assert rooms
    assert rooms <= named


def documented() -> set[str]:
    """Give the names that the reference describes."""
    pattern = re.compile(r"\.\. auto(?:class|exception|data):: ([\w.]+)")
    pages = (DOCS / "reference").glob("*.rst")
    return {name for page in pages for name in pattern.findall(page.read_text(encoding="utf-8"))}


def test_a_public_name() -> None:
    """It stands in the reference."""
    public = {f"llmpool.{name}" for name in llmpool.__all__}
    public |= {f"llmpool.testing.{name}" for name in llmpool.testing.__all__}
    assert public - documented() == set()
