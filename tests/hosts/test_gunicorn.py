"""gunicorn: the application is loaded by each worker, or once before they are forked."""

from __future__ import annotations

import pathlib

import pytest
from hosted import Launch, python
from sites import Site, exercise

from llmpool.testing import LocalServer

pytestmark = [pytest.mark.needs("gunicorn"), pytest.mark.timeout(180)]

WORKERS = 2


def serve(launch: Launch, *options: str, **environment: str) -> Site:
    """Start it on a port of its choice."""
    common = ["--bind", "127.0.0.1:0", "--workers", str(WORKERS), "--no-control-socket"]
    program = launch(
        python("-m", "gunicorn", *common, *options, "house:application"), **environment
    )
    site = Site(program, program.said(r"Listening at: http://127\.0\.0\.1:(\d+)"))
    site.up()
    return site


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["plain", "preload"])
@pytest.mark.parametrize("eager", ["", "eager"], ids=["lazy", "eager"])
def test_threads(
    options: list[str], eager: str, eu: LocalServer, us: LocalServer, launch: Launch
) -> None:
    """Each worker has its own checker, also where the master had one and had made calls when it forked."""
    site = serve(launch, "--threads", "4", *options, HOUSE_EAGER=eager)
    exercise(site, WORKERS, eu, us)
    assert site.program.stop() == 0


PATCH = "from gevent import monkey\nmonkey.patch_all()\n"


@pytest.mark.needs("gevent")
@pytest.mark.parametrize("preload", [False, True], ids=["plain", "preload"])
def test_gevent_workers(
    preload: bool, eu: LocalServer, us: LocalServer, launch: Launch, tmp_path: pathlib.Path
) -> None:
    """They patch before they load the application; a master that loads it has to be told to."""
    options = ["--worker-class", "gevent"]
    if preload:
        (tmp_path / "gunicorn.conf.py").write_text(PATCH)
        options.append("--preload")
    site = serve(launch, *options, HOUSE_EAGER="eager")
    exercise(site, WORKERS, eu, us)
    assert site.program.stop() == 0


@pytest.mark.needs("gevent")
def test_gevent_workers_of_a_master_that_has_not_patched(launch: Launch) -> None:
    """They patch what the master has loaded, which is too late: calls are refused and say so."""
    site = serve(launch, "--worker-class", "gevent", "--preload", "--workers", "1")
    text = site.get("/ask", q="hello")["text"]
    assert text.startswith("LLMPoolError: gevent patched this process after llmpool was imported")
    assert site.program.stop() == 0
