"""What the tests of the command line have in common."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest

from llmpool.testing import LocalServer


@pytest.fixture(autouse=True)
def terminal_of_80_by_24(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test the same terminal, whatever it is started from."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture(autouse=True)
def an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Start every test where nothing is configured."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("LLMPOOL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give what names servers in the environment, with further settings by name."""

    def set_variables(*servers: LocalServer, **more: str) -> None:
        monkeypatch.setenv("LLMPOOL_DEPLOYMENTS", ",".join(server.name for server in servers))
        for server in servers:
            start = f"LLMPOOL_{server.name.upper()}__"
            own = {"PROVIDER": "openai", "BASE_URL": server.url, "API_KEY": "none", "MODEL": "tiny"}
            for name, value in own.items():
                monkeypatch.setenv(start + name, value)
        for name, value in more.items():
            monkeypatch.setenv(f"LLMPOOL_{name}", value)

    return set_variables
