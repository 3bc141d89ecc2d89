"""A configuration written as TOML: what a file of ours needs, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_of(mapping: Mapping[str, Any], heading: str = "") -> str:
    """Write tables, then the lists of tables; *heading* stands on top as a comment."""
    blocks = ["\n".join(f"# {line}".rstrip() for line in heading.splitlines())] if heading else []
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            blocks.append(_block(f"[{name}]", value))
        else:
            blocks += [_block(f"[[{name}]]", entry) for entry in value]
    return "\n\n".join(blocks) + "\n"


def _block(head: str, table: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{_key(name)} = {_value(value)}" for name, value in table.items())])


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    # JSON's escapes are TOML's too; DEL is the one sign that TOML alone wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(name)} = {_value(entry)}" for name, entry in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
