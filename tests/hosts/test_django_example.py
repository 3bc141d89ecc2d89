"""The example project for Django as its users start it: by runserver, by gunicorn, and by its commands."""

from __future__ import annotations

import json
import pathlib
import signal
import sys

import pytest
from chats import EXAMPLES, Chat, gunicorn
from hosted import PATIENCE, START_SECONDS, Launch, Program, python, threads_of
from sites import free_port

from llmpool.testing import LocalServer, Refuse

pytestmark = [pytest.mark.needs("django"), pytest.mark.timeout(180)]

FOLDER = EXAMPLES / "django_app"
MANAGE = str(FOLDER / "manage.py")


def runserver(launch: Launch, *options: str, **environment: str) -> Chat:
    """Start Django's own server."""
    port = free_port()
    command = python(MANAGE, "runserver", f"127.0.0.1:{port}", *options)
    return Chat(launch(command, **environment), port).up()


@pytest.fixture
def models(house: dict[str, str], tmp_path: pathlib.Path) -> dict[str, str]:
    """The environment in which the project asks the two servers, and checks them often."""
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    tables = [
        f'[[deployment]]\nname = "{name}"\nprovider = "openai"\n'
        f'base_url = "{house[f"HOUSE_{name.upper()}"]}"\napi_key = "env:HOUSE_KEY"\nmodel = "tiny"\n'
        for name in ("eu", "us")
    ]
    checks = "[health_check]\ninterval = 0.2\nunhealthy_interval = 0.2\n[retry]\nmax_wait = 5.0\n"
    file = tmp_path / "models.toml"
    file.write_text(checks + "".join(tables))
    return {"CHAT_CONFIG": str(file)}


def test_runserver(
    eu: LocalServer, us: LocalServer, launch: Launch, models: dict[str, str]
) -> None:
    """With its reloader two processes load the project, and one of them has a pool that works."""
    chat = runserver(launch, **models)
    chat.live_through_an_outage({chat.asks("who are you")}, eu, us)
    assert threads_of(chat.program.pid) == 1
    told = json.loads(chat.must("GET", "/llmpool/status").text)
    assert told["pools"][0]["checker_alive"]
    assert "<title>" in chat.must("GET", "/llmpool/").text
    assert chat.must("GET", "/llmpool").status == 301
    chat.program.stop(signal.SIGINT, everybody=True)


def test_without_any_configuration(launch: Launch) -> None:
    """Local servers stand in, and the status page is for debug mode only."""
    chat = runserver(launch, "--noreload", CHAT_DEBUG="no")
    chat.crowd(6)
    assert chat.must("GET", "/llmpool/healthz").status == 200
    assert chat.must("GET", "/llmpool/status").status == 403
    chat.program.stop(signal.SIGINT, everybody=True)


@pytest.mark.needs("gunicorn")
@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["plain", "preload"])
def test_gunicorn(
    options: list[str], eu: LocalServer, us: LocalServer, launch: Launch, models: dict[str, str]
) -> None:
    """Each worker has a pool that works, also where the master loaded the project before it forked."""
    chat = gunicorn(launch, FOLDER, "chat.wsgi", *options, **models)
    seen = chat.workers(2)
    if options:
        assert threads_of(chat.program.pid) == 1
    chat.live_through_an_outage(seen, eu, us)
    # gunicorn's threaded workers take some seconds by themselves.
    assert chat.program.stop(within=PATIENCE) == 0


def manage(tmp_path: pathlib.Path, environment: dict[str, str], *words: str) -> tuple[int, str]:
    """Run a command to its end; give its exit status and what it wrote."""
    program = Program(python(MANAGE, *words), tmp_path, environment)
    try:
        return program.ended(START_SECONDS), program.log
    finally:
        program.close()


def test_the_commands(
    us: LocalServer, house: dict[str, str], models: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """They ask the servers and end at once, with a status that a script can use."""
    us.behave(Refuse())
    status, told = manage(tmp_path, {**house, **models}, "llmpool", "check", "--json")
    assert status == 1
    assert [each["healthy"] for each in json.loads(told)["deployments"]] == [True, False]


def test_a_mistake_in_the_settings(
    house: dict[str, str], models: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """``check`` tells it in one line with a hint, and so does every command that checks first."""
    file = pathlib.Path(models["CHAT_CONFIG"])
    file.write_text(file.read_text().replace("model =", "modle ="))
    status, told = manage(tmp_path, {**house, **models}, "check")
    assert status == 1
    assert "(llmpool.E003)" in told
    assert "HINT: Did you mean model?" in told
    assert "Traceback" not in told


USERS = """
import sys, types
from django.conf import settings
settings.configure(
    ALLOWED_HOSTS=["testserver"], SECRET_KEY="x", USE_TZ=True, ROOT_URLCONF="urls", LOGGING_CONFIG=None,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "llmpool.contrib.django"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware"],
    LLMPOOL={"default": {"DEPLOYMENTS": [{"name": "eu", "provider": "openai", "api_key": False,
                                          "base_url": "http://127.0.0.1:9/v1"}],
                         "HEALTH_CHECK": {"enabled": False}}},
)
import django
django.setup()
from django.urls import include, path
urls = sys.modules["urls"] = types.ModuleType("urls")
urls.urlpatterns = [path("llmpool/", include("llmpool.contrib.django.urls"))]
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django.test import Client
call_command("migrate", verbosity=0)
def see(user, page):
    client = Client()
    if user is not None:
        client.force_login(user)
    return client.get("/llmpool/" + page).status_code
anna, bert = User.objects.create_user("anna"), User.objects.create_user("bert", is_staff=True)
seen = [see(user, page) for user in (None, anna, bert) for page in ("", "status", "healthz")]
connections.close_all()
print("seen:", *seen)
"""


def test_users(tmp_path: pathlib.Path, house: dict[str, str]) -> None:
    """With Django's own users and sessions the staff sees the page, and others see the health URL."""
    command = python("-W", "error", "-c", USERS, str(tmp_path / "db.sqlite3"))
    program = Program(command, tmp_path, house)
    try:
        assert program.ended(START_SECONDS) == 0, program.log
        assert "seen: 302 403 200 403 403 200 200 200 200" in program.log
    finally:
        program.close()
