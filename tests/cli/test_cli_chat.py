"""``llmpool chat`` and ``llmpool bench`` over local servers."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Iterator

import attrs
import pytest
from terminal_double import FakeTerminal

from llmpool import Deployment, OpenAIProvider, ProviderPool, RetryPolicy, cli
from llmpool.commands import bench, chat
from llmpool.commands.chat import Chat, Wishes
from llmpool.testing import LocalServer, Refuse, ScriptedProvider, Status

Configure = Callable[..., None]


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """Give a server that behaves."""
    with LocalServer("eu") as running:
        yield running


class Typed:
    """Lines that a person types; None is Ctrl-C, and after the last one comes Ctrl-D."""

    def __init__(self, *lines: str | None) -> None:
        self._lines = list(lines)

    def __call__(self, prompt: str) -> str:
        if not self._lines:
            raise EOFError
        line = self._lines.pop(0)
        if line is None:
            raise KeyboardInterrupt
        return line


class Keyboard(io.StringIO):
    """Standard input with a person at it."""

    def isatty(self) -> bool:
        return True


def pool_of(*answers: object) -> ProviderPool:
    provider = ScriptedProvider(*answers)  # type: ignore[arg-type]  # what each test scripts
    return ProviderPool([Deployment("eu", provider)], name="own", health_check=None)


def test_a_question(
    eu: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer alone is written, with what was wished for in the request."""
    configure(eu)
    arguments = [
        "chat",
        "--max-tokens",
        "9",
        "--system",
        "be brief",
        "--model",
        "m",
        "hello",
        "you",
    ]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == "echo: hello you\n"
    asked = eu.requests[-1].json
    assert (asked["max_tokens"], asked["model"], asked["stream"]) == (9, "m", True)
    assert asked["messages"][0] == {"role": "system", "content": "be brief"}


def test_a_question_on_standard_input(
    eu: LocalServer,
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is read to its end; the JSON has who answered, how long it took and the tokens."""
    configure(eu)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello"))
    assert cli.main(["chat", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["text"], told["deployment"], told["attempts"]) == ("echo: hello", "eu", ["eu"])
    assert told["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_question_of_other_bytes(
    errors: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused in a line, however the locale reads it."""
    piped = io.TextIOWrapper(io.BytesIO(b"a\xff"), encoding="utf-8", errors=errors)
    monkeypatch.setattr(sys, "stdin", piped)
    assert cli.main(["chat", "--demo"]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "wanted UTF-8 text on standard input, got other bytes" in told


def test_no_question(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asked, and the status is 2."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    assert cli.main(["chat", "--demo"]) == 2
    assert "wanted a question, got nothing on standard input" in capsys.readouterr().err


def test_a_call_that_fails(
    eu: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error goes to standard error, or is the JSON; the status is 1."""
    configure(eu, RETRY__MAX_ATTEMPTS="1")
    eu.behave(Status(500))
    assert cli.main(["chat", "hello"]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("llmpool chat: ServerFault: ")
    assert cli.main(["chat", "--json", "hello"]) == 1
    assert "error" in json.loads(capsys.readouterr().out)


def test_an_argument_that_the_pool_refuses(
    eu: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told in its words, and the status is 2."""
    configure(eu)
    assert cli.main(["chat", "--model", "", "hello"]) == 2
    assert "llmpool error: chat: model: wanted a text" in capsys.readouterr().err


def test_a_conversation() -> None:
    """What was said before is sent along, until a new one is begun; Ctrl-D ends it."""
    out = FakeTerminal()
    with pool_of("one\n", "two", "three") as pool:
        talk = Chat(pool, Wishes(system="s"), out, as_json=False)
        assert talk.converse(Typed("first", "", "second", "/new", "/what", "third")) == 0
        calls = pool.deployments[0].provider.calls
    asked = [[message.content for message in call.request.messages] for call in calls]
    assert asked == [
        ["s", "first"],
        ["s", "first", "one\n", "second"],
        ["s", "third"],
    ]
    seen = "\n".join(out.shown)
    assert "own: eu. /new begins a new conversation" in seen
    assert seen.count("/quit") == 2
    assert "(eu, " in seen


def test_a_conversation_on_standard_input(
    eu: LocalServer, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a person there and no question, one begins; /quit ends it."""
    configure(eu)
    monkeypatch.setattr(sys, "stdin", Keyboard("hello\n/quit\n"))
    out = FakeTerminal()
    monkeypatch.setattr(sys, "stdout", out)
    assert cli.main(["chat"]) == 0
    assert "echo: hello" in "\n".join(out.shown)


def test_ctrl_c_in_a_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    """During an answer it breaks that off; at the prompt it ends the conversation."""

    def interrupted(self: object, question: str) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Chat, "ask", interrupted)
    out = FakeTerminal()
    with pool_of() as pool:
        assert Chat(pool, Wishes(), out, as_json=False).converse(Typed("a", None)) == 0
    assert "broken off" in "\n".join(out.shown)


def test_without_readline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversation does without it."""
    monkeypatch.setitem(sys.modules, "readline", None)
    with pool_of() as pool:
        assert Chat(pool, Wishes(), FakeTerminal(), as_json=True).converse(Typed("/quit")) == 0


def test_what_would_move_the_cursor() -> None:
    """A terminal gets no control characters of a server's; anything else gets the answer as it is."""
    for out, wanted in ((FakeTerminal(), "[2Jgone"), (io.StringIO(), "\x1b[2Jgone")):
        with pool_of("\x1b[2Jgone") as pool:
            assert Chat(pool, Wishes(), out, as_json=False).ask("x")
        assert wanted in out.getvalue()
    assert "\x1b[2J" in wanted


def test_the_line_below_an_answer() -> None:
    """It tells who answered, and of more than one attempt; tokens where they were counted."""
    flawed = LocalServer("bad")
    with LocalServer("good") as good, flawed:
        flawed.behave(Refuse())
        pool = ProviderPool(
            [
                Deployment(each.name, OpenAIProvider(each.url, api_key=None, model="m", proxies={}))
                for each in (flawed, good)
            ],
            strategy="primary",
            retry=RetryPolicy(max_attempts=2),
            health_check=None,
        )
        answer = pool.complete("x")
        pool.close()
    assert chat._footing(answer, 1.0) == "(good, 1.00 s, 2 tokens, 2 attempts)"
    plain = attrs.evolve(answer, usage=None, attempts=answer.attempts[:1])
    assert chat._footing(plain, 1.0) == "(good, 1.00 s)"
    assert chat._record(plain, 1.0)["usage"] is None


def test_a_bench(capsys: pytest.CaptureFixture[str]) -> None:
    """All calls are made; each deployment has its share; the status is 0."""
    assert cli.main(["bench", "--demo", "--calls", "9", "--threads", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["calls"], told["failed"], told["pool"]) == (9, 0, "demo")
    assert sum(each["answers"] for each in told["deployments"]) == 9
    assert 0 < told["p50_ms"] <= told["p99_ms"]
    assert told["completion_tokens"] > 0
    assert "first_p50_ms" not in told


def test_a_bench_of_streams(
    eu: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first content is timed too."""
    configure(eu)
    assert cli.main(["bench", "--calls", "2", "--stream", "--model", "m"]) == 0
    head, row, all_of_them, last = capsys.readouterr().out.splitlines()
    assert "first p50" in head
    assert row.split()[:4] == ["eu", "2", "100", "%"]
    assert all_of_them.split()[:2] == ["all", "2"]
    assert last.startswith("2 calls in ")
    assert last.endswith("failed 0, repeated elsewhere 0")


def test_a_bench_that_fails(
    eu: LocalServer, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """The failures are counted by what they were; the status is 1."""
    configure(eu, RETRY__MAX_ATTEMPTS="1")
    eu.behave(Status(400))
    assert cli.main(["bench", "--calls", "2", "--threads", "1"]) == 1
    written = capsys.readouterr().out
    assert "failed 2" in written
    assert "  2 × InvalidRequest: " in written


def test_a_mistake_of_the_bench_itself() -> None:
    """Whatever a call ends with, it is counted, by its kind alone."""
    with pool_of(TypeError("secret")) as pool:
        load = bench.Load(pool, bench.Plan(1, 1, "x"))
        load.play()
    assert [each.error for each in load.results] == ["TypeError"]
    assert bench.record(load)["errors"] == {"TypeError": 1}


def test_ctrl_c_during_a_bench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What there was is told; the status is 130."""

    real = bench.join_all

    def interrupt(threads: list[threading.Thread], timeout: float) -> list[str]:
        if timeout != 20.0:
            raise KeyboardInterrupt
        return real(threads, timeout)

    monkeypatch.setattr(bench, "join_all", interrupt)
    monkeypatch.setattr(bench, "_PATIENCE", 20.0)
    assert cli.main(["bench", "--demo", "--calls", "3", "--threads", "1"]) == 130
    assert "Interrupted before its end." in capsys.readouterr().out


def test_threads_that_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are waited for again and again."""
    waits: list[float] = []
    real = bench.join_all

    def twice(threads: list[object], timeout: float) -> list[str]:
        waits.append(timeout)
        return ["busy"] if len(waits) == 1 else real(threads, 10.0)  # type: ignore[arg-type]  # same

    monkeypatch.setattr(bench, "join_all", twice)
    with pool_of("a") as pool:
        load = bench.Load(pool, bench.Plan(1, 1, "x"))
        load.play()
    assert len(waits) == 2
    assert len(load.results) == 1


def test_the_share_of_nothing() -> None:
    """There is no percentile of no values."""
    assert bench.percentile([], 0.5) is None
    assert bench.percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert bench.percentile([1.0], 0.99) == 1.0
