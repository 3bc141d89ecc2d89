"""What the rooms of the frameworks share: their pages, and what an error must look like."""

from __future__ import annotations

import doctest
import pathlib

from real_clients import KEY, PROMPT

from llmpool import OpenAIProvider
from llmpool.testing import LocalServer

PAGES = pathlib.Path(__file__).parents[3] / "docs" / "how-to"
MODEL = "gpt-4o-mini"
"""Some frameworks take only names of models that they know."""
ECHO = f"echo: {PROMPT}"


def at(server: LocalServer) -> OpenAIProvider:
    """Make the provider of a server."""
    return OpenAIProvider(server.url, api_key=KEY, model=MODEL)


def assert_one_line(error: BaseException) -> None:
    """Hold the error of a pool without a deployment that answers to one line, free of secrets."""
    said = str(error)
    assert "\n" not in said
    assert "no deployment answered (a: ConnectionFailed: 127.0.0.1" in said
    assert "; b: ConnectionFailed: 127.0.0.1" in said
    assert KEY not in said
    assert PROMPT not in said


def assert_page(name: str, examples: int) -> None:
    """Run the examples of a how-to page."""
    found = doctest.testfile(str(PAGES / f"{name}.rst"), module_relative=False, encoding="utf-8")
    assert found.attempted > examples
    assert found.failed == 0
