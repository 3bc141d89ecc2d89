"""One request as the local server read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import attrs

from llmpool.testing.spoken import Format, as_openai, name_format, name_gemini_route, name_method

ROUTES = ("chat", "embeddings", "models", "health", "other")


def name_route(path: str) -> str:
    """
    Tell which of the server's routes a path means.

    The end of the path decides, so that any prefix works (``/v1``, or the one of an
    Azure deployment).
    """
    path = path.rstrip("/")
    gemini = name_gemini_route(path)
    if gemini is not None:
        return gemini
    if path.endswith("/messages"):
        return "chat"
    if path.endswith("/chat/completions"):
        return "chat"
    if path.endswith("/embeddings"):
        return "embeddings"
    if path.endswith("/models") or "/models/" in path:
        return "models"
    if path in ("", "/health") or path.endswith("/health"):
        return "health"
    return "other"


def _split(target: str) -> SplitResult:
    try:
        return urlsplit(target)
    except ValueError:  # square brackets that hold no address
        return urlsplit("/")


def read_content(content: object) -> str:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return " ".join(text for text in parts if isinstance(text, str))
    return ""


@attrs.frozen(eq=False, kw_only=True)
class Received:
    """
    One request as the server read it from the wire.

    Header names are in lower case. ``connection`` counts the accepted connections
    from 1 and ``nth`` the requests on that connection, so ``nth > 1`` means that the
    client has used a connection again. ``at`` is monotonic. Neither headers nor body
    show in the ``repr``: they hold keys and prompts.
    """

    method: str
    target: str = attrs.field(repr=False)
    version: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    connection: int
    nth: int
    at: float

    @property
    def path(self) -> str:
        """The path without query, also where a proxy was asked with a whole URL."""
        return _split(self.target).path or "/"

    @property
    def query(self) -> str:
        """What stands after the question mark."""
        return _split(self.target).query

    @property
    def route(self) -> str:
        """``chat``, ``embeddings``, ``models``, ``health`` or ``other``."""
        return name_route(self.path)

    @property
    def format(self) -> Format:
        """``openai``, ``anthropic`` or ``gemini``: the wire format that it is in."""
        return name_format(self.path, self.headers)

    @property
    def json(self) -> Any:
        """
        Parse the body.

        Raises:
            ValueError: it is not JSON, or nested too deep to be read.
        """
        try:
            return json.loads(self.body)
        except RecursionError:
            raise ValueError("the body is nested too deep") from None

    @property
    def prompt(self) -> str:
        """The text of the last user message; empty when there is none."""
        try:
            messages = as_openai(self.format, self.path, self.json)["messages"]
            users = [message for message in messages if message.get("role") == "user"]
            return read_content(users[-1].get("content"))
        except (ValueError, LookupError, TypeError, AttributeError):
            return ""

    @property
    def streamed(self) -> bool:
        """Whether a streamed answer is wanted."""
        if name_method(self.path):
            return name_method(self.path) == "streamGenerateContent"
        try:
            return bool(self.json["stream"])
        except (ValueError, LookupError, TypeError):
            return False
