"""``llmpool config``: look at a configuration, print its schema, print one to begin with."""

from __future__ import annotations

import argparse
import importlib.resources
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, TextIO
from urllib.parse import urlsplit

from llmpool import ProviderPool
from llmpool import settings as configured
from llmpool.commands import _tables
from llmpool.commands._arguments import Unusable
from llmpool.commands._configured import FILE
from llmpool.commands._tables import printable
from llmpool.commands._terminal import Line, Span
from llmpool.settings import files
from llmpool.settings.references import is_reference
from llmpool.settings.schema import schema

VALID, INVALID = 0, 2

_LOCAL = ("localhost", "127.0.0.1", "::1")


def validate(options: argparse.Namespace, out: TextIO) -> int:
    """Read a file as a pool would, without asking anybody; give the exit status."""
    path = options.path or FILE
    if options.path is None and not pathlib.Path(path).exists():
        raise Unusable(f"config validate: there is no {FILE} here; name another after the command")
    problems: tuple[str, ...] = ()
    names: list[str] = []
    try:
        plan = configured.read_file(path, ProviderPool, reveal=not options.without_secrets)
        with_pool = plan.build(ProviderPool)
        names = [each.name for each in with_pool.deployments]
        with_pool.close()
    except configured.ConfigError as error:
        problems = error.problems
    except ImportError as error:  # tomli, before Python 3.11
        raise Unusable(f"config validate: {error}") from None
    warnings = [] if problems else [*_doubts(path, files.load(path))]
    if options.json:
        told = {
            "file": path,
            "valid": not problems,
            "problems": list(problems),
            "warnings": warnings,
            "deployments": names,
        }
        out.write(json.dumps(told, indent=2) + "\n")
    else:
        lines: list[Line] = [[Span(printable(problem), "bad")] for problem in problems]
        lines += [[Span(f"warning: {printable(doubt)}", "warn")] for doubt in warnings]
        if not problems:
            lines.append([Span(f"{path}: valid, {len(names)} deployments: {', '.join(names)}")])
        _tables.write_whole(out, lines, _tables.environment())
    return INVALID if problems else VALID


def _doubts(path: str, mapping: Mapping[str, Any]) -> Iterator[str]:
    """Name what is allowed and seldom meant."""
    for at, given in enumerate(mapping["deployment"], 1):
        where = f'{path}: [[deployment]] {at} "{given["name"]}"'
        key = given.get("api_key")
        if isinstance(key, str) and not is_reference(key):
            yield f'{where}: api_key: stands in the file itself; "env:NAME" or "file:PATH" keeps it out'
        url = given.get("base_url", given.get("endpoint", ""))
        parts = urlsplit(url if isinstance(url, str) else "")
        if parts.scheme == "http" and parts.hostname not in _LOCAL and key:
            yield f"{where}: api_key: goes over plain http to another machine"
        if given.get("weight") == 0:
            yield f"{where}: weight: is 0, so it gets no calls"


def write_schema(options: argparse.Namespace, out: TextIO) -> int:
    """Print the JSON Schema of the file."""
    out.write(schema_text())
    return VALID


def schema_text() -> str:
    """Give the JSON Schema as the package carries it."""
    return json.dumps(schema(ProviderPool), indent=2) + "\n"


def write_example(options: argparse.Namespace, out: TextIO) -> int:
    """Print a file to begin with."""
    source = importlib.resources.files("llmpool.settings").joinpath("example.toml")
    out.write(source.read_text(encoding="utf-8"))
    return VALID
