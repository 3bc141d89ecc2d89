"""What the tests over real clients share."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from llmpool import ProviderPool

KEY = "sk-of-the-client-0123456789"
PROMPT = "what the user wants to know"

MakePool = Callable[..., ProviderPool]
MakeClient = Callable[..., Any]


def library(name: str) -> Any:
    """Import a library; None where it is not installed, for the mark ``needs`` to tell."""
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def raised(act: Callable[[], Any]) -> Exception:
    """Give what an act raises."""
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")
