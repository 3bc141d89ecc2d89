"""What the tests of configurations have in common."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every test without a setting in the environment."""
    for name in list(os.environ):
        if name.startswith("LLMPOOL_"):
            monkeypatch.delenv(name)
