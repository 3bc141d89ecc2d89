"""``llmpool status --web``: the page of the configured pool, until Ctrl-C."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from llmpool import cli
from llmpool.commands import page
from llmpool.testing import LocalServer
from llmpool.web.alone import AloneServer

WALL = 20.0


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """Give a server that behaves."""
    with LocalServer("eu") as running:
        yield running


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """Have the server look at its own feed by HTTP, and be interrupted then; give what was seen."""
    seen: list[tuple[int, Any]] = []
    serve = AloneServer.serve

    def serve_and_look(server: AloneServer) -> None:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        address = server.url.removeprefix("http://").rstrip("/")
        try:
            for _ in range(1000):
                connection = HTTPConnection(address, timeout=WALL)
                connection.request("GET", "/status?history=1")
                reply = connection.getresponse()
                told = json.loads(reply.read())
                connection.close()
                if told["pools"][0]["deployments"][0]["last_check"] is not None:
                    break
                threading.Event().wait(0.02)
            seen.append((reply.status, told))
        finally:
            server.stop()
            thread.join(WALL)
        raise KeyboardInterrupt

    monkeypatch.setattr(AloneServer, "serve", serve_and_look)
    return seen


def test_the_configured_pool(
    eu: LocalServer,
    configure: Callable[..., None],
    interrupted: list[tuple[int, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The URL is printed, the checker runs, nobody may control, and Ctrl-C ends it with 130."""
    configure(eu)
    assert cli.main(["status", "--web", "--port", "0"]) == 130
    ((status, told),) = interrupted
    assert status == 200
    assert told["controls"] is False
    (pool,) = told["pools"]
    assert pool["checker_alive"]
    assert pool["deployments"][0]["last_check"]["healthy"]
    assert pool["history"]["deployments"].keys() == {"eu"}
    written = capsys.readouterr()
    assert written.out.startswith(f"{pool['name']}: http://127.0.0.1:")
    assert written.out.endswith("/ (Ctrl-C ends it)\n")
    assert written.err == ""


def test_the_demo_with_controls(
    interrupted: list[tuple[int, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Three local servers that somebody asks; as JSON a line with the URL."""
    arguments = ["status", "--web", "--demo", "--control", "--port", "0", "--json"]
    assert cli.main([*arguments, "--host", "localhost"]) == 130
    ((status, told),) = interrupted
    assert status == 200
    assert told["controls"] is True
    line = json.loads(capsys.readouterr().out)
    assert line["pool"] == "demo"
    assert line["url"].startswith("http://localhost:")


def test_the_demos_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They ask until the page is left."""
    asked = threading.Event()

    class Pool:
        def complete(self, question: str, timeout: float) -> Any:
            asked.set()
            raise RuntimeError

    monkeypatch.setattr(page, "_DEMO_PAUSE", 0.001)
    with page._callers(Pool()):  # type: ignore[arg-type]
        assert asked.wait(WALL)
    assert not any(thread.name == "llmpool-demo" for thread in threading.enumerate())


def test_control_from_elsewhere(
    eu: LocalServer, configure: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused: whoever reaches the port could control."""
    configure(eu)
    assert cli.main(["status", "--web", "--control", "--host", "0.0.0.0"]) == 2
    assert "--control is for this machine alone" in capsys.readouterr().err


def test_a_place_to_listen_that_there_is_not(
    eu: LocalServer, configure: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line tells where and why, and the status is 2."""
    configure(eu)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["status", "--web", "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"llmpool error: cannot listen on 127.0.0.1, port {port}: Address already in use\n"
    )


def test_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """It is as of every other command."""
    assert cli.main(["status", "--web"]) == 2
    assert "there is no llmpool.toml here" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--host", "::1"], ["--port", "0"], ["--control"]])
def test_an_option_without_the_page(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused rather than passed over."""
    assert cli.main(["status", "--demo", *option]) == 2
    assert capsys.readouterr().err == (
        "llmpool error: --host, --port and --control go with --web\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--web", "--watch"], "not allowed with argument"),
        (["--web", "--port", "65536"], "a whole number from 1 to 65535"),
        (["--web", "--port", "-1"], "a whole number from 1 to 65535"),
        (["--web", "--port", "http"], "a whole number from 1 to 65535"),
    ],
)
def test_a_wrong_option(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is argparse's to refuse."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_real_interrupt() -> None:
    """The command answers by HTTP, and ends with 130 at a Ctrl-C, without a word."""
    command = [
        sys.executable,
        "-m",
        "llmpool",
        "status",
        "--web",
        "--demo",
        "--port",
        "0",
        "--json",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            url = json.loads(process.stdout.readline())["url"]
            connection = HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=WALL)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(WALL) == 130
            assert process.stderr.read() == ""
        finally:
            process.kill()
