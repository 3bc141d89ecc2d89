"""A session of requests in which certain URLs are a pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from llmpool import _validators as valid
from llmpool import errors
from llmpool.contrib.httpx import timed_out
from llmpool.forwarding.answers import Answer
from llmpool.pool import ProviderPool

BASE_URL = "https://llmpool.invalid/"
"""A name that does not exist: nothing can get past the pool."""


def session(pool: ProviderPool, base_url: str | None = None) -> requests.Session:
    """Make a session in which URLs under :data:`BASE_URL`, and under *base_url*, are the pool."""
    made = requests.Session()
    adapter = PoolAdapter(pool)
    made.mount(BASE_URL, adapter)
    if base_url is not None:
        valid.as_text("base_url", base_url)
        if not base_url.startswith(("http://", "https://")):
            valid.refuse("base_url", "the start of an http:// or https:// URL", base_url)
        made.mount(base_url, adapter)
    return made


class PoolAdapter(BaseAdapter):
    """
    Sends each request on the pool; to be mounted in a session of one's own.

    Of a time-out the part for reading counts, and for everything; TLS settings and proxies are the
    deployments' own. Closing it leaves the pool open.

    Threads: any.
    """

    def __init__(self, pool: ProviderPool) -> None:
        super().__init__()
        self._pool = pool

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """
        Send one request on.

        Raises:
            requests.ReadTimeout: the client's time is over.
        """
        parts = urlsplit(request.url or "")
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        read = timeout[1] if isinstance(timeout, tuple) else timeout
        try:
            answer = self._pool.forward(
                request.method or "GET",
                target,
                [(name, _text(value)) for name, value in request.headers.items()],
                _whole(request.body),
                timeout=read,
            )
        except errors.DeadlineExceeded as error:
            failure = requests.ReadTimeout(str(error), request=request)
        else:
            return _response(answer, request)
        raise failure

    def close(self) -> None:
        """Do nothing: the pool is its owner's to close."""


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _whole(body: Any) -> bytes | None:
    """Give the body of a request as bytes, whatever the caller gave."""
    if hasattr(body, "read"):
        body = body.read()
    if isinstance(body, str):
        return body.encode()
    return body if body is None or isinstance(body, bytes) else b"".join(body)


def _response(answer: Answer, request: requests.PreparedRequest) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    response.reason = ""
    response.headers = CaseInsensitiveDict(answer.headers)
    response.encoding = requests.utils.get_encoding_from_headers(response.headers)
    response.request = request
    response.url = request.url or ""
    response.raw = _Raw(answer)
    return response


class _Raw:
    """What requests reads a body from: bytes as they come, in whatever portions are asked for."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._rest = b""
        self._ended = False

    def stream(self, amount: int | None = None, decode_content: bool = True) -> Iterator[bytes]:
        """Give the pieces as they come: to fill portions would hold events back."""
        while data := self.read1():
            yield data

    def read1(self, *_: Any, **__: Any) -> bytes:
        """Give what is there, waiting for the first byte; empty at the end."""
        data, self._rest = self._rest, b""
        while not data and not self._ended:
            data = self._next()
        return data

    def read(self, amount: int | None = None, decode_content: bool = True) -> bytes:
        """Give so many bytes, fewer only at the end; all of them for None."""
        data = bytearray()
        while (amount is None or len(data) < amount) and (piece := self.read1()):
            data += piece
        wanted = len(data) if amount is None else amount
        self._rest = bytes(data[wanted:]) + self._rest  # there is still one if nothing was wanted
        return bytes(data[:wanted])

    def _next(self) -> bytes:
        try:
            return next(self._answer)
        except StopIteration:
            self._ended = True
            return b""
        except errors.StreamInterrupted as error:
            said, late = str(error), timed_out(error)
        # requests knows what to make of these.
        raise ReadTimeoutError(None, "", said) if late else ProtocolError(said)  # type: ignore[arg-type]

    def close(self) -> None:
        """Let go of the deployment."""
        self._ended = True
        self._answer.close()

    release_conn = close
