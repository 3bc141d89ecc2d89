"""A client for asyncio on a pool, made for a module that has httpx's names."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from typing import Any

import pytest
from httpx_double import Request, make_module

from llmpool import ProviderPool
from llmpool.contrib import httpx as transports
from llmpool.contrib.async_httpx import async_client
from llmpool.testing import Exchange, LocalServer

WALL = 40.0


class AsyncBaseTransport:
    """What a transport for asyncio is to be."""


class AsyncByteStream:
    """What a body for asyncio is to be."""


class Answer:
    """One answer, for both kinds of transports."""

    def __init__(self, status_code: int, *, headers: Any, stream: Any, request: Any) -> None:
        self.status_code = status_code
        self.headers = headers
        self.stream = stream
        self.request = request


class AsyncClient:
    """What frameworks send with."""

    def __init__(self, *, transport: Any) -> None:
        assert isinstance(transport, AsyncBaseTransport)
        self.transport = transport


class AsyncRequest(Request):
    """One request."""

    async def aread(self) -> bytes:
        """Give the body."""
        return self.read()


@pytest.fixture
def module() -> Any:
    """A module with httpx's names, those for asyncio too."""
    made = make_module("httpx2")
    made.Response = Answer
    for kind in (AsyncBaseTransport, AsyncByteStream, AsyncClient):
        setattr(made, kind.__name__, kind)
    return made


def asked(**fields: Any) -> AsyncRequest:
    """Make a chat request."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], **fields}
    return AsyncRequest("POST", b"/v1/chat/completions", json.dumps(body).encode())


def test_a_request(pool: ProviderPool, module: Any) -> None:
    """It goes to a deployment, and the answer comes piece by piece."""
    request = asked()

    async def ask() -> tuple[Any, bytes]:
        answer = await async_client(pool, module).transport.handle_async_request(request)
        body = b"".join([piece async for piece in answer.stream])
        await answer.stream.aclose()
        return answer, body

    answer, body = asyncio.run(ask())
    assert (answer.status_code, answer.request) == (200, request)
    assert dict(answer.headers)["x-llmpool-deployment"] == b"a"
    assert isinstance(answer.stream, AsyncByteStream)
    assert json.loads(body)["choices"][0]["message"]["content"] == "echo: hello"


def test_a_stream_that_is_closed_early(pool: ProviderPool, module: Any) -> None:
    """The place is given back."""

    async def ask() -> int:
        answer = await async_client(pool, module).transport.handle_async_request(asked(stream=True))
        async for _ in answer.stream:
            break
        held = pool.health("a").requests_in_flight
        await answer.stream.aclose()
        return held

    assert asyncio.run(ask()) == 1
    assert pool.health("a").requests_in_flight == 0


def test_a_task_that_is_cancelled(pool: ProviderPool, module: Any, server: LocalServer) -> None:
    """It goes on at once, and the place is given back when the server has answered."""
    go_on = threading.Event()

    def late(exchange: Exchange) -> None:
        assert go_on.wait(WALL)
        exchange.send(exchange.answer())

    server.behave(late)

    async def ask() -> int:
        transport = async_client(pool, module).transport
        task = asyncio.ensure_future(transport.handle_async_request(asked(stream=True)))
        assert await asyncio.to_thread(server.wait_for, 1, WALL)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held = pool.health("a").requests_in_flight
        go_on.set()
        return held

    assert asyncio.run(ask()) == 1  # and it waits for the thread
    gc.collect()
    assert pool.health("a").requests_in_flight == 0


def test_the_library_that_is_there(
    pool: ProviderPool, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the one that the SDK needs, unless another is named."""
    monkeypatch.setattr(transports, "preferred_module", lambda: module)
    assert type(async_client(pool)) is AsyncClient
