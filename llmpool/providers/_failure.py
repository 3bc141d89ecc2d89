"""What goes wrong between a request and the whole of its answer."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "refused",
    "dns",
    "tls",
    "connect-timeout",
    "timeout",
    "reset",
    "cut",
    "too-large",
    "redirect",
    "bad-protocol",
    "local",
    "proxy",
]
Sent = Literal["no", "maybe", "answered"]


class WireFailure(Exception):
    """
    A request that brought no usable answer.

    It refers to no other exception, no request and no header, so that neither a log
    nor a pickle of it can show a key. It is made of plain values and pickles.

    Attributes:
        kind: What happened. ``local`` is trouble of this machine (no descriptors, no
            route); ``cut`` an answer that ended short; ``reset`` a connection that the
            peer broke.
        sent: ``no`` when not a byte of the request left, ``maybe`` when the peer may have
            acted on it, ``answered`` once a byte of an answer had come.
        message: One line of printable text that names ``host:port`` and the fact.
        temporary: For ``dns``: the resolver could not say, as against a name unknown.
        expired: The deadline of the request ran out, as against any other limit.
        status: For ``redirect`` and ``proxy``: the HTTP status, where there was one.
    """

    def __init__(
        self,
        kind: Kind,
        sent: Sent,
        message: str,
        temporary: bool = False,
        expired: bool = False,
        status: int | None = None,
    ) -> None:
        super().__init__(kind, sent, message, temporary, expired, status)
        self.kind: Kind = kind
        self.sent: Sent = sent
        self.message = message
        self.temporary = temporary
        self.expired = expired
        self.status = status

    def __str__(self) -> str:
        return self.message

    def bare(self, *, sent: Sent | None = None, kind: Kind | None = None) -> WireFailure:
        """
        Copy it without traceback and context, which hold frames with headers in them.

        This one gives up its own: a frame that raised it from a variable is held by it and holds it,
        and with the frame all its callers' would wait for the garbage collector.
        """
        self.__traceback__ = None
        return WireFailure(
            kind or self.kind,
            sent or self.sent,
            self.message,
            self.temporary,
            self.expired,
            self.status,
        )
