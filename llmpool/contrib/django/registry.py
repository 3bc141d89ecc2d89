"""One pool for each name in a process, made when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured

from llmpool._forks import Home
from llmpool.contrib.django import reading
from llmpool.contrib.django.reading import Made
from llmpool.pool import ProviderPool
from llmpool.settings.problems import meant


class Pools(Mapping[str, ProviderPool]):
    """
    The pools of ``settings.LLMPOOL``, by name.

    One is made when it is first asked for, once in a process and not once in a thread: threads share what
    is known of health. Making it starts nothing. Looking at the names makes none.

    Threads: any. Forks: a child goes on with the pools made before it.
    """

    def __init__(self) -> None:
        # Its lock guards the two fields below it, and is held while a pool is made: the others wait for
        # that one. It re-enters for a factory that asks for a further pool.
        self._home = Home(self._begin_anew)
        # Replaced as one and never changed, so that who wants a pool that is made waits for nobody.
        self._made: Mapping[str, Made] = {}
        self._under_way: set[str] = set()

    def _begin_anew(self) -> None:
        # What another thread was making at the fork will never be done here.
        self._under_way.clear()

    def __getitem__(self, name: str) -> ProviderPool:
        """
        Give the pool of that name.

        Raises:
            KeyError: the setting has none of that name.
            ImproperlyConfigured: there is no such setting, or it makes no pool; the message has every
                problem, and no secret.
        """
        made = self._made.get(name)
        if made is None:
            self._home.arrive()
            with self._home.lock:  # critical section
                made = self._made.get(name)
                if made is None:
                    made = self._make(name)
                    self._made = {**self._made, name: made}
        return made.pool

    def _make(self, name: str) -> Made:
        if name in self._under_way:
            raise ImproperlyConfigured(f"{reading.place(name)} asks for itself while it is made")
        self._under_way.add(name)
        try:
            made = reading.make(name)
        finally:
            self._under_way.discard(name)
        # Raised here, where no frame has the setting in a local variable: Django's page for developers and
        # error trackers show those.
        if made is None:
            names = sorted(map(str, self))
            hint = meant(name, names) or f"; there are {', '.join(names) or 'none'}"
            raise KeyError(f"settings.LLMPOOL has no pool {name!r}{hint}")
        if not isinstance(made, Made):
            raise ImproperlyConfigured("\n".join(map(str, made)))
        return made

    def __contains__(self, name: object) -> bool:
        return name in reading.setting()

    def __iter__(self) -> Iterator[str]:
        return iter(reading.setting())

    def __len__(self) -> int:
        return len(reading.setting())

    def close_all(self) -> None:
        """
        Close the pools made here; the next question makes new ones.

        A pool that stands in the setting itself, or under a dotted path, is its owner's to close.
        """
        self._home.arrive()
        with self._home.lock:  # critical section
            gone, self._made = self._made, {}
        for made in gone.values():
            if made.own:
                made.pool.close()

    # A mapping's comparison would make every pool, and it is one thing, whoever holds it.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> Pools:
        return self

    def __deepcopy__(self, memo: object) -> Pools:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "the pools of settings.LLMPOOL cannot be pickled: they hold keys, locks and connections; "
            "import them in each process"
        )

    def __repr__(self) -> str:
        return f"<Pools of settings.LLMPOOL: {', '.join(sorted(self._made)) or 'none'} made>"
