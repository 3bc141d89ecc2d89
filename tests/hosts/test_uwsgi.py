"""uWSGI: it forks without a word to Python, and in older ones no thread runs unasked."""

from __future__ import annotations

import pytest
from hosted import Launch
from sites import Site, exercise

from llmpool.testing import LocalServer

pytestmark = [pytest.mark.needs("uwsgi"), pytest.mark.timeout(180)]

WORKERS = 2


def serve(launch: Launch, *options: str, **environment: str) -> Site:
    """Start it on a port of its choice, with a master that ends when it is told to."""
    common = [
        "--http-socket",
        "127.0.0.1:0",
        "--master",
        "--die-on-term",
        "--need-app",
        "--disable-logging",
    ]
    workers = ["--processes", str(WORKERS), "--module", "house:application"]
    program = launch(["uwsgi", *common, *workers, *options], **environment)
    site = Site(program, program.said(r"bound to TCP address 127\.0\.0\.1:(\d+)"))
    site.up()
    return site


@pytest.mark.parametrize(
    ("options", "eager"),
    [
        pytest.param([], "", id="plain"),
        pytest.param([], "eager", id="plain, used by the master"),
        pytest.param(["--threads", "4"], "eager", id="threads, used by the master"),
        pytest.param(["--lazy-apps", "--threads", "4"], "", id="lazy apps"),
    ],
)
def test_workers(
    options: list[str], eager: str, eu: LocalServer, us: LocalServer, launch: Launch
) -> None:
    """Each has its own checker, also where the master had one and had made calls when it forked."""
    # Older ones need the option; to newer ones it is the default.
    site = serve(launch, "--enable-threads", *options, HOUSE_EAGER=eager)
    exercise(site, WORKERS, eu, us)
    assert site.program.stop() == 0
