"""The pool's life: what constructing, starting, calling and closing do, and what it refuses."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from typing import Any

import pytest
from checking import WALL, in_thread, pool_of, threads_named, until

from llmpool import (
    CompletionRequest,
    CompletionResponse,
    Custom,
    Deployment,
    EmbeddingResponse,
    HealthCheckConfig,
    Message,
    NoHealthyDeployment,
    PoolClosed,
    ProviderPool,
    RetryPolicy,
    Verdict,
)
from llmpool.errors import ConnectionFailed, InvalidRequest, MalformedResponse, ServerFault
from llmpool.testing import ManualClock, ScriptedProvider

KEY = "sk-of-nobody-0123456789"


class Held:
    """A provider whose calls wait until they are let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def complete(self, request: Any, timeout: float) -> str:
        self.entered.release()
        assert self.open.wait(WALL)
        return "late"


# -- life ---------------------------------------------------------------------------------------


def test_a_life() -> None:
    """Entered, it checks; left, nothing of it is left running, and its providers are closed once."""
    provider = ScriptedProvider("fine")
    with ProviderPool([Deployment("a", provider), Deployment("b", provider)]) as pool:
        assert threads_named("llmpool-checker-") == [f"llmpool-checker-{pool.name}"]
        assert pool.complete("hello").text == "fine"
    assert threads_named("llmpool-") == []
    assert provider.closed == 1
    pool.close()
    assert provider.closed == 1


def test_names_given_and_made_up() -> None:
    """Two pools are told apart even by who does not name them."""
    assert pool_of("a").name == "main"
    first, second = (ProviderPool([Deployment("a", ScriptedProvider())]) for _ in range(2))
    assert first.name != second.name


def test_calls_to_a_closed_pool() -> None:
    """Each says so; what it answered before stays good, and its state can be read."""
    pool = pool_of("a")
    answer = pool.complete("hello")
    pool.close()
    for call in (
        lambda: pool.complete("hello"),
        lambda: pool.stream("hello"),
        lambda: pool.embed("hello"),
        lambda: pool.call(lambda lease: None),
        lambda: pool.lease().__enter__(),
        lambda: pool.map(["hello"]),
        lambda: pool.start(),
        lambda: pool.check_now(),
    ):
        with pytest.raises(PoolClosed, match="the pool is closed"):
            call()
    assert (answer.text, answer.deployment) == ("fine", "a")
    assert pool.health_status().total_deployments == 1
    assert "main" in repr(pool)


def test_closing_wakes_those_who_wait() -> None:
    """They end with PoolClosed; who is being served is served."""
    held = Held()
    pool = ProviderPool([Deployment("a", held, max_concurrent=1)], health_check=None)
    served, answer = in_thread(lambda: pool.complete("hello"))
    assert held.entered.acquire(timeout=WALL)
    ends: list[Exception] = []

    def wait() -> None:
        try:
            pool.complete("hello", timeout=60.0)
        except PoolClosed as error:
            ends.append(error)

    waiters = [in_thread(wait) for _ in range(3)]
    until(lambda: len(pool._ledger._queue) == 3)
    pool.close()
    for thread, _ in waiters:
        thread.join(WALL)
    assert len(ends) == 3
    held.open.set()
    served.join(WALL)
    assert answer[0].text == "late"


def test_a_checker_that_does_not_stop(caplog: pytest.LogCaptureFixture) -> None:
    """It is named in the log, and close() does not wait for it longer than it was told to."""
    leave, entered = threading.Event(), threading.Event()
    pool = pool_of("a")

    def hang() -> float:
        entered.set()
        assert leave.wait(WALL)
        return 1.0

    pool._checker.tick = hang  # type: ignore[method-assign]
    pool.start()
    assert entered.wait(WALL)
    pool.close(timeout=0.01)
    assert "pool main: its checker did not stop within 0.01 s" in caplog.text
    leave.set()


def test_a_provider_that_will_not_be_closed(caplog: pytest.LogCaptureFixture) -> None:
    """The others are closed all the same, and the log names the kind of error."""

    class Stubborn(ScriptedProvider):
        def close(self) -> None:
            raise ValueError(KEY[3:])

    other = ScriptedProvider()
    pool = pool_of(Stubborn(), other)
    pool.close()
    assert other.closed == 1
    assert "closing a provider raised ValueError" in caplog.text
    assert KEY[3:] not in caplog.text


def test_a_provider_without_close_and_without_hash() -> None:
    """It need not have either."""

    class Plain:
        __hash__ = None  # type: ignore[assignment]

        def complete(self, request: Any, timeout: float) -> str:
            return "fine"

    pool = pool_of(Plain())
    assert pool.complete("hello").text == "fine"
    pool.close()


def test_a_forgotten_pool() -> None:
    """It leaves nothing behind, however many there were."""
    refs = []
    for _ in range(20):
        pool = pool_of("a")
        pool.complete("hello")
        refs.append(weakref.ref(pool))
    del pool
    gc.collect()
    assert [ref() for ref in refs] == [None] * 20


# -- deployments that come and go -----------------------------------------------------------------


def test_adding() -> None:
    """A new deployment serves; a name that is taken is refused, and so is what is no deployment."""
    pool = pool_of(Deployment("a", ScriptedProvider("old", repeat=True), priority=2))
    assert pool.complete("hello").text == "old"
    pool.add(Deployment("b", ScriptedProvider("new", repeat=True), priority=1))
    assert pool.complete("hello").text == "new"
    assert [deployment.name for deployment in pool.deployments] == ["a", "b"]
    with pytest.raises(ValueError, match="'b' twice"):
        pool.add(Deployment("b", ScriptedProvider()))
    with pytest.raises(TypeError, match="deployment: wanted a Deployment, got 'c'"):
        pool.add("c")  # type: ignore[arg-type]


def test_draining_and_resuming() -> None:
    """Nothing more is sent there, until it is."""
    pool = pool_of("a", fail_open=True)
    assert pool.drain("a") is True
    assert pool.health("a").state == "draining"
    with pytest.raises(NoHealthyDeployment) as caught:
        pool.complete("hello")
    assert caught.value.reasons == {"a": "drained by the user"}
    pool.resume("a")
    assert pool.complete("hello").text == "fine"


@pytest.mark.parametrize("act", ["drain", "remove"])
def test_leaving_while_calls_are_in_flight(act: str) -> None:
    """They end in peace; whether they have is told."""
    held = Held()
    pool = ProviderPool(
        [Deployment("a", held), Deployment("b", ScriptedProvider("fine", repeat=True), priority=1)],
        health_check=None,
    )
    served, answer = in_thread(lambda: pool.complete("hello"))
    assert held.entered.acquire(timeout=WALL)
    assert pool.drain("a", timeout=0.0) is False
    waiting, idle = in_thread(lambda: getattr(pool, act)("a", timeout=None))
    assert pool.complete("hello").deployment == "b"
    held.open.set()
    for thread in (served, waiting):
        thread.join(WALL)
    assert answer[0].text == "late"
    assert idle == [True]
    assert ("a" in pool.all_health()) is (act == "drain")


def test_removing() -> None:
    """It is gone, its provider is left open, and its name is free."""
    provider = ScriptedProvider("fine")
    pool = pool_of(provider, "b")
    assert pool.remove("a") is True
    assert [deployment.name for deployment in pool.deployments] == ["b"]
    assert provider.closed == 0
    pool.add(Deployment("a", provider))
    assert list(pool.all_health()) == ["b", "a"]


@pytest.mark.parametrize("act", ["health", "drain", "resume", "remove"])
def test_a_name_that_is_not_there(act: str) -> None:
    """The error names it and those there are."""
    with pytest.raises(KeyError, match="no deployment is called 'x'; there are a, b"):
        getattr(pool_of(*"ab"), act)("x")


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), "soon", True])
def test_wrong_times(wrong: Any) -> None:
    """Every time that is passed in is refused by its own name."""
    pool = pool_of("a")
    for act in (
        lambda: pool.drain("a", timeout=wrong),
        lambda: pool.remove("a", timeout=wrong),
        lambda: pool.close(timeout=wrong),
        lambda: pool.complete("hello", timeout=wrong),
        lambda: pool.stream("hello", timeout=wrong),
        lambda: pool.embed("hello", timeout=wrong),
        lambda: pool.call(print, timeout=wrong),
        lambda: pool.lease(timeout=wrong),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^timeout: wanted seconds >= 0"):
            act()
    for field in ("first_content_timeout", "gap_timeout"):
        with pytest.raises((TypeError, ValueError), match=f"^{field}: wanted seconds > 0 or None"):
            pool.stream("hello", **{field: wrong})
    assert pool.health("a").state == "healthy"


# -- one thing, whoever holds it ----------------------------------------------------------------


def test_copies() -> None:
    """A pool is one thing: copying it, alone or within something, gives itself."""
    pool = pool_of("a")
    assert copy.copy(pool) is pool
    assert copy.deepcopy({"client": [pool]})["client"][0] is pool


def test_pickling() -> None:
    """It is refused with a reason that names the pool."""
    with pytest.raises(TypeError, match="the ProviderPool 'main' cannot be pickled: it holds keys"):
        pickle.dumps(pool_of("a"))


def test_what_it_shows_of_itself() -> None:
    """How it is, and never a key."""

    class WithKey(ScriptedProvider):
        api_key = KEY

    pool = pool_of(WithKey(), "b")
    shown = [repr(pool), pool._repr_html_(), str(pool.health_status()), str(pool.explain())]
    assert shown[0] == "<ProviderPool 'main': 2 of 2 healthy>"
    assert "2 of 2 healthy" in shown[1]
    assert not any(KEY in each for each in shown)


def test_its_health() -> None:
    """Counts and latencies of callers' attempts; the mean is over the healthy that are measured."""
    clock = ManualClock()

    def slow(seconds: float) -> Any:
        def answer(request: Any, timeout: float) -> str:
            clock.advance(seconds)
            return "fine"

        return ScriptedProvider(answer, repeat=True)

    pool = pool_of(slow(0.1), slow(0.3), ScriptedProvider(), clock=clock)
    for _ in range(2):
        pool.complete("hello", tags=())
    status = pool.health_status()
    assert (status.total_deployments, status.healthy_deployments) == (3, 3)
    assert status.pool_healthy
    assert status.avg_latency_ms == pytest.approx(200.0, rel=0.1)
    assert pool.healthy_count() == 3
    assert pool.health("a") == pool.all_health()["a"] == status.deployments[0]
    assert pool.health("a").total_requests == 1
    assert pool.explain()["a"].eligible
    empty = pool_of("a").health_status()
    assert empty.avg_latency_ms is None


# -- calls --------------------------------------------------------------------------------------


def test_a_call() -> None:
    """The answer tells where it came from and what it took."""
    provider = ScriptedProvider(CompletionResponse("fine", model="tiny", raw={"id": 1}))
    pool = pool_of(provider, Deployment("b", ScriptedProvider(), priority=1))
    answer = pool.complete("hello", max_tokens=5, temperature=0.1, tools=[{}], top_p=0.5)
    assert (answer.text, answer.model, answer.raw) == ("fine", "tiny", {"id": 1})
    assert (answer.deployment, answer.latency) == ("a", 0.0)
    assert [(attempt.deployment, attempt.verdict) for attempt in answer.attempts] == [
        ("a", Verdict.OK)
    ]
    request = provider.calls[0].request
    assert (request.max_tokens, request.temperature, request.tools) == (5, 0.1, [{}])
    assert request.extra == {"top_p": 0.5}
    assert request.texts() == ("hello",)


def test_a_request_made_before() -> None:
    """It goes as it is; what is named beside it replaces its fields."""
    provider = ScriptedProvider("fine", repeat=True)
    pool = pool_of(provider)
    request = CompletionRequest(
        [Message("user", "hello"), {"role": "user", "content": "there"}],
        model="tiny",
        max_tokens=3,
        extra={"seed": 1},
    )
    pool.complete(request)
    pool.complete(request, max_tokens=9, top_p=0.5)
    plain, changed = (call.request for call in provider.calls)
    assert plain is request
    assert (changed.model, changed.max_tokens) == ("tiny", 9)
    assert changed.extra == {"seed": 1, "top_p": 0.5}
    assert request.max_tokens == 3


def test_models_by_the_callers_name() -> None:
    """Each deployment gets its own name of the model, and only those that know it are asked."""
    one, other = ScriptedProvider("fine", repeat=True), ScriptedProvider()
    pool = pool_of(
        Deployment("a", one, models={"fast": "tiny-2"}), Deployment("b", other, models={"x": "y"})
    )
    for _ in range(3):
        assert pool.complete("hello", model="fast").deployment == "a"
    assert {call.request.model for call in one.calls} == {"tiny-2"}
    with pytest.raises(InvalidRequest, match="no deployment knows the model 'slow'"):
        pool.complete("hello", model="slow")


def test_tags() -> None:
    """Only deployments that carry them all are asked."""
    pool = pool_of(
        Deployment("a", ScriptedProvider(), tags=["eu"]),
        Deployment("b", ScriptedProvider("fine", repeat=True), tags=["eu", "big"]),
    )
    assert pool.complete("hello", tags=["eu", "big"]).deployment == "b"
    with pytest.raises(NoHealthyDeployment):
        pool.complete("hello", tags={"us"})
    with pytest.raises(TypeError, match="tags: wanted an iterable of texts"):
        pool.complete("hello", tags="eu")


def test_an_affinity() -> None:
    """A conversation stays where it is; a wrong key is refused."""
    pool = pool_of(*"abcd")
    homes = {pool.complete("hello", affinity_key="chat 7").deployment for _ in range(8)}
    assert len(homes) == 1
    with pytest.raises((TypeError, ValueError), match="affinity_key: wanted a text"):
        pool.complete("hello", affinity_key="")


def test_an_answer_that_is_none() -> None:
    """What a provider of the user's may not return passes through as the user's own mistake."""
    pool = pool_of(ScriptedProvider(lambda request, timeout: 42))
    with pytest.raises(TypeError, match=r"wanted a CompletionResponse or str .* got a int"):
        pool.complete("hello")
    assert pool.health("a").total_requests == 0


def test_embeddings() -> None:
    """One vector for each text; anything else is no answer, and the next deployment is asked."""
    short = ScriptedProvider([[1.0]], model="e")
    pool = pool_of(short, Deployment("b", ScriptedProvider([[1.0], [2.0]], model="e"), priority=1))
    answer = pool.embed(["x", "y"])
    assert isinstance(answer, EmbeddingResponse)
    assert answer.vectors == ((1.0,), (2.0,))
    assert answer.deployment == "b"
    assert [attempt.verdict for attempt in answer.attempts] == [Verdict.FAULT, Verdict.OK]


def test_embeddings_of_another_model() -> None:
    """It is not asked: vectors of two models do not mix."""
    pool = pool_of(
        ScriptedProvider(ServerFault("oh no", status=500), model="e", repeat=True),
        Deployment("b", ScriptedProvider(model="f"), priority=1),
    )
    with pytest.raises(ServerFault) as caught:
        pool.embed("x")
    assert {attempt.deployment for attempt in caught.value.attempts} == {"a"}


def test_providers_that_cannot() -> None:
    """Without stream() or embed() it is passed over and blamed for nothing."""

    class Plain:
        def complete(self, request: Any, timeout: float) -> str:
            return "fine"

    pool = pool_of(Plain(), Deployment("b", ScriptedProvider("x", [[1.0]]), priority=1))
    assert "".join(chunk.text for chunk in pool.stream("hello")) == "x"
    assert pool.embed("x").deployment == "b"
    assert pool.health("a").state == "healthy"
    assert pool.health("a").total_errors == 0
    alone = pool_of(Plain())
    with pytest.raises(ServerFault, match=r"Plain has no embed\(\)"):
        alone.embed("x")


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda pool: pool.complete(7), "messages: wanted a str or a list of messages"),
        (lambda pool: pool.complete([]), "messages: wanted at least one message"),
        (lambda pool: pool.complete([3]), "messages: wanted dicts or Message in the list"),
        (lambda pool: pool.complete("hello", model=""), "model: wanted a text"),
        (lambda pool: pool.complete("hello", model=3), "model: wanted a text"),
        (lambda pool: pool.complete("hello", retry="often"), "retry: wanted True, False"),
        (lambda pool: pool.complete("hello", retry=1), "retry: wanted True, False"),
        (lambda pool: pool.embed([]), "texts: wanted at least one text"),
        (lambda pool: pool.embed([3]), "texts: wanted a text"),
        (lambda pool: pool.embed(3), "texts: wanted an iterable of texts"),
        (lambda pool: pool.call("now"), "fn: wanted a function of one lease, got 'now'"),
        (lambda pool: pool.map("hello"), "requests: wanted an iterable of requests"),
        (lambda pool: pool.map({"a": 1}), "requests: wanted an iterable of requests"),
        (lambda pool: pool.map(3), "requests: wanted an iterable of requests, got 3"),
        (lambda pool: pool.map([], max_workers=0), "max_workers: wanted a whole number >= 1"),
        (lambda pool: pool.map([], progress=1), "progress: wanted True or False"),
        (lambda pool: pool.map([], return_errors=None), "return_errors: wanted True or False"),
    ],
)
def test_calls_made_wrong(act: Any, said: str) -> None:
    """They are refused with the field, what is wanted and what came; nobody is asked."""
    provider = ScriptedProvider()
    with pytest.raises((TypeError, ValueError), match=f"^{said}"):
        act(pool_of(provider))
    assert provider.calls == ()


def one() -> list[Deployment]:
    return [Deployment("a", ScriptedProvider())]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"deployments": []}, "deployments: wanted at least one, got none"),
        ({"deployments": "a"}, "deployments: wanted an iterable of Deployment, got 'a'"),
        ({"deployments": 3}, "deployments: wanted an iterable of Deployment, got 3"),
        ({"deployments": one()[0]}, "deployments: wanted an iterable of Deployment"),
        ({"deployments": {"a": 1}}, "deployments: wanted an iterable of Deployment"),
        ({"deployments": ["a"]}, "deployments: wanted Deployment in the list, got 'a'"),
        ({"deployments": one() * 2}, "deployments: wanted unique names, got 'a' twice"),
        (
            {"deployments": [Deployment("a", ScriptedProvider(), weight=0)]},
            "deployments: wanted at least one weight above 0, got all 0",
        ),
        ({"name": ""}, "name: wanted a text"),
        ({"name": 3}, "name: wanted a text"),
        ({"name": "a\nb"}, "name: wanted a text in one line"),
        ({"strategy": "best"}, "strategy: wanted"),
        ({"strategy": 3}, "strategy: wanted"),
        ({"health_check": 30}, "health_check: wanted a HealthCheckConfig or None, got 30"),
        ({"check": "ping"}, "check: wanted Ping"),
        ({"check": Custom}, "check: wanted Ping"),
        ({"check": "ping", "health_check": None}, "check: wanted Ping"),
        ({"retry": 3}, "retry: wanted a RetryPolicy, got 3"),
        ({"retry": None}, "retry: wanted a RetryPolicy, got None"),
        ({"fail_open": "yes"}, "fail_open: wanted True or False"),
    ],
)
def test_pools_made_wrong(arguments: dict[str, Any], said: str) -> None:
    """They are refused with the field, what is wanted and what came."""
    arguments = {"deployments": one(), **arguments}
    with pytest.raises((TypeError, ValueError), match=f"^{said}"):
        ProviderPool(arguments.pop("deployments"), **arguments)


def test_what_the_caller_passed_stays_the_callers() -> None:
    """Neither the list nor what is in it is changed, nor does a later change of it matter."""
    given = one()
    listeners: list[Any] = []
    pool = ProviderPool(
        given,
        health_check=HealthCheckConfig(enabled=False),
        retry=RetryPolicy(max_attempts=1),
        listeners=listeners,
    )
    given.clear()
    listeners.append(print)
    assert [deployment.name for deployment in pool.deployments] == ["a"]
    assert pool._announcer.listening is False


def test_failing_over() -> None:
    """A refusal goes on to the next at once; every attempt is told."""
    down = ScriptedProvider(ConnectionFailed("refused", sent="no"))
    pool = pool_of(down, Deployment("b", ScriptedProvider("fine"), priority=1))
    answer = pool.complete("hello")
    assert [(attempt.deployment, attempt.sent) for attempt in answer.attempts] == [
        ("a", "no"),
        ("b", "answered"),
    ]
    with pytest.raises(MalformedResponse) as caught:
        pool_of(ScriptedProvider(MalformedResponse("HTML"))).complete("hello", retry=False)
    assert caught.value.deployment == "a"
    assert len(caught.value.attempts) == 1
