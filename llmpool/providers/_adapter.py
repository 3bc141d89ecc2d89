"""
The transport adapter through which every request of llmpool goes.

It is requests' own ``HTTPAdapter`` with the connections replaced, so that whatever hooks into
``HTTPAdapter.send`` (the ``responses`` library does) sees these requests too.
"""

from __future__ import annotations

import os
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Timeout

from llmpool.providers._connections import Answer, Connections
from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import Kind, Sent, WireFailure
from llmpool.providers._headers import Headers

# Read here rather than from requests' exceptions, which hold the request and with it the key.
_KINDS: tuple[tuple[type[OSError], Kind, Sent], ...] = (
    (requests.exceptions.SSLError, "tls", "no"),
    (requests.exceptions.ProxyError, "proxy", "no"),
    (requests.exceptions.ConnectTimeout, "connect-timeout", "no"),
    (requests.exceptions.Timeout, "timeout", "maybe"),
    (requests.exceptions.ChunkedEncodingError, "cut", "answered"),
    (requests.exceptions.ContentDecodingError, "bad-protocol", "answered"),
)
_UNKNOWN: tuple[Kind, Sent] = ("reset", "maybe")
_NO_TIMEOUT = Timeout(connect=None, read=None)  # the deadline is the only one


class WireRequest(requests.PreparedRequest):
    """
    A request ready to be sent.

    Args:
        wire: What goes over the connection; the other fields are for those who look on.
        once: Whether it must not be sent again, over a fresh connection.
    """

    def __init__(
        self,
        method: str,
        url: str,
        headers: Headers,
        body: bytes | None,
        *,
        wire: bytes,
        where: str,
        deadline: Deadline,
        once: bool,
    ) -> None:
        super().__init__()
        self.method = method
        self.url = url
        self.headers = headers  # type: ignore[assignment]
        self.body = body
        self.wire = wire
        self.where = where
        self.deadline = deadline
        self.once = once


class WireAdapter(HTTPAdapter):
    """
    Sends a :class:`WireRequest` over connections of our own.

    Threads: any; after a fork the child starts with no connections.
    """

    def __init__(self, connections: Connections) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._connections = connections

    def exchange(self, request: WireRequest) -> Answer:
        """
        Send the request and read the head of its answer.

        Raises:
            WireFailure: without any reference to the request or another exception.
        """
        try:
            # Typed by what build_response() makes of it, which is not what requests expects.
            answer: Any = self.send(request, stream=True, timeout=_NO_TIMEOUT)  # type: ignore[arg-type]
        except WireFailure as error:
            failure = error.bare()
        except OSError as error:  # requests' own errors are such
            failure = _translate(error, request.where)
        else:
            return answer if isinstance(answer, Answer) else _adopt(answer)
        raise failure

    def renew(self) -> None:
        """Drop the connections of a parent process, in the child of a fork."""
        self._replace(self._connections)

    def _replace(self, inherited: Connections) -> Connections:
        # Named by the caller, since another thread of the child may be doing the same: what
        # that one has put there by now is in use.
        heir = self._connections = inherited.heir()
        inherited.disown()
        return heir

    def close(self) -> None:
        """Close the idle connections."""
        super().close()
        self._connections.close()

    # What follows are the hooks that HTTPAdapter.send calls, in this order. Nothing is left for
    # them to do per request but to hand it on: the adapter poses as its own connection pool, and
    # the request travels as its own URL.

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Any:
        """Give what sends."""
        return self

    def get_connection(self, *_: Any, **__: Any) -> Any:
        """Give what sends, to requests before 2.32."""
        return self

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave it to the connections, which trust one CA bundle and always verify."""

    def request_url(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
        """Hand the request on."""
        return request

    def urlopen(self, *, url: WireRequest, **_: Any) -> Answer:
        """Send the request."""
        connections = self._connections
        if connections.pid != os.getpid():
            # By process id, for under uWSGI no fork hook fires.
            connections = self._replace(connections)
        return connections.exchange(url.wire, url.deadline, url.once)

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> Any:
        """Give an answer as it is; what a test double answers is made a response as usual."""
        return resp if isinstance(resp, Answer) else super().build_response(req, resp)


class _BorrowedBody:
    """The body of a response that a test double made."""

    def __init__(self, response: requests.Response) -> None:
        self._raw = response.raw

    def read1(self, _: Deadline) -> bytes:
        """Give the next piece, still packed."""
        piece: bytes = self._raw.read(64 * 1024, decode_content=False)
        return piece

    def close(self) -> None:
        """Let go of it."""
        self._raw.close()

    def wake(self) -> None:
        """Do nothing: nothing waits in it."""


def _adopt(response: requests.Response) -> Answer:
    return Answer(response.status_code, Headers(response.headers.items()), _BorrowedBody(response))


def _translate(error: OSError, where: str) -> WireFailure:
    """Put an error that a test double raised in requests' name into our words."""
    kind, sent = next(
        ((kind, sent) for expected, kind, sent in _KINDS if isinstance(error, expected)),
        _UNKNOWN,
    )
    return WireFailure(kind, sent, f"{where}: {type(error).__name__}")
