"""``llmpool demo`` played in a second or two, on real local servers."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from terminal_double import FakeTerminal

from llmpool import Deployment, OpenAIProvider, ProviderPool, RetryPolicy, cli
from llmpool.clock import SystemClock
from llmpool.commands import demo
from llmpool.commands._script import answer_at_once
from llmpool.commands._traffic import Tally, Traffic
from llmpool.testing import LocalServer, ManualClock, Ok, Status


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """Give a server that behaves."""
    with LocalServer("eu") as running:
        yield running


def pool_of(*providers: Any) -> ProviderPool:
    deployments = [Deployment(f"d{number}", each) for number, each in enumerate(providers, 1)]
    return ProviderPool(
        deployments, health_check=None, strategy="primary", retry=RetryPolicy(max_attempts=2)
    )


def provider_of(server: LocalServer) -> OpenAIProvider:
    return OpenAIProvider(server.url, api_key=None, model="tiny", proxies={})


def test_no_call_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """All three servers fail in turn, calls move on, each deployment answers, the status is 0."""
    assert cli.main(["demo", "--seconds", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["failed"] == 0
    assert told["streamed"] > 0
    assert told["failovers"] > 0
    assert all(each["answers"] for each in told["deployments"])
    assert sum(each["answers"] for each in told["deployments"]) == told["calls"]
    said = "\n".join(each["said"] for each in told["timeline"])
    for fault in ("killed", "hangs", "rate-limits", "started again", "answers again", "no limit"):
        assert fault in said


def test_on_a_terminal() -> None:
    """The table is drawn over itself, the summary stands below it, the cursor is back."""
    terminal = FakeTerminal()
    assert demo.run(1.0, 3, as_json=False, out=terminal) == 0
    seen = "\n".join(terminal.shown)
    assert seen.count("in the pool") == 1
    assert seen.index("in the pool") < seen.index("summary")
    assert terminal.cursor_shown
    assert "32" in terminal.tones


def test_on_a_terminal_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under NO_COLOR the table is drawn and no tone is set."""
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = FakeTerminal()
    assert demo.run(1.0, 2, as_json=False, out=terminal) == 0
    assert "\x1b[J" in terminal.getvalue()
    assert terminal.tones == set()


def test_ctrl_c() -> None:
    """The demo ends with a summary of what there was, the cursor is back, the status is 130."""
    terminal = FakeTerminal(interrupt_at=3)
    assert demo.run(600.0, 2, as_json=False, out=terminal) == 130
    assert terminal.cursor_shown
    assert "Interrupted before its end." in terminal.shown


def test_a_failed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is 1 and the summary tells of it."""
    broken = Status(400, {"error": {"message": "I do not like this."}})
    monkeypatch.setattr(demo, "answer_at_once", broken)
    out = io.StringIO()
    assert demo.run(1.0, 1, as_json=False, out=out) == 1
    assert "calls failed:" in out.getvalue()
    assert "I do not like this." in out.getvalue()


def test_the_command_in_a_shell() -> None:
    """Into a pipe it writes plain lines and ends with status 0."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "llmpool", "demo", "--seconds", "2"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "eu is killed" in done.stdout
    assert "No call failed." in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_ctrl_c_in_a_real_terminal() -> None:
    """The cursor is shown again, there is no traceback, the status is 130."""
    ours, theirs = os.openpty()
    environ = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "llmpool", "demo", "--seconds", "60"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
    ) as process:
        os.close(theirs)
        patience = threading.Timer(30.0, process.kill)
        patience.start()
        try:
            seen = read_until(ours, "calls ")
            process.send_signal(signal.SIGINT)
            seen += read_until(ours, None)
            assert process.wait(timeout=30) == 130, seen
        finally:
            patience.cancel()
            process.kill()
            os.close(ours)
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")
    assert "Interrupted before its end." in seen
    assert "Traceback" not in seen


def read_until(descriptor: int, text: str | None) -> str:
    """Read a pseudo-terminal until *text* has come, or to its end."""
    seen = b""
    while text is None or text.encode() not in seen:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:  # how Linux tells that the other side is closed
            piece = b""
        if not piece:
            assert text is None, seen.decode()
            break
        seen += piece
    return seen.decode()


def test_a_stream_of_the_demo(server: LocalServer) -> None:
    """It comes in one piece, so that a killed server cuts it before its first word or not at all."""
    server.behave(answer_at_once)
    pool = pool_of(provider_of(server))
    with pool.stream("hello") as stream:
        pieces = [chunk.text for chunk in stream]
    assert "".join(pieces) == "echo: hello"
    assert len(pieces) > 1


def test_questions_and_their_answers(server: LocalServer) -> None:
    """An answer counts for its deployment, whether whole or streamed."""
    tally = Tally()
    traffic = Traffic(pool_of(provider_of(server)), tally, SystemClock())
    assert traffic.ask("one", streamed=False)
    assert traffic.ask("two", streamed=True)
    count = tally.count()
    assert (count.calls, count.answered, count.streamed) == (2, 2, 1)
    assert count.by_deployment == {"d1": 2}
    assert (count.share("d1"), count.share("d2")) == (1.0, 0.0)
    assert count.slowest > 0.0


def test_a_call_that_moves_on(server: LocalServer) -> None:
    """It is one call and one failover."""
    with LocalServer("us") as failing:
        failing.behave(Status(500))
        tally = Tally()
        pool = pool_of(provider_of(failing), provider_of(server))
        assert Traffic(pool, tally, SystemClock()).ask("one", streamed=False)
    count = tally.count()
    assert (count.calls, count.failovers, count.by_deployment) == (1, 1, {"d2": 1})


def test_an_answer_to_another_question(server: LocalServer) -> None:
    """It counts as a failed call."""
    server.behave(Ok(text="echo: two"))
    tally = Tally()
    assert not Traffic(pool_of(provider_of(server)), tally, SystemClock()).ask("one", streamed=True)
    assert tally.count().errors == ("an answer that belongs to another question",)


def test_a_call_that_fails(server: LocalServer) -> None:
    """It is told in one line, each kind once, and only the first few kinds."""
    server.behave(Status(400))
    tally = Tally()
    traffic = Traffic(pool_of(provider_of(server)), tally, SystemClock())
    assert not traffic.ask("one", streamed=False)
    assert not traffic.ask("two", streamed=False)
    for number in range(9):
        tally.failed(f"kind {number}")
    count = tally.count()
    assert (count.calls, count.answered, count.failed) == (11, 0, 11)
    assert count.errors[0].startswith("InvalidRequest: d1: ")
    assert len(count.errors) == 5


def test_an_error_that_is_nobodys() -> None:
    """Whatever it is, the call has failed; only its kind is told."""

    class Broken:
        def complete(self, request: object, timeout: float) -> str:
            raise LookupError("who knows what")

    tally = Tally()
    assert not Traffic(pool_of(Broken()), tally, SystemClock()).ask("one", streamed=False)
    assert tally.count().errors == ("LookupError",)


def test_threads_that_ask_on() -> None:
    """They pause after a failed call, and end when they are told to."""
    clock = ManualClock()
    asked = threading.Event()

    class Failing:
        calls = 0

        def complete(self, request: object, timeout: float) -> str:
            self.calls += 1
            if self.calls == 3:
                asked.set()
            raise LookupError

    traffic = Traffic(pool_of(Failing()), Tally(), clock)
    traffic.start(1)
    assert asked.wait(10.0)
    assert traffic.stop(10.0) == []
    assert clock.now() > 1000.0


def test_a_thread_that_does_not_end() -> None:
    """It is named."""
    entered, release = threading.Event(), threading.Event()

    class Stuck:
        def complete(self, request: object, timeout: float) -> str:
            entered.set()
            assert release.wait(10.0)
            return "late"

    clock = SystemClock()
    traffic = Traffic(pool_of(Stuck()), Tally(), clock)
    traffic.start(1)
    assert entered.wait(10.0)
    assert traffic.stop(0.0) == ["llmpool-demo-1"]
    release.set()
    assert traffic.stop(10.0) == []
