"""The how-to pages about clients, with the SDKs that their examples want."""

from __future__ import annotations

import doctest
import pathlib

import pytest

PAGES = pathlib.Path(__file__).parents[2] / "docs" / "how-to"


@pytest.mark.parametrize(
    ("page", "examples"),
    [
        pytest.param("clients", 30, marks=pytest.mark.needs("openai")),
        pytest.param("openai-sdk", 15, marks=pytest.mark.needs("openai")),
        pytest.param("anthropic-sdk", 10, marks=pytest.mark.needs("anthropic")),
    ],
)
def test_a_page(page: str, examples: int) -> None:
    """Every example on it runs, those with the SDK too."""
    path = PAGES / f"{page}.rst"
    found = doctest.testfile(str(path), module_relative=False, encoding="utf-8")
    assert found.attempted > examples
    assert found.failed == 0
