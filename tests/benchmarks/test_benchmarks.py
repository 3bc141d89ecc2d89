"""The arithmetic of the benchmarks, and that the page about them says what was measured."""

from __future__ import annotations

import json
import math
import random
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the benchmarks are no part of the package

from benchmarks import checking, references, table, traffic, work, world  # noqa: E402
from benchmarks.__main__ import merged, read_arguments, run_alone  # noqa: E402
from benchmarks.beside import haproxy_figures, router_figures  # noqa: E402
from benchmarks.choosing import Pool, Task, simulate  # noqa: E402
from benchmarks.fleet import Fleet  # noqa: E402
from benchmarks.http_calls import by_pool, by_requests, chats_of  # noqa: E402
from benchmarks.measure import AT_LEAST, Figure, Scale, alternate, ratios  # noqa: E402
from benchmarks.suite import BY_NAME, SUITE  # noqa: E402


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Two servers in a process of their own."""
    with Fleet(2) as servers:
        yield servers


# -- figures ------------------------------------------------------------------------------------


def test_a_figure_is_the_middle_of_its_rounds() -> None:
    """One slow round moves the spread and not the figure."""
    told = Figure("x", "times", [0.5, 9.0, 0.6], limit=0.9).to_dict()

    assert (told["median"], told["low"], told["high"], told["met"]) == (0.6, 0.5, 9.0, True)


@pytest.mark.parametrize(
    ("sense", "value", "met"),
    [
        ("at most", 1.0, True),
        ("at most", 1.1, False),
        (AT_LEAST, 1.0, True),
        (AT_LEAST, 0.9, False),
    ],
)
def test_what_is_to_be_reached(sense: str, value: float, met: bool) -> None:
    """The limit itself is within it."""
    assert Figure("x", "", [value], sense, 1.0).met is met


def test_what_could_not_be_measured() -> None:
    """It has no value, it is not reached, and it can be written as JSON."""
    figure = Figure("x", "s", [], limit=1.0)

    assert figure.met is False
    assert json.loads(json.dumps(figure.to_dict(), allow_nan=False))["median"] is None
    assert "MISSED" in str(figure)


def test_ways_take_turns() -> None:
    """Each round measures all of them."""
    order: list[str] = []

    def way(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = alternate(2, {"a": lambda: way("a"), "b": lambda: way("b")})

    assert order == ["a", "b", "a", "b"]
    assert ratios(found["b"], found["a"]) == (2.0, pytest.approx(4 / 3))


def test_scale() -> None:
    """A quick run does less."""
    assert (Scale().pick(100, 1), Scale(quick=True).pick(100, 1)) == (100, 1)


# -- stories ------------------------------------------------------------------------------------


def story_of(asked: list[float], served: list[list[float]]) -> traffic.Story:
    """Tell of a fault at 10 that is mended at 20, with three calls."""
    records = [
        traffic.Record(0.0, 0.1, None),
        traffic.Record(11.0, 11.5, "Timeout: x"),
        traffic.Record(21.0, 21.2, None),
    ]
    return traffic.tell(records, 10.0, 20.0, asked, served, 2.0)


def test_a_story_of_a_fault() -> None:
    """What was sent to the bad one counts while it is bad, and what it served from the repair on."""
    told = story_of([9.0, 10.5, 13.0, 21.0], [[9.0, 20.5], [9.5]])

    assert (told.calls, told.failed, told.errors) == (3, 1, {"Timeout: x": 1})
    assert (told.out, told.probes) == (3.0, 1)
    assert told.back == 0.5
    assert told.p50 == pytest.approx(0.2)
    assert told.p99 == pytest.approx(0.5)


def test_a_server_that_never_comes_back() -> None:
    """There is no time of its return, and nothing pretends one."""
    told = story_of([], [[9.0], [20.1, 20.2, 25.0]])

    assert (told.out, told.back, told.share) == (0.0, None, None)


def test_a_fair_share_is_half_of_an_even_one() -> None:
    """From the first window in which it has that."""
    others = [20.0 + 0.05 * step for step in range(40)]

    assert story_of([], [[20.5, 20.55, 20.6], others]).share == pytest.approx(0.4)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.99, 4), (0.0, 1), (1.0, 4)])
def test_quantiles(share: float, value: float) -> None:
    """One of the values, that so many do not exceed."""
    assert traffic.quantile([4, 1, 3, 2], share) == value
    assert math.isnan(traffic.quantile([], share))


def test_callers_call_until_it_is_over(fleet: Fleet) -> None:
    """Failures are told with their words, and each caller's calls are counted."""

    def good() -> None:
        pass

    def bad() -> None:
        raise ValueError("no")

    plan = traffic.Plan(0.0, 0.05, 0.05, threads=2, rate=200.0)
    told = traffic.suffer(fleet, plan, "500", [good, bad], list, 2.0)

    assert told.calls >= told.failed
    assert set(told.errors) <= {"ValueError: no"}


def test_figures_of_stories() -> None:
    """A failed call of ours is a miss; the peer's is told and no more."""
    bad = story_of([], [[9.0], [20.1]])
    plan = traffic.Plan(1.0, 9.0, 1.0)
    told = {figure.what: figure.met for figure in haproxy_figures("500", plan, bad, bad)}

    assert told["500: failed calls"] is False
    assert told["500: failed calls, HAProxy"] is None
    assert not any(figure.met is False for figure in router_figures("Router", "401", bad))


# -- servers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["killed", "500", "429", "401", "reset", "truncated"])
def test_a_server_goes_bad_and_comes_back(fleet: Fleet, behaviour: str) -> None:
    """A pool goes elsewhere, unseen; checks and calls are told apart."""
    from llmpool import Deployment, OpenAIProvider, Probe, ProviderPool

    fleet.forget()
    providers = [OpenAIProvider(url, api_key="k", model="tiny") for url in fleet.urls]
    pool = ProviderPool(
        [Deployment(f"s{n}", provider) for n, provider in enumerate(providers)],
        health_check=None,
        check=Probe(),
        strategy="primary",
    )
    try:
        fleet.behave(0, behaviour)
        assert pool.complete("hello").deployment == "s1"
        fleet.behave(0, "ok")
        pool.check_now()
        assert fleet.seen()[1].checks == 1
        assert [good for _, good in fleet.seen()[1].calls] == [True]
    finally:
        fleet.behave(0, "ok")
        pool.close()
        for provider in providers:
            provider.close()


# -- the simulation -----------------------------------------------------------------------------


@pytest.mark.parametrize("oracle", [references.Oracle, references.StrictOracle])
def test_an_oracle_loses_nothing(oracle: type[references.Oracle]) -> None:
    """There is always a good server, and it asks no other."""
    place = world.World(0.02, 1)
    calls = world.traffic(place, 1)
    told = world.live(oracle(), calls, place)

    assert told.failed == 0
    assert len(told.calls) == len(calls)


def test_the_strict_oracle_leaves_out_what_flaps() -> None:
    """All the while, as the sentence for that does."""
    place = world.World(1.0, 1)
    place.now = world.SPANS["one flaps"][0]
    place.in_flight = [0 if server == place.flapping else 1 for server in range(world.SERVERS)]

    assert references.Oracle().choose(None, place) == place.flapping
    assert references.StrictOracle().choose(None, place) != place.flapping


@pytest.mark.parametrize("strategy", ["least_connections", "least_latency"])
def test_a_pool_in_the_simulation(strategy: str) -> None:
    """It loses no call, and asks the one that fails fast far less than its share."""
    place = world.World(0.1, 1)
    told = world.live(Pool(strategy, place, 1), world.traffic(place, 1), place)

    assert told.failed == 0
    assert told.asked[place.failing] < sum(told.asked) / world.SERVERS


def test_choosing_well() -> None:
    """The same calls come to the same end each time; in short hours trouble's beginnings weigh more."""
    seed = 3
    own, again, best = (
        simulate(Task(name, seed, 0.1)) for name in ("least_latency", "least_latency", "oracle")
    )

    assert own == again
    assert own.failed == best.failed == 0
    assert own.mean <= 1.2 * best.mean
    assert own.p99 <= 1.5 * best.p99


def test_a_call_that_failed_is_the_longest() -> None:
    """It is no gain to fail the calls that would have taken long."""
    told = world.Told([(1.0, 2.0), (2.0, math.inf), (3.0, 4.0)])

    assert (told.failed, told.mean, told.p99) == (1, 3.0, math.inf)
    assert (told.during(3.0, 4.0).failed, told.during(3.0, 4.0).p99) == (0, 4.0)


def test_who_is_slow_is_drawn() -> None:
    """No place in the order of the servers is always the one in trouble."""
    worlds = [world.World(1.0, seed) for seed in range(40)]

    for role in ("slow", "failing", "flapping"):
        assert {getattr(place, role) for place in worlds} == set(range(world.SERVERS))
    assert all(
        len({place.slow, place.failing, place.flapping}) == 3 and place.rate(0.0) == 3.0
        for place in worlds
    )


@pytest.mark.parametrize("strategy", references.STRATEGIES)
def test_a_reference_cools_what_fails(strategy: str) -> None:
    """More than half of five failed: it is left alone for five seconds."""
    place = world.World()
    way = references.Routing(strategy, random.Random(1))
    for _ in range(5):
        way.ended(None, 0, 0.1, False, place)

    assert {way.choose(None, place) for _ in range(200)} <= {1, 2, 3, 4}
    place.now = 5.0
    assert 0 in {way.choose(None, place) for _ in range(200)}


def test_models_of_the_references() -> None:
    """Fewest in flight; lowest mean, the unmeasured first; fewest of this minute; anybody."""
    assert references.least_busy([2, 1, 1], [0, 1, 2]) == [1]
    assert references.lowest_latency({0: [1.0], 1: [2.0]}, [0, 1]) == [0]
    assert references.lowest_latency({0: [1.0], 1: [2.0]}, [0, 1, 2]) == [2]
    assert references.least_used([1, 0, 1, 0], [0, 2, 3]) == [3]
    assert references.least_used([1, 0, 1, 0], [0, 2]) == [0, 2]
    assert references.shuffle(None, [0, 2]) == [0, 2]


def test_use_is_of_this_minute() -> None:
    """Who was used in the last one is as good as any in the next."""
    place = world.World()
    way = references.Routing("usage-based-routing-v2", random.Random(1))
    for server in range(4):
        way.ended(None, server, 0.1, True, place)

    assert {way.choose(None, place) for _ in range(50)} == {4}
    place.now = 60.0
    assert {way.choose(None, place) for _ in range(200)} == set(range(5))


def test_a_pass_by_workers_that_cost_nothing() -> None:
    """Each that hangs holds a worker for its time-out: 17 rounds, where without one 16 would do."""
    assert checking.free_of_cost(1000, 20) == pytest.approx(1.7)
    assert checking.free_of_cost(64, 1) == pytest.approx(0.1)


# -- the suite ----------------------------------------------------------------------------------


@pytest.mark.parametrize("benchmark", SUITE, ids=lambda benchmark: benchmark.name)
def test_a_benchmark_can_be_found(benchmark: object) -> None:
    """Its module imports without any peer: these are imported where they are used."""
    load = getattr(benchmark, "load")  # noqa: B009 - a plain attribute would want the type
    assert callable(load())


@pytest.mark.parametrize("name", ["llmpool-3", "tenacity"])
def test_a_piece_of_work(name: str) -> None:
    """It can be done any number of times."""
    loop = work.WORK[name]()
    loop(0)
    loop(3)


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none is refused at once."""
    assert read_arguments(["chat", "--quick"]).names == ["chat"]
    with pytest.raises(SystemExit):
        read_arguments(["chatter"])
    assert "chatter" in capsys.readouterr().err


def test_a_quick_run_judges_nothing(tmp_path: Path) -> None:
    """It does too little for that."""
    run_alone(BY_NAME["threads"], Scale(1, quick=True), tmp_path / "figures.json")
    told = json.loads((tmp_path / "figures.json").read_text())
    assert [figure["met"] for figure in told] == [None, None]


def test_a_benchmark_that_is_run_again() -> None:
    """Its figures take the place of the earlier ones; the others stay, in the order of the suite."""
    old = {"benchmarks": [{"name": "chat", "figures": 1}, {"name": "stream", "figures": 2}]}

    found = merged(old, {"name": "overhead", "figures": 3}, False)["benchmarks"]
    again = merged(old, {"name": "chat", "figures": 4}, False)["benchmarks"]

    assert [each["name"] for each in found] == ["overhead", "chat", "stream"]
    assert [each["figures"] for each in again] == [4, 2]


# -- the page -----------------------------------------------------------------------------------


def test_the_page_says_what_was_measured() -> None:
    """Its tables are those of ``benchmarks/results.json``; ``python -m benchmarks.table`` writes them."""
    report = json.loads(table.RESULTS.read_text(encoding="utf-8"))
    page = table.PAGE.read_text(encoding="utf-8")

    assert table.put_into(page, report) == page


def test_a_round_without_an_end() -> None:
    """Calls that fail too often have no p99: the spread of such rounds is endless, and can be written."""
    figure = Figure("p99", "times", [1.0, 2.0, math.inf]).to_dict()
    benchmark = {"name": "x", "title": "X", "problem": None, "figures": [figure]}
    ran = {"python": "3", "system": "S", "cores": 1}

    assert "1 to ∞" in table.tables({"machine": ran, "benchmarks": [benchmark]})


def test_a_page_without_its_marks() -> None:
    """It is refused, and not written over."""
    with pytest.raises(ValueError, match=re.escape(table.BEGIN)):
        table.put_into("text", {"machine": {}, "benchmarks": []})


# -- the guard ----------------------------------------------------------------------------------


def lines_of(work: Callable[[], object]) -> int:
    """Count the lines of Python that *work* runs: the same on every run."""
    count = 0

    def trace(*_: object) -> object:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def operations(loop: work.Loop) -> int:
    """Count the lines that one piece of work runs."""
    loop(50)  # what is done once is done
    return lines_of(lambda: loop(20)) // 20


def test_a_call_stays_short() -> None:
    """A call runs at most half as many lines again as when this was written, which was 315."""
    assert operations(work.calls_of_pool(3)) <= 480


def test_a_chat_stays_short(fleet: Fleet) -> None:
    """Over HTTP it runs fewer lines than one by hand: half as many on 3.13, a third on 3.11."""
    with by_pool(fleet) as ours, by_requests(fleet) as theirs:
        own, other = (operations(chats_of(ask)) for ask in (ours, theirs))

    assert own <= 0.65 * other


@pytest.mark.parametrize(
    "strategy", ["round_robin", "least_connections", "least_latency", "weighted"]
)
def test_a_choice_among_many_costs_as_much_as_among_few(strategy: str) -> None:
    """Lines that a call runs with 1,000 deployments, beside 16: at most twice as many."""
    few, many = (operations(work.calls_of_pool(size, strategy)) for size in (16, 1000))

    assert many <= 2 * few


def test_a_big_pool_is_built_as_quickly_as_small_ones() -> None:
    """Lines that building one of 1,000 deployments runs, beside one of 100: some ten times as many."""
    few, many = (lines_of(partial(work.calls_of_pool, size)) for size in (100, 1000))

    assert many <= 15 * few
