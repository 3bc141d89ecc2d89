"""Whatever happens to a pool, in whatever order, its books are right and its rules hold."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import hypothesis.strategies as st
from books import SOON, Account, Books, Hold
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from planned_clock import PlannedClock
from words import CHECKED, IGNORED, IN_STREAM, WORDS

from llmpool import (
    CompletionStream,
    Deployment,
    Event,
    HealthCheckConfig,
    LLMPoolError,
    NoHealthyDeployment,
    ProviderError,
    ProviderPool,
    RetryPolicy,
    StreamChunk,
    StreamInterrupted,
)
from llmpool.health import Evidence
from llmpool.leases import LeaseContext
from llmpool.outcomes import OK, classify
from llmpool.status import HealthCheckResult

NAMES = ("eu", "us", "ap", "sa")
LONGEST_PAUSE = 1.0
"""Seconds that a call of three attempts pauses at most before it goes back to where it was."""
MODELS = (None, None, None, "big", "other")

words = st.sampled_from(("ok", "ok", "ok", "ok", *WORDS))
times = st.sampled_from((0.0, 0.05, 0.5, 1.0, 2.5, 6.0, 11.0, 31.0, 61.0, 125.0, 700.0))
soon = st.sampled_from((0.0, 0.01, 0.3, 1.0, 4.0))
limits = st.sampled_from((600.0, 30.0, 30.0, 3.0, 0.5, 0.0))
places = st.integers(0, 11)
anywhere = st.one_of(st.none(), places)
maybe_soon = st.one_of(st.none(), st.none(), st.none(), soon)
evidences = st.sampled_from((Evidence.PING, Evidence.COMPLETION))
options = st.fixed_dictionaries(
    {
        "weight": st.sampled_from((1, 1, 1, 1, 2, 0)),
        "priority": st.sampled_from((0, 0, 1)),
        "max_concurrent": st.sampled_from((None, None, None, 1, 2)),
        "quota_group": st.sampled_from((None, "shared")),
        "timeout": st.sampled_from((None, None, 2.0)),
        "models": st.sampled_from(({}, {}, {"big": "b"})),
    }
)
pools = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(("least_connections", "round_robin", "weighted", "last")),
        "fail_open": st.booleans(),
        "failure_threshold": st.sampled_from((1, 1, 3)),
        "recovery_threshold": st.sampled_from((1, 2)),
        "max_attempts": st.sampled_from((1, 3)),
        "max_wait": st.sampled_from((0.0, 10.0, 10.0, 100.0)),
        "seed": st.integers(0, 9),
    }
)
checked = st.sampled_from(("ok", "ok", "ok", "ok", *CHECKED))


class Last:
    """A user's own strategy."""

    def pick(self, candidates: tuple[Any, ...]) -> Any:
        """Choose the last one."""
        return candidates[-1]


class Server:
    """The provider of one deployment: it ends each attempt as it was told to."""

    def __init__(self, machine: PoolMachine) -> None:
        self._machine = machine
        self.word = "ok"
        self.seconds = 0.0
        self.account: Account | None = None

    def complete(self, request: Any, timeout: float) -> str:
        """Take the seconds, and say the word."""
        self._machine.books.ended(*self._machine.attempt(self, timeout))
        return "fine"

    def stream(self, request: Any, timeout: float) -> Iterator[StreamChunk]:
        """Likewise; a stream that begins goes on as it is told to, piece by piece."""
        hold, _ = self._machine.attempt(self, timeout)
        return self._machine.pieces(hold)


@attrs.define(eq=False)
class Open:
    """A lease or a stream that is kept open."""

    hold: Hold
    lease: LeaseContext | None = None
    stream: CompletionStream | None = None
    deadline_at: float = 0.0


class PoolMachine(RuleBasedStateMachine):
    """Calls, leases, streams, checks, the roster and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = PlannedClock()
        self.books = Books()
        self.open: list[Open] = []
        self.checks: list[tuple[Account, Evidence, Any]] = []
        self.busy_for = 0.0  # seconds of this call that were attempts
        self.shown: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.model: str | None = None
        self.next_piece = "ok"
        self.news: Hold | None = None

    @initialize(given=pools, some=st.lists(options, min_size=1, max_size=3))
    def begin(self, given: dict[str, Any], some: list[dict[str, Any]]) -> None:
        some[0]["weight"] = 1
        fleet = [self._deployment(name, own) for name, own in zip(NAMES, some, strict=False)]
        self.max_attempts = given["max_attempts"]
        self.max_wait = given["max_wait"]
        self.pool = ProviderPool(
            fleet,
            strategy=Last() if given["strategy"] == "last" else given["strategy"],
            health_check=HealthCheckConfig(
                enabled=False,
                failure_threshold=given["failure_threshold"],
                recovery_threshold=given["recovery_threshold"],
            ),
            retry=RetryPolicy(self.max_attempts, max_wait=self.max_wait),
            fail_open=given["fail_open"],
            listeners=[self.heard],
            clock=self.clock,
            rng=random.Random(given["seed"]),
        )
        self.books.over(self.pool)
        for deployment in fleet:
            self._enter(deployment)

    def _deployment(self, name: str, own: dict[str, Any]) -> Deployment:
        return Deployment(name, Server(self), tags=(name, "any"), **own)

    def _enter(self, deployment: Deployment) -> None:
        self.books.added(deployment)
        deployment.provider.account = self.books.accounts[deployment.name]
        self.shown[deployment.name] = "healthy" if deployment.weight else "draining"

    def heard(self, event: Event) -> None:
        """Each change is told once, and begins where the one before it ended."""
        assert self.shown[event.deployment] == event.old
        assert event.old != event.new
        self.shown[event.deployment] = event.new

    # -- attempts of calls ------------------------------------------------------------------

    def attempt(self, server: Server, timeout: float) -> tuple[Hold, Any]:
        """Let the time of one attempt go by; give its end where it is a good one."""
        account = server.account
        assert account is not None
        hold = self.books.granted(account.deployment.name, timeout, self.model)
        word = "hang" if server.seconds >= timeout else server.word
        self.asked.append((account.deployment.name, word))
        began = self.clock.now()
        try:
            self.clock.advance(timeout if word == "hang" else server.seconds)
        except KeyboardInterrupt:
            self.books.gone(hold)
            raise
        finally:
            self.busy_for += self.clock.now() - began
        if word == "ok":
            return hold, WORDS["ok"]
        meaning = self.books.meaning(hold, word)
        if word == "ctrl-c":
            self.books.gone(hold)
        else:
            self.books.ended(hold, meaning)
        assert meaning.make is not None or meaning is IGNORED
        raise (WORDS["hang"] if meaning is IGNORED else meaning).make()  # type: ignore[misc]

    def pieces(self, hold: Hold) -> Iterator[StreamChunk]:
        """Give a stream's pieces."""
        self.news = hold
        yield StreamChunk("fine")
        while self.next_piece == "ok":
            yield StreamChunk(" and fine")
        if self.next_piece == "end":
            yield StreamChunk(finish_reason="stop")
            return
        make = WORDS[self.next_piece].make
        assert make is not None
        raise make()

    def _called(self, act: Callable[[], Any], timeout: float, interrupt: float | None) -> Any:
        """Make a call; hold its end to what its attempts were."""
        self.asked.clear()
        self.busy_for = 0.0
        began = self.clock.now()
        deadline_at = began + timeout
        call_off = self._interrupted(interrupt)
        try:
            answer = act()
        except (LLMPoolError, TypeError, KeyboardInterrupt) as error:
            self._failed(error)
            answer = None
        else:
            assert self.asked[-1][1] == "ok"
            assert [name for name, word in self.asked if word == "ok"] == [answer.deployment]
        finally:
            call_off()
        assert self.clock.now() <= deadline_at + SOON
        waited = self.clock.now() - began - self.busy_for
        assert waited <= self.max_wait + LONGEST_PAUSE * len(self.asked) + SOON, "waited too long"
        for _, word in self.asked[:-1]:
            assert word not in ("ok", "400", "bug", "ctrl-c")
        working = [word for _, word in self.asked if not WORDS[word].refused]
        assert len(working) <= self.max_attempts
        return answer

    def _failed(self, error: BaseException) -> None:
        last = self.asked[-1][1] if self.asked else None
        assert last != "ok" or isinstance(error, KeyboardInterrupt)
        if isinstance(error, TypeError):
            assert last == "bug"
        elif isinstance(error, ProviderError) and self.asked:
            assert [each.deployment for each in error.attempts] == [name for name, _ in self.asked]
        elif isinstance(error, NoHealthyDeployment):
            assert not self.asked
            assert list(error.reasons) == list(self.books.accounts)

    def _interrupted(self, seconds: float | None) -> Callable[[], None]:
        if seconds is None:
            return lambda: None

        def interrupt() -> None:
            raise KeyboardInterrupt

        return self.clock.plan(seconds, interrupt)

    def _tags(self, place: int | None) -> tuple[str, ...]:
        """Give the tags of a call that any deployment may serve, or just one."""
        known = list(self.books.accounts)
        return ("any",) if place is None or not known else (known[place % len(known)],)

    @rule(
        only=anywhere,
        model=st.sampled_from(MODELS),
        timeout=limits,
        retry=st.sampled_from((True, True, False, "unsent")),
        interrupt=maybe_soon,
    )
    def complete(self, only: Any, model: Any, timeout: float, retry: Any, interrupt: Any) -> None:
        self.model = model
        options = {"model": model, "tags": self._tags(only), "timeout": timeout, "retry": retry}
        answer = self._called(lambda: self.pool.complete("hi", **options), timeout, interrupt)
        if answer is not None:
            served = [each.deployment for each in answer.attempts]
            assert served == [name for name, _ in self.asked]
        assert retry is True or len(self.asked) <= 1 or retry == "unsent"
        if retry == "unsent":
            assert all(WORDS[word].refused for _, word in self.asked[:-1])

    @precondition(lambda self: self.books.accounts)
    @rule(place=places, said=st.lists(words, min_size=1, max_size=4), retry=st.booleans())
    def ask_one(self, place: int, said: list[str], retry: bool) -> None:
        """Ask one deployment again and again."""
        account = self._account(place)
        server = account.deployment.provider
        self.model = None
        before = server.word, server.seconds
        server.seconds = 0.01
        for server.word in said:
            only = {"tags": (account.deployment.name,), "timeout": 60.0, "retry": retry}
            self._called(functools.partial(self.pool.complete, "hi", **only), 60.0, None)
            self.books.compare()
        server.word, server.seconds = before

    @rule(only=anywhere, timeout=limits, interrupt=maybe_soon)
    def open_stream(self, only: Any, timeout: float, interrupt: Any) -> None:
        self.model = None
        self.news = None
        self.next_piece = "ok"
        end = self.clock.now() + timeout
        options = {"tags": self._tags(only), "timeout": timeout}
        stream = self._called(lambda: self.pool.stream("hi", **options), timeout, interrupt)
        if stream is not None:
            assert self.news is not None
            assert next(stream).text == "fine"
            self.open.append(Open(self.news, stream=stream, deadline_at=end))

    @rule(only=anywhere, timeout=limits, interrupt=maybe_soon)
    def open_lease(self, only: int | None, timeout: float, interrupt: float | None) -> None:
        tags = self._tags(only)
        free = self._free(tags)
        began = self.clock.now()
        lease = self.pool.lease(timeout=timeout, tags=tags)
        call_off = self._interrupted(interrupt)
        try:
            name = lease.__enter__().deployment.name
        except LLMPoolError:
            assert self.clock.now() >= began + timeout or not self._free(tags)
        except KeyboardInterrupt:
            pass
        else:
            assert not free or (name in free and self.clock.now() == began)
            hold = self.books.granted(name, lease._claim.timeout, None)
            self.open.append(Open(hold, lease=lease))
        finally:
            call_off()
        assert self.clock.now() <= began + min(timeout, self.max_wait) + SOON

    @precondition(lambda self: self.books.accounts)
    @rule(place=places)
    def limit_one(self, place: int) -> None:
        """Ask one deployment that wants to be left alone each time."""
        self.ask_one(place, ["529:8"], True)

    @precondition(lambda self: self.books.accounts)
    @rule(place=places, number=st.integers(2, 4), before=st.sampled_from(("", "500", "500 wait")))
    def crowd_one(self, place: int, number: int, before: str) -> None:
        """Ask one deployment several times at once, not waiting for it; perhaps after a fault of its."""
        if before:
            self.ask_one(place, ["500"], False)
        if before == "500 wait" and self.books.accounts:  # else it was removed meanwhile
            self.pass_until_open(place, 0.0)
        for _ in range(number):
            self.open_lease(place, 0.05, None)
            self.books.compare()

    @precondition(lambda self: self.books.accounts)
    @rule(place=places, seconds=soon)
    def wait_for_one(self, place: int, seconds: float) -> None:
        """Ask one deployment when it is full, or cools, while what is there ends meanwhile."""
        account = self._account(place)
        for kept in self.open:
            if kept.hold.account is account:
                self.clock.plan(seconds, functools.partial(self.end, kept, "ok"))
        self.open_lease(place, 600.0, None)

    def _free(self, tags: tuple[str, ...]) -> list[str]:
        """Give those of the first tier that, by what the pool explains, would be asked at once."""
        told = self.pool.explain()
        fleet = [account.deployment for account in self.books.accounts.values()]
        free = [each for each in fleet if tags[0] in each.tags and told[each.name].eligible]
        first = min((each.priority for each in free), default=0)
        return [each.name for each in free if each.priority == first]

    # -- what is kept open ------------------------------------------------------------------

    def _pick(self, place: int) -> Open:
        return self.open[place % len(self.open)]

    def end(self, kept: Open, word: str) -> None:
        """End a lease or a stream, if it is still open; ended again it changes nothing."""
        if kept not in self.open:
            return
        self.open.remove(kept)
        if kept.lease is not None:
            self._end_lease(kept.lease, kept.hold, word)
        else:
            self._end_stream(kept, word)

    def _end_lease(self, lease: LeaseContext, hold: Hold, word: str) -> None:
        meaning = self.books.meaning(hold, word)
        if word == "ctrl-c":
            self.books.gone(hold)
        else:
            self.books.ended(hold, meaning)
        make = WORDS[word].make
        error = None if make is None else make()
        lease.__exit__(None if error is None else type(error), error, None)
        lease.__exit__(None, None, None)
        lease._claim.release()

    def _end_stream(self, kept: Open, word: str) -> None:
        stream, hold = kept.stream, kept.hold
        assert stream is not None
        if word == "close":
            self.books.ended(hold, IGNORED)
            stream.close()
        elif self.clock.now() >= kept.deadline_at:
            self.books.ended(hold, IGNORED)
            self._broken_off(stream)
        elif word == "ctrl-c":
            self.books.ended(hold, IGNORED)  # the reader is gone, and nobody is to blame
            self.next_piece = word
            self._broken_off(stream, KeyboardInterrupt)
        else:
            self.next_piece = "end" if word == "ok" else word
            self.books.ended(hold, self.books.meaning(hold, word, whole=False))
            if word == "ok":
                assert stream.response.text.startswith("fine")
                assert [piece.finish_reason for piece in stream] == ["stop"]
            else:
                self._broken_off(stream, TypeError if word == "bug" else StreamInterrupted)
        stream.close()
        assert list(stream) == []

    @staticmethod
    def _broken_off(
        stream: CompletionStream, kind: type[BaseException] = StreamInterrupted
    ) -> None:
        try:
            next(stream)
        except kind:
            return
        raise AssertionError(f"the stream went on, wanted {kind.__name__}")

    @precondition(lambda self: self.open)
    @rule(place=places, word=st.one_of(words, st.sampled_from(("close", *IN_STREAM))))
    def end_one(self, place: int, word: str) -> None:
        kept = self._pick(place)
        self.end(kept, "ok" if kept.lease is not None and word == "close" else word)

    @precondition(lambda self: len(self.open) > 1)
    @rule(said=st.lists(words, min_size=2, max_size=4))
    def end_some(self, said: list[str]) -> None:
        """What the first ends of several begin makes the others stale."""
        for kept, word in zip(list(self.open), said, strict=False):
            self.end(kept, word)
            self.books.compare()

    @precondition(lambda self: self.open)
    @rule(place=places, word=words, seconds=soon)
    def end_one_later(self, place: int, word: str, seconds: float) -> None:
        kept = self._pick(place)
        self.clock.plan(seconds, lambda: self.end(kept, word))

    @precondition(lambda self: any(kept.stream is not None for kept in self.open))
    @rule()
    def read_on(self) -> None:
        kept = next(kept for kept in self.open if kept.stream is not None)
        assert kept.stream is not None
        if self.clock.now() < kept.deadline_at:
            self.next_piece = "ok"
            assert next(kept.stream).text == " and fine"

    @precondition(lambda self: self.open)
    @rule(place=places)
    def forget_one(self, place: int) -> None:
        kept = self._pick(place)
        self.open.remove(kept)
        self.books.gone(kept.hold)
        kept.lease = kept.stream = None

    # -- the servers, the checks, the roster, time ------------------------------------------

    def _account(self, place: int) -> Account:
        accounts = list(self.books.accounts.values())
        return accounts[place % len(accounts)]

    @precondition(lambda self: self.books.accounts)
    @rule(place=places, word=words, seconds=soon)
    def behave(self, place: int, word: str, seconds: float) -> None:
        server = self._account(place).deployment.provider
        server.word, server.seconds = word, seconds

    @precondition(lambda self: self.books.accounts)
    @rule(place=places, evidence=evidences)
    def begin_check(self, place: int, evidence: Evidence) -> None:
        """Let a user have it checked."""
        account = self._account(place)
        begun = self.pool._ledger.check_begun(account.deployment.name, evidence)
        self.books.told_to_check(account, evidence)
        self.checks.append((account, evidence, begun))

    @precondition(lambda self: self.books.accounts)
    @rule(place=places, evidence=evidences)
    def take_a_turn(self, place: int, evidence: Evidence) -> None:
        """Let the checker begin a check, if it is due."""
        account = self._account(place)
        name = account.deployment.name
        _, _, asks, _ = self.pool._ledger.check_due(name, evidence, self.clock.now())
        self.books.looked(account, evidence, asks=asks)
        if asks:
            begun = self.pool._ledger.check_begun(name, evidence)
            self.checks.append((account, evidence, begun))

    @precondition(lambda self: self.checks)
    @rule(place=places, word=checked)
    def end_check(self, place: int, word: str) -> None:
        account, evidence, begun = self.checks.pop(place % len(self.checks))
        deep = evidence is Evidence.COMPLETION
        self.books.ended_check(account, word, begun[1], begun[2], deep=deep)
        make = WORDS[word].make
        outcome = OK if make is None else classify(make())
        result = HealthCheckResult(account.deployment.name, make is None)
        self.pool._ledger.check_settled(begun, evidence, outcome, result)

    @precondition(lambda self: self.books.accounts)
    @rule(place=places, said=st.lists(checked, min_size=1, max_size=3), evidence=evidences)
    def check_one(self, place: int, said: list[str], evidence: Evidence) -> None:
        for word in said:
            self.begin_check(place, evidence)
            self.end_check(len(self.checks) - 1, word)
            self.books.compare()

    @rule(evidence=st.sampled_from((None, Evidence.PING, Evidence.COMPLETION)))
    def run_a_checker(self, evidence: Evidence | None) -> None:
        self.pool._ledger.checks_by(evidence, 0.0 if evidence is None else 15.0)

    @rule(
        act=st.sampled_from(("add", "add", "drain", "resume", "resume", "remove", "remove later")),
        place=places,
        own=options,
        timeout=soon,
    )
    def change_the_roster(self, act: str, place: int, own: dict[str, Any], timeout: float) -> None:
        if act == "add":
            self._add(NAMES[place % len(NAMES)], own)
        elif self.books.accounts:
            account = self._account(place)
            name = account.deployment.name
            if act == "drain":
                account.draining = True
                assert self.pool.drain(name, timeout) == (not account.holds)
            elif act == "resume":
                for name, account in self.books.accounts.items():
                    account.draining = False
                    self.pool.resume(name)
            elif act == "remove":
                self._remove(name, timeout)
            else:
                self.clock.plan(timeout, lambda: self._remove(name, 0.0))

    @precondition(lambda self: self.open)
    @rule(place=places, own=options)
    def replace_one(self, place: int, own: dict[str, Any]) -> None:
        """Put another of its name in the place of one that is in use."""
        name = self._pick(place).hold.account.deployment.name
        self._remove(name, 0.0)
        self._add(name, own)

    def _add(self, name: str, own: dict[str, Any]) -> None:
        deployment = self._deployment(name, own)
        try:
            self.pool.add(deployment)
        except ValueError:
            assert name in self.books.accounts
        else:
            assert name not in self.books.accounts
            self._enter(deployment)

    def _remove(self, name: str, timeout: float) -> None:
        account = self.books.accounts.get(name)
        if account is not None and not account.draining:
            account.draining = True
            assert self.pool.remove(name, timeout) == (not account.holds)
            self.books.removed(name)
            del self.shown[name]

    @rule(seconds=times)
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @precondition(lambda self: self.books.accounts)
    @rule(place=places, more=st.sampled_from((0.0, 0.0, 0.5, -0.001)))
    def pass_until_open(self, place: int, more: float) -> None:
        """Wait until one deployment may be asked again: exactly, or a little off."""
        name = self._account(place).deployment.name
        self.clock.advance(max(0.0, self.pool.health(name).cooldown_remaining + more))

    # -- what always holds ------------------------------------------------------------------

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.books.compare()
        shown = self.pool.health_status()
        states = {status.name: status.state for status in shown.deployments}
        assert states == self.shown
        healthy = [status for status in shown.deployments if status.healthy]
        assert shown.total_deployments == len(self.books.accounts)
        assert shown.healthy_deployments == self.pool.healthy_count() == len(healthy)
        assert shown.pool_healthy == bool(healthy)
        p50s = [each.latency_p50_ms for each in healthy if each.latency_p50_ms is not None]
        assert shown.avg_latency_ms == (sum(p50s) / len(p50s) if p50s else None)
        for status in shown.deployments:
            assert status.healthy or status.state != "healthy"
            assert not status.healthy or status.state not in ("unhealthy", "disabled")
            assert status.cooldown_remaining >= 0.0
        json.dumps(shown.to_dict(), allow_nan=False)

    @invariant()
    def nobody_is_kept(self) -> None:
        if not hasattr(self, "pool"):
            return
        ledger = self.pool._ledger
        held = {token for entry in ledger._roster.entries.values() for token in entry.open}
        assert not ledger._queue
        assert ledger._places.retrying <= held

    def teardown(self) -> None:
        if not hasattr(self, "pool"):
            return
        for kept in list(self.open):
            self.end(kept, "ok")
        self.books_agree()
        self.clock.advance(4001.0)  # what was planned is over, and so is the longest period
        self.pool._ledger.checks_by(None, 0.0)
        for name, account in self.books.accounts.items():
            account.deployment.provider.word = "ok"
            account.deployment.provider.seconds = 0.0
            self.pool.resume(name)
            account.draining = False
        self._all_come_back()
        self.books_agree()
        self.pool.close()

    def _all_come_back(self) -> None:
        """Whatever befell a deployment, good calls bring it back, none of them refused."""
        for name, account in self.books.accounts.items():
            if account.deployment.weight:
                for _ in range(33):
                    self.model = None
                    assert self.pool.complete("hi", tags=(name,), timeout=9.0).text == "fine"
                assert self.pool.health(name).state == "healthy"
