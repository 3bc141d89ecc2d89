"""A configuration in a TOML file."""

from __future__ import annotations

import importlib
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from llmpool.settings.blueprint import Blueprint
from llmpool.settings.problems import ConfigError
from llmpool.settings.reader import read_mapping
from llmpool.settings.references import References


def read_file(
    path: str | os.PathLike[str], pool: Callable[..., Any], *, reveal: bool = True
) -> Blueprint:
    """
    Read a file; a relative ``file:PATH`` in it counts from its own folder.

    Args:
        reveal: False looks up no ``env:`` and no ``file:``.

    Raises:
        ConfigError: it cannot be read, is no TOML, or makes no pool.
        ImportError: before Python 3.11, without tomli.
    """
    shown = os.fspath(path)
    references = References(folder=pathlib.Path(path).parent, reveal=reveal)
    return read_mapping(load(path), pool, source=shown, references=references)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """
    Give what a TOML file holds.

    Raises:
        ConfigError: it cannot be read or is no TOML.
        ImportError: before Python 3.11, without tomli.
    """
    toml = _toml()
    try:
        with open(path, "rb") as file:
            return dict(toml.loads(file.read().decode("utf-8-sig")))
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        problem = "wanted UTF-8 text, got other bytes"
    except ValueError as error:  # what tomllib and tomli raise is one
        problem = f"no TOML: {error}"
    except RecursionError:
        problem = "no TOML: it is nested too deeply"
    raise ConfigError(f"{os.fspath(path)}: {problem}")


def _toml(version: tuple[int, ...] = sys.version_info[:2]) -> Any:
    try:
        return importlib.import_module("tomllib" if version >= (3, 11) else "tomli")
    except ImportError:
        raise ImportError(
            "a TOML file before Python 3.11 needs tomli: install the extra named toml, or tomli itself"
        ) from None
