"""The example application for Flask as its users start it: by Flask's own server, and by gunicorn."""

from __future__ import annotations

import json
import pathlib
import signal

import pytest
from chats import EXAMPLES, Chat, gunicorn
from hosted import PATIENCE, START_SECONDS, Launch, Program, python, threads_of

from llmpool.testing import LocalServer, Refuse

pytestmark = [pytest.mark.needs("flask"), pytest.mark.timeout(180)]

FOLDER = EXAMPLES / "flask_app"
APP = FOLDER / "app.py"
FACTORY = "app:create_app()"


def flask(launch: Launch, *words: str, **environment: str) -> Chat:
    """Start Flask's own server on a port of its choice."""
    # The source is nobody's to touch here; files beside it change while somebody works on them.
    reloader = ["--exclude-patterns", "*"]
    run = ["--app", str(APP), *words, "run", "--port", "0", *reloader]
    program = launch(python("-m", "flask", *run), **environment)
    return Chat(program, program.said(r"Running on http://127\.0\.0\.1:(\d+)")).up()


@pytest.fixture
def models(house: dict[str, str]) -> dict[str, str]:
    """The environment in which the application asks the two servers, and checks them often."""
    described = [
        {
            "name": name,
            "provider": "openai",
            "base_url": house[f"HOUSE_{name.upper()}"],
            "api_key": "env:HOUSE_KEY",
            "model": "tiny",
        }
        for name in ("eu", "us")
    ]
    return {
        "FLASK_LLMPOOL_DEPLOYMENTS": json.dumps(described),
        "FLASK_LLMPOOL_HEALTH_CHECK": json.dumps({"interval": 0.2, "unhealthy_interval": 0.2}),
        "FLASK_LLMPOOL_RETRY__MAX_ATTEMPTS": "2",
        "FLASK_LLMPOOL_RETRY__MAX_WAIT": "2",  # for a place on one that is coming back
    }


def test_flasks_own_server(
    eu: LocalServer, us: LocalServer, launch: Launch, models: dict[str, str]
) -> None:
    """With its reloader two processes load the application, and one of them has a pool that works."""
    chat = flask(launch, "--debug", **models)
    chat.live_through_an_outage(chat.crowd(), eu, us)
    assert threads_of(chat.program.pid) == 1
    told = json.loads(chat.must("GET", "/llmpool/status").text)
    assert told["pools"][0]["checker_alive"]
    assert "<title>" in chat.must("GET", "/llmpool/").text
    chat.program.stop(signal.SIGINT, everybody=True)


def test_without_any_configuration(launch: Launch) -> None:
    """Local servers stand in, and the status page is for debug mode only."""
    chat = flask(launch)
    chat.crowd(6)
    assert chat.must("GET", "/llmpool/status").status == 403
    assert "<title>Chat</title>" in chat.must("GET", "/").text
    chat.program.stop(signal.SIGINT, everybody=True)


@pytest.mark.needs("gunicorn")
@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["plain", "preload"])
def test_gunicorn(
    options: list[str], eu: LocalServer, us: LocalServer, launch: Launch, models: dict[str, str]
) -> None:
    """Each worker has a pool that works, also where the master made it before it forked them."""
    # The status page, on which each process tells of itself, is for debug mode only.
    chat = gunicorn(launch, FOLDER, FACTORY, *options, FLASK_DEBUG="1", **models)
    seen = chat.workers(2)
    if options:
        assert threads_of(chat.program.pid) == 1
    chat.live_through_an_outage(seen, eu, us)
    # gunicorn's threaded workers take some seconds by themselves.
    assert chat.program.stop(within=PATIENCE) == 0


@pytest.mark.needs("gunicorn")
def test_stand_ins_of_a_master(launch: Launch) -> None:
    """They serve the workers that are forked from it."""
    chat = gunicorn(launch, FOLDER, FACTORY, "--preload")
    chat.crowd(6)
    assert chat.program.stop(within=PATIENCE) == 0


def test_the_command_line(
    eu: LocalServer,
    us: LocalServer,
    house: dict[str, str],
    models: dict[str, str],
    tmp_path: pathlib.Path,
) -> None:
    """``flask llmpool`` asks the servers and ends at once, with a status that a script can use."""
    us.behave(Refuse())
    program = Program(
        python("-m", "flask", "--app", str(APP), "llmpool", "check", "--json"),
        tmp_path,
        {**house, **models},
    )
    try:
        assert program.ended(START_SECONDS) == 1
        told = json.loads(program.log)
    finally:
        program.close()
    assert [each["healthy"] for each in told["deployments"]] == [True, False]
