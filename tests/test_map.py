"""Many requests at once: their order, their errors, an interrupt, a bar."""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
import types
from concurrent.futures import Future
from typing import Any

import pytest
from checking import WALL, in_thread, pool_of, threads_named, until

from llmpool import (
    CompletionResponse,
    MapInterrupted,
    NoHealthyDeployment,
    ProviderPool,
    RateLimited,
    batch,
)
from llmpool.bell import Bell
from llmpool.errors import InvalidRequest
from llmpool.testing import ScriptedProvider


class Echo:
    """A provider that answers with the question, in whatever order it is let to."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()
        self.gates: dict[str, threading.Event] = {}
        self.errors: dict[str, BaseException] = {}
        self.came: list[str] = []

    def complete(self, request: Any, timeout: float) -> str:
        (text,) = request.texts()
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.came.append(text)
        try:
            if text in self.gates:
                assert self.gates[text].wait(WALL)
            if text in self.errors:
                raise self.errors[text]
            return text
        finally:
            with self._lock:
                self.inside -= 1


def texts(answers: list[Any]) -> list[str]:
    return [answer.text for answer in answers]


def test_the_order_of_the_answers() -> None:
    """It is that of the requests, however they came in."""
    echo = Echo()
    echo.gates["0"] = threading.Event()
    requests = [str(number) for number in range(50)]

    def let_go() -> None:
        until(lambda: len(echo.came) == 50)
        echo.gates["0"].set()

    threading.Thread(target=let_go).start()
    answers = pool_of(echo).map(iter(requests), max_workers=4)
    assert texts(answers) == requests
    assert all(isinstance(answer, CompletionResponse) for answer in answers)
    assert echo.most <= 4


def test_nothing_to_do() -> None:
    """No requests, no answers, no thread."""
    assert pool_of(Echo()).map([]) == []
    assert threads_named("llmpool-map-") == []


def test_options_for_each() -> None:
    """They are those of complete()."""
    provider = ScriptedProvider("x", repeat=True)
    pool_of(provider).map(["a", "b"], model="tiny", max_tokens=3, timeout=5.0, top_p=0.1)
    for call in provider.calls:
        assert (call.request.model, call.request.max_tokens) == ("tiny", 3)
        assert call.request.extra == {"top_p": 0.1}


def test_the_context_of_the_caller() -> None:
    """Each request runs in a copy of it: what a tracer left there is found."""
    trace = contextvars.ContextVar[str]("trace")
    trace.set("of the caller")
    seen: list[str] = []

    def note(request: Any, timeout: float) -> str:
        seen.append(trace.get())
        trace.set("of the worker")
        return "fine"

    pool_of(ScriptedProvider(note, repeat=True)).map(["a", "b"], max_workers=1)
    assert seen == ["of the caller"] * 2
    assert trace.get() == "of the caller"


def test_an_error_among_the_answers() -> None:
    """It stands in its answer's place, if that is wanted."""
    echo = Echo()
    echo.errors["1"] = InvalidRequest("too odd", status=400)
    echo.errors["2"] = ZeroDivisionError("the caller's own")
    answers = pool_of(echo).map(["0", "1", "2", "3"], return_errors=True)
    assert isinstance(answers[1], InvalidRequest)
    assert isinstance(answers[2], ZeroDivisionError)
    assert texts([answers[0], answers[3]]) == ["0", "3"]


def test_an_error_that_ends_it() -> None:
    """The first that comes is raised, and what is queued is dropped."""
    echo = Echo()
    echo.errors["0"] = InvalidRequest("too odd", status=400)
    echo.gates["1"] = threading.Event()
    pool = pool_of(echo)
    with pytest.raises(InvalidRequest, match="too odd"):
        pool.map(["0", "1", "2", "3"], max_workers=1)
    echo.gates["1"].set()
    until(lambda: threads_named("llmpool-map-") == [])
    assert echo.came in (["0"], ["0", "1"])


def test_an_interrupt() -> None:
    """It is a KeyboardInterrupt that carries what is done; what still runs ends by itself."""
    echo = Echo()
    echo.gates["2"] = threading.Event()
    pool = pool_of(echo)

    def interrupt() -> None:
        until(lambda: "2" in echo.came)
        until(lambda: pool.health("a").total_requests == 2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(MapInterrupted, match=r"interrupted with \d of 5 done") as caught:
        pool.map([str(number) for number in range(5)], max_workers=1)
    assert isinstance(caught.value, KeyboardInterrupt)
    results = caught.value.results
    assert len(results) == 5
    assert [result.text for result in results if result is not None] in ([], ["0"], ["0", "1"])
    echo.gates["2"].set()
    until(lambda: pool.health("a").requests_in_flight == 0)
    assert echo.came == ["0", "1", "2"]


def test_an_interrupt_within_a_call() -> None:
    """A provider that is interrupted interrupts it all."""
    echo = Echo()
    echo.errors["1"] = KeyboardInterrupt()
    with pytest.raises(MapInterrupted, match="interrupted with 1 of 2 done") as caught:
        pool_of(echo).map(["0", "1"], max_workers=1, return_errors=True)
    assert [getattr(result, "text", None) for result in caught.value.results] == ["0", None]


class AtTheBar:
    """A bar before which the caller stands until the calls are over, and is interrupted then."""

    def __init__(self, *, at: str, over: Any) -> None:
        self._at = at
        self._over = over
        self.closings = 0

    def update(self, count: int) -> None:
        until(self._over)
        if self._at == "update":
            raise KeyboardInterrupt

    def close(self) -> None:
        self.closings += 1
        if self._at == "close" or (self.closings == 1 and self._at == "update"):
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["update", "close"])
def test_an_interrupt_while_answers_wait_to_be_counted(
    at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is lost, nor by a second interrupt as the bar is closed, nor when all was done."""
    echo = Echo()
    bar = AtTheBar(at=at, over=lambda: len(echo.came) == 5 and not threads_named("llmpool-map-"))
    monkeypatch.setattr(batch, "_bar", lambda total: bar)
    with pytest.raises(MapInterrupted, match="interrupted with 5 of 5 done") as caught:
        pool_of(echo).map([str(number) for number in range(5)])
    assert texts(caught.value.results) == ["0", "1", "2", "3", "4"]


def test_an_interrupt_at_any_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it falls on the waiting thread, what was done before is told, and no more is begun."""

    def play(point: int) -> int:
        done: list[int] = []
        seen = 0

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal seen
            code = frame.f_code
            if code.co_filename != batch.__file__ or code.co_name in ("ask", "run_all"):
                # Within the latter an interrupt before the first try or after the last is a plain one.
                return trace if code.co_filename == batch.__file__ else None
            frame.f_trace_opcodes = True
            if event == "opcode":
                seen += 1
                if seen == point:
                    raise KeyboardInterrupt
            return trace

        def one(request: int) -> int:
            done.append(request)
            return request

        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 sees them only where tracing begins
        sys.settrace(trace)
        try:
            results = batch.run_all(
                one, range(4), name="x", max_workers=1, progress=False, return_errors=True
            )
        except MapInterrupted as interrupted:
            assert seen == point
            results = interrupted.results
        else:
            assert point == 0
        finally:
            sys.settrace(before)
        assert [result for result in results if result is not None] == done
        assert len(results) == 4
        return seen

    def refuse(executor: Any, *call: Any) -> None:
        raise RuntimeError("can't start new thread")

    # The calls run on the waiting thread, so that how many are done at a point is no matter of luck.
    monkeypatch.setattr(batch.DaemonExecutor, "submit", refuse)

    def played(point: int) -> int:
        # In a thread of its own, for an interrupt within a handler leaves its thread the error that was
        # being handled, and all later ones would hang on it.
        thread, seen = in_thread(lambda: play(point))
        thread.join(WALL)
        assert seen, f"at point {point}"
        return seen[0]

    steps = played(0)
    assert steps > 100
    for point in range(1, steps + 1):
        played(point)


def test_waiting_longer_than_a_nap(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on waiting."""
    monkeypatch.setattr(batch, "_NAP", 0.001)
    echo = Echo()
    gate = echo.gates["0"] = threading.Event()
    naps = threading.Semaphore(0)

    class Counted(Bell):
        def wait(self, timeout: float | None = None) -> bool:
            naps.release()
            return super().wait(timeout)

    monkeypatch.setattr(batch, "Bell", Counted)

    def let_go() -> None:
        for _ in range(3):
            assert naps.acquire(timeout=WALL)
        gate.set()

    threading.Thread(target=let_go).start()
    assert texts(pool_of(echo).map(["0"])) == ["0"]


def test_an_end_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes as the bell is changed is found without a wait."""
    ends: batch.Ends[str] = batch.Ends()
    future: Future[str] = Future()

    class Late(Bell):
        def __init__(self) -> None:
            super().__init__()
            ends.put(future)  # which rings the former one

        def wait(self, timeout: float | None = None) -> bool:
            raise AssertionError("there is nothing to wait for")

    monkeypatch.setattr(batch, "Bell", Late)
    assert ends.take() is future


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals of POSIX")
def test_a_signal_handler_that_outlasts_a_nap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait is still made of naps."""
    monkeypatch.setattr(batch, "_NAP", 0.05)
    naps: list[float | None] = []
    handled: list[float] = []

    class Counted(Bell):
        def wait(self, timeout: float | None = None) -> bool:
            naps.append(timeout)
            if handled and len(naps) > handled[0] + 3:
                gate.set()
            return super().wait(timeout)

    def dawdle(number: int, frame: Any) -> None:
        threading.Event().wait(0.2)
        handled.append(len(naps))

    echo = Echo()
    gate = echo.gates["0"] = threading.Event()
    monkeypatch.setattr(batch, "Bell", Counted)
    former = signal.signal(signal.SIGALRM, dawdle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert texts(pool_of(echo).map(["0"])) == ["0"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, former)
    assert handled


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's own thread does the work."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    echo = Echo()
    echo.errors["1"] = InvalidRequest("too odd", status=400)
    pool = pool_of(echo)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    answers = pool.map(["0", "1", "2"], return_errors=True)
    assert texts([answers[0], answers[2]]) == ["0", "2"]
    assert isinstance(answers[1], InvalidRequest)


def test_an_error_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the batch, as ever: nothing is asked after it."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    echo = Echo()
    echo.errors["1"] = InvalidRequest("too odd", status=400)
    pool = pool_of(echo)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(InvalidRequest, match="too odd"):
        pool.map(["0", "1", "2"])
    assert echo.came == ["0", "1"]


def test_a_second_interrupt_as_the_first_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is queued is not asked, though nobody came to drop it."""

    def interrupted(executor: Any, **how: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch.DaemonExecutor, "shutdown", interrupted)
    echo = Echo()
    gate = echo.gates["1"] = threading.Event()
    pool = pool_of(echo)

    def interrupt() -> None:
        until(lambda: "1" in echo.came)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(MapInterrupted, match="interrupted with 1 of 4 done") as caught:
        pool.map([str(number) for number in range(4)], max_workers=1)
    assert caught.value.results[0].text == "0"
    gate.set()
    until(lambda: threads_named("llmpool-map-") == [])
    assert echo.came == ["0", "1"]


def test_nobody_can_be_asked() -> None:
    """It is an error like any other."""
    pool: ProviderPool = pool_of(ScriptedProvider(RateLimited("slow down", retry_after=60.0)))
    answers = pool.map(["0", "1"], max_workers=1, return_errors=True)
    assert [type(answer) for answer in answers] == [RateLimited, NoHealthyDeployment]


class Bar:
    """What tqdm gives, as far as it is used."""

    made: list[Bar]

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.done = 0
        self.closed = False
        self.made.append(self)

    def update(self, count: int) -> None:
        self.done += count

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    """Put a tqdm in the place of the real one, if there is any."""
    made: list[Bar] = []
    monkeypatch.setattr(Bar, "made", made, raising=False)
    auto = types.ModuleType("tqdm.auto")
    auto.tqdm = Bar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", auto)
    return made


def test_a_bar(bars: list[Bar]) -> None:
    """It counts the answers, hides where there is no terminal, and is closed, come what may."""
    echo = Echo()
    pool = pool_of(echo)
    pool.map(["0", "1", "2"])
    (bar,) = bars
    assert bar.settings == {"total": 3, "unit": "call", "disable": None}
    assert (bar.done, bar.closed) == (3, True)
    echo.errors["0"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        pool.map(["0"])
    assert bars[1].closed


@pytest.mark.parametrize(
    ("shell", "disable"),
    [
        (types.SimpleNamespace(kernel=object()), False),
        (types.SimpleNamespace(), None),
        (None, None),
    ],
    ids=["a notebook", "IPython in a terminal", "IPython imported"],
)
def test_a_bar_in_a_notebook(
    shell: Any, disable: bool | None, bars: list[Bar], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its streams are no terminals, and the bar is shown."""
    interactive = types.ModuleType("IPython")
    interactive.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", interactive)
    pool_of(Echo()).map(["0"])
    assert bars[0].settings["disable"] is disable


def test_no_bar_is_wanted(bars: list[Bar]) -> None:
    """None is made."""
    pool_of(Echo()).map(["0"], progress=False)
    assert bars == []


def test_no_bar_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tqdm it works in silence."""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert texts(pool_of(Echo()).map(["0"], progress=True)) == ["0"]
