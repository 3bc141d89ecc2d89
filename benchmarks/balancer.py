"""HAProxy as a process of ours, for as long as a benchmark needs it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PROGRAM = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")

CONFIG = """
global
    stats socket {stats}
    log stderr local0 emerg
defaults
    mode http
    timeout connect 1s
    timeout client 30s
    timeout server {timeout:d}ms
    retries 3
    option redispatch 1
    retry-on all-retryable-errors
listen pool
    bind 127.0.0.1:{port}
    balance leastconn
    option httpchk GET /health
    http-check expect status 200
    default-server inter {interval:d}ms fall 3 rise 2 maxconn 500
"""


class HAProxy:
    """
    HAProxy before some servers: active checks, three failures out, two successes in, redispatch, retries
    on all that it holds retryable.

    Threads: its own asks its counters for attempts to connect that failed at the first server.
    """

    def __init__(self, ports: Sequence[int], *, interval: float, timeout: float) -> None:
        assert PROGRAM is not None
        self._room = tempfile.TemporaryDirectory()
        self._stats = Path(self._room.name) / "stats"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        text = CONFIG.format(
            stats=self._stats,
            timeout=int(timeout * 1000),
            interval=int(interval * 1000),
            port=self.port,
        )
        text += "".join(f"    server s{n} 127.0.0.1:{port} check\n" for n, port in enumerate(ports))
        config = Path(self._room.name) / "haproxy.cfg"
        config.write_text(text)
        self._process = subprocess.Popen(
            [PROGRAM, "-db", "-f", str(config)], stderr=subprocess.DEVNULL
        )
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._lock = threading.Lock()  # guards the list below
        self._failed_at: list[float] = []
        self._stopped = threading.Event()
        self._wait_until_up()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def connects(self) -> list[float]:
        """Give when attempts to reach the first server were seen to have failed; then forget them."""
        with self._lock:
            found, self._failed_at = self._failed_at, []
        return found

    def close(self) -> None:
        """End it."""
        self._stopped.set()
        self._watcher.join(10.0)
        self._process.terminate()
        self._process.wait(10.0)
        self._room.cleanup()

    def __enter__(self) -> HAProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_until_up(self) -> None:
        pause = threading.Event()
        for _ in range(200):
            try:
                if self._counters()["status"] == "UP":
                    return
            except (OSError, KeyError):
                pass
            pause.wait(0.05)
        raise RuntimeError("HAProxy does not start")

    def _watch(self) -> None:
        known = 0
        while not self._stopped.wait(0.02):
            counters = self._counters()
            count = int(counters["econ"] or 0) + int(counters["wretr"] or 0)
            if count > known:
                with self._lock:
                    self._failed_at.append(time.monotonic())
            known = count

    def _counters(self) -> dict[str, str]:
        """Give the first server's row of the statistics."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5.0)
            sock.connect(str(self._stats))
            sock.sendall(b"show stat\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        rows = [line.split(",") for line in text.removeprefix("# ").splitlines() if line]
        for row in rows[1:]:
            if row[1] == "s0":
                return dict(zip(rows[0], row, strict=False))
        raise KeyError("s0")
