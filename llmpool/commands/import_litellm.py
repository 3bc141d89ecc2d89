"""``llmpool import-litellm``: write a llmpool.toml out of LiteLLM's YAML, and name what is left behind."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from typing import Any, TextIO

from llmpool import ProviderPool
from llmpool import settings as configured
from llmpool.commands import _tables
from llmpool.commands._arguments import Unusable
from llmpool.commands._tables import printable
from llmpool.commands._terminal import Line, Span
from llmpool.settings.litellm import Carried, carry_over
from llmpool.settings.references import References
from llmpool.settings.writing import toml_of

WRITTEN = 0
STDOUT = "-"

_HEADING = """\
Made by `llmpool import-litellm`. `llmpool config validate` reads it, `llmpool status` asks the deployments.
A call names a group as before: pool.complete(..., model="{group}")."""


def run(options: argparse.Namespace, out: TextIO) -> int:
    """Read, carry over, write; give the exit status."""
    content = _load(options.path)
    try:
        carried = carry_over(content)
    except ValueError as error:
        raise Unusable(f"import-litellm: {options.path}: {error}") from None
    first = next(iter(carried.mapping["deployment"][0]["models"]))
    text = toml_of(carried.mapping, _HEADING.format(group=printable(first)))
    notes = [*carried.left, *_problems(carried)]
    to_stdout = options.output == STDOUT
    if to_stdout:
        out.write(text)
    else:
        _write(options.output, text, force=options.force, private=carried.plain_keys)
    # What is printed where a file may go must not mix with it.
    told = sys.stderr if to_stdout else out
    if options.json:
        told.write(json.dumps(_record(options.output, carried, notes), indent=2) + "\n")
    else:
        _tables.write_whole(told, _lines(options, carried, notes), _tables.environment())
    return WRITTEN


def _load(path: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise Unusable(
            "import-litellm: reading YAML needs PyYAML: install the extra named yaml, or PyYAML itself"
        ) from None
    problem = None
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.safe_load(file)
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except UnicodeDecodeError:
        problem = "wanted UTF-8 text, got other bytes"
    except yaml.YAMLError as error:
        # Its message quotes the file, which may hold keys.
        mark = getattr(error, "problem_mark", None)
        problem = "no YAML" if mark is None else f"no YAML: line {mark.line + 1}"
    raise Unusable(f"import-litellm: {path}: {problem}")


def _problems(carried: Carried) -> list[str]:
    """Read what was made as a pool would, without a look into the environment."""
    references = References(reveal=False)
    try:
        configured.read_mapping(carried.mapping, ProviderPool, source="", references=references)
    except configured.ConfigError as error:
        return [f"to be mended: {problem}" for problem in error.problems]
    return []


def _write(path: str, text: str, *, force: bool, private: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        handle = os.open(path, flags, 0o600 if private else 0o666)
    except FileExistsError:
        raise Unusable(
            f"import-litellm: {path} is there already; --force writes over it, --output names another"
        ) from None
    except OSError as error:
        raise Unusable(f"import-litellm: {path}: {error.strerror}") from None
    with open(handle, "w", encoding="utf-8") as file:
        if private:  # one that was there keeps its mode else
            os.chmod(path, 0o600)
        file.write(text)


def _record(output: str, carried: Carried, notes: list[str]) -> dict[str, Any]:
    return {
        "written": output,
        "deployments": [each["name"] for each in carried.mapping["deployment"]],
        "not_carried_over": notes,
    }


def _lines(options: argparse.Namespace, carried: Carried, notes: list[str]) -> list[Line]:
    count = len(carried.mapping["deployment"])
    lines: list[Line] = [[Span(f"{options.output}: {count} deployments", "bold")]]
    if carried.plain_keys:
        lines.append([Span("It holds keys as they are; put env:NAME or file:PATH there.", "warn")])
    if notes:
        lines.append([Span("Not carried over:")])
        lines += [[Span(f"  {printable(note)}", "warn")] for note in notes]
    else:
        lines.append([Span("Everything was carried over.", "good")])
    return lines
