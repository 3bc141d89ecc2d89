"""``manage.py llmpool``: what it writes, and the exit status that it ends with."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest

pytest.importorskip("django")

import django_site  # noqa: F401 - it sets Django up
from django.core import management
from django.test import override_settings

from llmpool.commands import status as statuses
from llmpool.contrib.django import pools
from llmpool.contrib.django.management.commands import llmpool as command
from llmpool.testing import LocalServer, Refuse

KEY = "sk-of-the-deployment-0123456789"


@pytest.fixture
def eu() -> Iterator[LocalServer]:
    """A server."""
    with LocalServer("eu", api_keys=[KEY]) as server:
        yield server


@pytest.fixture
def us() -> Iterator[LocalServer]:
    """Another one."""
    with LocalServer("us", api_keys=[KEY]) as server:
        yield server


@pytest.fixture(autouse=True)
def setting(eu: LocalServer, us: LocalServer) -> Iterator[None]:
    """Two pools."""
    both = [
        {
            "name": server.name,
            "provider": "openai",
            "base_url": server.url,
            "api_key": KEY,
            "model": "tiny",
        }
        for server in (eu, us)
    ]
    quiet: dict[str, Any] = {"HEALTH_CHECK": {"enabled": False}, "RETRY": {"max_attempts": 2}}
    two = {"default": {"DEPLOYMENTS": both, **quiet}, "us": {"DEPLOYMENTS": both[1:], **quiet}}
    with override_settings(LLMPOOL=two):
        yield


def run(*words: str) -> tuple[int, str]:
    """Run it as ``manage.py`` does; give the exit status and what it wrote."""
    pools.close_all()  # as a process that has just begun
    out = io.StringIO()
    try:
        management.call_command("llmpool", *words, stdout=out)
    except SystemExit as end:
        return cast(int, end.code), out.getvalue()
    except management.CommandError as error:
        return error.returncode, str(error)
    return 0, out.getvalue()


def test_status(eu: LocalServer, us: LocalServer) -> None:
    """It asks, shows a table or JSON, and tells by its exit status how many are healthy."""
    number, told = run("status")
    assert number == 0
    assert "eu" in told
    assert "2 of 2 healthy" in told
    eu.behave(Refuse())
    number, told = run("status", "--json")
    assert number == 1
    assert [each["healthy"] for each in json.loads(told)["deployments"]] == [False, True]
    us.behave(Refuse())
    assert run("status")[0] == 2


def test_status_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on until Ctrl-C."""

    def watch(pool: Any, period: float, *, as_json: bool, out: Any) -> None:
        out.write(f"{pool.name} {period} {as_json}")
        raise KeyboardInterrupt

    monkeypatch.setattr(statuses, "watch", watch)
    assert run("status", "--watch", "--pool", "us") == (130, "us 2.0 False")
    assert run("status", "--watch", "5", "--json") == (130, "default 5.0 True")


def test_check(eu: LocalServer) -> None:
    """It asks each once."""
    number, told = run("check")
    assert number == 0
    assert told.splitlines()[-1].startswith("2 of 2 healthy")
    eu.behave(Refuse())
    number, told = run("check", "--json")
    assert number == 1
    assert json.loads(told)["healthy"] == 1
    assert run("check", "--pool", "us")[0] == 0


def test_chat(eu: LocalServer, us: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes as it is; a question may stand on standard input."""
    assert run("chat", "how", "are", "you") == (0, "echo: how are you\n")
    wishes = ["--model", "tiny", "--system", "be brief", "--max-tokens", "9", "--timeout", "30"]
    number, told = run("chat", "--json", *wishes, "hello")
    assert (number, json.loads(told)["text"]) == (0, "echo: hello")
    monkeypatch.setattr(sys, "stdin", io.StringIO("piped"))
    assert run("chat") == (0, "echo: piped\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert run("chat")[0] == 2
    for server in (eu, us):
        server.behave(Refuse())
    assert run("chat", "hello")[0] == 1


def test_a_pool_that_there_is_not() -> None:
    """It is told, with the one that may be meant."""
    number, told = run("status", "--pool", "defualt")
    assert (number, told) == (2, "settings.LLMPOOL has no pool 'defualt'; did you mean default?")


def test_settings_that_make_no_pool() -> None:
    """They are told as they are elsewhere, with no traceback and no key."""
    with override_settings(LLMPOOL={"default": {"DEPLOYMENTS": [{"api_key": KEY}]}}):
        number, told = run("check")
    assert number == 2
    assert told.startswith("settings.LLMPOOL['default']['DEPLOYMENTS'][0]: provider: wanted")
    assert KEY not in told


def test_nothing_that_can_be_done() -> None:
    """An action has to be named, and is one of three."""
    assert run()[0] == 1
    assert run("explode")[0] == 1
    assert run("status", "--watch", "never")[0] == 1


def test_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's own option is heeded."""
    monkeypatch.setenv("NO_COLOR", "")
    management.call_command("llmpool", "check", no_color=True, stdout=io.StringIO())
    assert os.environ["NO_COLOR"]


def test_a_terminal_that_cannot_show_all() -> None:
    """What it cannot show is replaced."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    management.call_command("llmpool", "chat", "grüße", stdout=narrow)
    narrow.seek(0)
    assert narrow.read() == "echo: gr??e\n"


def test_what_runs_before_it() -> None:
    """No system check: it tells itself what is wrong, by its own exit status."""
    assert list(command.Command.requires_system_checks) == []
    assert "llmpool" in management.get_commands()
