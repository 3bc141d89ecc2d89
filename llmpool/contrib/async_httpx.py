"""
A client of httpx or httpx2 for asyncio that sends on a pool: for frameworks that have only such a one.

The pool is synchronous. Each request, and each wait for a piece of a stream, is a thread's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from llmpool.contrib import httpx as transports
from llmpool.pool import ProviderPool

_END = object()


def async_client(pool: ProviderPool, module: Any = None) -> Any:
    """
    Make an ``AsyncClient`` on *pool*, of *module* or else of the library that the SDK needs.

    A task that is cancelled goes on at once; its thread comes to its end within the time of the request,
    and the deployment gets its place back then.

    Raises:
        ImportError: neither httpx nor httpx2 is installed.
        TypeError: *module* is neither.
    """
    chosen = transports.preferred_module() if module is None else module
    below = transports.transport(pool, chosen)
    made = type("AsyncPoolTransport", (_AsyncTransport, chosen.AsyncBaseTransport), {})
    return chosen.AsyncClient(transport=made(below, chosen))


class _AsyncTransport:
    """Sends each request by the transport *below*, in a thread."""

    def __init__(self, below: Any, module: Any) -> None:
        self._below = below
        self._module = module

    async def handle_async_request(self, request: Any) -> Any:
        """Send one request on."""
        await request.aread()
        answer = await asyncio.to_thread(self._below.handle_request, request)
        made = type("AsyncPoolByteStream", (_AsyncByteStream, self._module.AsyncByteStream), {})
        return self._module.Response(
            answer.status_code,
            headers=answer.headers,
            stream=made(answer.stream),
            request=request,
        )


class _AsyncByteStream:
    """The body of an answer, each piece fetched in a thread."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # A StopIteration cannot come out of a thread.
        while (piece := await asyncio.to_thread(next, self._stream, _END)) is not _END:
            yield piece  # type: ignore[misc]

    async def aclose(self) -> None:
        """Let go of the deployment."""
        self._stream.close()
