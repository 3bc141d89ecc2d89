"""
The transport adapter through which every request of llmpool goes.

It is requests' own ``HTTPAdapter`` over urllib3's connections under a deadline, so that whatever
hooks into ``HTTPAdapter.send`` (the ``responses`` library does) sees these requests too.
"""

from __future__ import annotations

import os
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.response import HTTPResponse

from llmpool.providers._connections import Allowance, Connections
from llmpool.providers._failure import Kind, Sent, WireFailure
from llmpool.providers._route import Route

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


class WireAdapter(HTTPAdapter):
    """
    Sends requests to one server.

    Threads: any; after a fork the child starts with no connections.
    """

    def __init__(self, route: Route, *, limit: float, keep: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        self._route = route
        self._connections = Connections(route, limit=limit, keep=keep)

    def exchange(self, request: requests.PreparedRequest, allowance: Allowance) -> HTTPResponse:
        """
        Send the request and read the head of its answer.

        Raises:
            WireFailure: without any reference to the request or another exception.
        """
        try:
            response = self.send(request, stream=True, timeout=allowance)  # type: ignore[arg-type]
        except WireFailure as error:
            failure = error.bare()
        except OSError as error:  # requests' own errors are such
            failure = _translate(error, self._route.where)
        else:
            raw: HTTPResponse = response.raw
            return raw
        raise failure

    def renew(self) -> None:
        """Drop the connections of a parent process, in the child of a fork."""
        self._replace(self._connections)

    def _replace(self, inherited: Connections) -> Connections:
        # Named by the caller, since another thread of the child may be doing the same: what
        # that one has put there by now is in use.
        heir = self._connections = inherited.heir()
        inherited.close()  # its copies of the descriptors, without a word to the server
        return heir

    def close(self) -> None:
        """Close the idle connections."""
        super().close()
        self._connections.close()

    # What follows are the hooks that HTTPAdapter.send calls. They have nothing to look up, for
    # there is one server.

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> Connections:
        """Give what sends."""
        connections = self._connections
        if connections.pid != os.getpid():
            # By process id, for under uWSGI no fork hook fires.
            connections = self._replace(connections)
        return connections

    get_connection = get_connection_with_tls_context  # its name before requests 2.32

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Leave it to the connections, which trust one CA bundle and always verify."""

    def request_url(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> str:
        """Give the request target: a whole URL where a proxy is to read it."""
        route = self._route
        url = request.url or ""
        whole = route.proxy is not None and not route.secure
        return url if whole else url[len(route.origin) :]

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Give as much of an answer as anybody looks at: no cookies, no guess at an encoding."""
        # Not by its __init__, which makes a jar for cookies.
        response = requests.Response.__new__(requests.Response)
        response.request = req
        response.url = req.url or ""
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        return response


def _translate(error: OSError, where: str) -> WireFailure:
    """Put an error that a test double raised in requests' name into our words."""
    kind, sent = next(
        ((kind, sent) for expected, kind, sent in _KINDS if isinstance(error, expected)),
        _UNKNOWN,
    )
    return WireFailure(kind, sent, f"{where}: {type(error).__name__}")
