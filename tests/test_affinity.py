"""Where conversations are at home, and which of them move when a deployment comes or goes."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
from calling import Stage, on
from hypothesis import given, settings
from hypothesis import strategies as st

from llmpool.affinity import home

KEYS = [f"chat {number}" for number in range(100)]

names = st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=2, max_size=8, unique=True)


@attrs.frozen
class Place:
    """A candidate, as a choice by key sees it."""

    name: str
    weight: float = 1.0
    load: float = 0.0


def homes(places: list[Place]) -> dict[str, str]:
    """Tell where each key is at home."""
    return {key: home(key, places).name for key in KEYS}


@settings(max_examples=30)
@given(names)
def test_any_that_comes_or_goes(given_names: list[str]) -> None:
    """Keys move to the one that comes, from the one that goes, and nowhere else."""
    places = [Place(name) for name in given_names]
    *fewer, last = places
    before, after = homes(fewer), homes(places)

    moved = {key for key in KEYS if before[key] != after[key]}
    assert {after[key] for key in moved} <= {last.name}
    assert moved == {key for key in KEYS if after[key] == last.name}


@settings(max_examples=30)
@given(names, st.permutations(range(8)))
def test_any_order(given_names: list[str], order: list[int]) -> None:
    """Where a key is at home does not depend on the order of the deployments."""
    places = [Place(name) for name in given_names]
    other = [places[index] for index in order if index < len(places)]

    assert homes(places) == homes(other)


@settings(max_examples=30)
@given(names, st.floats(0.1, 10.0), st.floats(1.0, 10.0))
def test_any_weight_that_grows(given_names: list[str], weight: float, factor: float) -> None:
    """Keys move to the deployment that is given more, and nowhere else."""
    first, *rest = (Place(name) for name in given_names)
    before = homes([attrs.evolve(first, weight=weight), *rest])
    after = homes([attrs.evolve(first, weight=weight * factor), *rest])

    assert {after[key] for key in KEYS if before[key] != after[key]} <= {first.name}


@settings(max_examples=50)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.sampled_from(KEYS))
def test_any_loads(loads: list[int], key: str) -> None:
    """The home is left exactly when its load is above 1.25 times the mean plus 2, for one that is not."""
    places = [Place(f"d{number}", load=load) for number, load in enumerate(loads)]
    bound = 1.25 * sum(loads) / len(loads) + 2
    empty = [attrs.evolve(place, load=0.0) for place in places]
    at_home = home(key, empty).name
    chosen = home(key, places)

    assert chosen.load <= bound
    assert (chosen.name == at_home) == (loads[int(at_home[1:])] <= bound)


def test_one_that_is_added_and_removed() -> None:
    """In a pool: only the conversations that the newcomer gains move, and they move back."""
    stage = Stage(*(on(name, "ok") for name in "abc"))

    def where() -> dict[str, str]:
        return {key: stage.complete(affinity_key=key) for key in KEYS}

    before = where()
    late = on("d", "ok")
    late.provider.name, late.provider.stage = "d", stage
    stage.pool.add(late)
    with_it = where()

    moved = {key for key in KEYS if before[key] != with_it[key]}
    assert moved == {key for key in KEYS if with_it[key] == "d"}
    assert len(moved) == pytest.approx(25, abs=15)
    stage.pool.remove("d")
    assert where() == before


def test_a_home_that_cools_down() -> None:
    """Its conversations alone go elsewhere, and come home when it is over."""
    stage = Stage(on("a", "429:20 ok"), on("b", "ok"), on("c", "ok"))
    fresh = Stage(*(on(name, "ok") for name in "abc"))
    usual = {key: fresh.complete(affinity_key=key) for key in KEYS}

    def where() -> dict[str, str]:
        return {key: stage.complete(affinity_key=key) for key in KEYS}

    away = where()
    assert Counter(away.values())["a"] == 0
    assert {key for key in KEYS if away[key] != usual[key]} == {
        key for key in KEYS if usual[key] == "a"
    }
    stage.clock.advance(21.0)
    assert where() == usual
