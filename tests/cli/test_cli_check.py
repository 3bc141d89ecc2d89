"""``llmpool check`` against servers that answer, refuse, hang and lie."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest

from llmpool import cli
from llmpool.commands import check
from llmpool.testing import BadKey, Hang, Html, LocalServer, Refuse, Status


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """Give a server that behaves."""
    with LocalServer("eu") as running:
        yield running


@pytest.fixture
def us() -> Iterator[LocalServer]:
    """Give another."""
    with LocalServer("us") as running:
        yield running


def test_all_healthy(eu: LocalServer, us: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each in the order given, one for all, status 0."""
    assert cli.main(["check", us.url, eu.url]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("healthy ")
    assert first.endswith(f" s  {us.url}")
    assert second.endswith(f" s  {eu.url}")
    assert last == "2 of 2 healthy, by ping: reachable; --probe asks for an answer"


def test_some_healthy(eu: LocalServer, us: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 1, and the line of the one that is not tells why."""
    us.behave(Refuse())
    assert cli.main(["check", eu.url, us.url]) == 1
    good, bad, last = capsys.readouterr().out.splitlines()
    assert good.startswith("healthy ")
    assert bad.startswith("unhealthy ")
    assert "refused" in bad
    assert last.startswith("1 of 2 healthy")


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [(Refuse(), "refused"), (BadKey(), "Incorrect API key"), (Status(500), "500")],
)
def test_none_healthy(
    behaviour: object, told: str, eu: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 2."""
    eu.behave(behaviour)  # type: ignore[arg-type]  # each is one
    assert cli.main(["check", eu.url]) == 2
    assert told in capsys.readouterr().out


def test_one_that_hangs(eu: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Its check ends at the time-out."""
    eu.behave(Hang())
    assert cli.main(["check", eu.url, "--timeout", "0.2"]) == 2
    line = capsys.readouterr().out.splitlines()[0]
    assert 0.15 < float(line.split()[1]) < 2.0


def test_pages_that_answer_while_completions_fail(
    eu: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ping is content with that; a probe is not."""
    eu.behave(Html(), on="chat")
    assert cli.main(["check", eu.url]) == 0
    assert cli.main(["check", eu.url, "--probe"]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == (
        "0 of 1 healthy, by probe: a completion of one token"
    )


def test_a_probe_for_a_model(eu: LocalServer) -> None:
    """The model named is the one asked, for one token."""
    assert cli.main(["check", eu.url, "--probe", "--model", "llama"]) == 0
    asked = eu.requests[-1].json
    assert (asked["model"], asked["max_tokens"]) == ("llama", 1)


def test_a_key_from_the_environment(
    eu: LocalServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is sent, and shown nowhere, not even by a server that repeats it."""
    eu.use_keys("right")
    monkeypatch.setenv("SOME_KEY", "wrong-key-of-mine")
    assert cli.main(["check", eu.url, "--key-env", "SOME_KEY"]) == 2
    eu.behave(Status(401, {"error": {"message": "no such key: wrong-key-of-mine"}}))
    assert cli.main(["check", eu.url, "--key-env", "SOME_KEY"]) == 2
    assert "wrong-key" not in "".join(capsys.readouterr())
    monkeypatch.setenv("SOME_KEY", " right\n")
    eu.restore()
    assert cli.main(["check", eu.url, "--key-env", "SOME_KEY"]) == 0


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("NOT_SET", None, "is not set, or empty"),
        ("SOME_KEY", "  ", "is not set, or empty"),
        ("gsk_abc", None, "is not set, or empty"),
        ("a-key", None, "wanted the name of an environment variable"),
        ("SOME_KEY", "env:OTHER", "one that names another"),
        ("SOME_KEY", "kéy", "printable ASCII"),
    ],
)
def test_a_key_that_is_none(
    name: str,
    value: str | None,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The status is 2; what stands after --key-env is not repeated, for it may be the key."""
    if value is not None:
        monkeypatch.setenv(name, value)
    assert cli.main(["check", "http://127.0.0.1:9/v1", "--key-env", name]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert told in written.err
    assert name not in written.err


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("127.0.0.1:9/v1", "URL 2: wanted"),
        ("ftp://127.0.0.1/v1", "URL 2: wanted"),
        ("http://me:hunter2@127.0.0.1/v1", "URL 2: wanted a URL without user and password"),
    ],
)
def test_a_url_that_is_none(url: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told which one, what is wanted, and no password; the status is 2."""
    assert cli.main(["check", "http://127.0.0.1:9/v1", url]) == 2
    written = capsys.readouterr().err
    assert told in written
    assert "hunter2" not in written


def test_a_model_without_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused with status 2."""
    assert cli.main(["check", "http://127.0.0.1:9/v1", "--probe", "--model", " "]) == 2
    assert "model" in capsys.readouterr().err


def test_a_url_given_twice(eu: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one deployment."""
    assert cli.main(["check", eu.url, eu.url]) == 0
    assert "1 of 1 healthy" in capsys.readouterr().out


def test_urls_that_differ_in_their_query_alone() -> None:
    """Their names do not show it, for some APIs take the key there; they are numbered."""
    urls = [f"http://127.0.0.1:9/v1?key={key}" for key in "abc"]
    plain = "http://127.0.0.1:9/v1"
    named = [each.name for each in check.deployments(urls, None, None, 1.0)]
    assert named == [plain, f"{plain} #2", f"{plain} #3"]


def test_asked_for_json(
    eu: LocalServer, us: LocalServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object tells it all, and the status is the same."""
    us.behave(Refuse())
    assert cli.main(["check", eu.url, us.url, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["check"], told["total"], told["healthy"]) == ("ping", 2, 1)
    good, bad = told["deployments"]
    assert (good["deployment"], good["healthy"], good["error"]) == (eu.url, True, None)
    assert "refused" in bad["error"]
    assert bad["timestamp"]


def test_what_would_move_the_cursor(eu: LocalServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither what a server says nor a URL brings a control character to the terminal."""
    eu.behave(Status(500, {"error": {"message": "\x1b[2Jgone\r\n"}}))
    assert cli.main(["check", eu.url + "/\udce9"]) == 2
    line = capsys.readouterr().out.splitlines()[0]
    assert "/v1/?  " in line
    assert "gone" in line
    assert line.isprintable()


def test_a_check_that_could_not_be_begun(eu: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment without a result is not healthy."""
    monkeypatch.setattr(check.ProviderPool, "check_now", lambda self: ())
    out = io.StringIO()
    asked = check.deployments([eu.url], None, None, 1.0)
    status = check.run(asked, check.question(None, probe=False), 1.0, as_json=False, out=out)
    assert status == 2
    assert "no check could be begun" in out.getvalue()


def test_ctrl_c_during_a_check(
    eu: LocalServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 130 and nothing is written."""

    def interrupt(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check.ProviderPool, "check_now", interrupt)
    assert cli.main(["check", eu.url]) == 130
    assert "".join(capsys.readouterr()) == ""
