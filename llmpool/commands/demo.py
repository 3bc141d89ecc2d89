"""``llmpool demo``: a pool over three local servers that fail in turn, asked all the while."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from typing import TextIO

import attrs

from llmpool import Deployment, Event, HealthCheckConfig, OpenAIProvider, Probe, ProviderPool
from llmpool.clock import SystemClock
from llmpool.commands import _pages
from llmpool.commands._chronicle import Chronicle
from llmpool.commands._pages import Scene
from llmpool.commands._script import ACTS, WORKS, Act, answer_at_once, pace, play, scaled
from llmpool.commands._terminal import Line, Screen, is_coloured, is_drawable, render, size
from llmpool.commands._traffic import CALL_TIMEOUT, Tally, Traffic
from llmpool.testing import LocalServer

OK, FAILED, INTERRUPTED = 0, 1, 130

_LATENCIES = {"eu": 0.06, "us": 0.08, "asia": 0.10}
_LEAST_TIMEOUT = 0.5
_MOST_WAIT = CALL_TIMEOUT + 2.0
_STANDINGS = 5
"""How often plain output tells where things stand."""

_clock = SystemClock()


def run(seconds: float, threads: int, *, as_json: bool, out: TextIO) -> int:
    """Play the demo and print it; give the exit status."""
    coloured = is_coloured(out, os.environ)
    with contextlib.ExitStack() as opened:
        servers = [
            opened.enter_context(LocalServer(name, latency=latency))
            for name, latency in _LATENCIES.items()
        ]
        chronicle = Chronicle(_clock.now())
        pool = opened.enter_context(pool_over(servers, pace(seconds), chronicle))
        stage = Stage(servers, pool, chronicle, seconds, threads)
        if as_json:
            scene = stage.play(lambda scene: None)
        elif is_drawable(out, os.environ):
            screen = opened.enter_context(Screen(out, coloured=coloured))
            scene = stage.play(lambda scene: screen.draw(_pages.page(scene, *size())))
        else:
            scene = stage.play(Running(out, coloured=coloured))
    columns = size()[0] if out.isatty() else None
    if as_json:
        out.write(json.dumps(_pages.record(scene), indent=2) + "\n")
    else:
        write(out, [[], *_pages.summary(scene, columns)], coloured=coloured)
    if scene.interrupted:
        return INTERRUPTED
    return OK if scene.flawless else FAILED


def pool_over(
    servers: Sequence[LocalServer], pace: float, listener: Callable[[Event], object]
) -> ProviderPool:
    """Make the demo's pool, as anyone would, but for shorter times: who watches has no minutes."""
    timeout = max(_LEAST_TIMEOUT, pace)
    return ProviderPool(
        [
            # No proxies: one of the environment's would be asked for the way to this machine.
            Deployment(
                server.name,
                OpenAIProvider(server.url, api_key=None, model="tiny", proxies={}),
                timeout=timeout,
            )
            for server in servers
        ],
        name="demo",
        health_check=HealthCheckConfig(2.0 * pace, timeout=timeout, unhealthy_interval=0.5 * pace),
        # A ping would not find out that a server that hung answers questions again.
        check=Probe(),
        listeners=[listener],
    )


class Stage:
    """The running servers, the pool over them, and the threads that ask it while the script is played."""

    def __init__(
        self,
        servers: Sequence[LocalServer],
        pool: ProviderPool,
        chronicle: Chronicle,
        seconds: float,
        threads: int,
    ) -> None:
        self._servers = {server.name: server for server in servers}
        self._states = dict.fromkeys(self._servers, WORKS)
        self._pool = pool
        self._chronicle = chronicle
        self._seconds = seconds
        self._threads = threads
        self._tally = Tally()
        for server in servers:
            server.behave(answer_at_once)

    def play(self, show: Callable[[Scene], None]) -> Scene:
        """Play the script to its end, or until Ctrl-C, and give the last scene."""
        traffic = Traffic(self._pool, self._tally, _clock)
        acts = scaled(ACTS, self._seconds)
        interrupted = False
        stuck: list[str] = []
        try:
            traffic.start(self._threads)
            play(acts, self._seconds, _clock, self._perform, lambda: show(self._scene()))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            stuck = traffic.stop(_MOST_WAIT)
        scene = attrs.evolve(self._scene(), interrupted=interrupted, stuck=tuple(stuck))
        show(scene)
        return scene

    def _perform(self, act: Act) -> None:
        self._states[act.server] = act.state
        # Before it is done, so that what comes of it stands after it.
        self._chronicle.note(act, _clock.now())
        self._servers[act.server].behave(act.behaviour(pace(self._seconds)))

    def _scene(self) -> Scene:
        return Scene(
            elapsed=self._chronicle.elapsed(_clock.now()),
            seconds=self._seconds,
            threads=self._threads,
            count=self._tally.count(),
            statuses=self._pool.health_status().deployments,
            servers=dict(self._states),
            happenings=self._chronicle.happenings(),
            spells=self._chronicle.spells(),
        )


class Running:
    """Writes what is new, line by line, and every now and then where things stand."""

    def __init__(self, out: TextIO, *, coloured: bool) -> None:
        self._out = out
        self._coloured = coloured
        self._told = 0
        self._standing_at: float | None = None

    def __call__(self, scene: Scene) -> None:
        """Write what has come since the last scene."""
        lines = [_pages.happened(each) for each in scene.happenings[self._told :]]
        self._told = len(scene.happenings)
        period = scene.seconds / _STANDINGS
        if self._standing_at is None:
            lines = [*_pages.introduction(scene), [], *lines]
            self._standing_at = period
        elif scene.elapsed >= self._standing_at:
            lines.append(_pages.standing(scene))
            self._standing_at += period
        write(self._out, lines, coloured=self._coloured)


def write(out: TextIO, lines: Sequence[Line], *, coloured: bool) -> None:
    """Write whole lines at once, so that a reader at the other end of a pipe sees them."""
    if lines:
        out.write("".join(render(line, coloured=coloured) + "\n" for line in lines))
        out.flush()
