"""The log: what a call leaves in it at DEBUG, and the variable that turns it on."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from checking import pool_of

from llmpool import CompletionResponse, RateLimited, Usage, _logs
from llmpool.testing import ScriptedProvider

PROMPT = "what nobody else may read"
PROGRAM = """
import logging, sys, llmpool
from llmpool import Deployment, ProviderPool, ServerFault
from llmpool.testing import ScriptedProvider
pool = ProviderPool(
    [
        Deployment("eu", ScriptedProvider(ServerFault("broke", status=503))),
        Deployment("us", ScriptedProvider("hello")),
    ],
    name="main", strategy="primary", health_check=None,
)
pool.complete("what nobody else may read")
pool.drain("eu", timeout=0.0)
pool.close()
"""


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The package's logger, as it is found again after the test."""
    logger = logging.getLogger("llmpool")
    before = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(before[0])
    for each in set(logger.handlers) - set(before[1]):
        logger.removeHandler(each)


def run(value: str | None) -> list[str]:
    """Run the program with the variable; give what it writes to stderr, without the times."""
    env = {name: text for name, text in os.environ.items() if name != "LLMPOOL_LOG"}
    if value is not None:
        env["LLMPOOL_LOG"] = value
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    return [line.split(" ", 2)[2] for line in done.stderr.splitlines()]


# -- each attempt -------------------------------------------------------------------------------


def test_an_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """A line for people, and fields for machines; the model and all else that is a caller's only there."""
    usage = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    with caplog.at_level(logging.DEBUG, "llmpool.calls"):
        pool = pool_of(
            ScriptedProvider(
                RateLimited(PROMPT, status=429), CompletionResponse(PROMPT, usage=usage)
            )
        )
        with pytest.raises(RateLimited):
            pool.complete(PROMPT, retry=False)
        pool._clock.advance(60.0)  # type: ignore[attr-defined]
        pool.complete(PROMPT, model="fast\nforged")
    records = [record for record in caplog.records if record.name == "llmpool.calls"]
    assert [record.getMessage() for record in records] == [
        "pool main: attempt 1 of a call (chat) at a: rate_limited (RateLimited) in 0.000 s",
        "pool main: attempt 1 of a call (chat) at a: ok in 0.000 s",
    ]
    told = {name: text for name, text in vars(records[1]).items() if name.startswith("llmpool_")}
    assert told == {
        "llmpool_pool": "main",
        "llmpool_deployment": "a",
        "llmpool_model": "fast\nforged",
        "llmpool_kind": "chat",
        "llmpool_attempt": 1,
        "llmpool_verdict": "ok",
        "llmpool_status": None,
        "llmpool_latency": 0.0,
        "llmpool_first_content": None,
        "llmpool_input_tokens": 3,
        "llmpool_output_tokens": 2,
    }
    assert (vars(records[0])["llmpool_status"], vars(records[0])["llmpool_input_tokens"]) == (
        429,
        None,
    )
    assert PROMPT not in "".join(record.getMessage() for record in records)


def test_no_attempt() -> None:
    """Without DEBUG a call passes by no observer."""
    assert pool_of("a")._audience is None


def test_a_change_of_state(caplog: pytest.LogCaptureFixture) -> None:
    """What a user does is no warning; each record has both states as fields."""
    with caplog.at_level(logging.INFO, "llmpool"):
        pool = pool_of("a")
        pool.drain("a", timeout=0.0)
    [record] = caplog.records
    assert (record.name, record.levelno) == ("llmpool.health", logging.INFO)
    facts = vars(record)
    assert (facts["llmpool_state"], facts["llmpool_former_state"]) == ("draining", "healthy")


# -- the variable -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable(value: str | None) -> None:
    """Nothing is written."""
    assert run(value) == []


def test_the_variable() -> None:
    """Every attempt at debug, in any case of letters."""
    said = [re.sub(r"in [0-9.]+ s", "in … s", line) for line in run(" DEBUG ")]
    assert said == [
        "DEBUG llmpool.calls: pool main: attempt 1 of a call (chat) at eu: fault (ServerFault) in … s",
        "DEBUG llmpool.calls: pool main: attempt 2 of a call (chat) at us: ok in … s",
        "INFO llmpool.health: pool main: eu is draining, was healthy: drained by the user",
    ]


def test_the_variables_other_values() -> None:
    """Changes of state at info, and nothing that went well at warning."""
    assert run("info") == [
        "INFO llmpool.health: pool main: eu is draining, was healthy: drained by the user"
    ]
    assert run("warning") == []


def test_a_wrong_value() -> None:
    """One line names those that there are; it shows nothing that may be a key."""
    assert run("loud") == ["WARNING llmpool: LLMPOOL_LOG: wanted debug, info, warning, got 'loud'"]
    [line] = run("sk-0123456789abcdef0123")
    assert line.endswith("got a str of 23 characters")


def test_read_twice(logger: logging.Logger) -> None:
    """One handler, and the later level."""
    before = len(logger.handlers)
    _logs.configure("debug")
    _logs.configure("info")
    assert len(logger.handlers) == before + 1
    assert logger.level == logging.INFO


def test_where_it_is_written(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To what is stderr at that moment, if there is one."""
    _logs.configure("info")
    logger.info("here")
    assert capsys.readouterr().err.endswith(" INFO llmpool: here\n")
    monkeypatch.setattr(sys, "stderr", None)
    logger.info("nowhere")
    [handler] = [each for each in logger.handlers if each.name == "LLMPOOL_LOG"]
    handler.stream = "another"  # type: ignore[attr-defined]
    assert handler.stream is None  # type: ignore[attr-defined]
