"""Two local servers, which live in the test's process, and programs over them that are killed at last."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest
from hosted import PROGRAMS, Launch, Program

from llmpool.testing import LocalServer

KEY = "sk-of-the-house"


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """A server that takes a while to answer, so that calls overlap."""
    with LocalServer("eu", api_keys=[KEY], latency=0.01) as server:
        yield server


@pytest.fixture
def us() -> Iterator[LocalServer]:
    """Another one."""
    with LocalServer("us", api_keys=[KEY], latency=0.01) as server:
        yield server


@pytest.fixture
def house(eu: LocalServer, us: LocalServer, tmp_path: pathlib.Path) -> dict[str, str]:
    """The environment in which a program finds the servers and this folder's modules."""
    return {
        "HOUSE_EU": eu.url,
        "HOUSE_US": us.url,
        "HOUSE_KEY": KEY,
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROGRAMS)]),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture
def launch(house: dict[str, str], tmp_path: pathlib.Path) -> Iterator[Launch]:
    """Start programs; in the end they are killed, and none may have written a traceback or a key."""
    started: list[Program] = []

    def start(command: list[str], **more: str) -> Program:
        program = Program(command, tmp_path, {**house, **more})
        started.append(program)
        return program

    yield start
    for program in started:
        program.close()
    for program in started[:1]:  # they all write to one file
        print(program.log)  # shown when the test fails, and searched for keys
        assert "Traceback" not in program.log
