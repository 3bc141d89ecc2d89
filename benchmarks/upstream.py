"""
Small fast HTTP servers that stand for model servers, in a process of their own.

Run as a program with the number of servers it writes their ports in one line of JSON; then each line
of JSON on its standard input is an order, answered by one line. It ends with its standard input.

They share no interpreter lock with what is measured. :mod:`llmpool.testing` has a server with many more
faults, at several times the cost of a request.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "tiny",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "All is well, and all shall be well."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
}
BAD_KEY = {"error": {"message": "Incorrect API key.", "type": "x", "code": "invalid_api_key"}}
LIMITED = {
    "error": {"message": "Slow down.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
}
FAILED = {"error": {"message": "Out of order.", "type": "server_error", "code": None}}
CHECKS = (b"GET ", b'"content":"ping"', b'"content": "ping"')
"""What marks a request as a check: a page, or the word that a probe sends."""


def reply(status: str, body: object, sent: int | None = None) -> bytes:
    """Write a response whose body is *sent* bytes short of the length it announces, if that is given."""
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + (data if sent is None else data[:sent])


GOOD = reply("200 OK", ANSWER)
STATUSES = {
    "500": reply("500 Internal Server Error", FAILED),
    "429": reply("429 Too Many Requests", LIMITED),
    "401": reply("401 Unauthorized", BAD_KEY),
}


def events(chunks: int) -> bytes:
    """Write a whole streamed answer of so many content chunks."""
    about = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        data = {**about, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        return f"data: {json.dumps(data)}\n\n".encode()

    parts = [event({"role": "assistant"})]
    parts += [event({"content": f" word{number}"}) for number in range(chunks)]
    parts += [event({}, "stop"), b"data: [DONE]\n\n"]
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head + body


class Server:
    """One port, its behaviour, and what has come."""

    def __init__(self) -> None:
        self.behaviour = "ok"
        self.latency = (0.0, 0.0)
        self.chunks = events(100)
        self.calls: list[tuple[float, bool]] = []  # when, and whether it was answered well
        self.checks = 0
        self.accepted = 0
        self.open: set[Connection] = set()
        self.most_open = 0
        self.port = 0
        self._listening: asyncio.AbstractServer | None = None

    async def listen(self) -> None:
        """Open the port; the same one each time."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", self.port, backlog=512
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    async def behave(self, behaviour: str) -> None:
        """Be good, or bad in one of the ways; what hangs ends when it is good again."""
        earlier, self.behaviour = self.behaviour, behaviour
        if behaviour == "killed" and self._listening is not None:
            self._listening.close()
            self._listening = None
        if behaviour == "killed" or earlier == "hang":
            for connection in list(self.open):
                connection.end()
        if behaviour != "killed" and self._listening is None:
            await self.listen()

    def forget(self) -> None:
        """Count anew."""
        self.calls = []
        self.checks = self.accepted = 0
        self.most_open = len(self.open)


class Connection(asyncio.Protocol):
    """One connection, which brings one request at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._data = b""

    def connection_made(self, transport: Any) -> None:
        """Count it."""
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = self._server
        server.open.add(self)
        server.accepted += 1
        server.most_open = max(server.most_open, len(server.open))

    def connection_lost(self, _: Exception | None) -> None:
        """Count it no more."""
        self._server.open.discard(self)

    def end(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer, once the request is whole."""
        data = self._data = self._data + data if self._data else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        length = 0
        at = data.lower().find(b"content-length:", 0, end)
        if at >= 0:
            length = int(data[at + 15 : data.index(b"\r\n", at)])
        if len(data) < end + 4 + length:
            return
        self._data = b""
        self._meet(data)

    def _meet(self, request: bytes) -> None:
        server = self._server
        behaviour = server.behaviour
        if any(mark in request for mark in CHECKS):
            server.checks += 1
        else:
            server.calls.append((time.monotonic(), behaviour == "ok"))
        if behaviour == "hang":
            return
        if behaviour == "reset":
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.end()
            return
        low, high = server.latency
        if behaviour in STATUSES:
            self._transport.write(STATUSES[behaviour])  # who fails, fails fast
            return
        act = self._cut if behaviour == "truncated" else self._answer(request)
        if high:
            asyncio.get_running_loop().call_later(random.uniform(low, high), act)
        else:
            act()

    def _answer(self, request: bytes) -> Callable[[], None]:
        streams = b'"stream":true' in request or b'"stream": true' in request
        data = self._server.chunks if streams else GOOD
        if streams and self._server.behaviour == "stall":
            data = data[: data.index(b'"stop"')]
        return lambda: self._transport.write(data)

    def _cut(self) -> None:
        self._transport.write(reply("200 OK", ANSWER, sent=100))
        self._transport.close()


async def obey(servers: list[Server], order: dict[str, Any]) -> Any:
    """Carry out one order, and give what is to be told."""
    server = servers[order.get("server", 0)]
    what = order["do"]
    if what == "behave":
        await server.behave(order["as"])
        return time.monotonic()
    if what == "latency":
        for each in servers:
            each.latency = (order["low"], order["high"])
    elif what == "chunks":
        for each in servers:
            each.chunks = events(order["chunks"])
    elif what == "forget":
        for each in servers:
            each.forget()
    elif what == "seen":
        return [
            {
                "calls": each.calls,
                "checks": each.checks,
                "accepted": each.accepted,
                "most_open": each.most_open,
            }
            for each in servers
        ]
    return None


async def main(count: int) -> None:
    """Serve until the standard input ends."""
    servers = [Server() for _ in range(count)]
    for server in servers:
        await server.listen()
    print(json.dumps([server.port for server in servers]), flush=True)
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(json.dumps(await obey(servers, json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
