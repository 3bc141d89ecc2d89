"""``llmpool status --web``: the status page of the configured pool, served until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
from collections.abc import Iterator
from typing import NoReturn, TextIO

from llmpool import ProviderPool
from llmpool._threads import daemon, start
from llmpool.clock import SystemClock
from llmpool.commands._arguments import Unusable
from llmpool.commands._configured import pool_of
from llmpool.commands._traffic import Tally, Traffic
from llmpool.web import StatusSite
from llmpool.web.alone import AloneServer, is_loopback

HOST, PORT = "127.0.0.1", 8321

_DEMO_PAUSE = 0.25


def serve(options: argparse.Namespace, out: TextIO) -> NoReturn:
    """
    Serve the page until Ctrl-C.

    Raises:
        KeyboardInterrupt: that it came.
        Unusable: there is no usable configuration, or no such place to listen.
    """
    host = options.host or HOST
    if options.control and not is_loopback(host):
        raise Unusable(
            f"--control is for this machine alone, and whoever reaches {host} could control: "
            "mount the page in an application that knows its users"
        )
    with pool_of(options, checker=True) as pool, _server(pool, options, host) as server:
        if options.json:
            out.write(json.dumps({"pool": pool.name, "url": server.url}) + "\n")
        else:
            out.write(f"{pool.name}: {server.url} (Ctrl-C ends it)\n")
        out.flush()
        with _callers(pool) if options.demo else contextlib.nullcontext():
            server.serve()
    raise AssertionError("nobody else ends it")  # pragma: no cover - for the type checker


def _server(pool: ProviderPool, options: argparse.Namespace, host: str) -> AloneServer:
    site = StatusSite(pool, may_control=(lambda _: True) if options.control else None)
    site.respond("GET", "/status", {})  # the history begins now, and not with the first viewer
    port = PORT if options.port is None else options.port
    try:
        return AloneServer(site, host, port)
    except OSError as error:
        raise Unusable(f"cannot listen on {host}, port {port}: {error.strerror}") from None


@contextlib.contextmanager
def _callers(pool: ProviderPool) -> Iterator[None]:
    """Ask the demo's servers now and then, so that there is something to see."""
    clock = SystemClock()
    traffic = Traffic(pool, Tally(), clock)
    ended = threading.Event()

    def ask() -> None:
        while not clock.wait(ended, _DEMO_PAUSE):
            traffic.ask("how are you?", streamed=False)

    caller = daemon("llmpool-demo", ask)
    start(caller)
    try:
        yield
    finally:
        ended.set()
        caller.join(1.0)
