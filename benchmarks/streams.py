"""Row 7: the first content of a stream, and how fast the rest of it is read."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.fleet import Fleet
from benchmarks.measure import AT_LEAST, Figure, Scale, alternate, ratios
from llmpool import Deployment, OpenAIProvider, ProviderPool

PROMPT = "Tell me of the sea."
MESSAGES: Any = [{"role": "user", "content": PROMPT}]


def raw_reader(fleet: Fleet, whole: bool) -> float:
    """Read a stream from a bare socket: seconds to the first content, or to the end."""
    body = json.dumps({"model": "tiny", "messages": MESSAGES, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", fleet.ports[0]), timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        sock.sendall(head.encode() + body)
        mark = b"0\r\n\r\n" if whole else b'"content"'
        data = b""
        while not (data.endswith(mark) if whole else mark in data):
            data += sock.recv(65536)
        return time.perf_counter() - began


def _best(way: Callable[[bool], float]) -> float:
    return min(way(False) for _ in range(10))


def beside_peers(scale: Scale) -> list[Figure]:
    """
    Row 7: beside a raw reader, and beside the openai SDK.

    Every stream is read to its end, so each but the first finds its connection open, as the raw
    reader does.
    """
    import openai

    chunks = scale.pick(2000, 200)
    with Fleet(1) as fleet:
        provider = OpenAIProvider(fleet.urls[0], api_key="k", model="tiny")
        pool = ProviderPool([Deployment("d", provider)], health_check=None)
        client = openai.OpenAI(base_url=fleet.urls[0], api_key="k")

        def by_pool(whole: bool) -> float:
            began = time.perf_counter()
            first = 0.0
            with pool.stream(PROMPT) as stream:
                for chunk in stream:
                    if chunk.text and not first:
                        first = time.perf_counter()
            return (time.perf_counter() if whole else first) - began

        def by_openai(whole: bool) -> float:
            began = time.perf_counter()
            first = 0.0
            with client.chat.completions.create(
                model="tiny",
                messages=MESSAGES,
                stream=True,
            ) as stream:
                for chunk in stream:
                    if chunk.choices and chunk.choices[0].delta.content and not first:
                        first = time.perf_counter()
            return (time.perf_counter() if whole else first) - began

        ways: dict[str, Callable[[bool], float]] = {
            "raw": partial(raw_reader, fleet),
            "llmpool": by_pool,
            "openai": by_openai,
        }
        try:
            fleet.stream_of(1)
            # The best of ten: what a noisy machine adds to a wait is no cost of anybody's.
            first = alternate(
                scale.rounds,
                {name: partial(_best, way) for name, way in ways.items()},
            )
            fleet.stream_of(chunks)
            whole = alternate(
                scale.rounds, {name: partial(way, True) for name, way in ways.items()}
            )
        finally:
            client.close()
            pool.close()
            provider.close()
    later = [1000 * (own - raw) for own, raw in zip(first["llmpool"], first["raw"], strict=True)]
    faster = ratios(whole["openai"], whole["llmpool"])
    return [
        Figure("first content, later than a raw reader's", "ms", later, limit=1.0),
        Figure("chunks per second, beside the openai SDK", "times", faster, AT_LEAST, 3),
        Figure(
            "chunks per second, beside a raw reader",
            "times",
            ratios(whole["raw"], whole["llmpool"]),
        ),
    ]
