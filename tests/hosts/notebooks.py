"""A notebook's kernel: cells are run in it, and what they say is read as a notebook reads it."""

from __future__ import annotations

import os
import pathlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from hosted import EXIT_SECONDS, PATIENCE, START_SECONDS, WALL, until


@attrs.define
class Said:
    """What a cell has said until now, and whether it has ended."""

    text: str = ""
    data: dict[str, str] = attrs.field(factory=dict)
    error: str | None = None
    over: bool = False

    def take(self, kind: str, content: Mapping[str, Any]) -> None:
        """Take in one message."""
        if kind == "stream":
            self.text += content["text"]
        elif kind in ("execute_result", "display_data"):
            self.data = content["data"]
        elif kind == "error":
            self.error = content["ename"]
        elif kind == "status":
            self.over = content["execution_state"] == "idle"


class Notebook:
    """A kernel in a process of its own, with a wall limit; one cell runs at a time."""

    def __init__(self, folder: pathlib.Path, environment: Mapping[str, str]) -> None:
        from jupyter_client.manager import KernelManager

        self._manager = KernelManager(kernel_name="python3", connection_file=str(folder / "k.json"))
        with (folder / "log.txt").open("ab") as log:
            self._manager.start_kernel(
                cwd=str(folder),
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )
        self._pid: int = self._manager.provisioner.pid
        self._watch = threading.Timer(WALL, self._kill)
        self._watch.daemon = True
        self._watch.start()
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=START_SECONDS)
        self._request = ""
        self._said = Said()

    def begin(self, cell: str) -> None:
        """Begin to run a cell."""
        self._said = Said()
        self._request = self._client.execute(cell)

    def read(self, enough: Callable[[Said], object]) -> Said:
        """Read what the cell says until it is *enough*."""
        end = time.monotonic() + WALL
        while not enough(self._said):
            assert time.monotonic() < end, f"the cell says no more than {self._said}"
            try:
                message = self._client.get_iopub_msg(timeout=1.0)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") == self._request:
                self._said.take(message["msg_type"], message["content"])
        return self._said

    def run(self, cell: str) -> Said:
        """Run a cell to its end, which is to be a good one."""
        self.begin(cell)
        said = self.read(lambda said: said.over)
        assert said.error is None, said
        return said

    def interrupt(self) -> Said:
        """Press the stop button, as often as it takes; wait for the end of the cell."""
        # One that falls into a finaliser is lost: Python tells of it and goes on.
        while True:
            self._manager.interrupt_kernel()
            again = time.monotonic() + PATIENCE
            said = self.read(lambda said, again=again: said.over or time.monotonic() > again)
            if said.over:
                return said

    def shut_down(self) -> bool:
        """Ask the kernel to end; tell whether it did so promptly."""
        self._client.shutdown()
        return until(lambda: not self._manager.is_alive(), EXIT_SECONDS)

    def _kill(self) -> None:
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        """Kill what is left of it."""
        self._watch.cancel()
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._kill()
