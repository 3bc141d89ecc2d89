"""The page's own files, read from the package and from nowhere else."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping
from pathlib import PurePosixPath

import attrs

from llmpool.web import replies
from llmpool.web.replies import Reply

PAGE = "index.html"

_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""What is served, by how its name ends; nothing else is."""

# Asked for again each time, and seldom sent again: the page's files are to be of one version.
_FRESH = ("Cache-Control", "no-cache")


@attrs.frozen
class Asset:
    """A file, with its media type and a tag that changes with its content."""

    content: bytes
    kind: str
    tag: str


def load() -> Mapping[str, Asset]:
    """Read the package's files, by name."""
    folder = importlib.resources.files("llmpool.web").joinpath("static")
    found = {}
    for file in folder.iterdir():
        kind = _KINDS.get(PurePosixPath(file.name).suffix)
        if kind is not None and file.is_file():
            content = file.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[file.name] = Asset(content, kind, tag)
    return found


def show(asset: Asset, seen: str) -> Reply:
    """Answer with a file; *seen* is the header If-None-Match."""
    headers = (("ETag", asset.tag), _FRESH)
    known = {tag.strip().removeprefix("W/") for tag in seen.split(",")}
    if asset.tag in known or "*" in known:
        return replies.reply(304, asset.kind, b"", *headers, sized=False)
    return replies.reply(200, asset.kind, asset.content, *headers)
