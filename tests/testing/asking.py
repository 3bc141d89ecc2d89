"""A client near enough to the wire to see every fault as it is."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import attrs

from llmpool.testing import LocalServer

CHAT = "/v1/chat/completions"


def chat(prompt: str = "hello you", **fields: Any) -> dict[str, Any]:
    """Build the body of a chat request."""
    return {"model": "tiny", "messages": [{"role": "user", "content": prompt}], **fields}


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return str(self.json["choices"][0]["message"]["content"])

    @property
    def events(self) -> list[Any]:
        return read_events(self.body)


def read_events(body: bytes) -> list[Any]:
    """Read the data events of a stream; what is no JSON stays text."""
    events: list[Any] = []
    for block in body.decode().split("\n\n"):
        for line in block.splitlines():
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
                events.append(json.loads(data) if data.startswith("{") else data)
    return events


def texts(events: list[Any]) -> list[str]:
    """Give the pieces of content in a stream's events."""
    deltas = [
        choice["delta"]
        for event in events
        if isinstance(event, dict)
        for choice in event.get("choices", ())
    ]
    return [delta["content"] for delta in deltas if delta.get("content")]


def connect(server: LocalServer, timeout: float = 10.0) -> http.client.HTTPConnection:
    """Make a connection that is kept; nothing is sent before the first request."""
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)


def ask(
    where: LocalServer | http.client.HTTPConnection,
    body: Any = None,
    path: str = CHAT,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    timeout: float = 10.0,
) -> Answer:
    """Send one request, by default a chat, and read the whole answer."""
    given = headers or {}
    line = connect(where, timeout) if isinstance(where, LocalServer) else where
    try:
        raw = json.dumps(chat() if body is None else body) if method == "POST" else None
        line.request(method, path, raw, {"Content-Type": "application/json", **given})
        with line.getresponse() as response:
            got = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, got, response.read())
    finally:
        if line is not where:
            line.close()


def hears_nothing(line: http.client.HTTPConnection) -> bool:
    """Send a chat on a kept connection and tell whether nothing comes back within its timeout."""
    line.request("POST", CHAT, json.dumps(chat()))
    try:
        line.sock.recv(1)
    except TimeoutError:
        return True
    return False


def send(server: LocalServer, body: Any = None, timeout: float = 10.0) -> socket.socket:
    """Send one chat request over a bare socket and give that socket."""
    raw = json.dumps(chat() if body is None else body).encode()
    sock = socket.create_connection(("127.0.0.1", server.port), timeout)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(raw)}\r\n\r\n"
    try:
        sock.sendall(head.encode() + raw)
    except BaseException:  # a server that resets at once
        sock.close()
        raise
    return sock


def drain(sock: socket.socket) -> bytes:
    """Read to the end; a reset is raised, with what was read before it lost."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def read_all(sock: socket.socket) -> tuple[bytes, OSError | None]:
    """Read until the end or an error, and give both."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except OSError as error:
        return data, error
    return data, None


def read_until(sock: socket.socket, mark: bytes) -> bytes:
    """Read until a mark has come."""
    data = b""
    while mark not in data:
        piece = sock.recv(65536)
        assert piece, f"ended before {mark!r}: {data!r}"
        data += piece
    return data
