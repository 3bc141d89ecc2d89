"""The Flask extension: an application's pool, its commands, its errors."""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("flask")

from flask import Flask, Response
from flask.testing import FlaskCliRunner

from llmpool import (
    AuthenticationFailed,
    ContextLengthExceeded,
    DeadlineExceeded,
    Deployment,
    LLMPoolError,
    NoHealthyDeployment,
    PoolClosed,
    ProviderPool,
    RateLimited,
)
from llmpool.commands import status
from llmpool.contrib.flask import LLMPool, unavailable
from llmpool.testing import LocalServer, Refuse, ScriptedProvider

KEY = "sk-of-the-deployment-0123456789"


def described(server: LocalServer, name: str = "a") -> dict[str, Any]:
    """Describe a deployment as a config does."""
    return {
        "name": name,
        "provider": "openai",
        "base_url": server.url,
        "api_key": KEY,
        "model": "tiny",
    }


def make_app(name: str, **keys: Any) -> Flask:
    """Make an application that asks once and has no checker."""
    app = Flask(name)
    app.config["LLMPOOL_HEALTH_CHECK"] = {"enabled": False}
    app.config["LLMPOOL_RETRY"] = {"max_attempts": 1, "max_wait": 0}
    app.config.from_mapping({f"LLMPOOL_{key}": value for key, value in keys.items()})
    return app


@pytest.fixture
def app(server: LocalServer) -> Flask:
    """An application over a local server."""
    return make_app("shop", DEPLOYMENTS=[described(server)])


@pytest.fixture
def llm(app: Flask) -> LLMPool:
    """Its pool, which a view asks."""
    llm = LLMPool(app)
    app.add_url_rule("/ask", view_func=lambda: llm.pool.complete("hello").text)
    return llm


@pytest.fixture
def runner(app: Flask, llm: LLMPool) -> FlaskCliRunner:
    """Its command line."""
    return app.test_cli_runner()


def checkers() -> list[str]:
    """Name the checkers' threads."""
    threads = [thread.name for thread in threading.enumerate()]
    return [name for name in threads if name.startswith("llmpool-checker-")]


# -- applications -------------------------------------------------------------------------------


def test_a_view(app: Flask, llm: LLMPool) -> None:
    """It asks the pool of its application, which is called like it."""
    assert app.test_client().get("/ask").text == "echo: hello"
    assert app.extensions["llmpool"].name == "shop"


def test_one_extension_for_several_applications(server: LocalServer) -> None:
    """Each has a pool of its own, and the extension holds none of them."""
    llm = LLMPool()
    apps = [make_app(name, DEPLOYMENTS=[described(server, name)]) for name in ("shop", "desk")]
    for app in apps:
        llm.init_app(app)
        app.add_url_rule("/ask", view_func=lambda: llm.pool.complete("hello").deployment)
    assert [app.test_client().get("/ask").text for app in apps] == ["shop", "desk"]
    forgotten = weakref.ref(apps.pop(0))
    del app
    gc.collect()
    assert forgotten() is None


def test_several_applications_at_a_time(server: LocalServer) -> None:
    """In whatever thread, each view asks the pool of its own application."""
    llm = LLMPool()
    clients = {}
    for name in ("shop", "desk"):
        app = make_app(name, DEPLOYMENTS=[described(server, name)])
        llm.init_app(app)
        app.add_url_rule("/ask/<q>", view_func=lambda q: asked(llm.pool, q))
        clients[name] = app

    def asked(pool: ProviderPool, question: str) -> dict[str, str | None]:
        answer = pool.complete(question)
        return {"deployment": answer.deployment, "text": answer.text}

    def ask(number: int) -> bool:
        name = ("shop", "desk")[number % 2]
        told = clients[name].test_client().get(f"/ask/number-{number}").json
        return bool(told == {"deployment": name, "text": f"echo: number-{number}"})

    with ThreadPoolExecutor(8) as crowd:
        assert all(crowd.map(ask, range(80)))


def test_a_pool_made_by_hand(app: Flask, pool: ProviderPool) -> None:
    """It goes before the config; the one of init_app() goes before the constructor's."""
    LLMPool(app, pool=pool)
    assert app.extensions["llmpool"] is pool
    scripted = ScriptedProvider("hi")
    other = ProviderPool([Deployment("other", scripted)], health_check=None)
    llm, desk = LLMPool(pool=pool), make_app("desk")
    llm.init_app(desk, other)
    with desk.app_context():
        assert llm.pool is other


def test_what_is_no_pool(app: Flask) -> None:
    """It is refused wherever it is given."""
    given: Any = "main"
    with pytest.raises(TypeError, match=r"^pool: wanted a ProviderPool or None, got 'main'$"):
        LLMPool(pool=given)
    with pytest.raises(TypeError, match=r"^pool: wanted a ProviderPool or None, got 'main'$"):
        LLMPool().init_app(app, given)
    assert "llmpool" not in app.extensions


def test_a_second_pool_for_an_application(app: Flask, llm: LLMPool) -> None:
    """It is refused, and the first one stays."""
    first = app.extensions["llmpool"]
    with pytest.raises(RuntimeError, match=r"^the application 'shop' has a pool already"):
        LLMPool(app)
    assert app.extensions["llmpool"] is first


def test_outside_of_an_application(llm: LLMPool) -> None:
    """Flask's own error tells that there is no context, and ours that an application has no pool."""
    with pytest.raises(RuntimeError, match="Working outside of application context"):
        _ = llm.pool
    with Flask("other").app_context(), pytest.raises(RuntimeError, match="'other' has no pool"):
        _ = llm.pool


def test_no_thread_before_the_first_call(server: LocalServer) -> None:
    """Making the extension, the application and the blueprint starts none; a call does."""
    app = Flask("shop")
    app.config["LLMPOOL_DEPLOYMENTS"] = [described(server)]
    llm = LLMPool(app)
    app.register_blueprint(llm.blueprint())
    app.test_cli_runner().invoke(args=["llmpool", "check"])
    app.test_client().get("/")
    assert checkers() == []
    with app.app_context():
        assert llm.pool.complete("hello").text == "echo: hello"
    assert len(checkers()) == 1


def test_flask_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that brings it."""
    for name in [name for name in sys.modules if name.startswith("llmpool.contrib.flask")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(ImportError, match=r"llmpool\.contrib\.flask needs flask.* extra 'flask'"):
        importlib.import_module("llmpool.contrib.flask")


def test_what_serving_does_not_load() -> None:
    """The commands and the status pages are loaded when they are asked for."""
    program = (
        "import sys, llmpool.contrib.flask\n"
        "print([m for m in sys.modules if m.startswith(('llmpool.testing', 'llmpool.web'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


# -- errors -------------------------------------------------------------------------------------


@pytest.fixture
def failing(app: Flask) -> list[LLMPoolError]:
    """Give a list whose first error the view /fail raises."""
    raised: list[LLMPoolError] = []

    def fail() -> str:
        raise raised[0]

    app.add_url_rule("/fail", view_func=fail)
    app.register_error_handler(LLMPoolError, unavailable)
    return raised


@pytest.mark.parametrize(
    ("error", "wanted", "wait"),
    [
        (NoHealthyDeployment(retry_after=12.1), 503, "13"),
        (NoHealthyDeployment(), 503, None),
        (RateLimited("slow down", status=429, retry_after=2.0), 503, "2"),
        (AuthenticationFailed("wrong key", status=401), 503, None),
        (PoolClosed("the pool is closed"), 503, None),
        (DeadlineExceeded("out of time"), 504, None),
    ],
)
def test_no_deployment_answers(
    error: LLMPoolError,
    wanted: int,
    wait: str | None,
    app: Flask,
    failing: list[LLMPoolError],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The visitor is told when to come again and nothing of deployments; the log has the error."""
    failing.append(error)
    response = app.test_client().get("/fail")
    assert (response.status_code, response.headers.get("Retry-After")) == (wanted, wait)
    assert str(error) not in response.text
    assert f"llmpool: {type(error).__name__}: {error}" in caplog.messages


def test_a_request_that_no_deployment_takes(app: Flask, failing: list[LLMPoolError]) -> None:
    """It stays the application's own fault."""
    failing.append(ContextLengthExceeded("too long", status=400))
    assert app.test_client().get("/fail").status_code == 500
    app.testing = True
    with pytest.raises(ContextLengthExceeded):
        app.test_client().get("/fail")


def test_a_page_of_the_applications_own(app: Flask, failing: list[LLMPoolError]) -> None:
    """It is what the visitor sees."""
    failing.append(NoHealthyDeployment())
    app.register_error_handler(503, lambda error: ("closed for lunch", error.code))
    response = app.test_client().get("/fail")
    assert (response.status_code, response.text) == (503, "closed for lunch")


def test_without_the_handler(app: Flask, llm: LLMPool, server: LocalServer) -> None:
    """An error of the pool's is one like any other."""
    server.behave(Refuse())
    assert app.test_client().get("/ask").status_code == 500


def test_a_stream_that_its_reader_leaves(app: Flask, llm: LLMPool) -> None:
    """Before the first piece or after it, the place is given back."""

    def stream() -> Response:
        answer = llm.pool.stream("one two three four")
        response = Response(chunk.text for chunk in answer)
        response.call_on_close(answer.close)
        return response

    app.add_url_rule("/stream", view_func=stream)
    pool: ProviderPool = app.extensions["llmpool"]
    for pieces in (0, 2):
        response = app.test_client().get("/stream")
        assert pool.health("a").requests_in_flight == 1
        for _ in range(pieces):
            assert next(response.response) is not None
        response.close()
        assert pool.health("a").requests_in_flight == 0


# -- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        (["status"], "deployment  state    check ms  tier  weight  why", "1 of 1 healthy"),
        (["check"], "healthy ", "1 of 1 healthy, by the checks that are configured"),
    ],
)
def test_all_is_well(words: list[str], first: str, last: str, runner: FlaskCliRunner) -> None:
    """A table, or lines, and 0."""
    result = runner.invoke(args=["llmpool", *words])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith(first)
    assert lines[-1] == last


@pytest.mark.parametrize("word", ["status", "check"])
def test_some_are_out_or_all(word: str, server: LocalServer) -> None:
    """The exit status is 1, then 2; JSON tells of each."""
    server.behave(Refuse())
    with LocalServer("us") as us:
        for healthy, wanted in ((True, 1), (False, 2)):
            app = make_app("shop", DEPLOYMENTS=[described(server), described(us, "b")])
            LLMPool(app)
            result = app.test_cli_runner().invoke(args=["llmpool", word, "--json"])
            assert result.exit_code == wanted
            told = json.loads(result.output)["deployments"]
            assert [each["healthy"] for each in told] == [False, healthy]
            us.behave(Refuse())


def test_watching(runner: FlaskCliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on until Ctrl-C, every two seconds unless told otherwise."""
    periods = []

    def watch(pool: ProviderPool, period: float, *, as_json: bool, out: Any) -> None:
        assert as_json
        periods.append(period)
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "watch", watch)
    for words in (["--watch", "--json"], ["--json", "--watch", "0.5"]):
        assert runner.invoke(args=["llmpool", "status", *words]).exit_code == 130
    assert periods == [2.0, 0.5]
    refused = runner.invoke(args=["llmpool", "status", "--watch", "0"])
    assert (refused.exit_code, "--watch" in refused.output) == (2, True)


def test_a_question(runner: FlaskCliRunner, server: LocalServer) -> None:
    """It stands on the command line or comes from standard input, and 0 tells that it was answered."""
    words = ["--model", "tiny", "--system", "be brief", "--max-tokens", "9", "--timeout", "30"]
    result = runner.invoke(args=["llmpool", "chat", *words, "hello", "you"])
    assert (result.exit_code, result.output) == (0, "echo: hello you\n")
    sent = server.requests[-1].json
    assert sent["messages"][0] == {"role": "system", "content": "be brief"}
    assert sent["max_tokens"] == 9
    result = runner.invoke(args=["llmpool", "chat", "--json"], input="hello")
    assert json.loads(result.output)["text"] == "echo: hello"


def test_a_question_that_is_not_answered(runner: FlaskCliRunner, server: LocalServer) -> None:
    """The exit status is 1, and without a question 2."""
    server.behave(Refuse())
    result = runner.invoke(args=["llmpool", "chat", "hello"])
    assert result.exit_code == 1
    assert "ConnectionFailed: a: " in result.output
    result = runner.invoke(args=["llmpool", "chat"], input=" ")
    assert result.exit_code == 2
    assert result.output == "error: chat: wanted a question, got nothing on standard input\n"


def test_a_closed_pool(app: Flask, runner: FlaskCliRunner) -> None:
    """A command says so and ends with 2."""
    app.extensions["llmpool"].close()
    result = runner.invoke(args=["llmpool", "check"])
    assert (result.exit_code, result.output) == (2, "error: the pool is closed\n")
