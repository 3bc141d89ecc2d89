"""
A transport for httpx or httpx2 that sends on a pool: the seam of the OpenAI and the Anthropic SDK.

The two libraries have the same names, and neither takes the other's objects, so the class is made
for the one that is given.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from llmpool import errors
from llmpool.contrib._optional import load
from llmpool.forwarding.answers import Answer
from llmpool.pool import ProviderPool

_SDKS = (("openai", 3), ("anthropic", 2))
"""The SDKs, and the major version from which each stands on httpx2."""


def transport(pool: ProviderPool, module: Any = None) -> Any:
    """
    Make a transport on *pool*: a ``BaseTransport`` of *module*, by default of the one that the SDK needs.

    Raises:
        ImportError: neither library is installed.
        TypeError: *module* is neither.
    """
    chosen = preferred_module() if module is None else module
    base = getattr(chosen, "BaseTransport", None)
    if not isinstance(base, type):
        raise TypeError("module: wanted httpx or httpx2, got something without a BaseTransport")
    made = type("PoolTransport", (_Transport, base), {})
    return made(pool, chosen)


def preferred_module() -> Any:
    """
    Give httpx2 or httpx, as the installed SDK needs.

    Raises:
        ImportError: neither is installed.
    """
    for name, first in _SDKS:
        if importlib.util.find_spec(name) is not None:
            major = int(importlib.metadata.version(name).partition(".")[0])
            return load("httpx2" if major >= first else "httpx", "http_transport()", name)
    name = "httpx2" if importlib.util.find_spec("httpx2") is not None else "httpx"
    return load(name, "http_transport()", "httpx")


def module_under(sdk: Any) -> Any:
    """Give the library that an SDK stands on."""
    for kind in sdk.DefaultHttpxClient.__mro__:
        root = str(kind.__module__).partition(".")[0]
        if root in ("httpx", "httpx2"):
            return sys.modules[root]
    raise ImportError(f"{sdk.__name__} stands on neither httpx nor httpx2")


def http_client(pool: ProviderPool, module: Any) -> Any:
    """Make a ``Client`` of *module* on *pool*."""
    made = type("PoolClient", (_Whole, module.Client), {})
    return made(transport=transport(pool, module))


class _Whole:
    """
    One thing, whoever holds it.

    Frameworks copy deeply what they are given, and a client of httpx has a lock in it that cannot be.
    """

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("what stands on a pool cannot be pickled; make it in each process")


class _Transport(_Whole):
    """
    Sends each request on the pool, whatever its host is.

    Closing it, or the client that has it, leaves the pool open.

    Threads: any.
    """

    def __init__(self, pool: ProviderPool, module: Any) -> None:
        self._pool = pool
        self._module = module

    def handle_request(self, request: Any) -> Any:
        """
        Send one request on.

        Raises:
            ReadTimeout: of httpx; the client's time is over.
        """
        limits = request.extensions.get("timeout") or {}
        try:
            answer = self._pool.forward(
                request.method,
                request.url.raw_path.decode("ascii"),
                [(name, text) for name, text in request.headers.items()],
                request.read(),
                timeout=limits.get("read"),
            )
        except errors.DeadlineExceeded as error:
            failure = self._module.ReadTimeout(str(error), request=request)
        else:
            return self._module.Response(
                answer.status,
                headers=[(name, text.encode("latin-1")) for name, text in answer.headers],
                stream=_make_stream(answer, self._module),
                request=request,
            )
        raise failure


def _make_stream(answer: Answer, module: Any) -> Any:
    return type("PoolByteStream", (_ByteStream, module.SyncByteStream), {})(answer, module)


class _ByteStream:
    """The body of an answer, in the words of httpx."""

    def __init__(self, answer: Answer, module: Any) -> None:
        self._answer = answer
        self._module = module

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._answer)
        except errors.StreamInterrupted as error:
            kind = (
                self._module.ReadTimeout if timed_out(error) else self._module.RemoteProtocolError
            )
            failure = kind(str(error))
        raise failure

    def close(self) -> None:
        """Let go of the deployment."""
        self._answer.close()


def timed_out(error: errors.StreamInterrupted) -> bool:
    """Tell whether a stream was broken off by a clock."""
    last = error.attempts[-1].error if error.attempts else None
    return last is not None and last.startswith(errors.DeadlineExceeded.__name__)
