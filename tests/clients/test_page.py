"""The how-to page about clients, with the SDK that its examples want."""

from __future__ import annotations

import doctest
import pathlib

import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "how-to" / "clients.rst"


@pytest.mark.needs("openai")
def test_the_page_about_clients() -> None:
    """Every example on it runs, those with the SDK too."""
    found = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert found.attempted > 30
    assert found.failed == 0
