"""What a visitor is told when no deployment answers."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

pytest.importorskip("django")

import django_site  # noqa: F401 - it sets Django up
from django.test import Client, override_settings
from django_site import described

from llmpool import ConnectionFailed, DeadlineExceeded, InvalidRequest, RateLimited
from llmpool.testing import ScriptedProvider


@pytest.fixture(autouse=True)
def setting() -> Iterator[None]:
    """The middleware alone."""
    name = "llmpool.contrib.django.middleware.UnavailableMiddleware"
    with override_settings(MIDDLEWARE=[name]):
        yield


def ask(*script: object, question: str = "hello") -> tuple[int, dict[str, str], str]:
    """Ask a pool whose only deployment answers so."""
    listed = [{"name": "own", "provider": ScriptedProvider(*script)}]
    once = described(DEPLOYMENTS=listed, RETRY={"max_attempts": 1, "max_wait": 0})
    with override_settings(LLMPOOL={"default": once}):
        answer = Client(raise_request_exception=False).get("/ask", {"q": question})
    return answer.status_code, dict(answer.headers), answer.content.decode()


def test_an_answer() -> None:
    """It passes."""
    assert ask("hi")[0::2] == (200, "hi")


def test_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    """It is a 503 which tells when to come again if that is known; the log has the reason."""
    status, headers, text = ask(RateLimited("slow down", retry_after=1.2))
    assert (status, headers["Retry-After"], text) == (503, "2", "Service Unavailable\n")
    assert any("/ask: RateLimited: own: slow down" in each for each in caplog.messages)
    status, headers, _ = ask(ConnectionFailed("refused"))
    assert (status, headers.get("Retry-After")) == (503, None)


def test_the_time_is_over() -> None:
    """It is a 504."""
    assert ask(DeadlineExceeded("too late"))[0::2] == (504, "Gateway Timeout\n")


def test_what_is_the_projects_own() -> None:
    """A request that nobody takes, and any other error, stays a 500."""
    assert ask(InvalidRequest("no such tool"))[0] == 500
    assert ask(ZeroDivisionError("of the project"))[0] == 500


def test_a_page_of_the_projects(tmp_path: pathlib.Path) -> None:
    """It is shown instead."""
    (tmp_path / "503.html").write_text("<p>Come again</p>")
    templates = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [tmp_path]}]
    with override_settings(TEMPLATES=templates):
        status, headers, text = ask(RateLimited("slow down"))
    assert (status, text) == (503, "<p>Come again</p>")
    assert headers["Content-Type"].startswith("text/html")
