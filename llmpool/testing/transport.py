"""Behaviours of the connection: refused, hung, reset, cut, slow, closed after the reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from llmpool._validators import refuse
from llmpool.testing.exchange import Exchange, Line
from llmpool.testing.plan import Setting
from llmpool.testing.reply import Framing, Headers, Point, body_reply, check_point, to_pairs

Behaviour = Callable[[Exchange], None]


def acts_before_request(behaviour: object) -> bool:
    """Tell whether a behaviour concerns connections, so that it cannot be had per request."""
    return isinstance(behaviour, (Refuse, BlackHole)) or (
        getattr(behaviour, "after", None) == "accept"
    )


def act_at_door(behaviour: object, line: Line, setting: Setting) -> None:
    """Meet a connection before its request is read; it is closed afterwards."""
    if isinstance(behaviour, Reset):
        line.reset()
    elif isinstance(behaviour, (Hang, BlackHole)):
        line.hold(setting)


def check_callable(field: str, value: object) -> None:
    """Refuse what is no behaviour, such as the class of one."""
    if not callable(value) or isinstance(value, type):
        refuse(field, "a behaviour such as Hang(), or a function", value, kind=TypeError)


def check_behaviour(instance: Any, attribute: Any, value: Any) -> None:
    """Refuse what cannot answer a single request."""
    check_callable(attribute.name, value)
    if acts_before_request(value):
        raise ValueError(f"{attribute.name}: {value!r} concerns connections, not single requests")


@attrs.frozen
class Ok:
    """
    Answer normally.

    *text*, *model* and *finish_reason* change a chat answer. *framing* ``"close"`` ends
    the body by the connection's end, as HTTP/1.0 servers do.
    """

    text: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    framing: Framing | None = None
    gzip: bool = False
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=to_pairs)

    def __call__(self, exchange: Exchange) -> None:
        wanted = {"text": self.text, "model": self.model, "finish_reason": self.finish_reason}
        given = {name: value for name, value in wanted.items() if value is not None}
        reply = exchange.answer(**given).with_headers(self.headers)
        if self.framing:
            reply = attrs.evolve(reply, framing=self.framing)
        exchange.send(reply.gzipped() if self.gzip else reply)


@attrs.frozen
class Refuse:
    """
    Refuse connections, as a killed server does: its port is closed, open connections end.

    The same port listens again when another behaviour is set.
    """

    def __call__(self, exchange: Exchange) -> None:
        exchange.close()


@attrs.frozen
class BlackHole:
    """
    Let attempts to connect vanish, as behind a firewall that drops packets.

    Connections that are open already are not read from any more.
    """

    def __call__(self, exchange: Exchange) -> None:
        exchange.hang()


@attrs.frozen
class Hang:
    """
    Answer up to a point and then do nothing more.

    ``"accept"``: the request is not even read (nor is a TLS handshake answered);
    ``"request"``: it is read, nothing comes back; ``"mid-headers"``; ``"headers"``;
    ``"body"``: in its middle; or after a number of content chunks of a stream. When the
    behaviour changes the connection is closed.
    """

    after: Point = attrs.field(default="request", validator=check_point)

    def __call__(self, exchange: Exchange) -> None:
        if self.after not in ("accept", "request"):
            exchange.send_until(exchange.answer(), self.after)
        exchange.hang()


@attrs.frozen
class Reset:
    """Answer up to a point, as with :class:`Hang`, and then reset the connection."""

    after: Point = attrs.field(default="request", validator=check_point)

    def __call__(self, exchange: Exchange) -> None:
        if self.after not in ("accept", "request"):
            exchange.send_until(exchange.answer(), self.after)
        exchange.reset()


@attrs.frozen
class Cut:
    """
    Answer up to a point, as with :class:`Hang`, and then close the connection in order.

    The body is shorter than its ``Content-Length``, or lacks its last chunk.
    """

    after: Point = attrs.field(default="body", validator=check_point)

    def __call__(self, exchange: Exchange) -> None:
        if self.after not in ("accept", "request"):
            exchange.send_until(exchange.answer(), self.after)
        exchange.close()


@attrs.frozen
class Drip:
    """
    Send the answer's headers or body in pieces of *size* bytes, with pauses of *interval*.

    Each piece comes well within a time-out that bounds one read. When the behaviour
    changes the rest follows at once.
    """

    interval: float = 0.05
    what: Literal["headers", "body"] = "body"
    size: int = 1

    def __call__(self, exchange: Exchange) -> None:
        reply = exchange.answer()
        head = reply.head(keep_alive=False)
        body = b"".join(map(reply.frame, reply.parts)) + reply.end()
        at_once, slowly, rest = (b"", head, body) if self.what == "headers" else (head, body, b"")
        exchange.send_bytes(at_once)
        for start in range(0, len(slowly), self.size):
            exchange.send_bytes(slowly[start : start + self.size])
            if exchange.wait(self.interval):
                exchange.send_bytes(slowly[start + self.size :])
                break
        exchange.send_bytes(rest)
        exchange.close()


@attrs.frozen
class Slow:
    """
    Wait before the answer; when the behaviour changes the answer comes at once.

    With an endless wait this makes the late answer of a call that was given up.
    """

    seconds: float
    then: Behaviour = attrs.field(factory=Ok, validator=check_behaviour)

    def __call__(self, exchange: Exchange) -> None:
        exchange.wait(self.seconds)
        self.then(exchange)


@attrs.frozen
class CloseAfterReply:
    """
    Promise to keep the connection, and close it all the same.

    *when* ``"at once"``: right after the answer. ``"next request"``: only when the next
    request on it has come, which is the race that a client cannot see beforehand.
    """

    when: Literal["at once", "next request"] = "at once"

    def __call__(self, exchange: Exchange) -> None:
        if self.when == "next request" and exchange.request.nth > 1:
            exchange.close()
        exchange.send(exchange.answer())
        if self.when == "at once":
            exchange.close()


@attrs.frozen
class Redirect:
    """Redirect, to a login page or to itself."""

    location: str = "/login"
    status: int = 302
    headers: Headers = ()

    def __call__(self, exchange: Exchange) -> None:
        reply = body_reply(b"", self.status, {"Location": self.location})
        exchange.send(reply.with_headers(self.headers))
