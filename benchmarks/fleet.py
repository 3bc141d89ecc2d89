"""The servers of :mod:`benchmarks.upstream`, as those who measure hold them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs

_ROOT = Path(__file__).parents[1]


@attrs.frozen
class Seen:
    """What one server has seen: ``calls`` are when each came and whether it was answered well."""

    calls: list[tuple[float, bool]]
    checks: int
    accepted: int
    most_open: int


class Fleet:
    """
    Some servers in one process of their own. Times are those of ``time.monotonic()``, which processes
    of one machine share.

    Threads: one at a time.
    """

    def __init__(self, count: int, *, latency: tuple[float, float] = (0.0, 0.0)) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.upstream", str(count)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ports: list[int] = self._read()
        self.urls = [f"http://127.0.0.1:{port}/v1" for port in self.ports]
        low, high = latency
        self._order(do="latency", low=low, high=high)

    def behave(self, server: int, behaviour: str) -> float:
        """Switch one server; give the moment from which it holds."""
        return float(self._order(do="behave", server=server, **{"as": behaviour}))

    def stream_of(self, chunks: int) -> None:
        """Answer streams with so many content chunks from now on."""
        self._order(do="chunks", chunks=chunks)

    def forget(self) -> None:
        """Count anew."""
        self._order(do="forget")

    def seen(self) -> list[Seen]:
        """Give what each server has seen."""
        return [
            Seen(**{**told, "calls": [(at, good) for at, good in told["calls"]]})
            for told in self._order(do="seen")
        ]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _order(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the servers' process has ended")
        return json.loads(line)
