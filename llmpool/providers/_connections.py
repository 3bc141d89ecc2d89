"""The connections of one client to its one server: urllib3's, under a deadline."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import ClosedPoolError
from urllib3.response import HTTPResponse
from urllib3.util import Timeout

from llmpool.providers._answer import StrictAnswer
from llmpool.providers._deadline import Deadline
from llmpool.providers._dial import dial
from llmpool.providers._failure import Sent, WireFailure
from llmpool.providers._route import Route
from llmpool.providers._sockets import TimedSocket

# Seconds after which an idle connection is not used again, for an address translator on the
# way may have forgotten it without telling either end.
IDLE_LIMIT = 240.0


class Allowance(Timeout):
    """
    What a request may take, in the place where requests hands on its time-outs.

    Args:
        once: Whether the request must not be sent again, over a fresh connection.
    """

    def __init__(self, deadline: Deadline, once: bool = False) -> None:
        super().__init__(connect=None, read=None)
        self.deadline = deadline
        self.once = once


class Connection(HTTPConnection):
    """
    One connection; it belongs to one exchange at a time, and opens itself again when closed.

    For urllib3 it is one in clear: proxy and TLS are dialled like name and address, each with
    its share of the time.

    Attributes:
        live: The socket of the present exchange, also when only its answer still holds it.
    """

    response_class = StrictAnswer
    auto_open = 0  # by itself http.client would open it in clear, and without a deadline
    sock: TimedSocket | None

    def __init__(self, route: Route, limit: float) -> None:
        super().__init__(route.host, route.port)
        self._route = route
        self._limit = limit
        self._pid = os.getpid()
        self.live: TimedSocket | None = None
        self._idle_since = 0.0
        self._body = b""

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: Deadline,
    ) -> HTTPResponse:
        """
        Send a request and read the head of its answer.

        Raises:
            WireFailure: The connection is to be closed then.
        """
        if self.sock is None:
            self.sock = dial(self._route, deadline, self._limit)
        self.live = self.sock
        self.live.begin(deadline)
        self._body = body or b""
        self.request(method, target, headers=headers, preload_content=False)
        return self.getresponse()

    def putheader(self, header: Any, *values: Any) -> None:
        """Take a field as it is, for it was checked when the request was put together."""
        # The base's way of adding a line, on which its own putheader() ends, after checks that take a
        # third of the time of writing a request.
        self._output(f"{header}: {values[0]}".encode("latin-1"))  # type: ignore[attr-defined]

    def send(self, data: Any) -> None:
        """Send the head, and the body along with it: a packet more is a wait more."""
        body, self._body = self._body, b""
        super().send(data + body)

    def abandon(self) -> None:
        """
        Close it in the middle of an exchange; more than once does no harm.

        Shut down first, for a child of a fork may hold a copy of the descriptor that would
        keep the peer generating. A child itself only lets go of its copy.
        """
        if self.live is not None and self._pid == os.getpid():
            self.live.wake()
        self.close()

    def rest(self) -> bool:
        """Tell whether it may serve again after an answer that was read to its end."""
        self._idle_since = monotonic()
        sock = self.sock
        in_doubt = sock is None or sock.broken or sock.leftover
        return not in_doubt and self._pid == os.getpid()

    @property
    def is_connected(self) -> bool:
        """Whether an idle one can be expected to be alive."""
        return monotonic() - self._idle_since <= IDLE_LIMIT and super().is_connected


class _Stack(queue.Queue[Any]):
    """
    Idle connections, the last used first.

    Without the lock of its base, for which a signal handler that sends a request of its own
    could wait in vain, and a forked child too. Appends and pops of a deque may come from any
    thread.
    """

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Keep a connection, or close it where there are enough; None is a place held free."""
        if item is not None and len(self.queue) < self.maxsize:
            self.queue.append(item)
        elif item is not None:
            item.close()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Give a connection, without waiting for one."""
        try:
            return self.queue.pop()
        except IndexError:
            raise queue.Empty from None


class Connections(HTTPConnectionPool):
    """
    urllib3's pool, with an exchange that knows deadlines in the place of its own.

    Its own would also log each path with its query, and repeat by rules that cannot tell a
    stale connection from a fresh one that broke.

    Threads: any. After a fork the child needs others and only closes these.

    Args:
        limit: Seconds that each phase of connecting may take.
        keep: Most idle connections to keep; more than these are open only while in use.
    """

    QueueCls = _Stack  # type: ignore[assignment]

    def __init__(self, route: Route, *, limit: float, keep: int) -> None:
        super().__init__(route.host, route.port, maxsize=keep)
        self.pid = os.getpid()
        self._route = route
        self._limit = limit
        self._keep = keep

    def heir(self) -> Connections:
        """Give one with the same rules and no connections."""
        return Connections(self._route, limit=self._limit, keep=self._keep)

    def urlopen(  # type: ignore[override]
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        timeout: Allowance,
        **_: Any,
    ) -> HTTPResponse:
        """
        Send a request and read the head of its answer.

        A connection that was used before and that the peer closed before a byte of the answer
        is no fault of anybody's (each idle one is stale after a restart): the request is sent
        again, over a fresh one, unless it must go out at most once.

        Raises:
            WireFailure: The connection is closed then.
        """
        connection = self._get_conn()
        used = not connection.is_closed
        ask = functools.partial(connection.ask, method, url, body, headers, timeout.deadline)
        try:
            try:
                response = ask()
            except WireFailure as error:
                stale = used and error.kind == "reset" and error.sent != "answered"
                if timeout.once or not stale:
                    raise
                connection.close()
                response = _ask_again(ask, error.sent)
            # As urllib3's own does: at its end the answer puts the connection back.
            response._pool = self
            response._connection = connection
            if response.length_remaining == 0:
                response.drain_conn()
        except BaseException:
            connection.abandon()
            raise
        return response

    def _new_conn(self) -> Connection:
        return Connection(self._route, self._limit)

    def _get_conn(self, timeout: float | None = None) -> Connection:
        try:
            connection: Any = super()._get_conn(timeout)
        except ClosedPoolError:
            connection = self._new_conn()
        return connection  # type: ignore[no-any-return]

    def _put_conn(self, conn: Any) -> None:
        stack = self.pool
        if stack is None or not conn.rest():
            conn.close()
            return
        stack.put(conn)
        # Closed meanwhile, perhaps before it was there.
        while self.pool is None and stack.queue:  # pragma: no cover - a race with close()
            with contextlib.suppress(queue.Empty):
                stack.get().close()


def _ask_again(ask: Callable[[], HTTPResponse], first: Sent) -> HTTPResponse:
    """Repeat a request whose first try may have been acted on."""
    try:
        return ask()
    except WireFailure as error:
        raise error.bare(sent=first if error.sent == "no" else error.sent) from None
