"""How a call ends: its one error, whom it blames, where it stays; and which deployments may serve it."""

from __future__ import annotations

import contextlib
import gc
import itertools
import pickle
import threading
import weakref
from collections import Counter
from typing import Any

import pytest
from calling import ENDS, Asked, Stage, on
from checking import WALL, in_thread
from witness import Witness

from llmpool import Deployment, ProviderPool, RetryPolicy, Verdict
from llmpool.affinity import home
from llmpool.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    NoHealthyDeployment,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerFault,
)
from llmpool.strategies import Candidate

# -- the one error --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("500", "429:60", "401"), AuthenticationFailed),
        (("500", "429:60", "529:60"), RateLimited),
        (("500", "529:60", "refused"), ServerFault),
        (("500", "501", "reset"), ServerFault),
        (("quota", "429:60", "unknown"), QuotaExhausted),
        (("unknown", "500", "501"), InvalidRequest),
    ],
)
def test_the_most_actionable_error(words: tuple[str, ...], kind: type[ProviderError]) -> None:
    """It does not depend on who was asked first."""
    said = set()
    for order in itertools.permutations(zip("abc", words, strict=True)):
        stage = Stage(*(on(name, word) for name, word in order), retry=RetryPolicy(3, max_wait=0.0))

        error = stage.fail(model="m", timeout=0.4)

        assert type(error) is kind
        assert [attempt.deployment for attempt in error.attempts] == [name for name, _ in order]
        said.add(str(error).splitlines()[0])
    assert len(said) == 1


def test_a_tie() -> None:
    """The name decides, not the order."""
    for order in itertools.permutations("abc"):
        stage = Stage(*(on(name, "500") for name in order))
        assert stage.fail(timeout=0.4).deployment == "a"


def test_a_request_refused_after_a_fault() -> None:
    """What the caller can change is told first, whatever came before."""
    error = Stage(a="500", b="401", c="400").fail()

    assert type(error) is InvalidRequest
    assert error.deployment == "c"


def test_what_an_error_tells() -> None:
    """Every attempt, oldest first, and each in one line of the message."""
    stage = Stage(a="refused/1", b="429:60/2", c="reset/3", d="html/4", e="500")

    error = stage.fail()

    told = [(at.deployment, at.sent, at.verdict, at.status, at.latency) for at in error.attempts]
    assert told == [
        ("a", "no", Verdict.FAULT, None, 1.0),
        ("b", "answered", Verdict.RATE_LIMITED, 429, 2.0),
        ("c", "maybe", Verdict.FAULT, None, 3.0),
        ("d", "maybe", Verdict.FAULT, None, 4.0),
        ("e", "answered", Verdict.FAULT, 500, 0.0),
    ]
    assert error.attempts[1].retry_after == 60.0
    assert str(error).splitlines() == [
        "b: slow down (after 5 attempts)",
        "  1. a: ConnectionFailed: refused [fault, 1.000 s, sent: no]",
        "  2. b: RateLimited: slow down [rate_limited, 2.000 s, sent: answered]",
        "  3. c: ConnectionFailed: reset [fault, 3.000 s, sent: maybe]",
        "  4. d: MalformedResponse: HTML [fault, 4.000 s, sent: maybe]",
        "  5. e: ServerFault: broke [fault, 0.000 s, sent: answered]",
    ]
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.attempts) == (type(error), str(error), error.attempts)


def test_what_an_attempts_code_tells() -> None:
    """The API's own name for the error is kept."""
    error = Stage(a="quota").fail()

    assert (error.code, error.attempts[0].code) == ("insufficient_quota", "insufficient_quota")


def test_one_error_for_all() -> None:
    """A provider may raise one object from many threads: what each call adds goes on a copy."""
    cause = OSError("below")
    shared = ServerFault("not there", status=501)
    shared.__cause__ = cause
    start = threading.Barrier(8)

    class Sharing:
        def complete(self, request: Any, timeout: float) -> str:
            raise shared

    provider = Sharing()
    pool = ProviderPool(
        [Deployment(name, provider) for name in "ab"],
        health_check=None,
    )

    def call() -> list[ServerFault]:
        start.wait(WALL)
        errors = []
        for _ in range(20):
            with pytest.raises(ServerFault) as caught:
                pool.complete("hello")
            errors.append(caught.value)
        return errors

    threads = [in_thread(call) for _ in range(8)]
    for thread, _ in threads:
        thread.join(2 * WALL)
    errors = [error for _, found in threads for each in found for error in each]

    assert len({id(error) for error in errors}) == len(errors) == 160
    assert (shared.deployment, shared.attempts) == (None, ())
    for error in errors:
        assert error is not shared
        assert error.__cause__ is cause
        assert {attempt.deployment for attempt in error.attempts} == {"a", "b"}
        assert error.deployment == "a"


def test_a_providers_own_class_of_error() -> None:
    """It is raised as it is, with what its provider put on it."""

    class TooHot(ServerFault):
        def __init__(self, degrees: int) -> None:
            super().__init__(f"{degrees} degrees", status=500, deployment="the south wing")
            self.degrees = degrees

    class Boiler:
        def complete(self, request: Any, timeout: float) -> str:
            raise TooHot(90)

    stage = Stage(Deployment("a", Boiler()))
    with pytest.raises(TooHot) as caught:
        stage.pool.complete("hello", retry=False)

    assert (caught.value.degrees, caught.value.deployment) == (90, "the south wing")
    assert caught.traceback[-1].name == "complete"


@pytest.mark.parametrize("observers", [[], [Witness]])
def test_nothing_is_kept_of_a_call(observers: list[Any]) -> None:
    """However it ends, at once or after a retry, it leaves no ring behind that only gc finds."""

    class Prompt(str):
        pass

    def call(stage: Stage) -> weakref.ref[Prompt]:
        prompt = Prompt("hello")
        kept = weakref.ref(prompt)
        for made in observers:
            stage.pool.observe(made())
        with contextlib.suppress(ServerFault, TypeError, KeyboardInterrupt):
            stage.pool.complete(prompt)
        return kept

    gc.collect()
    gc.disable()
    try:
        assert call(Stage(a="500", b="ok"))() is None
        assert call(Stage(a="500", b="500", c="500"))() is None
        assert call(Stage(a="type"))() is None
        assert call(Stage(a="500", b="type"))() is None
        assert call(Stage(a="500", b="500", c="ctrl-c"))() is None
    finally:
        gc.enable()


# -- whom it blames -------------------------------------------------------------------------


def test_a_poison_request() -> None:
    """A request that breaks every server is tried three times at most, and convicts nobody."""
    stage = Stage(a="500", b="500", c="500", d="500", strategy="round_robin")

    for _ in range(20):
        assert len(stage.fail().attempts) == 3

    assert set(stage.states().values()) == {"healthy"}
    assert not any(entry.load for entry in stage.pool._ledger._roster.entries.values())
    assert sum(stage.counts(name)[1] for name in "abcd") == 60


def test_poison_and_sound_requests() -> None:
    """A server that answers everything else stays in."""

    class Choosy:
        def complete(self, request: Any, timeout: float) -> str:
            if "poison" in request.texts():
                raise ServerFault("broke", status=500)
            return "fine"

    pool = ProviderPool(
        [Deployment(name, Choosy()) for name in "abc"],
        health_check=None,
        retry=RetryPolicy(backoff_initial=0.0),
    )
    for _ in range(50):
        with pytest.raises(ServerFault):
            pool.complete("poison")
        assert pool.complete("sound").text == "fine"
    assert pool.healthy_count() == 3


def test_a_fault_with_a_success_elsewhere() -> None:
    """It counts."""
    stage = Stage(a="500", b="ok")

    for _ in range(3):
        stage.complete()

    assert stage.states() == {"a": "unhealthy", "b": "healthy"}


def test_a_fault_of_one_alone() -> None:
    """Met by one deployment only, however often, it counts."""
    stage = Stage(a="500")

    stage.fail()

    assert stage.states() == {"a": "unhealthy"}


def test_faults_that_are_not_the_same() -> None:
    """They count each."""
    stage = Stage(a="500", b="502", retry=RetryPolicy(2))

    for _ in range(3):
        stage.fail()

    assert stage.states() == {"a": "unhealthy", "b": "unhealthy"}


def test_refused_everywhere() -> None:
    """No request can do that: it counts."""
    stage = Stage(a="refused", b="refused", retry=RetryPolicy(1))

    for _ in range(3):
        stage.fail()

    assert stage.states() == {"a": "unhealthy", "b": "unhealthy"}


def test_a_sentence_that_runs() -> None:
    """It is not lifted; the marks of those that are still in are taken back."""
    stage = Stage(a="500", b="500", failure_threshold=1)
    stage.fail(timeout=0.4)
    assert stage.states() == {"a": "unhealthy", "b": "unhealthy"}

    stage = Stage(a="500", b="500", failure_threshold=2)
    for _ in range(9):
        stage.fail(timeout=0.4)
    assert set(stage.states().values()) == {"healthy"}


def test_poison_that_ends_in_a_refusal() -> None:
    """Two servers break and the third says why: the request was wrong, nobody is blamed."""
    stage = Stage(a="500", b="500", c="400")

    for _ in range(9):
        assert isinstance(stage.fail(), InvalidRequest)

    assert set(stage.states().values()) == {"healthy"}


@pytest.mark.parametrize("word", ["400", "long"])
def test_a_thousand_bad_requests(word: str) -> None:
    """They affect no deployment, and each is sent once."""
    stage = Stage(a=word, b=word)

    for _ in range(1000):
        stage.fail()

    assert set(stage.states().values()) == {"healthy"}
    assert len(stage.asked()) == 1000
    assert stage.counts("a")[1] == 0


# -- the caller's own errors ----------------------------------------------------------------


@pytest.mark.parametrize("kind", [TypeError, ValueError, KeyError, AssertionError, StopIteration])
def test_an_error_of_the_callers_own(kind: type[Exception]) -> None:
    """It passes as it is, is not retried, and is counted nowhere."""
    own = kind("of my own")

    def fail(lease: Any) -> None:
        asked.append(lease.deployment.name)
        raise own

    asked: list[str] = []
    stage = Stage(a="ok", b="ok", failure_threshold=1)
    with pytest.raises(kind) as caught:
        stage.pool.call(fail)

    assert caught.value is own
    assert asked == ["a"]
    assert stage.counts("a") == (0, 0, 0)


def test_an_error_of_the_callers_own_after_a_fault() -> None:
    """It passes all the same; the fault before it counts."""
    stage = Stage(a="500", b="type")

    for _ in range(3):
        with pytest.raises(TypeError, match="the caller's own"):
            stage.complete()

    assert stage.counts("a") == (3, 3, 0)
    assert stage.counts("b") == (0, 0, 0)
    assert stage.states() == {"a": "unhealthy", "b": "healthy"}


def test_a_strategy_that_raises() -> None:
    """Its error is the caller's own; nobody was asked, and nothing is held."""

    class Broken:
        def pick(self, candidates: tuple[Candidate, ...]) -> Candidate:
            raise ValueError("no idea")

    stage = Stage(a="ok", strategy=Broken())
    with pytest.raises(ValueError, match="no idea"):
        stage.complete()

    assert stage.asked() == []
    assert stage.counts("a") == (0, 0, 0)


# -- codes with a meaning -------------------------------------------------------------------


@pytest.mark.parametrize("word", ["quota", "daily"])
def test_a_quota_that_is_used_up(word: str) -> None:
    """Exactly one request finds out; after that one a minute tries, then one in two minutes."""
    stage = Stage(a=word)

    assert isinstance(stage.fail(), (QuotaExhausted, RateLimited))
    for _ in range(300):
        stage.fail()
        stage.clock.advance(1.0)

    assert [at for _, at in stage.when()] == [0.0, 60.0, 180.0]
    assert stage.states() == {"a": "disabled"}


def test_a_key_that_is_repaired() -> None:
    """The others serve meanwhile; the minute's one try finds it."""
    stage = Stage(a="401 401 ok", b="ok")

    for _ in range(200):
        assert stage.complete() in "ab"
        stage.clock.advance(1.0)

    asked = [at for name, at in stage.when() if name == "a"]
    assert asked[:4] == [0.0, 60.0, 180.0, 181.0]
    assert stage.states() == {"a": "healthy", "b": "healthy"}


def test_a_model_of_the_deployments_own_that_is_missing() -> None:
    """It is disabled for a minute: just after its creation it may not be there yet."""
    stage = Stage(on("a", "unknown ok", models={"m": "own"}), on("b", "ok"))

    assert [stage.complete(model="m"), stage.complete()] == ["b", "b"]
    assert stage.states() == {"a": "disabled", "b": "healthy"}
    stage.clock.advance(60.0)
    assert stage.complete(model="m") == "a"


def test_a_server_that_loads_its_model() -> None:
    """It is not taken out, and is first used within five seconds of being ready."""
    stage = Stage(a="ok")
    provider = stage.pool.deployments[0].provider
    play = provider.complete

    def load(request: Any, timeout: float) -> str:
        if stage.clock.now() < stage.began + 40.0:
            raise ENDS["loading"]()
        return str(play(request, timeout))

    provider.complete = load
    answered_at = None
    while answered_at is None:
        try:
            stage.complete(timeout=3.0)
            answered_at = stage.clock.now() - stage.began
        except (ServerFault, NoHealthyDeployment, DeadlineExceeded):
            assert stage.states()["a"] in ("healthy", "cooling")
            stage.clock.advance(0.5)

    assert 40.0 <= answered_at <= 45.0


# -- models ---------------------------------------------------------------------------------


def test_a_model_that_one_deployment_does_not_have() -> None:
    """Another is asked; for a minute nobody asks the first one for it."""
    stage = Stage(a="unknown ok", b="ok")

    assert [stage.complete(model="m") for _ in range(3)] == ["b"] * 3
    assert stage.asked() == ["a", "b", "b", "b"]
    assert stage.complete(model="other") == "a"
    assert stage.states()["a"] == "healthy"
    assert stage.counts("a") == (2, 0, 0)
    stage.clock.advance(60.0)
    assert stage.complete(model="m") == "a"


def test_a_model_that_nobody_has() -> None:
    """InvalidRequest, with what was tried; within the minute it costs no request."""
    stage = Stage(a="unknown", b="unknown")

    error = stage.fail(model="m")
    assert isinstance(error, InvalidRequest)
    assert stage.when() == [("a", 0.0), ("b", 0.0)]
    error = stage.fail(model="m")
    assert isinstance(error, InvalidRequest)
    assert (error.code, error.attempts) == ("model_not_found", ())
    assert stage.asked() == []


def test_a_model_of_one_that_is_away() -> None:
    """It is not wrong, only not to be had now."""
    stage = Stage(on("a", "429:60", models={"m": "own"}), on("b", "ok", models={"x": "y"}))
    stage.fail(model="m")

    error = stage.fail(model="m")

    assert isinstance(error, NoHealthyDeployment)
    assert error.reasons == {
        "a": "cooling: slow down, for 60.0 s",
        "b": "does not know the model",
    }


def test_vectors_of_one_model() -> None:
    """After a fault only those with the same upstream model are asked, whatever they call it."""
    stage = Stage(
        on("a", "500", models={"m": "ada-2"}),
        on("b", "ok", models={"m": "ada-3"}),
        on("c", "ok", models={"m": "ada-2"}),
        on("d", "ok"),
    )

    assert stage.pool.embed("hello", model="m").deployment == "c"
    assert [(each.name, each.model) for each in stage.journal] == [("a", "ada-2"), ("c", "ada-2")]


def test_vectors_of_a_model_that_has_no_name() -> None:
    """They do not mix with those of a model that has one."""
    stage = Stage(on("a", "500"), on("b", "ok", model="ada-2"), on("c", "ok"))

    assert stage.pool.embed("hello").deployment == "c"

    stage = Stage(on("a", "500"), on("b", "ok", model="ada-2"), retry=RetryPolicy(1))
    with pytest.raises(ServerFault):
        stage.pool.embed("hello")
    assert stage.asked() == ["a"]


def test_tags_and_tiers() -> None:
    """Only those that carry all the tags are asked; of these, the first tier that has anybody."""
    stage = Stage(
        on("a", "ok", tags=("x",), priority=2),
        on("b", "500", tags=("x", "y"), priority=1),
        on("c", "500", tags=("y",)),
        on("d", "ok", tags=("x", "y"), priority=3),
    )

    assert stage.complete(tags=("x", "y")) == "d"
    assert stage.asked() == ["b", "d"]
    assert stage.complete() == "a"
    assert stage.asked() == ["c", "b", "a"]


# -- strategies and weights -----------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["round_robin", "least_connections", "weighted"])
def test_weights(strategy: str) -> None:
    """They are the shares of the traffic; a weight of 0 gets none."""
    stage = Stage(
        on("a", "ok", weight=3), on("b", "ok"), on("c", "ok", weight=0), strategy=strategy
    )

    for _ in range(400):
        stage.complete()

    share = Counter(stage.asked())
    assert share["c"] == 0
    assert share["a"] == pytest.approx(300, abs=40 if strategy == "weighted" else 0)


class Backwards:
    """Takes the last candidate."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, ...]] = []

    def pick(self, candidates: tuple[Candidate, ...]) -> Candidate:
        self.shown.append(tuple(candidate.name for candidate in candidates))
        return candidates[-1]


def test_a_users_strategy_after_a_fault() -> None:
    """It chooses again, among those that were not asked."""
    strategy = Backwards()
    stage = Stage(a="ok", b="ok", c="500", d="500", strategy=strategy)

    assert stage.complete() == "b"

    assert strategy.shown == [("a", "b", "c", "d"), ("a", "b", "c"), ("a", "b")]


def test_a_users_strategy_and_no_budget() -> None:
    """It is not asked for a retry that may not be made."""
    strategy = Backwards()
    retry = RetryPolicy(budget_min=0, budget_ratio=0.0)
    stage = Stage(a="ok", b="500", strategy=strategy, retry=retry)

    assert isinstance(stage.fail(), ServerFault)
    assert strategy.shown == [("a", "b")]


def test_a_users_strategy_that_takes_too_long() -> None:
    """Nothing is sent once the call's time is over."""
    stage = Stage(a="ok", b="ok", strategy=Backwards())
    pick = stage.pool._ledger._foreign.pick  # type: ignore[union-attr]

    def dawdle(candidates: Any) -> Any:
        stage.clock.advance(3.0)
        return pick(candidates)

    stage.pool._ledger._foreign.pick = dawdle  # type: ignore[union-attr,method-assign]

    assert isinstance(stage.fail(timeout=2.0), DeadlineExceeded)
    assert stage.asked() == []


# -- affinity -------------------------------------------------------------------------------


def homes(stage: Stage, keys: int = 60) -> dict[str, str]:
    """Tell where each of many conversations is."""
    return {f"chat {n}": stage.complete(affinity_key=f"chat {n}") for n in range(keys)}


def test_conversations_stay() -> None:
    """Each is always on the same deployment, in proportion to the weights."""
    stage = Stage(on("a", "ok", weight=3), on("b", "ok"))

    first = homes(stage, 400)

    assert homes(stage, 400) == first
    assert Counter(first.values())["a"] == pytest.approx(300, abs=40)


def test_a_deployment_that_goes_and_comes_back() -> None:
    """Only its own conversations move, and they come home again."""
    stage = Stage(a="ok", b="ok", c="ok")
    first = homes(stage)

    stage.pool.drain("b")
    moved = homes(stage)
    stage.pool.resume("b")

    assert {key for key in first if first[key] != moved[key]} == {
        key for key, name in first.items() if name == "b"
    }
    assert homes(stage) == first


def test_a_conversation_whose_home_fails() -> None:
    """The call goes elsewhere; the next one comes home."""
    stage = Stage(a="ok", b="ok", c="ok")
    at_home = stage.complete(affinity_key="chat")
    (provider,) = (d.provider for d in stage.pool.deployments if d.name == at_home)
    provider._words = ["500", "ok"]

    away = stage.complete(affinity_key="chat")

    assert away != at_home
    assert stage.complete(affinity_key="chat") == at_home


def test_conversations_under_a_users_strategy() -> None:
    """The key comes before the strategy."""
    plain, own = (Stage(a="ok", b="ok", c="ok", strategy=s) for s in ("primary", Backwards()))

    assert homes(own) == homes(plain)


class Loaded:
    """A candidate with so much load."""

    def __init__(self, name: str, load: float, weight: float = 1.0) -> None:
        self.name = name
        self.load = load
        self.weight = weight


def test_a_home_that_is_overloaded() -> None:
    """Above 1.25 times the mean plus 2 the next in the key's order is taken."""
    candidates = [Loaded("a", 0), Loaded("b", 0), Loaded("c", 0)]
    at_home = home("chat", candidates)
    rest = [candidate for candidate in candidates if candidate is not at_home]

    at_home.load = 3  # the bound is 1.25 * 1 + 2
    assert home("chat", candidates) is at_home
    at_home.load = 4  # the bound is 1.25 * 4/3 + 2
    assert home("chat", candidates) is home("chat", rest)


def test_homes_that_are_all_overloaded() -> None:
    """With one alone there is no other."""
    lone = Loaded("a", 1000)
    assert home("chat", [lone]) is lone


def test_attempts_of_a_call_that_went_well() -> None:
    """The answer names them all, oldest first, the good one last."""
    stage = Stage(a="500/1", b="ok/2")

    answer = stage.pool.complete("hello")

    told = [(at.deployment, at.verdict, at.sent, at.latency) for at in answer.attempts]
    assert told == [("a", Verdict.FAULT, "answered", 1.0), ("b", Verdict.OK, "answered", 2.0)]
    assert (answer.deployment, answer.latency) == ("b", 2.0)
    assert stage.journal == [Asked("a", 0.0, 200.0), Asked("b", 1.0, 599.0)]


def test_a_bare_error_of_a_users_provider() -> None:
    """What its numbers say decides its class."""

    class Bare:
        def complete(self, request: Any, timeout: float) -> str:
            raise ProviderError("slow down", status=429, retry_after=60.0)

    stage = Stage(Deployment("a", Bare()))
    error = stage.fail()

    assert type(error) is RateLimited
    assert (error.deployment, error.retry_after) == ("a", 60.0)
    assert isinstance(Stage(a="refused").fail(retry=False), ConnectionFailed)
