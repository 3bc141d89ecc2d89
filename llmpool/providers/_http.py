"""
HTTP for the providers: one client per server, true deadlines, one kind of failure.

A request goes through requests' adapter (:mod:`llmpool.providers._adapter`) over urllib3's
connections, whose sockets keep the deadline: each wait is given just the time that is left.
Redirects are not followed, cookies and ``~/.netrc`` do not exist here, and what a server may
send is bounded.
"""

from __future__ import annotations

import json as json_module
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.utils import requote_uri
from urllib3.response import HTTPResponse

from llmpool._validators import as_count, as_seconds, refuse
from llmpool.providers._adapter import WireAdapter
from llmpool.providers._connections import Allowance
from llmpool.providers._deadline import Deadline
from llmpool.providers._failure import WireFailure
from llmpool.providers._headers import Headers, check_fields
from llmpool.providers._replies import OpenReply, Reply, abandon, read_all
from llmpool.providers._route import Route, find_route
from llmpool.providers._sockets import LONGEST_WAIT

__all__ = ["Auth", "Deadline", "HttpClient", "OpenReply", "Reply", "WireFailure"]

MOST_BYTES = 64 * 1024 * 1024
ACCEPTED = "gzip, deflate"
_MOST_URLS = 256
_PACKED = {"Accept-Encoding": ACCEPTED}
_PLAIN = {"Accept-Encoding": "identity"}
_OUTWARD = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.I)
_CODINGS = ("identity", "gzip", "x-gzip", "deflate")
_encode = json_module.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

Auth = Callable[[], Mapping[str, str]]


class HttpClient:
    """
    Requests to one server.

    Redirects are not followed, cookies not kept, ``~/.netrc`` not read. The environment is
    asked once, here. An idle connection is used again; its having been closed by the server
    meanwhile is made good unseen.

    Threads: any. After a fork the child starts with no connections, with or without
    :meth:`reset_after_fork`.

    Args:
        base_url: What each request's path is appended to; a query in it goes with each.
        auth: Gives the header fields that identify the caller, asked at each request; nothing
            takes their place.
        headers: Fields of each request.
        proxies: As for requests; None asks the environment, an empty mapping means none.
        verify: True, or the path of a CA bundle (file or directory) to trust instead.
        connect_timeout: Seconds that each phase of connecting may take: name, connection,
            handshake.
        max_connections: Most connections kept; more are open only while in use.

    Raises:
        ValueError, TypeError: A field is unfit.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,
        verify: bool | str | os.PathLike[str] = True,
        connect_timeout: float = 5.0,
        max_connections: int = 256,
    ) -> None:
        self._route = find_route(base_url, proxies, verify)
        self._auth = auth
        self._headers = _first_headers(self._route, headers or {})
        self._urls: dict[str, str] = {}
        as_seconds("connect_timeout", connect_timeout)
        as_count("max_connections", max_connections)
        self._adapter = WireAdapter(
            self._route, limit=min(connect_timeout, LONGEST_WAIT), keep=max_connections
        )

    def __repr__(self) -> str:
        return f"<HttpClient {self._route.origin}>"

    def send(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline,
        max_bytes: int = MOST_BYTES,
        once: bool = False,
    ) -> Reply:
        """
        Send a request and read the whole answer, of any status but 3xx and 407.

        Args:
            json: Sent as JSON; or else *body* as it is.
            max_bytes: Most bytes of the unpacked body.
            once: Never send it again, not even when an idle connection turns out to be stale.

        Raises:
            WireFailure: There is no such answer.
            ValueError, TypeError: *json* cannot be written as JSON, or *path* or a header is unfit.
        """
        raw, fields = self._exchange(
            method, path, json, body, {**_PACKED, **(headers or {})}, deadline, once
        )
        try:
            data = read_all(raw, max_bytes, self._route.where)
        except WireFailure as error:
            failure = error.bare()
        else:
            return Reply(raw.status, fields, data)
        raise failure

    def open(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline,
        once: bool = False,
    ) -> OpenReply:
        """
        Send a request and give the answer as soon as its head is there.

        The arguments and errors are those of :meth:`send`; *deadline* goes on to hold for the
        reads of the body, and is theirs to move.
        """
        # Not packed: a packer in the way would hold events back.
        raw, fields = self._exchange(
            method, path, json, body, {**_PLAIN, **(headers or {})}, deadline, once
        )
        return OpenReply(raw, fields, deadline, self._route.where)

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they are done with."""
        self._adapter.close()

    def reset_after_fork(self) -> None:
        """Give up the parent's connections, in the child, without a word to the server."""
        self._adapter.renew()

    def _exchange(
        self,
        method: str,
        path: str,
        json: Any,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: Deadline,
        once: bool,
    ) -> tuple[HTTPResponse, Headers]:
        # What is raised from here on shows this frame, so no key may be in its variables.
        request = self._write(method, path, json, body, headers)
        if isinstance(request, str):
            raise ValueError(request)
        raw = self._adapter.exchange(request, Allowance(deadline, once))
        fields = Headers.read(raw.headers.items())
        failure = self._judge(raw.status, fields)
        if failure is not None:
            abandon(raw)
            raise failure
        return raw, fields

    def _write(
        self,
        method: str,
        path: str,
        json: Any,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> requests.PreparedRequest | str:
        """Put the request together; where the path or a header is unfit, say so."""
        if path not in self._urls and _OUTWARD.search(path.partition("?")[0]):
            # A model's name, which may be a stranger's, stands in the path of some APIs.
            return "path: wanted one below the base URL, got one that leads out of it"
        fields = list(headers.items())
        if json is not None:
            body = _encode(json).encode()
            fields.append(("Content-Type", "application/json"))
        if self._auth is not None:
            fields += self._auth().items()
        problem = check_fields(fields)
        if problem is not None:
            return problem
        if body is not None or method != "GET":
            fields.append(("Content-Length", str(len(body or b""))))
        # By hand, for to prepare it anew each time costs more than to send it.
        request = requests.PreparedRequest()
        request.method = method
        request.url = self._url(path)
        request.headers = self._headers.replaced(fields)  # type: ignore[assignment]
        request.body = body
        return request

    def _url(self, path: str) -> str:
        url = self._urls.get(path)
        if url is None:
            route = self._route
            url = route.origin + requote_uri(route.target(path))
            if len(self._urls) >= _MOST_URLS:
                self._urls = {}  # not cleared: another thread may be looking
            self._urls[path] = url
        return url

    def _judge(self, status: int, fields: Headers) -> WireFailure | None:
        """Refuse what is no answer of the server's own, or packed in a way not asked for."""
        where = self._route.where
        if 300 <= status < 400:
            message = f"{where}: answered with a redirect ({status}), which is not followed"
            return WireFailure("redirect", "answered", message, status=status)
        if status == 407:
            message = f"{where}: a proxy on the way demands credentials (407)"
            return WireFailure("proxy", "answered", message, status=status)
        if fields.get("content-encoding", "identity").strip().lower() not in _CODINGS:
            message = f"{where}: the answer has a content coding not asked for"
            return WireFailure("bad-protocol", "answered", message)
        return None


def _first_headers(route: Route, headers: Mapping[str, str]) -> Headers:
    """Give the fields that every request has."""
    if not isinstance(headers, Mapping):
        refuse("headers", "a mapping", headers, kind=TypeError)
    problem = check_fields(headers.items())
    if problem is not None:
        raise ValueError(problem)
    first = [("Host", route.authority), ("User-Agent", "llmpool"), ("Accept", "*/*")]
    if route.proxy is not None and route.proxy.authorization is not None and not route.secure:
        first.append(("Proxy-Authorization", route.proxy.authorization))
    return Headers(first).replaced(headers.items())
