"""What importing the package does, seen from fresh interpreters."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import json
import logging
import subprocess
import sys

import pytest

llmpool = pytest.importorskip("llmpool.pool") and importlib.import_module("llmpool")

FACE = """
import sys, threading, json
import attrs, requests, tenacity, urllib3
before = set(sys.modules)
import llmpool
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
json.dump({
    "roots": sorted(roots - sys.stdlib_module_names),
    "ours": sorted(name for name in sys.modules if name.startswith("llmpool")),
    "threads": [thread.name for thread in threading.enumerate()],
}, sys.stdout)
"""

ALONE = """
import importlib, pkgutil, sys, llmpool
names = [m.name for m in pkgutil.walk_packages(llmpool.__path__, "llmpool.")
         if not m.name.endswith("__main__") and ".contrib." not in m.name]
# The face comes before any of them, and brings most of them.
face = {n for n in sys.modules if n.partition(".")[0] == "llmpool"}
for name in names:
    for loaded in [n for n in sys.modules if n.partition(".")[0] == "llmpool" and n not in face]:
        del sys.modules[loaded]
    importlib.import_module(name)
print(*names)
"""


def run(source: str) -> str:
    """Run *source* in an interpreter of its own, warnings being errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_importing_the_face() -> None:
    """It brings the declared dependencies and nothing else, and starts no thread."""
    seen = json.loads(run(FACE))
    assert seen["roots"] == ["llmpool"]
    assert seen["threads"] == ["MainThread"]
    optional = {"cli", "commands", "contrib", "testing"}
    assert [name for name in seen["ours"] if optional & set(name.split("."))] == []


def test_importing_each_module_first() -> None:
    """Every module can be the first one imported: none counts on another having been."""
    assert "llmpool.pool" in run(ALONE).split()


def test_the_face_keeps_its_word() -> None:
    """Every name in ``__all__`` is there, once, and has a docstring or is a plain value."""
    assert len(set(llmpool.__all__)) == len(llmpool.__all__)
    for name in llmpool.__all__:
        public = getattr(llmpool, name)
        assert public.__doc__ or not callable(public), name


def test_the_distribution() -> None:
    """It carries the version that the package says, and its marker for type checkers."""
    assert importlib.metadata.version("llmpool-sync") == llmpool.__version__
    assert importlib.resources.files("llmpool").joinpath("py.typed").is_file()


def test_the_logger_of_the_package() -> None:
    """It has a NullHandler and no other: where the lines go is the application's choice."""
    handlers = logging.getLogger("llmpool").handlers
    assert [type(handler) for handler in handlers] == [logging.NullHandler]


def test_names_that_are_loaded_late() -> None:
    """They are listed like the others, and a name that is none is refused as ever."""
    import llmpool

    assert set(llmpool.__all__) <= set(dir(llmpool))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        llmpool.nothing  # noqa: B018 - looking is the test
