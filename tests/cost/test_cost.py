"""Tokens and money, summed per deployment and told with each answer; and going where it is cheapest."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from calling import Stage, on
from stand import Stand, deployment, end

from llmpool import (
    Candidate,
    CompletionResponse,
    Deployment,
    EmbeddingResponse,
    Prices,
    ProviderPool,
    RateLimited,
    StreamChunk,
    StreamInterrupted,
    Usage,
)
from llmpool.strategies import LowestCost, mean_price
from llmpool.testing import ScriptedProvider

USAGE = Usage(
    prompt_tokens=1000, completion_tokens=100, total_tokens=1100,
    raw={"prompt_tokens_details": {"cached_tokens": 400}},
)  # fmt: skip
PRICES = Prices(input=2.0, output=10.0, cached_input=1.0)
COST = (600 * 2.0 + 400 * 1.0 + 100 * 10.0) / 1e6


def pool_of(*steps: Any, prices: Prices | None = PRICES) -> ProviderPool:
    """Give a pool of one deployment that answers so."""
    return ProviderPool(
        [Deployment("eu", ScriptedProvider(*steps), prices=prices)], health_check=None
    )


def told(pool: ProviderPool) -> tuple[int, int, int, float | None]:
    """Give what the status tells of tokens and money."""
    status = pool.health("eu")
    return status.input_tokens, status.cached_tokens, status.output_tokens, status.cost


ALL = (1000, 400, 100, pytest.approx(COST))


def test_an_answer() -> None:
    """Its tokens and its cost are added up, and the cost stands in it."""
    pool = pool_of(*[CompletionResponse("fine", usage=USAGE)] * 2)
    assert told(pool) == (0, 0, 0, 0.0)

    assert pool.complete("hello").cost == pytest.approx(COST)
    assert told(pool) == ALL
    pool.complete("hello")
    assert told(pool) == (2000, 800, 200, pytest.approx(2 * COST))


def test_a_deployment_without_prices() -> None:
    """Its tokens are added up; its cost is unknown, not nothing."""
    pool = pool_of(CompletionResponse("fine", usage=USAGE), prices=None)

    assert pool.complete("hello").cost is None
    assert told(pool) == (1000, 400, 100, None)


def test_an_answer_without_usage() -> None:
    """What it cost is unknown, and nothing is added."""
    pool = pool_of("fine")

    assert pool.complete("hello").cost is None
    assert told(pool) == (0, 0, 0, 0.0)


@pytest.mark.parametrize("usage", [{"prompt_tokens": 5}, Usage(prompt_tokens="many")])  # type: ignore[arg-type]
def test_a_usage_that_is_none(usage: Any) -> None:
    """A provider's odd value is passed on, and not added up."""
    pool = pool_of(CompletionResponse("fine", usage=usage))

    assert pool.complete("hello").usage is usage
    assert told(pool) == (0, 0, 0, 0.0)


def test_an_embedding() -> None:
    """It is counted alike."""
    pool = pool_of(EmbeddingResponse([[1.0]], usage=USAGE))

    assert pool.embed("hello").cost == pytest.approx(COST)
    assert told(pool) == ALL


def test_a_stream() -> None:
    """It is counted at its end, and its response tells the cost."""
    pool = pool_of(["one ", StreamChunk("two", finish_reason="stop", usage=USAGE)])
    stream = pool.stream("hello")
    assert stream.response.cost is None
    for _ in stream:
        pass

    assert stream.response.cost == pytest.approx(COST)
    assert told(pool) == ALL


@pytest.mark.parametrize("prices", [PRICES, None])
def test_a_stream_without_prices_or_usage(prices: Prices | None) -> None:
    """What it cost is unknown."""
    usage = USAGE if prices is None else None
    pool = pool_of([StreamChunk("one", finish_reason="stop", usage=usage)], prices=prices)
    stream = pool.stream("hello")
    for _ in stream:
        pass

    assert stream.response.cost is None


def test_a_stream_that_breaks_off() -> None:
    """What it had told of until then was spent."""
    pool = pool_of([StreamChunk("one", usage=USAGE), RateLimited("no", status=429)])
    with pytest.raises(StreamInterrupted):
        list(pool.stream("hello"))

    assert told(pool) == ALL


def test_a_stream_that_is_closed() -> None:
    """What had been read of it counts, and no more than once."""
    pool = pool_of([StreamChunk("one", usage=USAGE), "two", "three"])
    stream = pool.stream("hello")
    next(stream)
    stream.close()
    stream.close()

    assert told(pool) == ALL


def test_a_function_of_the_callers() -> None:
    """The usage of what it returns is counted, and the value is not touched."""
    pool = pool_of()
    answer = {"usage": {"prompt_tokens": 1000, "completion_tokens": 100, **USAGE.raw}}

    assert pool.call(lambda lease: answer) is answer
    assert told(pool) == ALL


def test_a_lease() -> None:
    """What its user counts is added up when the block ends, whether well or badly."""
    answer = {"usage": {"prompt_tokens": 1000, "completion_tokens": 100, **USAGE.raw}}
    well, badly = pool_of(), pool_of()
    with well.lease() as lease:
        lease.count(answer)
    with contextlib.suppress(LookupError), badly.lease() as lease:
        lease.count(answer)
        raise LookupError

    assert told(well) == ALL
    assert told(badly) == ALL


def test_a_failure_that_was_billed() -> None:
    """What an attempt took is counted though its deployment has come back changed meanwhile."""
    stand = Stand(deployment("eu", prices=PRICES))
    claims = [stand.take() for _ in range(4)]
    for claim in claims[:3]:
        claim.settle(end("500"))
    claims[3].usage = USAGE
    claims[3].settle(end("ok"))

    assert stand.ledger.status()["eu"].input_tokens == 1000


def test_a_guest_that_settles() -> None:
    """A signal handler's call counts too, on the very thread that holds the lock."""
    stand = Stand(deployment("eu", prices=PRICES))
    claim = stand.take()
    claim.usage = USAGE
    with stand.ledger._lock:
        claim.settle(end("ok"))

    assert stand.ledger.status()["eu"].cost == pytest.approx(COST)


def test_the_whole_pool() -> None:
    """Tokens are summed over all, money over those that have prices."""
    answer = CompletionResponse("fine", usage=USAGE)
    pool = ProviderPool(
        [
            Deployment(name, ScriptedProvider(answer), prices=prices)
            for name, prices in [("a", PRICES), ("b", PRICES), ("c", None)]
        ],
        strategy="round_robin",
        health_check=None,
    )
    for _ in range(3):
        pool.complete("hello")
    status = pool.health_status()

    assert (status.input_tokens, status.output_tokens) == (3000, 300)
    assert status.cost == pytest.approx(2 * COST)
    assert pool_of(prices=None).health_status().cost is None


# -- lowest_cost ----------------------------------------------------------------------------

CHEAP, DEAR = Prices(input=1.0, output=2.0), Prices(input=10.0, output=30.0)


def test_the_cheapest() -> None:
    """It gets all calls; one without prices comes after all that have some."""
    stage = Stage(
        on("unknown", "ok"),
        on("dear", "ok", prices=DEAR),
        on("cheap", "ok", prices=CHEAP),
        strategy="lowest_cost",
    )
    assert [stage.complete() for _ in range(3)] == ["cheap"] * 3
    stage.pool.drain("cheap")
    assert stage.complete() == "dear"
    stage.pool.drain("dear")
    assert stage.complete() == "unknown"


def test_the_cheapest_that_is_ill() -> None:
    """A price overrides nobody's health: not a sentence, a cool-down, a wrong key, or a trial."""
    stage = Stage(
        on("ill", "500", prices=CHEAP),
        on("limited", "429:60", prices=CHEAP),
        on("locked", "401", prices=CHEAP),
        on("dear", "ok", prices=DEAR),
        strategy="lowest_cost",
        failure_threshold=1,
    )
    stage.complete()
    assert sorted(stage.asked()) == ["dear", "ill", "limited", "locked"]

    assert [stage.complete() for _ in range(5)] == ["dear"] * 5
    assert stage.asked() == ["dear"] * 5


def test_the_cheapest_that_is_full() -> None:
    """The next in price is asked; when it is free again, it gets the calls again."""
    stand = Stand(
        deployment("cheap", prices=CHEAP, max_concurrent=1),
        deployment("dear", prices=DEAR),
        strategy="lowest_cost",
    )
    first, second = stand.take(), stand.take()
    assert (first.deployment.name, second.deployment.name) == ("cheap", "dear")
    first.release()
    assert stand.where() == "cheap"
    second.release()


def test_two_of_one_price() -> None:
    """They share by load."""
    stand = Stand(
        deployment("a", prices=CHEAP),
        deployment("b", prices=Prices(input=1.0, output=2.0, cached_input=0.1)),
        deployment("dear", prices=DEAR),
        strategy="lowest_cost",
    )
    claims = [stand.take() for _ in range(6)]
    assert stand.in_flight() == {"a": 3, "b": 3, "dear": 0}
    for claim in claims:
        claim.release()


def test_a_tier_above_the_price() -> None:
    """A lower priority number goes first, whatever it costs."""
    stage = Stage(
        on("dear", "ok", prices=DEAR),
        on("cheap", "ok", prices=CHEAP, priority=1),
        strategy="lowest_cost",
    )
    assert stage.complete() == "dear"


def test_one_that_costs_nothing() -> None:
    """A price of zero is a price."""
    stage = Stage(
        on("cheap", "ok", prices=CHEAP),
        on("own", "ok", prices=Prices(input=0, output=0)),
        strategy="lowest_cost",
    )
    assert stage.complete() == "own"


def test_the_price_of_a_call() -> None:
    """Prices are compared for three tokens in and one out."""
    assert mean_price(Prices(input=1.0, output=5.0)) == 2.0
    assert mean_price(None) > mean_price(Prices(input=1e9, output=1e9))
    assert repr(LowestCost(random.Random(1))) == "LowestCost()"


def test_a_users_own_strategy() -> None:
    """It sees the prices."""
    seen: list[Candidate] = []

    class First:
        def pick(self, candidates: tuple[Candidate, ...]) -> Candidate:
            seen.extend(candidates)
            return candidates[0]

    Stage(on("a", "ok", prices=CHEAP), on("b", "ok"), strategy=First()).complete()
    assert [candidate.prices for candidate in seen] == [CHEAP, None]
