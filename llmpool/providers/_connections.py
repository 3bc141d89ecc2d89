"""The connections of one client to its one server: kept, taken again, given up at a fork."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable

from llmpool.providers._body import Body, WireBody
from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import WireFailure
from llmpool.providers._h1 import Connection
from llmpool.providers._headers import Headers

Dial = Callable[[Deadline], Connection]


class Answer:
    """Status and header fields of an answer, and its body yet to be read."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: Body) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Connections:
    """
    Idle connections, the last used first, and the rules for using one again.

    Threads: any. Idle connections are in a deque, whose appends and pops may come from any
    thread, and a connection out of it has one owner: no call waits for another here.

    Args:
        dial: Opens a connection.
        keep: Most idle connections to keep; more than these are open only while in use.
        idle_limit: Seconds after which an idle connection is not used again, for an address
            translator on the way may have forgotten it without telling either end.
    """

    def __init__(self, dial: Dial, *, keep: int, idle_limit: float = 240.0) -> None:
        self._dial = dial
        self._keep = keep
        self._idle_limit = idle_limit
        self._idle: deque[Connection] = deque()
        # Guards _open, which names every connection for the sake of a forked child. Re-entrant
        # for a signal handler that sends a request of its own.
        self._lock = threading.RLock()
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._closed = False
        self.pid = os.getpid()

    def heir(self) -> Connections:
        """Give one with the same rules and no connections."""
        return Connections(self._dial, keep=self._keep, idle_limit=self._idle_limit)

    def close(self) -> None:
        """Close what is idle now, and the others when their answers have been read."""
        self._closed = True
        while (connection := self._pop()) is not None:
            connection.close()

    def disown(self) -> None:
        """
        Let go of the parent's connections, in the child of a fork.

        Their descriptors are closed without a word to the peer: the parent still uses them.
        """
        self._closed = True
        # Without the lock, which a thread of the parent may have held: nobody else is here.
        for connection in list(self._open):
            connection.close()
        self._idle.clear()

    def exchange(self, request: bytes, deadline: Deadline, once: bool) -> Answer:
        """
        Send a request and read the head of its answer.

        A connection that was used before and that the peer closed before a byte of the answer
        is no fault of anybody's (each idle one is stale after a restart): the request is sent
        again, over a fresh one, unless it must go out at most *once*.

        Raises:
            WireFailure: The connection is closed then.
        """
        stale: WireFailure | None = None
        connection = self._take()
        if connection is not None:
            try:
                return self._ask(connection, request, deadline)
            except WireFailure as error:
                if once or error.kind != "reset" or error.sent == "answered":
                    raise
                stale = error.bare()
        try:
            connection = self._dial(deadline)
            with self._lock:
                self._open.add(connection)
            return self._ask(connection, request, deadline)
        except WireFailure as error:
            if stale is None or stale.sent == "no" or error.sent != "no":
                raise
            failure = error.bare(sent=stale.sent)  # the first try may have been acted on
        raise failure

    def _ask(self, connection: Connection, request: bytes, deadline: Deadline) -> Answer:
        try:
            head = connection.ask(request, deadline)
            body = WireBody(connection, head, self._put_back)
            return Answer(head.status, head.headers, body)
        except BaseException:
            connection.close()
            raise

    def _take(self) -> Connection | None:
        """Give an idle connection that can be expected to be alive."""
        while (connection := self._pop()) is not None:
            if connection.is_fresh(self._idle_limit):
                return connection
            connection.close()
        return None

    def _pop(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _put_back(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= self._keep or self.pid != os.getpid():
            connection.close()
            return
        connection.rest()
        self._idle.append(connection)
        if self._closed:
            self.close()  # closed meanwhile
