"""One request and the means to answer it, well or badly."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from llmpool.testing.plan import Setting
from llmpool.testing.received import Received
from llmpool.testing.reply import Point, Reply
from llmpool.testing.service import Service
from llmpool.testing.troubles import Trouble


class Gone(Exception):
    """The connection is over; what remains of the behaviour is not carried out."""


class Line(Protocol):
    """What an exchange needs of its connection."""

    keeps_alive: bool

    def send(self, data: bytes) -> None: ...

    def hold(self, setting: Setting) -> None: ...

    def reset(self) -> None: ...


class Exchange:
    """
    One request, ``request``, and the means to answer it.

    This is what a behaviour is called with. A behaviour that returns without having
    sent a whole answer has the connection closed. Each method that waits ends as soon
    as the server is given another behaviour or is closed.

    Threads: belongs to the one thread that serves its connection.
    """

    def __init__(
        self,
        request: Received,
        line: Line,
        setting: Setting,
        service: Service,
        serial: int,
        closing: threading.Event,
        done: Callable[[], None],
    ) -> None:
        self.request = request
        self.completed = False
        self._line = line
        self._setting = setting
        self._service = service
        self._serial = serial
        self._closing = closing
        self._done = done

    def turn(self, behaviour: object) -> int:
        """Count the requests that met *behaviour* since it was set: 0 for the first."""
        return self._setting.turns.take(behaviour)

    def wait(self, seconds: float) -> bool:
        """Wait, and tell whether the wait was cut short since the behaviour has changed."""
        return self._setting.released.wait(seconds)

    def answer(self, **changes: Any) -> Reply:
        """
        Return the normal answer, after the server's latency, without sending it.

        *changes* replace fields of a chat answer: ``text``, ``model``, ``finish_reason``.
        """
        delay = self._service.latency
        seconds = delay(self.request) if callable(delay) else delay
        if seconds > 0:
            self._closing.wait(seconds)
        return self._service.answer(self.request, self._serial, **changes)

    def fail(self, trouble: Trouble) -> None:
        """Send an error, in the shape and the words of the request's format."""
        self.send(trouble.reply(self.request.format))

    def send(self, reply: Reply, *, keep_alive: bool = True) -> None:
        """Send a whole answer; with ``keep_alive=False`` it announces the connection's end."""
        kept = keep_alive and self._line.keeps_alive
        head = reply.head(keep_alive=kept)
        # Counted out before the last byte: a client that has the whole answer and looks at
        # what is in flight must not find itself.
        if self.request.method == "HEAD":
            self._done()
            self.send_bytes(head)
        elif reply.streamed:
            self.send_bytes(head)
            for number, part in enumerate(reply.parts):
                if number and self._service.chunk_delay > 0:
                    self._closing.wait(self._service.chunk_delay)
                if number == len(reply.parts) - 1:
                    self._done()
                self.send_bytes(reply.frame(part))
            self.send_bytes(reply.end())
        else:
            self._done()
            body = b"".join(map(reply.frame, reply.parts))
            self.send_bytes(head + body + reply.end())
        self.completed = kept and reply.framing != "close"

    def send_until(self, reply: Reply, point: Point) -> None:
        """Send what lies before a point of an answer, and leave the connection open."""
        if point in ("accept", "request"):
            return
        head = reply.head()
        if point == "mid-headers":
            self.send_bytes(head[: len(head) // 2])
            return
        self.send_bytes(head)
        for piece in reply.body_until(point):
            self.send_bytes(piece)

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self._line.send(data)
        except OSError:
            raise Gone from None

    def hang(self) -> NoReturn:
        """Do nothing more until the behaviour changes or the client goes, then close."""
        self._line.hold(self._setting)
        raise Gone

    def close(self) -> NoReturn:
        """Close the connection in order."""
        raise Gone

    def reset(self) -> NoReturn:
        """Reset the connection: the client's next read or write fails at once."""
        self._done()
        self._line.reset()
        raise Gone
