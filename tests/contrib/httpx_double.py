"""A stand-in for httpx and httpx2: as much of their names as a transport has to do with."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from typing import Any


class BaseTransport:
    """What a transport is to be."""


class SyncByteStream:
    """What a body is to be."""


class ReadTimeout(Exception):
    """A read took too long."""

    def __init__(self, message: str, *, request: Any = None) -> None:
        super().__init__(message)
        self.request = request


class RemoteProtocolError(Exception):
    """The server did not keep to the protocol."""


class Url:
    """Where a request goes."""

    def __init__(self, target: bytes) -> None:
        self.raw_path = target


class Request:
    """One request."""

    def __init__(
        self,
        method: str,
        target: bytes,
        body: bytes = b"",
        *,
        headers: Iterable[tuple[str, str]] = (("content-type", "application/json"),),
        timeout: dict[str, float] | None = None,
    ) -> None:
        self.method = method
        self.url = Url(target)
        self.headers = dict(headers)
        self.extensions = {} if timeout is None else {"timeout": timeout}
        self._body = body

    def read(self) -> bytes:
        """Give the body."""
        return self._body


class Response:
    """One answer."""

    def __init__(
        self, status_code: int, *, headers: list[tuple[str, bytes]], stream: Any, request: Any
    ) -> None:
        assert isinstance(stream, SyncByteStream)
        self.status_code = status_code
        self.headers = {name.lower(): value for name, value in headers}
        self.request = request
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        """Close the body."""
        self._stream.close()


class Client:
    """What SDKs send with."""

    def __init__(self, *, transport: Any) -> None:
        assert isinstance(transport, BaseTransport)
        self.transport = transport


def make_module(name: str) -> Any:
    """Make a module of this name with these classes in it."""
    module: Any = types.ModuleType(name)
    for kind in (BaseTransport, SyncByteStream, ReadTimeout, RemoteProtocolError, Response, Client):
        setattr(module, kind.__name__, kind)
    return module


class SdkClient:
    """A client of an SDK, that keeps what it was made with."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings


def make_sdk(name: str, stands_on: str) -> Any:
    """Make an SDK's module that stands on the module of that name."""
    sdk: Any = types.ModuleType(name)
    below = type("Client", (), {"__module__": f"{stands_on}._client"})
    sdk.DefaultHttpxClient = type("Default", (below,), {"__module__": f"{name}._base_client"})
    sdk.OpenAI = sdk.Anthropic = SdkClient
    return sdk
