"""The demo's words: values in, lines out."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from llmpool import DeploymentStatus, Event
from llmpool.commands import _pages
from llmpool.commands._chronicle import Chronicle, Happening, Spell, spells
from llmpool.commands._script import ACTS, WORKS
from llmpool.commands._terminal import Span, render
from llmpool.commands._traffic import Count
from llmpool.commands.demo import Running

EU = DeploymentStatus(
    name="eu", healthy=True, state="healthy", latency_p50_ms=61.2, latency_p99_ms=80.0
)
US = DeploymentStatus(name="us", healthy=False, state="unhealthy", total_errors=3)
ASIA = DeploymentStatus(name="asia", healthy=True, state="cooling", requests_in_flight=2)


def scene(**changes: Any) -> _pages.Scene:
    given: dict[str, Any] = {
        "elapsed": 7.5,
        "seconds": 15.0,
        "threads": 6,
        "count": Count(answered=8, streamed=2, failovers=3, by_deployment={"eu": 6, "asia": 2}),
        "statuses": (EU, US, ASIA),
        "servers": {"eu": WORKS, "us": "killed", "asia": "rate-limits"},
    }
    return _pages.Scene(**(given | changes))


def drawn(lines: Any, width: int | None = None) -> list[str]:
    return [render(line, width=width) for line in lines]


def test_the_page_on_a_usual_terminal() -> None:
    """It shows who works, who gets calls, and what they came to, within 79 columns."""
    lines = drawn(_pages.page(scene(), 80, 24))
    assert max(map(len, lines)) <= 79
    assert "  7.5 s  [===============               ]  calls 8  failed 0  failovers 3" in lines
    table = lines[6:10]
    assert table == [
        "  deployment  server       in the pool  answers   share  p50 ms  p99 ms  active",
        "  eu          works        healthy            6    75 %      61      80       0",
        "  us          killed       unhealthy          0     0 %       -       -       0",
        "  asia        rate-limits  cooling            2    25 %       -       -       2",
    ]


def test_the_page_on_a_small_terminal() -> None:
    """Columns, the legend and the bar give way; what remains is whole and fits."""
    lines = drawn(_pages.page(scene(), 50, 14))
    assert lines[4] == "  7.5 s  calls 8  failed 0  failovers 3"
    assert lines[6] == "  deployment  server       in the pool  answers"
    assert not any("cooling:" in line for line in lines)
    assert len(lines) <= 13


def test_more_happenings_than_rows() -> None:
    """The latest are shown; with no room there is none."""
    many = tuple(Happening(float(at), "eu", f"event {at}") for at in range(40))
    full = drawn(_pages.page(scene(happenings=many), 80, 24))
    assert len(full) == 23
    assert full[-1] == " 39.0 s  event 39"
    assert len(drawn(_pages.page(scene(happenings=many), 80, 8))) == 11


def test_one_thread() -> None:
    """The introduction speaks of it in the singular."""
    assert "1 thread asks" in drawn(_pages.introduction(scene(threads=1)))[1]
    assert "6 threads ask" in drawn(_pages.introduction(scene()))[1]


def test_the_summary_of_a_demo_without_a_failed_call() -> None:
    """It tells the sums, each deployment's share, who was out from when to when, and the point."""
    out = (
        Spell("eu", "unhealthy", "refused", 2.0, 7.5, 8.0),
        Spell("us", "unhealthy", "hung", 5.0),
        Spell("asia", "cooling", "429", 9.0, 11.0, 11.0),
        Spell("asia", "unhealthy", None, 12.0, 13.0),
    )
    lines = drawn(_pages.summary(scene(spells=out)))
    assert lines[1] == "  calls 8 (2 streamed)  failed 0  failovers 3  slowest call 0.00 s"
    assert lines[3].endswith("failed attempts")
    assert lines[8:12] == [
        "  eu    unhealthy  out at 2.0 s, back at 7.5 s, healthy at 8.0 s",
        "  us    unhealthy  out at 5.0 s, not back yet",
        "  asia  cooling    out at 9.0 s, back at 11.0 s",
        "  asia  unhealthy  out at 12.0 s, back at 13.0 s, still recovering",
    ]
    assert lines[13].startswith("No call failed. When a server failed")
    assert max(map(len, lines)) <= 79


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        (
            {"count": Count(answered=1, failed=2, errors=("ServerFault: eu: no",))},
            ["2 of 3 calls failed:", "  ServerFault: eu: no"],
        ),
        ({"count": Count()}, ["", "No call was answered."]),
        ({"stuck": ("llmpool-demo-1",)}, ["", "Calls that did not end: llmpool-demo-1."]),
        ({"interrupted": True}, ["Interrupted before its end.", "No call had failed."]),
    ],
)
def test_the_summary_of_a_demo_that_went_otherwise(
    changes: dict[str, Any], last: list[str]
) -> None:
    """Its last lines say what, and claim nothing else."""
    assert drawn(_pages.summary(scene(**changes)))[-2:] == last


def test_a_demo_is_flawless() -> None:
    """When calls were answered, none failed, and none is stuck."""
    assert scene().flawless
    assert not scene(count=Count()).flawless
    assert not scene(count=Count(answered=5, failed=1)).flawless
    assert not scene(stuck=("llmpool-demo-1",)).flawless


def test_the_summary_as_json() -> None:
    """Plain values, times rounded, each deployment with its own spells."""
    out = (Spell("us", "unhealthy", "hung", 5.00049, None), Spell("eu", "cooling", "429", 1.0))
    happened = (Happening(5.00049, "us", "us hangs"),)
    told = json.loads(json.dumps(_pages.record(scene(spells=out, happenings=happened))))
    assert (told["ok"], told["calls"], told["failovers"]) == (True, 8, 3)
    assert told["timeline"] == [{"at": 5.0, "deployment": "us", "said": "us hangs"}]
    eu, us, asia = told["deployments"]
    assert (eu["answers"], eu["share"], us["failed_attempts"]) == (6, 0.75, 3)
    assert us["out"] == [
        {
            "deployment": "us",
            "state": "unhealthy",
            "reason": "hung",
            "out_at": 5.0,
            "back_at": None,
            "full_at": None,
        }
    ]
    assert asia["out"] == []


def test_an_interrupted_demo_as_json() -> None:
    """It is not a success."""
    told = _pages.record(scene(interrupted=True, stuck=("llmpool-demo-1",)))
    assert (told["ok"], told["interrupted"]) == (False, True)
    assert told["errors"] == ["did not end: llmpool-demo-1"]


def test_output_that_is_no_terminal() -> None:
    """Each happening is one line, once; every now and then a line tells where things stand."""
    out = io.StringIO()
    show = Running(out, coloured=False)
    first = Happening(0.1, "eu", "eu is killed")
    second = Happening(3.0, "eu", "eu is back")
    show(scene(elapsed=0.2, happenings=(first,)))
    show(scene(elapsed=0.3, happenings=(first,)))
    assert out.getvalue().splitlines()[-2:] == ["", "  0.1 s  eu is killed"]
    show(scene(elapsed=3.1, happenings=(first, second)))
    show(scene(elapsed=3.2, happenings=(first, second)))
    assert out.getvalue().splitlines()[-2:] == [
        "  3.0 s  eu is back",
        "  3.1 s  calls 8, failed 0, failovers 3; eu healthy, us unhealthy, asia cooling",
    ]


def test_a_failed_call_on_the_way() -> None:
    """It is shown in the colour of what is bad."""
    failed = scene(count=Count(failed=1))
    assert Span("failed 1", "bad") in _pages.standing(failed)


def change(deployment: str, new: str, at: float, reason: str | None = None) -> Event:
    return Event("demo", deployment, "?", new, reason, at)


def test_spells_of_several_deployments() -> None:
    """Each begins when calls stop, is over when the first come again, and full when healthy."""
    found = spells(
        [
            change("eu", "unhealthy", 102.0, "refused"),
            change("us", "cooling", 103.0, "429"),
            change("us", "healthy", 104.0),
            change("eu", "recovering", 105.0),
            change("eu", "healthy", 106.0),
        ],
        100.0,
    )
    assert found == (
        Spell("eu", "unhealthy", "refused", 2.0, 5.0, 6.0),
        Spell("us", "cooling", "429", 3.0, 4.0, 4.0),
    )


def test_a_spell_that_gets_worse_or_repeats() -> None:
    """One state after another without a call between is one spell; a failed trial begins another."""
    found = spells(
        [
            change("eu", "cooling", 1.0, "429"),
            change("eu", "unhealthy", 2.0, "500"),
            change("eu", "recovering", 3.0),
            change("eu", "unhealthy", 4.0, "500"),
            change("us", "healthy", 5.0),
            change("eu", "healthy", 6.0),
            change("eu", "healthy", 7.0),
        ],
        0.0,
    )
    assert found == (
        Spell("eu", "cooling", "429", 1.0, 3.0, None),
        Spell("eu", "unhealthy", "500", 4.0, 6.0, 6.0),
    )


def test_the_chronicle() -> None:
    """It keeps acts and changes in their order, and words them without a local port."""
    chronicle = Chronicle(start=100.0)
    chronicle.note(ACTS[0], 102.0)
    chronicle(change("eu", "unhealthy", 102.5, "127.0.0.1:4711: connection refused"))
    chronicle(change("eu", "recovering", 103.0, "127.0.0.1:4711: connection refused"))
    killed, out, back = chronicle.happenings()
    assert (killed.at, killed.said) == (2.0, "eu is killed: it refuses connections")
    assert (out.at, out.tone) == (2.5, "bad")
    assert out.said == "pool: eu is unhealthy, it gets no calls: connection refused"
    assert "refused" not in back.said
    assert [spell.back_at for spell in chronicle.spells()] == [3.0]


@pytest.mark.parametrize(
    "state",
    ["healthy", "recovering", "cooling", "unhealthy", "disabled", "draining"],
)
def test_the_chronicle_of_each_state(state: str) -> None:
    """Whatever state a deployment comes to has its words, with its name and the state in them."""
    chronicle = Chronicle(start=100.0)
    chronicle(change("eu", state, 101.0))
    (happening,) = chronicle.happenings()
    assert happening.said.startswith("pool: eu ")
    assert state in happening.said
    assert happening.tone in {"good", "warn", "bad"}


@pytest.mark.parametrize("state", ["dead", "degraded", "running"])
def test_the_chronicle_of_the_checker(state: str) -> None:
    """What becomes of the checker itself is nobody's spell and is not written down."""
    chronicle = Chronicle(start=100.0)
    chronicle(change("", state, 101.0, "no thread can be started"))
    assert (chronicle.happenings(), chronicle.spells()) == ((), ())


def test_a_drained_deployment() -> None:
    """It is out, in words that say by whom, until it is resumed."""
    chronicle = Chronicle(start=100.0)
    chronicle(change("eu", "draining", 101.0, "drained by the user"))
    chronicle(change("eu", "healthy", 103.0))
    drained, _ = chronicle.happenings()
    assert drained.said == "pool: eu is draining, it gets no new calls: drained by the user"
    assert chronicle.spells() == (Spell("eu", "draining", "drained by the user", 1.0, 3.0, 3.0),)
