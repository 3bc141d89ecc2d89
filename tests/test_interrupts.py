"""Ctrl-C and signal handlers at every bytecode of a call: no place taken, no lock held after it."""

from __future__ import annotations

import functools
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from stand import Caller, Stand, deployment, end
from witness import Witness

import llmpool
from llmpool import (
    CallFacts,
    CompletionStream,
    Deployment,
    HealthCheckerHandle,
    ProviderPool,
    errors,
    telling,
)
from llmpool.calls import Call, Conduct
from llmpool.claims import Claim
from llmpool.health import Limits
from llmpool.observers import Audience
from llmpool.telling import Story
from llmpool.testing import ManualClock, ScriptedProvider

PACKAGE = Path(llmpool.__file__).parent
FILES = {
    str(PACKAGE / f"{name}.py")
    for name in (
        "ledger",
        "places",
        "roster",
        "booking",
        "bell",
        "claims",
        "entries",
        "health",
        "cooldowns",
        "tally",
        "latency",
        "strategies",
        "calls",
        "retries",
        "pool",
        "metronome",
        "observers",
        "telling",
        "sending",
        "streams",
        "gathered",
        "turnstile",
    )
} | {threading.__file__}
"""Where the interrupts fall."""

DELICATE = {
    *("take", "settle", "release", "section", "_try", "_settle_rest", "_mend"),
    *("find", "grant", "serve", "leave", "collect", "close", "mend"),
    *("run", "_attempt", "_failed", "wait", "set"),
    *("carry", "leave", "finish"),
    *("_catch_up", "give_back", "_read", "_end"),
}
"""Functions in which they fall at each opcode; in all others at every third."""

Scene = Callable[[Callable[..., Any]], None]
Point = tuple[int, int]
"""A moment of an action: the number of the frame, and of the opcode in it."""


def is_of_finaliser(frame: FrameType) -> bool:
    """Tell whether an interrupt would be lost there: Python tells of it and goes on."""
    caller = frame.f_back
    return "__del__" in (frame.f_code.co_name, caller.f_code.co_name if caller else "")


class TimeUp(Exception):
    """What a signal handler may raise as well: the time for a task is over."""


class Intruder:
    """Does something at a *point* of what a thread runs in FILES, as a signal handler would."""

    def __init__(self, point: Point | None, act: Callable[[], None]) -> None:
        self._point = point
        self._act = act
        self.came = False
        self.went_through = False
        self.seen: list[tuple[str, list[int]]] = []  # the functions, and a count of their opcodes

    def during(self, action: Callable[[], object]) -> None:
        """Run *action*; what the handler raises ends it, and is taken in here."""
        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 sees it only where tracing begins
        sys.settrace(self._enter)
        try:
            action()
        except (KeyboardInterrupt, TimeUp):
            assert self.came
            self.went_through = True
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if self.came or code.co_filename not in FILES or is_of_finaliser(frame):
            return None
        number, count = len(self.seen), [0]
        self.seen.append((code.co_name, count))
        if self._point is not None and number != self._point[0]:
            return None
        # First, or Python 3.13 does not see the next line.
        frame.f_trace = functools.partial(self._step, number, count)
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return frame.f_trace

    def _step(self, number: int, count: list[int], frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            if (number, count[0]) == self._point and not self.came:
                self.came = True
                self._act()
            count[0] += 1
        elif event == "exception" and arg[0] is GeneratorExit:
            # A generator that is thrown away: as with a finaliser, an interrupt would be lost.
            frame.f_trace_opcodes = False
            return None
        return frame.f_trace

    def points(self, stride: int) -> Iterator[Point]:
        """Give the points to come at, after an action at which nothing was done."""
        ahead = 0  # in thirds of a delicate opcode
        for number, (name, count) in enumerate(self.seen):
            for opcode in range(count[0]):
                if ahead <= 0:
                    yield number, opcode
                    ahead += 3 * stride
                ahead -= 3 if name in DELICATE else 1


def interrupt() -> None:
    """Be Ctrl-C."""
    raise KeyboardInterrupt


def time_up() -> None:
    """Be a limit of time."""
    raise TimeUp


class Rounds(threading.Thread):
    """Plays a scene again and again, with an intruder at another point each time."""

    def __init__(self, scene: Scene, stride: int) -> None:
        super().__init__(name="rounds", daemon=True)
        self._scene = scene
        self._stride = stride
        self.error: BaseException | None = None

    def run(self) -> None:
        """Play once undisturbed, then once for each point of the action."""
        point: Point | None = None
        try:
            points = list(self._play(None).points(self._stride))
            assert len(points) > 10, "the intruder found no opcodes to come at"
            for point in points:
                assert self._play(point).came
        except BaseException as error:
            error.args = (f"point {point}: {error}",)
            self.error = error

    def _play(self, point: Point | None) -> Intruder:
        intruders: list[Intruder] = []

        def during(action: Callable[[], object], act: Callable[[], None] = interrupt) -> Intruder:
            intruders.append(Intruder(point, act))
            intruders[-1].during(action)
            return intruders[-1]

        self._scene(during)
        return intruders[0]


def at_each_opcode(scene: Scene, *, stride: int = 1) -> None:
    """Play *scene* with an intruder at each delicate opcode, or at every *stride*-th."""
    # In a thread of its own, for an interrupt within a handler leaves its thread the error that was
    # being handled, and all later ones would hang on it.
    rounds = Rounds(scene, stride)
    rounds.start()
    rounds.join(100.0)
    assert not rounds.is_alive()
    if rounds.error is not None:
        raise rounds.error


def assert_sound(stand: Stand) -> None:
    """Nothing is in flight, nobody waits, nothing derived is wrong, and another thread can call."""
    ledger = stand.ledger
    caller = Caller(stand.claim(max_wait=0.0))
    caller.join(1.0)
    assert not caller.is_alive(), "the lock is held"
    caller.claim.release()
    assert set(stand.in_flight().values()) == {0}
    assert not ledger._queue
    assert not ledger._places.retrying
    for entry in ledger._roster.entries.values():
        assert entry.in_flight == len(entry.open) == 0
        assert entry.load == len(entry.health.penalties)


def attempt(claim: Claim, word: str) -> None:
    """Make an attempt as a call does."""
    try:
        if claim.take() is None:
            claim.settle(end(word))
    finally:
        claim.release()


@pytest.mark.parametrize(
    ("word", "wish"),
    [
        ("ok", {}),
        ("429:5", {}),
        ("dns", {}),
        ("500", {"avoid": {"us"}}),
        ("401", {"avoid": {"us"}}),
    ],
)
def test_an_attempt_broken_off(word: str, wish: dict[str, Any]) -> None:
    """Its place comes back, wherever between its beginning and its end the interrupt falls."""

    def scene(during: Any) -> None:
        stand = Stand(
            deployment("eu", quota_group="acme"),
            deployment("us", quota_group="acme", max_concurrent=1),
            limits=Limits(failure_threshold=1),
        )
        claim = stand.claim(**wish)

        during(lambda: attempt(claim, word))

        assert_sound(stand)
        assert sum(it.total_requests for it in stand.ledger.status().values()) <= 1

    at_each_opcode(scene)


def test_a_trial_broken_off() -> None:
    """It is given back, and the next may try."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"), limits=Limits(failure_threshold=1))
        stand.ask("eu", "500")
        stand.clock.advance(5.0)
        claim = stand.claim()

        during(lambda: attempt(claim, "ok"))

        assert_sound(stand)
        assert stand.where(max_wait=0.0) == "eu"

    at_each_opcode(scene)


def test_a_retry_broken_off() -> None:
    """It weighs no longer on the budget."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"), deployment("us"))
        claim = stand.claim(avoid={"us"}, budgeted=True)

        during(lambda: attempt(claim, "ok"))

        assert_sound(stand)

    at_each_opcode(scene)


def test_a_wait_broken_off() -> None:
    """Whoever waited is in the queue no more."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu", max_concurrent=1))
        held = stand.take()
        claim = stand.claim(max_wait=1.0)

        during(lambda: attempt(claim, "ok"))

        held.release()
        assert_sound(stand)

    at_each_opcode(scene)


def test_handing_on_broken_off() -> None:
    """Who waits is served all the same, if not by the one who was interrupted."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu", max_concurrent=1))
        held = stand.take()
        waiter = stand.claim(max_wait=30.0)
        ledger = stand.ledger
        now = stand.clock.now()
        assert isinstance(ledger._try(waiter, now, now + 30.0), float)

        def settle() -> None:
            try:
                held.settle(end("ok"))
            finally:
                held.release()

        during(settle)

        caller = Caller(waiter)
        assert caller.answer() == "eu"
        waiter.settle(end("ok"))
        assert_sound(stand)

    at_each_opcode(scene)


def test_giving_back_broken_off() -> None:
    """A claim that is released again, or collected, gives its place back for good."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu", max_concurrent=1))
        claim = stand.take(lasting=True)

        during(claim.release)

        del claim
        assert_sound(stand)

    at_each_opcode(scene)


def test_the_forgotten_found_broken_off() -> None:
    """A claim that was forgotten gives its place back, also if its note was lost on the way."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"))
        claim = stand.take(lasting=True)
        del claim

        during(stand.ledger.tick)

        assert_sound(stand)
        assert not stand.ledger.watches

    at_each_opcode(scene)


def test_the_note_of_a_forgotten_one_that_was_lost() -> None:
    """It is written again where something is broken off, and a second one does nothing."""
    stand = Stand(deployment("eu"))
    living, claim = stand.take(lasting=True), stand.take(lasting=True)
    del claim
    stand.ledger.lost.get_nowait()
    assert stand.in_flight() == {"eu": 2}

    for _ in range(2):
        with pytest.raises(KeyError):
            stand.ledger.drain("nobody")

    assert stand.in_flight() == {"eu": 1}
    living.release()
    assert_sound(stand)


@pytest.mark.parametrize(
    "act",
    [
        lambda ledger: ledger.status(),
        lambda ledger: ledger.drain("us"),
        lambda ledger: ledger.remove("us"),
        lambda ledger: ledger.tick(),
    ],
    ids=["status", "drain", "remove", "tick"],
)
def test_the_ledger_broken_off(act: Callable[[Any], object]) -> None:
    """The lock is free, whatever was being done."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"), deployment("us"))
        stand.ask("eu", "429:5")
        stand.clock.advance(20.0)

        during(lambda: act(stand.ledger))

        assert_sound(stand)

    at_each_opcode(scene)


# -- whole calls ----------------------------------------------------------------------------


def call(stand: Stand, *, well: bool = False) -> Call[str]:
    """Make a call that fails at first, and then goes well; or a stream's, which goes well at once."""
    ends = [] if well else [errors.ServerFault("broke", status=500)]

    def send(claim: Claim) -> str:
        if ends:
            raise ends.pop()
        return "fine"

    conduct = Conduct(stand.ledger, stand.policy, stand.clock, random.Random(1))
    return Call(conduct, stand.wish(), send, True, well).run()


def test_a_call_broken_off() -> None:
    """A call that fails over and succeeds in the end holds nothing, wherever it is broken off."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"), deployment("us"))
        during(lambda: call(stand))
        assert_sound(stand)

    at_each_opcode(scene)


def test_a_call_broken_off_that_keeps_its_claim() -> None:
    """A stream's claim is found once the stream is forgotten."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"), deployment("us"))
        during(lambda: call(stand, well=True))
        assert_sound(stand)

    at_each_opcode(scene)


@pytest.mark.parametrize("keeps_claim", [False, True])
def test_a_call_broken_off_that_is_told_of(keeps_claim: bool) -> None:
    """It holds nothing either, and nothing is told twice or out of its turn."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"), deployment("us"))
        witness = Witness()
        story = Story(Audience.of_one(witness), CallFacts("main", None, "chat"), stand.clock.now)
        ends = [] if keeps_claim else [errors.ServerFault("broke", status=500)]

        def send(claim: Claim) -> str:
            if ends:
                raise ends.pop()
            return "fine"

        conduct = Conduct(stand.ledger, stand.policy, stand.clock, random.Random(1))
        wish = stand.wish(story=story)
        during(lambda: telling.run(conduct, wish, send, True, keeps_claim))
        assert_sound(stand)
        for each in ("call_started", "call_ended", "call_returned"):
            assert witness.names().count(each) <= 1
        begun = [facts.number for facts in witness.of("attempt_started")]
        ended = [facts.number for _, facts in witness.of("attempt_ended")]
        assert begun in ([], [1], [1, 2])
        assert ended in ([], [1], [1, 2], [2])

    at_each_opcode(scene, stride=3)


# -- streams --------------------------------------------------------------------------------


def read_whole(pool: ProviderPool, kept: list[CompletionStream]) -> None:
    """Read a stream to its end, and keep it."""
    kept.append(pool.stream("hello"))
    for _ in kept[0]:
        pass


def leave_early(pool: ProviderPool, kept: list[CompletionStream]) -> None:
    """Leave a stream and keep it, and forget another."""
    kept.append(pool.stream("hello"))
    with kept[0] as stream:
        next(stream)
    next(pool.stream("hello"))


@pytest.mark.parametrize("act", [interrupt, time_up])
@pytest.mark.parametrize("action", [read_whole, leave_early])
def test_a_stream_broken_off(
    action: Callable[[ProviderPool, list[CompletionStream]], None], act: Callable[[], None]
) -> None:
    """What breaks it off goes through to its reader, nobody is blamed, and it can be closed or forgotten."""

    def scene(during: Any) -> None:
        answers = ScriptedProvider("one two", "three four")
        pool = ProviderPool([Deployment("eu", answers)], health_check=None)
        kept: list[CompletionStream] = []

        intruder = during(lambda: action(pool, kept), act)

        assert intruder.went_through == intruder.came
        for stream in kept:
            stream.close()
        eu = pool.health("eu")
        assert (eu.requests_in_flight, eu.total_errors) == (0, 0)
        pool.close()

    at_each_opcode(scene)


@pytest.mark.parametrize("action", [read_whole, leave_early])
def test_a_stream_broken_off_that_is_told_of(
    action: Callable[[ProviderPool, list[CompletionStream]], None],
) -> None:
    """The same, and nothing is told twice."""

    def scene(during: Any) -> None:
        answers = ScriptedProvider("one two", "three four")
        pool = ProviderPool([Deployment("eu", answers)], health_check=None)
        witness = Witness()
        pool.observe(witness)
        kept: list[CompletionStream] = []

        during(lambda: action(pool, kept))

        for stream in kept:
            stream.close()
        assert pool.health("eu").requests_in_flight == 0
        for name in ("call_ended", "call_returned"):
            calls = [id(facts[0]) for told, facts, _ in witness.seen if told == name]
            assert len(calls) == len(set(calls)) <= 2
        pool.close()

    at_each_opcode(scene, stride=2)


# -- guests ---------------------------------------------------------------------------------


def visit(stand: Stand) -> None:
    """Do what a signal handler may do with a pool."""
    claim = stand.claim(max_wait=0.0)
    attempt(claim, "ok")
    assert claim.entry is not None
    attempt(stand.claim(max_wait=0.0), "500")
    stand.ledger.explain()
    stand.ledger.drain("eu")
    stand.ledger.resume("eu")
    with pytest.raises(KeyError):
        stand.ledger.remove("nobody")


def test_a_signal_handler_that_calls_the_pool() -> None:
    """It neither deadlocks nor disturbs the call that it interrupts."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"), deployment("us"), deployment("asia"))
        answers: list[str] = []
        during(lambda: answers.append(call(stand).value), lambda: visit(stand))
        assert answers == ["fine"]
        assert_sound(stand)

    at_each_opcode(scene, stride=3)


def test_a_signal_handler_that_calls_the_pool_and_raises() -> None:
    """What it did is done, and what it broke off is given back."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"), deployment("us"), deployment("asia"))

        def act() -> None:
            visit(stand)
            raise KeyboardInterrupt

        during(lambda: call(stand), act)
        assert_sound(stand)

    at_each_opcode(scene, stride=3)


def test_a_signal_handler_while_the_pool_is_full() -> None:
    """It is refused at once: its thread holds the lock, and all others would wait with it."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu", max_concurrent=1))
        held = stand.take()
        waited: list[float] = []

        def act() -> None:
            began = stand.clock.now()
            stand.claim(max_wait=5.0).take()
            if stand.ledger._lock._is_owned():  # type: ignore[attr-defined]
                waited.append(stand.clock.now() - began)

        claim = stand.claim(max_wait=0.0)
        during(lambda: attempt(claim, "ok"), act)

        assert not any(waited)
        held.release()
        assert_sound(stand)

    at_each_opcode(scene, stride=3)


class RealWaits(ManualClock):
    """A clock on which a wait is a real one, if one of no time."""

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for *event*, and not at all if it is not set meanwhile."""
        assert timeout is not None
        self.advance(timeout)
        return event.wait(0.0)


def test_a_signal_handler_that_serves_whom_it_interrupted() -> None:
    """Whoever waits for a place is given one in the midst of beginning to wait for it."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu", max_concurrent=1), clock=RealWaits())
        held = stand.take()
        claim = stand.claim(max_wait=0.6)

        during(lambda: attempt(claim, "ok"), held.release)

        held.release()
        assert_sound(stand)

    at_each_opcode(scene)


def test_a_signal_handler_that_ends_what_it_interrupted_waits_for() -> None:
    """Whoever drains a deployment waits for the very call that the handler ends."""

    def scene(during: Any) -> None:
        stand = Stand(deployment("eu"), clock=RealWaits())
        held = stand.take()
        idle = stand.ledger.drain("eu")

        during(lambda: stand.clock.wait(idle, 0.1), held.release)

        held.release()
        assert idle.is_set()
        assert_sound(stand)

    at_each_opcode(scene)


def test_a_signal_handler_that_closes_what_is_being_closed() -> None:
    """It neither waits for whom it interrupted nor closes anything twice."""

    def scene(during: Any) -> None:
        closed: list[str] = []
        provider = ScriptedProvider("fine")
        provider.close = lambda: closed.append("closed")  # type: ignore[method-assign]
        pool = ProviderPool([Deployment("eu", provider)], health_check=None)
        pool.start()

        during(pool.close, pool.close)

        assert closed
        with pytest.raises(errors.PoolClosed):
            pool.complete("hello")

    at_each_opcode(scene)


@pytest.mark.parametrize("act", [HealthCheckerHandle.stop, lambda handle: handle.stopped.wait(0.0)])
def test_a_signal_handler_that_stops_the_checker(act: Callable[[Any], object]) -> None:
    """It may come while somebody else stops it, or begins to wait for that."""

    def scene(during: Any) -> None:
        handle = HealthCheckerHandle()
        during(lambda: act(handle), handle.stop)
        handle.stop()
        assert handle.stopped.wait(0.0)

    at_each_opcode(scene)


# -- the real thing -------------------------------------------------------------------------

SCRIPT = """
import os, queue, random, select, signal, threading
from llmpool import Deployment, ProviderPool, RetryPolicy
from llmpool.errors import ServerFault

class Provider:
    def __init__(self, share):
        self.share, self.rng = share, random.Random(1)
    def complete(self, request, timeout):
        nap(self.rng.random() / 2000)
        if self.rng.random() < self.share:
            raise ServerFault("broke", status=500)
        return "fine"
    def stream(self, request, timeout):
        for word in "one two three".split():
            nap(self.rng.random() / 5000)
            yield word
    def ping(self, timeout):
        return True

def nap(seconds):  # not on an event: these bear no handler that waits for them too
    select.select([], [], [], seconds)

over = threading.Event()
pool = ProviderPool(
    [Deployment("a", Provider(0.3)), Deployment("b", Provider(0.0), max_concurrent=2),
     Deployment("c", Provider(0.1))],
    retry=RetryPolicy(99, backoff_initial=0.001, backoff_max=0.001, budget_min=99),
)

def traffic():
    while not over.is_set():
        pool.complete("hello")

threads = [threading.Thread(target=traffic) for _ in range(3)]
go, rng = queue.SimpleQueue(), random.Random(2)

def disturb():
    for _ in range(200):
        go.get(timeout=20)
        nap(rng.random() / 200)
        os.kill(os.getpid(), signal.SIGINT)

def handler(number, frame):
    if rng.random() < 0.5:
        pool.health_status()
        pool.complete("from the handler")
    raise KeyboardInterrupt

signal.signal(signal.SIGINT, handler)
threads.append(threading.Thread(target=disturb))
for thread in threads:
    thread.start()
for number in range(200):
    try:
        go.put(None)
        while True:
            pool.complete("hello")
            for chunk in pool.stream("hello"):
                pass
    except KeyboardInterrupt:
        pass
    assert pool.complete("next cell").text == "fine"
threads.pop().join(20)
over.set()
for thread in threads:
    thread.join(20)
    assert not thread.is_alive()
flying = {name: status.requests_in_flight for name, status in pool.all_health().items()}
assert set(flying.values()) == {0}, flying
pool.close()
print("sound")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_two_hundred_ctrl_c() -> None:
    """After each the next call works; at the end nothing is in flight, and the process ends."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=PACKAGE.parent,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "sound\n", "")
