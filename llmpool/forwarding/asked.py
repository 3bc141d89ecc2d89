"""A client's request: to which page of which API it goes, and what of it may go along."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

import attrs

from llmpool.config import Deployment
from llmpool.forwarding.model_field import Fields, Form, read_fields, read_form
from llmpool.providers._forward import Forwarded

OPENAI, ANTHROPIC = "openai", "anthropic"
BYTES_OF_A_TOKEN = 4

_MOST_TOKENS = ("max_completion_tokens", "max_output_tokens", "max_tokens")

_OF_THE_CONNECTION = """
    accept-encoding connection content-length expect host keep-alive proxy-authorization
    proxy-connection te trailer transfer-encoding upgrade"""
_OF_THE_KEY = """
    api-key authorization cookie openai-organization openai-project x-api-key x-goog-api-key"""
"""In their place comes what the deployment's own key wants."""
_DROPPED = frozenset((_OF_THE_CONNECTION + _OF_THE_KEY).split())
_AZURE = re.compile(r"/openai/deployments/[^/]+(?=/)")
_MAIN = re.compile(r"/(?:chat/completions|completions|embeddings|responses)$")
"""No other page ends so, whatever stands before it."""
_VERSION = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?(?:/openai)?(?=/)")
"""Google has its OpenAI-compatible face one folder below."""
_KNOWN = re.compile(
    r"/(?:chat/completions|completions|embeddings|responses|messages|models)(?=[/?]|$)"
)


_KINDS = {
    "/chat/completions": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
    "/messages": "chat",
    "/responses": "chat",
}


@attrs.frozen
class Asked:
    """
    A client's request, read as far as the pool has to know it.

    Attributes:
        page: what follows the base URL, its query included.
        wire_format: of which API it is.
        fields: of its body, where that is a JSON object or a form.
    """

    method: str
    page: str = attrs.field(repr=False)
    headers: dict[str, str] = attrs.field(repr=False)
    body: bytes | None = attrs.field(repr=False)
    wire_format: str
    fields: Fields | Form | None

    @classmethod
    def read(
        cls, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes | None
    ) -> Asked:
        """
        Read a request.

        Args:
            target: the path, after it ``?`` and the query if there is one.
        """
        fields = {name.lower(): text for name, text in headers}
        page = _page(target)
        path = page.partition("?")[0]
        is_anthropic = "anthropic-version" in fields or path.startswith("/messages")
        kept = {name: text for name, text in fields.items() if name not in _DROPPED}
        kind = fields.get("content-type", "")
        read = read_fields(body) if "json" in kind.lower() else read_form(body, kind)
        wire_format = ANTHROPIC if is_anthropic else OPENAI
        return cls(method.upper(), page, kept, body or None, wire_format, read)

    @property
    def path(self) -> str:
        """The page without its query."""
        return self.page.partition("?")[0]

    @property
    def model(self) -> str | None:
        """The name that the client uses."""
        return None if self.fields is None else self.fields.model

    @property
    def kind(self) -> str:
        """What is asked for, as observers are told."""
        return _KINDS.get(self.path.rstrip("/"), "other")

    @property
    def streamed(self) -> bool:
        """Whether an answer is wanted as it comes."""
        said = None if self.fields is None else self.fields.members.get("stream")
        if said and said != "false":
            return True
        wanted = dict(parse_qsl(self.page.partition("?")[2])).get("stream", "")
        return wanted == "true" or "event-stream" in self.headers.get("accept", "")

    @property
    def tokens(self) -> int:
        """How many it is thought to take: all that it says, and all that it lets be answered."""
        most = None if self.fields is None else map(self.fields.members.get, _MOST_TOKENS)
        asked = next((count for count in most or () if type(count) is int), 0)
        return len(self.body or b"") // BYTES_OF_A_TOKEN + max(0, asked)

    def for_deployment(self, deployment: Deployment, *, names_model: bool) -> Forwarded:
        """
        Give it as this deployment is to get it, with its own name for the model.

        Args:
            names_model: on this page a model has to be named, so one that is not is filled in.
        """
        body, own = self.body, None
        if self.fields is not None and (names_model or self.model is not None):
            own = deployment.upstream(self.model)
            if own is not None and own != self.model:
                body = self.fields.with_model(own)
        return Forwarded(self.method, self.page, self.headers, body, own, self.streamed)


def _page(target: str) -> str:
    """
    Give what follows the base URL, whatever the client takes for that.

    It ends where a main page begins, else at the version, or in Azure's URLs at the deployment; in one
    that has neither it ends where a known page begins.
    """
    path, _, query = target.partition("?")
    if found := _AZURE.search(path):
        path = path[found.end() :]
        kept = [part for part in query.split("&") if not part.startswith("api-version=")]
        query = "&".join(kept)
    elif found := _MAIN.search(path):
        path = path[found.start() :]
    elif found := _VERSION.search(path):
        path = path[found.end() :]
    elif found := _KNOWN.search(path):
        path = path[found.start() :]
    return f"{path}?{query}" if query else path or "/"
