"""Who breaks the servers and changes the roster while the callers call."""

from __future__ import annotations

import random
import threading
from collections import Counter

from fleet import FAULTS, Fleet

from llmpool import Deployment, OpenAIProvider, ProviderPool

KEY = "sk-soak"


class Director:
    """
    Switches faults and changes the roster at random, until told to stop.

    Threads: its own while it is in its block; outside of that its caller's.
    """

    def __init__(self, fleet: Fleet, rng: random.Random) -> None:
        self._fleet = fleet
        self._rng = rng
        self._pool: ProviderPool | None = None
        self._names: dict[str, int] = {}  # the number of each deployment's server
        self._newest = 0
        self.switched: Counter[str] = Counter()
        self.added = 0
        self.problems: list[str] = []

    def deploy(self, server: int) -> Deployment:
        """Make a deployment of one server, of a name that was never there before."""
        self._newest += 1
        name = f"d{self._newest}"
        self._names[name] = server
        self.added += 1
        provider = OpenAIProvider(
            self._fleet.urls[server], api_key=KEY, model="tiny", connect_timeout=0.5
        )
        return Deployment(
            name,
            provider,
            weight=self._rng.choice((1, 1, 2)),
            priority=int(server >= 10),
            max_concurrent=self._rng.choice((None, None, 16)),
            quota_group=self._rng.choice((None, None, "shared")),
            timeout=self._rng.choice((None, 1.0)),
        )

    def take(self, pool: ProviderPool) -> None:
        """Have *pool* for a stage."""
        self._pool = pool

    def disturb(self, stopped: threading.Event) -> None:
        """Do something every now and then."""
        try:
            while not stopped.wait(self._rng.uniform(0.0, 0.15)):
                act = self._rng.random()
                if act < 0.1:
                    self._replace(self._rng.choice(list(self._names)), self._rng.choice((0.0, 0.5)))
                elif act < 0.13:
                    self._break_all(stopped)
                else:
                    self._switch(self._rng.randrange(len(self._fleet.urls)), self._fault())
        except Exception as error:
            self.problems.append(f"the director failed: {type(error).__name__}: {error}")

    def calm(self) -> None:
        """Make every server well."""
        for server in range(len(self._fleet.urls)):
            self._fleet.switch(server, None)

    def renew(self, timeout: float) -> None:
        """
        Put another deployment in the place of each, so that the records and connections are new.

        *timeout* is how long to wait for what is in flight on one of them.
        """
        for name in list(self._names):
            self._replace(name, timeout)

    def _fault(self) -> str | None:
        return None if self._rng.random() < 0.4 else self._rng.choice(list(FAULTS))

    def _switch(self, server: int, fault: str | None) -> None:
        self._fleet.switch(server, fault)
        self.switched[fault or "well again"] += 1

    def _break_all(self, stopped: threading.Event) -> None:
        fault = self._rng.choice(list(FAULTS))
        for server in range(len(self._fleet.urls)):
            self._switch(server, fault)
        stopped.wait(0.5)
        for server in range(len(self._fleet.urls)):
            self._switch(server, self._fault())

    def _replace(self, name: str, timeout: float) -> None:
        assert self._pool is not None
        deployment = next(each for each in self._pool.deployments if each.name == name)
        self._pool.add(self.deploy(self._names.pop(name)))
        self._pool.remove(name, timeout)
        deployment.provider.close()  # what is still in flight there goes on
