"""Development servers that load the application anew when its source changes: Flask's and Django's."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
from collections.abc import Callable

import pytest
from hosted import PROGRAMS, Launch, python, threads_of, until
from sites import Site, exercise, free_port

from llmpool.testing import LocalServer

pytestmark = pytest.mark.timeout(180)


def flask(source: pathlib.Path, launch: Launch) -> Site:
    """Start Flask's server, with its reloader, on a port of its choice."""
    run = ["--app", str(source), "--debug", "run", "--port", "0"]
    program = launch(python("-m", "flask", *run))
    return Site(program, program.said(r"Running on http://127\.0\.0\.1:(\d+)"))


def django(source: pathlib.Path, launch: Launch) -> Site:
    """Start Django's server, whose reloader is on unless told otherwise."""
    port = free_port()
    return Site(launch(python(str(source), "runserver", f"127.0.0.1:{port}")), port)


@pytest.mark.parametrize(
    ("serve", "name"),
    [
        pytest.param(flask, "flask", marks=pytest.mark.needs("flask"), id="Flask"),
        pytest.param(django, "django", marks=pytest.mark.needs("django"), id="Django"),
    ],
)
def test_the_source_changes(
    serve: Callable[[pathlib.Path, Launch], Site],
    name: str,
    eu: LocalServer,
    us: LocalServer,
    launch: Launch,
    tmp_path: pathlib.Path,
) -> None:
    """
    The old process ends though a check hangs, and the new one calls and checks.

    Only the process that serves has a checker: the one that watches it has one thread.
    """
    source = tmp_path / f"{name}_copy.py"
    shutil.copy(PROGRAMS / f"{name}_house.py", source)
    site = serve(source, launch)
    old = site.up()["pid"]
    exercise(site, 1, eu, us)
    assert threads_of(site.program.pid) == 1
    # Later than anything it may remember, whatever the resolution of the file's times.
    stamp = source.stat().st_mtime + 10
    os.utime(source, (stamp, stamp))
    assert until(lambda: (state := site.look()) and state["pid"] != old), site.program.log
    assert old not in site.program.living()
    us.restore()
    exercise(site, 1, eu, us)
    assert len(site.program.living()) == 2
    site.program.stop(signal.SIGINT, everybody=True)
