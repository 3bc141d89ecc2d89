"""Observers: who can be one, what they are told of health, and that none of them can spoil a call."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from typing import Any

import pytest
from checking import WALL, Hand, Hang, Questions, in_thread, pool_of
from forks import in_child
from witness import PLAIN, STREAMED, Witness

from llmpool import Custom, Deployment, Event, HealthCheckConfig, Observer, ProviderPool
from llmpool.errors import ConnectionFailed
from llmpool.testing import ScriptedProvider

SECRET = "sk-in-an-observers-own-error-0123456789"
REFUSED = ConnectionFailed("refused", sent="no")


class Loud:
    """An observer that raises whatever it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("call_", "attempt_", "check_", "state_")):
            raise AttributeError(name)

        def raises(*facts: object) -> None:
            self.told.append(name)
            raise ValueError(SECRET)

        return raises


class Bare(Observer):
    """One method of its own, and for the rest the class's."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def state_changed(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


# -- who can be one -----------------------------------------------------------------------------


@pytest.mark.parametrize("given", [object(), None, "sk-0123456789", Witness, print])
def test_what_is_no_observer(given: object) -> None:
    """It is refused at once, and not shown."""
    pool = pool_of("a")
    with pytest.raises(TypeError, match="observer: wanted an object with a method of") as caught:
        pool.observe(given)
    assert "0123456789" not in str(caught.value)


def test_a_field_that_is_no_method() -> None:
    """It is not called."""

    class Odd:
        call_started = 3

        def call_ended(self, *facts: object) -> None:
            """Take it."""

    pool = pool_of("a")
    pool.observe(Odd())
    pool.complete("hello")


def test_methods_are_looked_up_once() -> None:
    """What is put in their place later is not called."""
    pool, witness = pool_of("a"), Witness()
    pool.observe(witness)
    witness.call_started = None  # type: ignore[assignment]
    pool.complete("hello")
    assert witness.names() == PLAIN


def test_only_what_is_asked_for() -> None:
    """Whoever listens for changes of state alone costs a call nothing."""
    pool, bare = pool_of(ScriptedProvider(REFUSED, repeat=True), failure_threshold=1), Bare()
    pool.observe(bare)
    assert pool._audience is None
    with pytest.raises(ConnectionFailed):
        pool.complete("hello", retry=False)
    assert [(event.old, event.new) for event in bare.events] == [("healthy", "unhealthy")]


def test_the_same_twice() -> None:
    """It is told once."""
    pool, witness = pool_of("a"), Witness()
    pool.observe(witness)
    pool.observe(witness)
    pool.complete("hello")
    assert witness.names() == PLAIN


def test_several_observers() -> None:
    """Each is told of everything, those that came first before the others."""
    pool, both = pool_of("a"), [Witness(), Witness()]
    for witness in both:
        pool.observe(witness)
    pool.complete("hello")
    assert [witness.names() for witness in both] == [PLAIN, PLAIN]


def test_many_that_come_at_once() -> None:
    """None is lost."""
    pool, many = pool_of("a"), [Witness() for _ in range(8)]
    barrier = threading.Barrier(8)

    def come(witness: Witness) -> None:
        barrier.wait(WALL)
        pool.observe(witness)

    for thread, _ in [in_thread(lambda each=each: come(each)) for each in many]:  # type: ignore[misc]
        thread.join(WALL)
        assert not thread.is_alive()
    pool.complete("hello")
    assert [witness.names() for witness in many] == [PLAIN] * 8


def test_one_that_comes_while_a_call_runs() -> None:
    """It is told of the calls that begin after it, all of each, and of nothing else."""
    gate = threading.Event()
    provider = ScriptedProvider("fine", "fine", gate=gate, repeat=True)
    pool, witness = pool_of(provider), Witness()
    stream = pool_of("b").stream("hello")  # another pool's is none of its business
    thread, _ = in_thread(lambda: pool.complete("hello"))
    assert provider.wait_for(1)
    pool.observe(witness)
    gate.set()
    thread.join(WALL)
    assert not thread.is_alive()
    stream.close()
    assert witness.names() == []
    pool.complete("hello")
    assert witness.names() == PLAIN


def test_one_that_comes_while_a_stream_is_read() -> None:
    """It is not told of a call whose beginning it has missed."""
    pool, witness = pool_of(ScriptedProvider(["one", "two"], repeat=True)), Witness()
    stream = pool.stream("hello")
    pool.observe(witness)
    list(stream)
    assert witness.names() == []
    list(pool.stream("hello"))
    assert witness.names() == STREAMED


# -- what they cannot do ------------------------------------------------------------------------


def test_one_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """The call goes on, the others are told, and the log names the type alone."""
    pool, loud, witness = pool_of("a"), Loud(), Witness()
    pool.observe(loud)
    pool.observe(witness)
    with caplog.at_level(logging.ERROR, "llmpool"):
        assert pool.complete("hello").text == "fine"
        pool.check_now()
        pool.drain("a", timeout=0.0)
    assert loud.told == [*PLAIN, "check_ended", "state_changed"]
    assert witness.names() == PLAIN
    said = [record.getMessage() for record in caplog.records if record.name == "llmpool.observers"]
    assert said[0] == "an observer's call_started raised ValueError and was ignored"
    assert len(said) == 7
    assert SECRET not in caplog.text


def test_one_that_calls_the_pool() -> None:
    """No lock is held while it is told, so it may ask the pool; what it does itself is told too."""
    pool = pool_of("a", "b")
    threads: list[bool] = []

    class Asking:
        def attempt_started(self, facts: Any) -> None:
            thread, _ = in_thread(lambda: (pool.health(facts.deployment), pool.drain("b", 0.0)))
            thread.join(WALL)
            threads.append(thread.is_alive())

        def attempt_ended(self, attempt: Any, facts: Any) -> None:
            thread, _ = in_thread(lambda: pool.resume("b"))
            thread.join(WALL)
            threads.append(thread.is_alive())

        def state_changed(self, event: Event) -> None:
            threads.append(in_thread(pool.health_status)[0].join(WALL) is not None)

    pool.observe(Asking())
    pool.complete("hello")
    assert threads
    assert not any(threads)


def test_it_does_not_keep_the_pool() -> None:
    """A pool that is forgotten is collected with its observers, without the garbage collector."""
    pool, witness = pool_of("a"), Witness()
    gone = weakref.ref(pool), weakref.ref(witness)
    pool.observe(witness)
    list(pool.stream("hello"))
    pool.complete("hello")
    witness.seen.clear()
    gc.collect()
    gc.disable()
    try:
        del pool, witness
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()


# -- health -------------------------------------------------------------------------------------


def test_checks() -> None:
    """Each that has ended, whoever asked for it; a call is none, and a check is no call."""
    pool, witness = pool_of("a", "b", check=Custom(Questions(b=False))), Witness()
    pool.observe(witness)
    hand = Hand(pool)
    hand.tick()
    hand.tick(60.0)
    pool.check_now()
    results = witness.of("check_ended")
    assert sorted((each.deployment, each.healthy) for each in results) == [
        *[("a", True)] * 3,
        *[("b", False)] * 3,
    ]
    assert witness.names() == []


def test_a_check_that_hangs() -> None:
    """It ends once, at its deadline; what it says later is told to nobody."""
    hang = Hang()
    pool, witness = pool_of("a", check=Custom(Questions(a=hang)), timeout=0.05), Witness()
    pool.observe(witness)
    pool.check_now()
    hang.open.set()
    assert hang.left.wait(WALL)
    pool.close()
    [result] = witness.of("check_ended")
    assert (result.healthy, result.deployment) == (False, "a")


def test_changes_of_state() -> None:
    """What listeners are told, and after them."""
    order: list[tuple[str, Event]] = []
    pool = pool_of("a", listeners=[lambda event: order.append(("listener", event))])

    class Hears:
        def state_changed(self, event: Event) -> None:
            order.append(("observer", event))

    pool.observe(Hears())
    pool.drain("a", timeout=0.0)
    assert [who for who, _ in order] == ["listener", "observer"]
    assert order[0][1] is order[1][1]
    assert order[0][1].new == "draining"


def test_an_observer_of_health_that_blocks() -> None:
    """It does not keep the checker's thread: as listeners, it is told on a worker."""
    release, entered = threading.Event(), threading.Semaphore(0)

    class Slow:
        def check_ended(self, result: Any) -> None:
            entered.release()
            assert release.wait(WALL)

    pool = pool_of("a", check=Custom(Questions()))
    pool.observe(Slow())
    assert pool._announcer.listening
    thread, naps = in_thread(pool._checker.tick)
    thread.join(WALL)
    assert not thread.is_alive()
    assert len(naps) == 1
    assert entered.acquire(timeout=WALL)
    release.set()
    pool.close()


# -- processes ----------------------------------------------------------------------------------


def test_in_a_forked_child() -> None:
    """They go along, as they were at the fork."""
    pool, witness = pool_of("a"), Witness()
    pool.observe(witness)
    assert in_child(lambda: (pool.complete("hello"), witness.names())[1]) == PLAIN
    assert witness.names() == []


def test_an_observer_of_several_pools() -> None:
    """It tells them apart by their names."""
    witness = Witness()
    names = ("one", "two")
    for name in names:
        pool = ProviderPool(
            [Deployment("a", ScriptedProvider("fine"))],
            name=name,
            health_check=HealthCheckConfig(enabled=False),
        )
        pool.observe(witness)
        pool.complete("hello")
        pool.close()
    assert [call.pool for call in witness.of("call_started")] == ["one", "two"]
