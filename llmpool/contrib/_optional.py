"""Libraries that a user may or may not have."""

from __future__ import annotations

import importlib
from typing import Any


def load(name: str, wanted_by: str, extra: str) -> Any:
    """
    Import a library.

    Raises:
        ImportError: it is not installed; the message names the extra of llmpool that brings it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise  # it is there, and something that it needs is not
    raise ImportError(
        f"{wanted_by} needs {name}, which is not installed: install llmpool with its extra {extra!r}",
        name=name,
    )
