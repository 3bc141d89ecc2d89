"""A client's request on its way to a deployment, and the answer on its way back."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from llmpool.providers._private import Private
from llmpool.providers._replies import OpenReply


@attrs.frozen
class Forwarded:
    """
    A client's request, to be sent on as it is, under the key of a deployment.

    Attributes:
        page: what follows the base URL, its query included: ``/chat/completions``.
        headers: the client's own, without what belongs to its connection and its key.
        model: the deployment's own name for the model, which the body has too; None where the request
            names none, or names it in a way that is not understood.
        streamed: an answer is wanted as it comes.
    """

    method: str
    page: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    model: str | None = None
    streamed: bool = False


@attrs.frozen
class Passed:
    """The answer to a forwarded request, of any status, and what its errors may not show."""

    reply: OpenReply
    private: Private
