"""A Celery worker whose processes are forked before they are used, with a folder for a broker."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from hosted import PATIENCE, Launch, python, until
from sites import hang_checks

from llmpool.testing import LocalServer

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
        from celery import Celery

        self._app: Any = Celery(
            "client", broker="filesystem://", backend=f"file://{folder}/results"
        )
        options = {name: str(folder / "queue") for name in ("data_folder_in", "data_folder_out")}
        options["control_folder"] = str(folder / "control")
        self._app.conf.broker_transport_options = options

    def run(self, task: str, *given: tuple[Any, ...]) -> list[dict[str, Any]]:
        """Send a task for each of the arguments *given*; give what they return."""
        sent = [self._app.send_task(f"celery_house.{task}", args) for args in given]
        return [each.get(timeout=PATIENCE, interval=0.05) for each in sent]

    def close(self) -> None:
        """Close what it has opened."""
        self._app.close()


@pytest.mark.parametrize("eager", ["", "eager"], ids=["plain", "used before the fork"])
def test_prefork(
    eager: str, eu: LocalServer, us: LocalServer, launch: Launch, tmp_path: pathlib.Path
) -> None:
    """Each process has its own checker from its first task on, and every answer is its question's."""
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    options = ["--pool", "prefork", "--concurrency", str(PROCESSES), "--loglevel", "INFO"]
    quick = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    program = launch(
        python("-m", "celery", "-A", "celery_house", "worker", *options, *quick),
        HOUSE_FOLDER=str(tmp_path),
        HOUSE_EAGER=eager,
    )
    program.said(r"(\w+@\S+) ready")
    client = Client(tmp_path)
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
    client.close()
    hang_checks(us, PROCESSES)
    assert program.stop(within=OWN_EXIT_SECONDS) == 0


def ticked(states: list[dict[str, Any]]) -> bool:
    """Tell whether the checks of each deployment have gone on from the first to the last state."""
    first, last = states[0]["checked"], states[-1]["checked"]
    return states[-1]["checker"] and all(last[name] not in (None, first[name]) for name in last)
