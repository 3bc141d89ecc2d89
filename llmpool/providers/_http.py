"""
HTTP for the providers: one client per server, true deadlines, one kind of failure.

A request goes through requests' adapter (:mod:`llmpool.providers._adapter`), whose connections
are our own: each wait on a socket is given just the time that is left, redirects are not
followed, cookies and ``~/.netrc`` do not exist here, and what a server may send is bounded.
"""

from __future__ import annotations

import functools
import json as json_module
import os
from collections.abc import Callable, Mapping
from typing import Any

from requests.utils import requote_uri

from llmpool._validators import as_count, as_seconds, refuse
from llmpool.providers._adapter import WireAdapter, WireRequest
from llmpool.providers._body import Body
from llmpool.providers._connections import Answer, Connections
from llmpool.providers._deadline import Deadline
from llmpool.providers._dial import dial
from llmpool.providers._failure import WireFailure
from llmpool.providers._h1 import LONGEST_WAIT
from llmpool.providers._headers import Headers, check_fields
from llmpool.providers._replies import OpenReply, Reply
from llmpool.providers._route import Route, find_route
from llmpool.providers._unpack import ACCEPTED, read_all, unpacked

__all__ = ["Auth", "Deadline", "HttpClient", "OpenReply", "Reply", "WireFailure"]

MOST_BYTES = 64 * 1024 * 1024
_MOST_TARGETS = 256
_PACKED = {"Accept-Encoding": ACCEPTED}
_PLAIN = {"Accept-Encoding": "identity"}
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
        self._targets: dict[str, str] = {}
        as_seconds("connect_timeout", connect_timeout)
        as_count("max_connections", max_connections)
        self._adapter = WireAdapter(
            Connections(
                functools.partial(dial, self._route, limit=min(connect_timeout, LONGEST_WAIT)),
                keep=max_connections,
            )
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
            ValueError, TypeError: *json* cannot be written as JSON, or a header is unfit.
        """
        answer, unread = self._exchange(
            method, path, json, body, {**_PACKED, **(headers or {})}, deadline, once
        )
        try:
            data = read_all(unread, deadline, max_bytes, self._route.where)
        except WireFailure as error:
            failure = error.bare()
        else:
            return Reply(answer.status, answer.headers, data)
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
        answer, unread = self._exchange(
            method, path, json, body, {**_PLAIN, **(headers or {})}, deadline, once
        )
        return OpenReply(answer, unread, deadline, self._route.where)

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
    ) -> tuple[Answer, Body]:
        # What is raised from here on shows this frame, so no key may be in its variables.
        request = self._write(method, path, json, body, headers, deadline, once)
        if isinstance(request, str):
            raise ValueError(request)
        answer = self._adapter.exchange(request)
        try:
            return answer, self._judge(answer)
        except BaseException:
            answer.body.close()
            raise

    def _write(
        self,
        method: str,
        path: str,
        json: Any,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: Deadline,
        once: bool,
    ) -> WireRequest | str:
        """Put the request together; where a header is unfit, say so."""
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
        target = self._target(path)
        all_fields = self._headers.replaced(fields)
        lines = [f"{name}: {value}\r\n" for name, value in all_fields.lines()]
        head = f"{method} {target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode("latin-1")
        route = self._route
        return WireRequest(
            method,
            target if target.startswith("http") else route.origin + target,
            all_fields,
            body,
            wire=head + body if body else head,
            where=route.where,
            deadline=deadline,
            once=once,
        )

    def _target(self, path: str) -> str:
        """Give the request target for *path*: whole, where a proxy is to read it."""
        target = self._targets.get(path)
        if target is None:
            route = self._route
            target = requote_uri(route.target(path))
            if route.proxy is not None and not route.secure:
                target = route.origin + target
            if len(self._targets) >= _MOST_TARGETS:
                self._targets = {}  # not cleared: another thread may be looking
            self._targets[path] = target
        return target

    def _judge(self, answer: Answer) -> Body:
        """Refuse what is no answer of the server's own; unpack the rest."""
        status = answer.status
        where = self._route.where
        if 300 <= status < 400:
            message = f"{where}: answered with a redirect ({status}), which is not followed"
            raise WireFailure("redirect", "answered", message, status=status)
        if status == 407:
            message = f"{where}: a proxy on the way demands credentials (407)"
            raise WireFailure("proxy", "answered", message, status=status)
        return unpacked(answer.body, answer.headers.get("content-encoding"), where)


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
