"""The pool: it wires the ledger, the providers, the retries and the checker together."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from llmpool import (
    _hosts,
    asking,
    attempt_log,
    batch,
    errors,
    sending,
    spending,
    strategies,
    telling,
)
from llmpool import _validators as valid
from llmpool._forks import Home
from llmpool.announcer import Announcer
from llmpool.bell import Bell
from llmpool.calls import Call, Conduct, Retry, Send
from llmpool.checker import HealthChecker, HealthCheckerHandle
from llmpool.checks import Check
from llmpool.claims import Claim, LastingClaim
from llmpool.clock import Clock, SystemClock
from llmpool.config import Deployment, HealthCheckConfig, RetryPolicy, deployments_of
from llmpool.health import Limits
from llmpool.leases import Lease, LeaseContext
from llmpool.ledger import HealthLedger
from llmpool.messages import (
    CompletionRequest,
    CompletionResponse,
    EmbeddingResponse,
    Prompt,
)
from llmpool.observers import Audience, CallFacts
from llmpool.results import BatchResults
from llmpool.status import (
    DeploymentStatus,
    Event,
    Explanation,
    HealthCheckResult,
    PoolHealthStatus,
    summed_up,
)
from llmpool.streams import CompletionStream
from llmpool.telling import Story
from llmpool.terms import Terms

if TYPE_CHECKING:
    from anthropic import Anthropic
    from openai import OpenAI
    from requests import Session

    from llmpool.forwarding.answers import Answer

_T = TypeVar("_T")
_P = TypeVar("_P", bound="ProviderPool")
_log = logging.getLogger("llmpool.pool")
_numbers = itertools.count(1)


class ProviderPool:
    """
    Many deployments that look like one provider.

    Threads: every method from any thread, and calls overlap freely. An attempt runs in its caller's
    thread. Constructing starts nothing; the first call in a process starts the checker there.

    Raises:
        ValueError: a wrong value, named by its field.
        TypeError: a wrong type, named by its field.
    """

    def __init__(
        self,
        deployments: Iterable[Deployment],
        *,
        name: str | None = None,
        strategy: str | strategies.RoutingStrategy | strategies.BuiltIn = "least_connections",
        health_check: HealthCheckConfig | None = HealthCheckConfig(),  # noqa: B008 - frozen
        check: Check | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        fail_open: bool = True,
        fallback_on: Iterable[str] = (),
        listeners: Sequence[Callable[[Event], object]] = (),
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        given = deployments_of(deployments)
        if name is not None:
            valid.as_name("name", name)
        if health_check is not None and not isinstance(health_check, HealthCheckConfig):
            valid.refuse(
                "health_check", "a HealthCheckConfig or None", health_check, kind=TypeError
            )
        if not isinstance(retry, RetryPolicy):
            valid.refuse("retry", "a RetryPolicy", retry, kind=TypeError)
        valid.as_flag("fail_open", fail_open)
        self.name = name if name is not None else f"pool-{next(_numbers)}"
        self._clock: Clock = SystemClock() if clock is None else clock
        self._rng = random.Random() if rng is None else rng
        self._retry = retry
        self._terms = Terms(retry, self._clock, fail_open, fallback_on)
        self._announcer = Announcer(self.name, listeners)
        thresholds = health_check or HealthCheckConfig()
        self._ledger = HealthLedger(
            given,
            strategy=strategies.resolve(strategy, self._rng),
            limits=Limits(thresholds.failure_threshold, thresholds.recovery_threshold),
            policy=retry,
            clock=self._clock,
            rng=self._rng,
            listener=self._announcer,
        )
        self._conduct = Conduct(self._ledger, retry, self._clock, self._rng)
        # Without a config there is one all the same, which starts nothing: it makes the passes of
        # check_now().
        unchecked = HealthCheckConfig(enabled=False)
        self._checker = HealthChecker(self, health_check or unchecked, check)
        self._audience: Audience | None = None  # those who want to be told of calls
        self._closed = Bell()
        self._announcer.tell_checker(self._checker)
        self._home = Home(self._reset)  # its lock guards the checker and the audience
        if attempt_log.wanted():
            self.observe(attempt_log.ATTEMPT_LOG)

    # -- from a configuration ---------------------------------------------------------------

    @classmethod
    def from_config(
        cls: type[_P], path: str | os.PathLike[str] = "llmpool.toml", **options: Any
    ) -> _P:
        """
        Make a pool of what a TOML file says; *options* go before it.

        Raises:
            ConfigError: it makes no pool; every problem is in it, with file, table and key.
        """
        from llmpool import settings

        return settings.read_file(path, cls).build(cls, **options)

    @classmethod
    def from_env(cls: type[_P], prefix: str = "LLMPOOL_", **options: Any) -> _P:
        """
        Make a pool of what variables of the environment say; *options* go before it.

        Raises:
            ConfigError: they make no pool; every problem is in it, with its variable.
        """
        from llmpool import settings

        return settings.read_environment(cls, prefix=prefix).build(cls, **options)

    @classmethod
    def from_mapping(
        cls: type[_P], mapping: Mapping[str, Any], *, source: str = "settings", **options: Any
    ) -> _P:
        """
        Make a pool of a mapping with the tables and keys of the file; *options* go before it.

        Args:
            source: what problems name as their place.

        Raises:
            ConfigError: it makes no pool; every problem is in it, with table and key.
        """
        from llmpool import settings

        return settings.read_mapping(mapping, cls, source=source).build(cls, **options)

    # -- calls ------------------------------------------------------------------------------

    def complete(
        self,
        messages: Prompt | CompletionRequest,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        tags: Iterable[str] = (),
        affinity_key: str | None = None,
        fallback_on: Iterable[str] | None = None,
        retry: Retry = True,
        **extra: Any,
    ) -> CompletionResponse:
        """
        Ask for a whole answer.

        Args:
            messages: a str, a list of messages (dicts or :class:`Message`), or a CompletionRequest.
            timeout: seconds for everything, waits and retries included.
            tags: ask only deployments that carry them all.
            affinity_key: names a conversation; its calls go to the same deployment, which holds its
                prompt cache, for as long as that one may be asked and is not overloaded.
            fallback_on: errors of the request's own, ``"context_length"`` or ``"content_filter"``, after
                which it is sent on to those marked as able; None for what the pool was given.
            retry: False makes exactly one request; ``"unsent"`` repeats only what cannot have been
                processed. A time-out or a cut answer that is asked again may be billed twice.
            extra: any further field of the API, sent as it is.

        Raises:
            ProviderError: the most actionable of the attempts' errors; ``attempts`` has them all.
            NoHealthyDeployment: nothing could be asked.
            PoolClosed: the pool is closed.
        """
        again = retry is True
        request = asking.request_of(
            messages, model, max_tokens, temperature, tools, extra, not again
        )
        send = sending.to_complete(request, again)
        tokens = spending.estimate(request) if self._ledger.limited else 0
        done = self._run(
            send, request.model, tags, timeout, retry, affinity_key, fallback_on, tokens
        )
        answer: CompletionResponse = asking.filled(done)
        return answer

    def stream(
        self,
        messages: Prompt | CompletionRequest,
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        timeout: float | None = None,
        tags: Iterable[str] = (),
        affinity_key: str | None = None,
        fallback_on: Iterable[str] | None = None,
        retry: Retry = True,
        first_content_timeout: float | None = None,
        gap_timeout: float | None = 60.0,
        **extra: Any,
    ) -> CompletionStream:
        """
        Ask for an answer as it comes; return at its first content.

        Until then an error is failed over unseen; after it, it is :class:`StreamInterrupted` and
        never switched.

        Args:
            first_content_timeout: seconds until the first content; None for no clock of its own.
            gap_timeout: seconds between two data events; pings do not count.

        Raises:
            As :meth:`complete`.
        """
        valid.as_seconds("first_content_timeout", first_content_timeout, none=True)
        valid.as_seconds("gap_timeout", gap_timeout, none=True)
        again = retry is True
        request = asking.request_of(
            messages, model, max_tokens, temperature, tools, extra, not again
        )
        send = sending.to_stream(request, again, self._clock, first_content_timeout, gap_timeout)
        tokens = spending.estimate(request) if self._ledger.limited else 0
        done = self._run(
            send, request.model, tags, timeout, retry, affinity_key, fallback_on, tokens, True
        )
        # The loop of a call that failed over is in a cycle of its own, and the stream must not be:
        # forgotten, it gives its place back at once.
        opened, held = done.hand_over()
        return CompletionStream(opened, held, done.failed, self._clock)

    def embed(
        self,
        texts: str | Sequence[str],
        *,
        model: str | None = None,
        timeout: float | None = None,
        tags: Iterable[str] = (),
        fallback_on: Iterable[str] | None = None,
        retry: Retry = True,
    ) -> EmbeddingResponse:
        """
        Ask for one vector for each text.

        It fails over only to deployments with the same upstream model: vectors of two models do not mix.

        Raises:
            As :meth:`complete`.
        """
        inputs = (texts,) if isinstance(texts, str) else valid.names("texts", texts)
        if not inputs:
            valid.refuse("texts", "at least one text", texts)
        send = sending.to_embed(inputs, model)
        tokens = spending.texts(inputs) if self._ledger.limited else 0
        done = self._run(
            send, model, tags, timeout, retry, None, fallback_on, tokens, kind="embeddings"
        )
        return cast(EmbeddingResponse, asking.filled(done))

    def call(
        self,
        fn: Callable[[Lease], _T],
        *,
        model: str | None = None,
        timeout: float | None = None,
        tags: Iterable[str] = (),
        affinity_key: str | None = None,
        fallback_on: Iterable[str] | None = None,
        retry: Retry = True,
        tokens: int = 0,
    ) -> _T:
        """
        Call ``fn(lease)`` with a deployment's client; retry and fail over.

        What *fn* returns is returned as it is, a generator or an awaitable too. The pool cannot interrupt
        *fn*: it bounds waits and retries, and ``lease.remaining`` tells *fn* its time. Errors of known
        clients are judged; *fn*'s own pass through, uncounted. The usage that an answer tells of is
        counted, as far as its shape is known.

        Args:
            tokens: how many it will take, for ``tokens_per_minute``; the pool cannot see the request.

        Raises:
            As :meth:`complete`, and whatever *fn* raises of its own.
        """
        if not callable(fn):
            valid.refuse("fn", "a function of one lease", fn, kind=TypeError)
        valid.as_count("tokens", tokens)
        send = sending.to_call(fn, model, self._clock)
        done = self._run(
            send, model, tags, timeout, retry, affinity_key, fallback_on, tokens, kind="call"
        )
        return done.value

    def lease(
        self,
        *,
        model: str | None = None,
        timeout: float | None = None,
        tags: Iterable[str] = (),
        affinity_key: str | None = None,
        tokens: int = 0,
    ) -> LeaseContext:
        """
        Get a deployment for one attempt, made by hand in a ``with`` block.

        Args:
            tokens: how many it will take, for ``tokens_per_minute``; ``lease.count(answer)`` sets it right.

        Raises:
            NoHealthyDeployment: on entering the block; nothing could be asked.
            PoolClosed: the pool is closed.
        """
        valid.as_count("tokens", tokens)
        wish = self._terms.wish(model, tags, timeout, affinity_key, (), tokens, False)

        if self._audience is not None:
            wish.story = self._story(self._audience, model, "lease")

        def obtain(claim: Claim) -> None:
            self._ensure_running()
            refusal = claim.take()
            if refusal is not None:
                raise Call.refusal(refusal, wish)

        return LeaseContext(LastingClaim(self._ledger, wish), self._ledger, self._clock, obtain)

    def map(
        self,
        requests: Iterable[Prompt | CompletionRequest],
        *,
        max_workers: int = 8,
        progress: bool = True,
        return_errors: bool = False,
        **options: Any,
    ) -> BatchResults:
        """
        Complete many requests side by side; give the answers in the order of the requests.

        Args:
            max_workers: calls at a time.
            progress: show a bar, where tqdm is importable and there is a terminal or a notebook.
            return_errors: put an error in its answer's place; otherwise the first one is raised.
            options: passed to each :meth:`complete`.

        Raises:
            MapInterrupted: Ctrl-C; its ``results`` are what was done.
        """
        valid.as_count("max_workers", max_workers, least=1)
        valid.as_flag("progress", progress)
        valid.as_flag("return_errors", return_errors)
        if isinstance(requests, (str, bytes, Mapping)) or not isinstance(requests, Iterable):
            valid.refuse("requests", "an iterable of requests", requests, kind=TypeError)
        return batch.run_all(
            lambda request: self.complete(request, **options),
            requests,
            name=self.name,
            max_workers=max_workers,
            progress=progress,
            return_errors=return_errors,
        )

    # -- clients of the APIs ----------------------------------------------------------------

    def forward(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: bytes | None,
        *,
        timeout: float | None = None,
    ) -> Answer:
        """
        Pass on what a client of an API sends over HTTP; the methods below it make such clients.

        It goes to the deployments that speak the client's format, as it is but for the key and the
        model's name. Errors are answers too, in the shape of the API.

        Args:
            target: the path, after it ``?`` and the query if there is one.
            timeout: seconds for everything, but for a stream only until its first content.

        Raises:
            DeadlineExceeded: the client's time is over.
        """
        # It brings requests, which whoever brings a client of another kind does without.
        from llmpool.forwarding.asked import Asked
        from llmpool.forwarding.passing import Passing

        self._ensure_running()
        asked = Asked.read(method, target, headers, body)
        tokens = asked.tokens if self._ledger.limited else 0
        wish = self._terms.wish(asked.model, (), timeout, tokens=tokens)
        limit = self._retry.limit
        seconds = limit if timeout is None else timeout
        passing = Passing(asked, self._conduct, self.name, seconds, max(seconds, limit))
        if self._audience is None:
            return passing.answer(wish)
        wish.story = self._story(self._audience, asked.model, asked.kind, asked.streamed)
        return wish.story.carry(lambda: passing.answer(wish))

    def http_transport(self, module: Any = None) -> Any:
        """
        Make a transport for httpx or httpx2, whichever *module* is; by default the installed SDK's.

        Raises:
            ImportError: neither is installed.
        """
        return importlib.import_module("llmpool.contrib.httpx").transport(self, module)

    def openai(self, **options: Any) -> OpenAI:
        """
        Make a client of the OpenAI SDK on the pool; it takes all options of its class.

        Raises:
            ImportError: the SDK is not installed.
            ValueError: no deployment speaks the OpenAI format.
        """
        made = importlib.import_module("llmpool.contrib.openai")
        return cast("OpenAI", made.client(self, **{"timeout": self._retry.timeout, **options}))

    def anthropic(self, **options: Any) -> Anthropic:
        """
        Make a client of the Anthropic SDK on the pool; it takes all options of its class.

        Raises:
            ImportError: the SDK is not installed.
            ValueError: no deployment speaks the Anthropic format.
        """
        made = importlib.import_module("llmpool.contrib.anthropic")
        client = made.client(self, **{"timeout": self._retry.timeout, **options})
        return cast("Anthropic", client)

    def requests_session(self, base_url: str | None = None) -> Session:
        """
        Make a session of requests in which ``https://llmpool.invalid/`` is the pool.

        Args:
            base_url: the start of further URLs that are to go to the pool; all others go out as ever.
        """
        made = importlib.import_module("llmpool.contrib.requests")
        return cast("Session", made.session(self, base_url))

    def _run(
        self,
        send: Send[_T],
        model: str | None,
        tags: Iterable[str],
        timeout: float | None,
        retry: Retry,
        affinity_key: str | None = None,
        fallback_on: Iterable[str] | None = None,
        tokens: int = 0,
        keeps_claim: bool = False,
        kind: str = "chat",
    ) -> Call[_T]:
        self._ensure_running()
        wish = self._terms.wish(model, tags, timeout, affinity_key, fallback_on, tokens, retry)
        if self._audience is None:
            return Call(self._conduct, wish, send, retry, keeps_claim).run()
        wish.story = self._story(self._audience, model, kind, keeps_claim)
        return telling.run(self._conduct, wish, send, retry, keeps_claim)

    def _story(
        self, audience: Audience, model: str | None, kind: str, stream: bool = False
    ) -> Story:
        return Story(audience, CallFacts(self.name, model, kind, stream), self._clock.now)

    # -- the checker ------------------------------------------------------------------------

    def start(self) -> HealthCheckerHandle:
        """
        Start the checker in this process; without a call to it, the first call does.

        Raises:
            PoolClosed: the pool is closed.
        """
        self._open_here()
        return self._checker.start()

    def check_now(self) -> tuple[HealthCheckResult, ...]:
        """
        Check every deployment now, side by side, and book what is found.

        It lasts as long as the slowest check, and none longer than its time-out.

        Raises:
            PoolClosed: the pool is closed.
        """
        self._open_here()
        return self._checker.check_once()

    def _open_here(self) -> None:
        if threading.get_ident is not _hosts.get_ident:
            _hosts.refuse_late_gevent()
        if self._closed.is_set():
            raise errors.PoolClosed("the pool is closed")
        self._home.arrive()

    def _ensure_running(self) -> None:
        if threading.get_ident is not _hosts.get_ident:
            _hosts.refuse_late_gevent()
        if self._home.pid != os.getpid():
            self._home.arrive()
        checker = self._checker
        if checker.idle and not self._closed.is_set():
            checker.ensure()

    def _reset(self) -> None:
        """Drop what belongs to the parent; start nothing."""
        self._ledger.reset_after_fork()
        self._checker.reset_after_fork()
        for deployment in self._ledger.deployments():
            reset = getattr(deployment.provider, "reset_after_fork", None)
            if callable(reset):  # pragma: no branch - mostly runs in forked children
                reset()

    def observe(self, observer: object) -> None:
        """
        Tell *observer* of what happens from now on: an object with some methods of :class:`Observer`.

        Calls that are under way are not told of. The same object twice is told once.

        Raises:
            TypeError: it has none of the methods.
        """
        added = Audience.of_one(observer)
        with self._home.lock:  # critical section
            known = self._announcer.audience
            audience = added if known is None else known.joined_by(added)
            self._announcer.audience = audience
            self._audience = audience if audience.of_calls else None

    def _adopt(self, checker: HealthChecker) -> None:
        """Let *checker* take the place of the present one."""
        with self._home.lock:  # critical section
            former, self._checker = self._checker, checker
        self._announcer.tell_checker(checker)
        if former is not checker:
            former.retire()

    def close(self, timeout: float = 1.0) -> None:
        """
        Take no more calls, stop the checker, close the providers; a second time does nothing.

        Calls in flight go on; those that wait for a place end with :class:`PoolClosed`.

        Args:
            timeout: seconds to wait for the checker's thread; one that does not stop is named in the
                log.
        """
        valid.as_seconds("timeout", timeout, zero=True)
        self._home.arrive()
        if self._closed.is_set():
            return
        self._closed.set()
        self._ledger.close()
        handle = self._checker.handle
        if handle is not None:
            handle.stop()
            if not handle.join(timeout):
                _log.warning("pool %s: its checker did not stop within %g s", self.name, timeout)
        for provider in {id(d.provider): d.provider for d in self.deployments}.values():
            self._close_provider(provider)

    def _close_provider(self, provider: Any) -> None:
        close = getattr(provider, "close", None)
        if not callable(close):
            return
        try:
            close()
        except Exception as error:  # noqa: BLE001 - the others are to be closed all the same
            _log.warning("pool %s: closing a provider raised %s", self.name, type(error).__name__)

    def __enter__(self) -> ProviderPool:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the roster -------------------------------------------------------------------------

    def add(self, deployment: Deployment) -> None:
        """
        Take in a deployment at run time.

        Raises:
            ValueError: its name is taken, or its limits per minute are not those of its quota group.
        """
        if not isinstance(deployment, Deployment):
            valid.refuse("deployment", "a Deployment", deployment, kind=TypeError)
        self._home.arrive()
        self._ledger.add(deployment)

    def drain(self, name: str, timeout: float | None = 30.0) -> bool:
        """
        Send nothing more to *name*, and wait for what is in flight there.

        Returns:
            Whether nothing was left in flight within *timeout* seconds (None: however long).

        Raises:
            KeyError: there is no deployment of that name.
        """
        valid.as_seconds("timeout", timeout, zero=True, none=True)
        self._home.arrive()
        return self._ledger.wait_idle(self._ledger.drain(self._known(name)), timeout)

    def resume(self, name: str) -> None:
        """
        Send to a drained deployment again.

        Raises:
            KeyError: there is no deployment of that name.
        """
        self._home.arrive()
        self._ledger.resume(self._known(name))

    def remove(self, name: str, timeout: float | None = 30.0) -> bool:
        """
        Drain *name*, then forget it; its provider is not closed, for it may serve elsewhere.

        Returns:
            Whether nothing was left in flight within *timeout* seconds.

        Raises:
            KeyError: there is no deployment of that name.
        """
        idle = self.drain(name, timeout)
        self._ledger.remove(name)
        return idle

    def _known(self, name: str) -> str:
        known = self._ledger.names()
        if name not in known:
            raise KeyError(f"no deployment is called {name!r}; there are {', '.join(known)}")
        return name

    # -- views ------------------------------------------------------------------------------

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """The deployments, in the order in which they were added."""
        self._home.arrive()
        return self._ledger.deployments()

    def health(self, name: str) -> DeploymentStatus:
        """
        Show one deployment.

        Raises:
            KeyError: there is no deployment of that name.
        """
        self._home.arrive()
        return self._ledger.status(self._known(name))[name]

    def all_health(self) -> dict[str, DeploymentStatus]:
        """Show every deployment, by name."""
        self._home.arrive()
        return self._ledger.status()

    def healthy_count(self) -> int:
        """Count the healthy ones."""
        return sum(status.healthy for status in self.all_health().values())

    def health_status(self) -> PoolHealthStatus:
        """Show the whole pool at one moment."""
        statuses = tuple(self.all_health().values())
        return summed_up(statuses, checker_alive=self._checker.running)

    def explain(self) -> dict[str, Explanation]:
        """Tell of every deployment, by name, whether it would be asked now, why, and until when."""
        self._home.arrive()
        return self._ledger.explain()

    def __repr__(self) -> str:
        statuses = self.all_health().values()
        healthy = sum(status.healthy for status in statuses)
        return f"<ProviderPool {self.name!r}: {healthy} of {len(statuses)} healthy>"

    def _repr_html_(self) -> str:
        return self.health_status()._repr_html_()

    # Frameworks copy their clients deeply; a pool is one thing, whoever holds it.
    def __copy__(self) -> ProviderPool:
        return self

    def __deepcopy__(self, memo: object) -> ProviderPool:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the ProviderPool {self.name!r} cannot be pickled: it holds keys, locks and "
            "connections; build one in each process"
        )
