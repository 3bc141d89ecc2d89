"""One soak: stages of disturbed traffic, a look after each, and the verdict."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from account import Account, Limits
from director import Director
from fleet import Fleet
from holdings import Holdings, descriptors, growth, new_threads
from traffic import Crowd

from llmpool import HealthCheckConfig, ProviderPool, RetryPolicy

CALLERS = 64
SERVERS = 12
STAGE = 12.0
"""Seconds between two looks at what the process holds."""
WARM_UP = 3
"""Looks that are not compared: by then every line of code and every buffer has been used."""
AT_REST = ("llmpool-checker-soak",)
"""The pool's threads when no check is under way."""


class Soak:
    """
    One soak over its own servers.

    Args:
        sabotage: puts something else in the pool's place for the callers.
    """

    def __init__(
        self, fleet: Fleet, seed: int, limits: Limits, sabotage: Callable[[ProviderPool], Any]
    ) -> None:
        self._known = set(threading.enumerate())
        self._before = descriptors()
        self._limits = limits
        self.account = Account(limits)
        self.director = Director(fleet, random.Random(seed))
        self.pool = ProviderPool(
            [self.director.deploy(server) for server in range(SERVERS)],
            name="soak",
            strategy=random.Random(seed).choice(("least_connections", "round_robin", "weighted")),
            health_check=HealthCheckConfig(1.0, timeout=1.0, unhealthy_interval=0.5),
            retry=RetryPolicy(max_wait=2.0),
            rng=random.Random(seed),
        )
        self.director.take(self.pool)
        self.crowd = Crowd(sabotage(self.pool), self.account, limits, CALLERS, seed)
        self._known.update(self.crowd.threads)
        self.looks: list[Holdings] = []

    def stage(self, seconds: float) -> None:
        """Disturb the callers for so long; then have quiet, and look."""
        stopped = threading.Event()
        act = self.director.disturb
        disturbing = threading.Thread(target=act, args=(stopped,), name="director", daemon=True)
        self.crowd.go()
        disturbing.start()
        disturbing.join(seconds)
        stopped.set()
        disturbing.join(self._limits.settle)
        if disturbing.is_alive():
            self.account.note("the director did not end")
        self.crowd.halt()
        self.director.calm()
        self._look_at_the_pool()
        self.director.renew(self._limits.linger)
        self._look_at_the_process()

    def _look_at_the_pool(self) -> None:
        note = self.account.note
        gc.collect()  # a stream that was forgotten in a cycle
        if not self._eventually(lambda: not self._in_flight()):
            note(f"in flight while nobody calls: {self._in_flight()}")
        places = self.pool._ledger._places
        if places.queue or places.retrying:
            note(f"places kept: {places.queue} {places.retrying}")
        self.account.compare(self.pool.all_health())

    def _look_at_the_process(self) -> None:
        if not self._eventually(lambda: new_threads(self._known) == AT_REST):
            self.account.note(f"threads left: {new_threads(self._known)}")
        look = Holdings.look(self._known)
        self.looks.append(look)
        # Checks may have opened a connection to each server, and one may be opening the next.
        if look.descriptors > self._before + 2 * SERVERS:
            self.account.note(f"descriptors left: {self._before} became {look.descriptors}")

    def _in_flight(self) -> dict[str, int]:
        statuses = self.pool.health_status().deployments
        return {each.name: each.requests_in_flight for each in statuses if each.requests_in_flight}

    def _eventually(self, fact: Callable[[], bool]) -> bool:
        """Wait for something to become true; tell whether it has."""
        end = time.monotonic() + self._limits.settle
        waiting = threading.Event()
        while not fact():
            if time.monotonic() >= end:
                return False
            waiting.wait(0.05)
        return True

    def end(self) -> None:
        """End the callers and the pool, and look for the last time."""
        self.crowd.stop()
        self.pool.close(self._limits.settle)
        if not self._eventually(lambda: not new_threads(self._known)):
            self.account.note(f"threads left: {new_threads(self._known)}")
        gc.collect()
        if descriptors() != self._before:
            self.account.note(f"descriptors left: {self._before} became {descriptors()}")

    def verdict(self) -> list[str]:
        """Give all that is wrong."""
        problems = self.account.problems + self.director.problems
        if not self.account.served:
            problems.append("nobody was ever answered")
        if len(self.looks) > WARM_UP:
            problems += growth(self.looks[WARM_UP - 1], self.looks[-1])
        return problems

    def summary(self) -> str:
        """Tell what happened."""
        account, director = self.account, self.director
        calls = sum(account.begun.values())
        failed = sum(account.errors.values())
        faults = Counter(director.switched)
        well = faults.pop("well again", 0)
        lines = [
            f"{calls} calls: {dict(account.begun)}",
            f"{calls - failed} answered by {len(account.served)} deployments, "
            f"{account.failed_over} calls took more than one attempt",
            f"{failed} ended with an error: {dict(account.errors.most_common())}",
            f"half within {account.quantile(0.5)} s, 99 % within {account.quantile(0.99)} s, "
            f"all within {account.longest:.2f} s of {self._limits.timeout:g} s",
            f"{sum(faults.values())} faults of {len(faults)} kinds, {well} times well again, "
            f"{director.added - SERVERS} deployments replaced",
            "held at each look (MB in use/in all, blocks, objects, threads, descriptors): "
            + ", ".join(map(str, self.looks)),
        ]
        return "\n".join(f"  {line}" for line in lines)


def soak(
    seed: int,
    seconds: float,
    stages: int,
    *,
    limits: Limits | None = None,
    sabotage: Callable[[ProviderPool], Any] = lambda pool: pool,
) -> list[str]:
    """Run a soak over servers of its own, print what happened, give all that is wrong."""
    with Fleet(SERVERS) as fleet:
        run = Soak(fleet, seed, limits or Limits(), sabotage)
        try:
            for _ in range(stages):
                run.stage(seconds / stages)
        finally:
            run.end()
            print(run.summary(), flush=True)
        return run.verdict()
