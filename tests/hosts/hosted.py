"""One program in a process group of its own: started, watched, told to stop, and in the end killed."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PROGRAMS = pathlib.Path(__file__).parent / "programs"
WALL = 100.0
"""Seconds after which a program is killed, whatever the test does."""
START_SECONDS = 40.0
"""Seconds within which a program serves, on a machine with much else to do."""
PATIENCE = 20.0
"""Seconds within which anything must happen that is awaited."""
EXIT_SECONDS = 5.0
"""Seconds from the stop signal to the end: a second is the aim, the rest is the machine's."""


def until(condition: Callable[[], Any], timeout: float = PATIENCE) -> bool:
    """
    Wait until *condition* holds; tell whether it came to that.

    It looks again and again, for another process tells of itself by nothing that could be waited on.
    """
    pause, end = threading.Event(), time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        pause.wait(0.05)
    return True


class Program:
    """A process and whatever it starts; what they write goes to a file."""

    def __init__(
        self, command: Sequence[str], folder: pathlib.Path, environment: Mapping[str, str]
    ) -> None:
        self._log = folder / "log.txt"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watch = threading.Timer(WALL, self._kill)
        self._watch.daemon = True
        self._watch.start()

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its group."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What was written until now."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def said(self, pattern: str) -> str:
        """Wait until it has written *pattern*; give its first group."""
        until(lambda: re.search(pattern, self.log) or not self.runs, START_SECONDS)
        found = re.search(pattern, self.log)
        assert found, f"it never said {pattern!r}:\n{self.log}"
        return found[1]

    def living(self) -> list[int]:
        """Give the ids of the processes of its group that have not ended."""
        return [pid for pid, group in _processes() if group == self.pid]

    def ended(self, timeout: float) -> int:
        """Wait for its end and that of all it started; give its exit status."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it runs on after {timeout} s:\n{self.log}") from None
        assert until(lambda: not self.living(), EXIT_SECONDS), f"left behind: {self.living()}"
        return status

    def stop(
        self,
        number: signal.Signals = signal.SIGTERM,
        *,
        everybody: bool = False,
        within: float = EXIT_SECONDS,
    ) -> int:
        """
        Send a signal, to the whole group if *everybody*, as a terminal does; demand a prompt end.

        Returns:
            The exit status.
        """
        if everybody:
            os.killpg(self.pid, number)
        else:
            self.process.send_signal(number)
        return self.ended(within)

    def _kill(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def close(self) -> None:
        """Kill what is left of it."""
        self._watch.cancel()
        self._kill()
        self.process.wait(PATIENCE)


def _processes() -> list[tuple[int, int]]:
    """Give each living process's id and group; Linux only."""
    seen = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(errors="replace")
            except OSError:
                continue  # ended meanwhile
            state, _, group = stat.rpartition(")")[2].split()[:3]
            if state not in "ZX":
                seen.append((int(entry.name), int(group)))
    return seen


def threads_of(pid: int) -> int:
    """Count the threads of a process; Linux only."""
    return len(list(pathlib.Path(f"/proc/{pid}/task").iterdir()))


def python(*words: str) -> list[str]:
    """Give the command of a program in Python."""
    return [sys.executable, *words]


Launch = Callable[..., Program]
"""Start a program: its command, and by name what more stands in its environment."""
