"""Celery workers, with a folder for a broker: forked before they are used, killed, hurried, put off."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hosted import PROGRAMS, START_SECONDS, WALL, Launch, Program, python, until
from sites import hang_checks

from llmpool import ServerFault
from llmpool.testing import Hang, LocalServer, RateLimited, Status

pytestmark = [
    pytest.mark.needs("celery"),
    pytest.mark.timeout(180),
    # What the client warns of in this process is Celery's own business.
    pytest.mark.filterwarnings("ignore"),
]

PROCESSES = 2
OWN_EXIT_SECONDS = 20.0
"""Over a folder a worker without any pool takes six or seven seconds to end; a check hangs for sixty."""


class Client:
    """Sends tasks, and waits for what comes of them."""

    def __init__(self, folder: pathlib.Path) -> None:
        import folder_broker  # noqa: F401 - it is what folder:// stands for
        from celery import Celery

        self._app: Any = Celery("client", broker="folder://", backend=f"file://{folder}/results")
        options = {name: str(folder / "queue") for name in ("data_folder_in", "data_folder_out")}
        options["control_folder"] = str(folder / "control")
        self._app.conf.broker_transport_options = options

    def send(self, task: str, *args: Any) -> Any:
        """Send a task; give what will hold its result."""
        return self._app.send_task(f"celery_house.{task}", args)

    def run(self, task: str, *given: tuple[Any, ...]) -> list[dict[str, Any]]:
        """Send a task for each of the arguments *given*; give what they return."""
        sent = [self.send(task, *args) for args in given]
        return [result_of(each) for each in sent]

    def close(self) -> None:
        """Close what it has opened."""
        self._app.close()


def result_of(sent: Any, timeout: float = START_SECONDS) -> Any:
    """Wait for what a task returns."""
    return sent.get(timeout=timeout, interval=0.05)


@pytest.fixture
def client(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Send tasks to the folder, once it is there."""
    monkeypatch.syspath_prepend(str(PROGRAMS))
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    client = Client(tmp_path)
    yield client
    client.close()


def begin(launch: Launch, tmp_path: pathlib.Path, *options: str, **more: str) -> Program:
    """Start a worker."""
    quick = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = python("-m", "celery", "-A", "celery_house", "worker", *options, *quick)
    return launch(command, HOUSE_FOLDER=str(tmp_path), **more)


# What is wrong there is wrong on purpose, and Celery's words about it hold tracebacks.
QUIET = ("--loglevel", "CRITICAL")
ONE = ("--pool", "prefork", "--concurrency", "1", *QUIET)


@pytest.mark.parametrize("eager", ["", "eager"], ids=["plain", "used before the fork"])
def test_prefork(
    eager: str, us: LocalServer, client: Client, launch: Launch, tmp_path: pathlib.Path
) -> None:
    """Each process has its own checker from its first task on, and every answer is its question's."""
    options = ["--pool", "prefork", "--concurrency", str(PROCESSES), "--loglevel", "INFO"]
    program = begin(launch, tmp_path, *options, HOUSE_EAGER=eager)
    program.said(r"(\w+@\S+) ready")
    told: dict[int, list[dict[str, Any]]] = {}

    def asked() -> bool:
        for state in client.run("ask", *((f"task {n}",) for n in range(8))):
            assert state["astray"] == []
            told.setdefault(state["pid"], []).append(state)
        return len(told) == PROCESSES

    assert until(asked), program.log

    def moved() -> bool:
        for state in client.run("look", *[()] * 4):
            told[state["pid"]].append(state)
        return all(ticked(states) for states in told.values())

    assert until(moved), told
    for states in told.values():
        assert states[-1]["in_flight"] == 0
        assert states[-1]["checkers"] == 1
    hang_checks(us, PROCESSES)
    assert program.stop(within=OWN_EXIT_SECONDS) == 0


def ticked(states: list[dict[str, Any]]) -> bool:
    """Tell whether the checks of each deployment have gone on from the first to the last state."""
    first, last = states[0]["checked"], states[-1]["checked"]
    return states[-1]["checker"] and all(last[name] not in (None, first[name]) for name in last)


@pytest.mark.parametrize(
    "kind", ["solo", "threads", pytest.param("gevent", marks=pytest.mark.needs("gevent"))]
)
def test_other_pools_of_celery(
    kind: str, client: Client, launch: Launch, tmp_path: pathlib.Path
) -> None:
    """Every answer is its question's, the checks go on, and nothing stays in flight."""
    program = begin(launch, tmp_path, "--pool", kind, "--concurrency", "4", "--loglevel", "INFO")
    program.said(r"(\w+@\S+) ready")
    states = client.run("ask", *((f"task {n}",) for n in range(8)))
    assert [state["astray"] for state in states] == [[]] * 8

    def moved() -> bool:
        states.extend(client.run("look", ()))
        return ticked(states)

    assert until(moved), states
    assert states[-1]["in_flight"] == 0
    assert states[-1]["checkers"] == 1
    assert len({state["pid"] for state in states}) == 1


def test_a_process_that_is_killed(
    eu: LocalServer, us: LocalServer, client: Client, launch: Launch, tmp_path: pathlib.Path
) -> None:
    """Its task is delivered again, to a new process, and the pool there answers it."""
    begin(launch, tmp_path, *ONE)
    first = result_of(client.send("put_off", "hello"))
    assert first["text"] == "echo: hello"
    before = eu.hits("chat") + us.hits("chat")
    for server in (eu, us):
        server.behave(Hang(), on="chat")
    sent = client.send("put_off", "a question of somebody who dies")
    assert until(lambda: eu.hits("chat") + us.hits("chat") > before)
    os.kill(first["pid"], signal.SIGKILL)
    for server in (eu, us):
        server.restore()
    again = result_of(sent)
    assert again["text"] == "echo: a question of somebody who dies"
    assert again["pid"] != first["pid"]


def test_processes_that_are_replaced(
    client: Client, launch: Launch, tmp_path: pathlib.Path
) -> None:
    """Each takes two tasks and is gone; every answer is its question's all the same."""
    options = ["--pool", "prefork", "--concurrency", "2", "--max-tasks-per-child", "2", *QUIET]
    begin(launch, tmp_path, *options)
    result_of(client.send("put_off", "hello"))
    sent = [client.send("put_off", f"question {n}") for n in range(12)]
    answers = [result_of(each) for each in sent]
    assert [answer["text"] for answer in answers] == [f"echo: question {n}" for n in range(12)]
    assert len({answer["pid"] for answer in answers}) >= 5


def test_a_soft_time_limit(
    eu: LocalServer, us: LocalServer, client: Client, launch: Launch, tmp_path: pathlib.Path
) -> None:
    """It ends the call, gives back its place and blames nobody; the process goes on."""
    from celery.exceptions import SoftTimeLimitExceeded

    begin(launch, tmp_path, *ONE)
    before = result_of(client.send("look"))
    for server in (eu, us):
        server.behave(Hang(), on="chat")
    for turn in range(4):
        with pytest.raises(SoftTimeLimitExceeded):
            result_of(client.send("hurry", f"question {turn}"))
    for server in (eu, us):
        server.restore()
    assert result_of(client.send("ask", "and now"))["astray"] == []
    after = result_of(client.send("look"))
    assert after["pid"] == before["pid"]
    assert (after["in_flight"], after["healthy"], after["errors"]) == (0, ["eu", "us"], 0)


def test_a_task_that_is_put_off(
    eu: LocalServer, us: LocalServer, client: Client, launch: Launch, tmp_path: pathlib.Path
) -> None:
    """It comes back when the servers said that it may, and its process does other work meanwhile."""
    begin(launch, tmp_path, *ONE)
    result_of(client.send("look"))
    for server in (eu, us):
        server.forget()
        server.behave(RateLimited(retry_after=5), on="chat")
    began = time.monotonic()
    sent = client.send("put_off", "hello")
    assert until(lambda: eu.hits("chat") and us.hits("chat"))
    for server in (eu, us):
        server.restore()
    result_of(client.send("look"))
    assert not sent.ready()
    answer = result_of(sent, WALL)
    assert time.monotonic() - began >= 5.0
    assert (answer["text"], answer["retries"]) == ("echo: hello", 1)


def test_an_error_of_the_pool(
    eu: LocalServer, us: LocalServer, client: Client, launch: Launch, tmp_path: pathlib.Path
) -> None:
    """Whoever waits for the result gets it as the class that it is, without the question."""
    begin(launch, tmp_path, *ONE)
    for server in (eu, us):
        server.behave(Status(500), on="chat")
    with pytest.raises(ServerFault, match="HTTP 500") as caught:
        result_of(client.send("fail", "a question that is nobody's business"))
    assert "business" not in str(caught.value)


EXAMPLE = pathlib.Path(__file__).parents[2] / "docs" / "examples" / "celery_app"


def test_the_example(
    eu: LocalServer, us: LocalServer, launch: Launch, house: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """The application of the documentation starts, and answers what its own program asks."""
    settings = {
        "CELERY_FOLDER": str(tmp_path / "broker"),
        "PYTHONPATH": str(EXAMPLE),
        **{f"{name}_URL": house[f"HOUSE_{name}"] for name in ("EU", "US")},
        **{f"{name}_KEY": house["HOUSE_KEY"] for name in ("EU", "US")},
    }
    # First the questions: what kombu writes into a folder it may read half written.
    texts = [f"text {n}" for n in range(6)]
    asking = launch(python(str(EXAMPLE / "ask.py"), *texts), **settings)
    queue = tmp_path / "broker" / "queue"
    assert until(lambda: len(list(queue.glob("*.msg"))) == len(texts), START_SECONDS), asking.log
    worker = launch(
        python("-m", "celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO"),
        **settings,
    )
    assert asking.ended(START_SECONDS) == 0, asking.log
    for text in texts:
        assert f"{text!r}: echo: {text}" in asking.log
    assert eu.hits("chat") + us.hits("chat") == len(texts)
    assert worker.stop(within=OWN_EXIT_SECONDS) == 0
