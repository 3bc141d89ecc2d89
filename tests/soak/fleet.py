"""
Local servers in a process of their own, so that what the pool's process holds is the pool's.

Run as a program it writes the servers' URLs in one line of JSON; then each line on its standard input,
a number and a fault's name, switches one server, and is answered by a line once it has. It ends with
its standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from llmpool import testing
from llmpool.testing import Behaviour, LocalServer

FAULTS: dict[str, Callable[[], Behaviour]] = {
    "refuse": testing.Refuse,
    "swallow": testing.BlackHole,
    "hang": testing.Hang,
    "hang unread": lambda: testing.Hang("accept"),
    "hang in the body": lambda: testing.Hang("body"),
    "reset": testing.Reset,
    "reset in the body": lambda: testing.Reset("body"),
    "cut": testing.Cut,
    "drip": lambda: testing.Drip(0.02),
    "slow": lambda: testing.Slow(0.4),
    "close": testing.CloseAfterReply,
    "close late": lambda: testing.CloseAfterReply("next request"),
    "500": lambda: testing.Status(500),
    "giant 500": lambda: testing.Huge(1 << 20, 500),
    "429": lambda: testing.RateLimited(0.3),
    "429 without a word": testing.RateLimited,
    "busy": lambda: testing.Overloaded(0.5),
    "529": lambda: testing.Overloaded(status=529),
    "loading": testing.Loading,
    "queue full": testing.QueueFull,
    "401": testing.BadKey,
    "quota": testing.QuotaExhausted,
    "too long": testing.ContextTooLong,
    "page": testing.Html,
    "nothing": testing.WrongBody,
    "no choices": testing.EmptyChoices,
    "error body": testing.ErrorBody,
    "redirect": testing.Redirect,
    "error in the stream": lambda: testing.ErrorInStream(1),
    "end early": testing.EndEarly,
    "stall": lambda: testing.Stall(1),
    "pings": lambda: testing.PingsOnly(0.05, 1),
    "500 to some": lambda: testing.FailWhen("7", testing.Status(500)),
}
"""What may be wrong with a server, by name; none of it answers well with another text."""


class Fleet:
    """
    The servers, seen from the pool's process.

    Threads: one at a time switches.
    """

    def __init__(self, servers: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(servers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.urls: list[str] = json.loads(self._say(None))

    def switch(self, server: int, fault: str | None) -> None:
        """Have a server show a fault, or be well; it does on return."""
        assert self._say(f"{server} {fault or 'ok'}\n") == "done\n"

    def _say(self, command: str | None) -> str:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        if command is not None:
            stdin.write(command)
            stdin.flush()
        return stdout.readline()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20.0)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


def serve(servers: int) -> None:
    """Be the program."""
    threading.stack_size(256 * 1024)  # there will be hundreds of threads
    fleet = [
        LocalServer(f"s{number}", latency=0.005, remember=1).start() for number in range(servers)
    ]
    print(json.dumps([server.url for server in fleet]), flush=True)
    for line in sys.stdin:
        number, _, fault = line.strip().partition(" ")
        fleet[int(number)].behave(testing.Ok() if fault == "ok" else FAULTS[fault]())
        print("done", flush=True)
    for server in fleet:
        server.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
