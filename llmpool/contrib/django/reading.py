"""What ``settings.LLMPOOL`` says of each pool, and the pool that comes of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from llmpool._validators import describe
from llmpool.pool import ProviderPool
from llmpool.settings import Blueprint, ConfigError, read_file, read_mapping
from llmpool.settings.outline import Outline
from llmpool.settings.problems import Path, said, unknown
from llmpool.settings.references import References

CONFIG, DEPLOYMENTS, INSTRUMENT = "CONFIG", "DEPLOYMENTS", "INSTRUMENT"
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_WANTED = "wanted a dict with DEPLOYMENTS or CONFIG, a function, or the dotted path of one"


@attrs.frozen
class Problem:
    """What is wrong, and in what setting."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@attrs.frozen
class Refused:
    """Why a description makes no pool."""

    problems: list[Problem]


@attrs.frozen
class Made:
    """A pool; whether it is *own*, to be closed by whoever made it here."""

    pool: ProviderPool
    own: bool


@attrs.frozen
class Description:
    """A pool as it is described; *instruments* are as they stand in the setting."""

    plan: Blueprint
    instruments: Sequence[Any]


def setting() -> Mapping[str, Any]:
    """
    Give ``settings.LLMPOOL``.

    Raises:
        ImproperlyConfigured: there is none, or it is no dict of pools.
    """
    problem = setting_problem()
    if problem is not None:
        raise ImproperlyConfigured(str(problem))
    found: Mapping[str, Any] = settings.LLMPOOL
    return found


def setting_problem() -> Problem | None:
    """Tell what is wrong with ``settings.LLMPOOL`` as a whole."""
    given = getattr(settings, "LLMPOOL", None)
    if isinstance(given, Mapping):
        return None
    got = "nothing" if given is None else describe(given)
    return Problem(
        "settings.LLMPOOL",
        f"wanted a dict of pools, such as {{'default': {{'DEPLOYMENTS': [...]}}}}, got {got}",
    )


def place(name: str) -> str:
    """Say where a pool is described."""
    return f"settings.LLMPOOL[{name!r}]"


def make(name: str) -> Made | list[Problem] | None:
    """Make the pool of that name, or tell why not; None where there is none of that name."""
    if name not in setting():
        return None
    found = look_up(name)
    if isinstance(found, Refused):
        return found.problems
    if isinstance(found, Description):
        return _build(name, found)
    target = resolve(name, found)
    if isinstance(target, list):
        return target
    if isinstance(target, ProviderPool):
        return Made(target, own=False)
    pool = target()
    if not isinstance(pool, ProviderPool):
        wanted = "wanted a function that gives a ProviderPool"
        return [Problem(place(name), f"{wanted}, got {describe(pool)}")]
    return Made(pool, own=True)


# Modules and functions of the project's run in make(), resolve() and instruments(). Where one raises,
# Django's page for developers and error trackers show local variables: so none that holds a pool's
# description may be on the way there, but in look_up() and below, where no code of others runs.


def look_up(name: str, *, reveal: bool = True) -> Description | Refused | object:
    """
    Read the description of a pool; give anything but a dict as it is.

    Args:
        reveal: False looks up no ``env:`` and no ``file:``.
    """
    given: object = setting()[name]
    if not isinstance(given, Mapping):
        return given
    rest = {key: value for key, value in given.items() if key != INSTRUMENT}
    read = _read_file if CONFIG in rest else _read_keys
    plan = read(place(name), rest, reveal=reveal)
    if not isinstance(plan, Blueprint):
        return Refused(plan)
    instruments = given.get(INSTRUMENT, ())
    return Description(
        plan, instruments if isinstance(instruments, (list, tuple)) else (instruments,)
    )


def resolve(name: str, given: object) -> ProviderPool | Callable[[], Any] | list[Problem]:
    """Give the pool, or the function that makes it, that stands in the setting or under a dotted path."""
    try:
        target = imported(given)
    except ValueError as error:
        return [Problem(place(name), str(error))]
    if isinstance(target, ProviderPool) or callable(target):
        usable: ProviderPool | Callable[[], Any] = target
        return usable
    return [Problem(place(name), f"{_WANTED}, got {describe(target)}")]


def instruments(
    name: str, described: Description
) -> tuple[list[Callable[[ProviderPool], object]], list[Problem]]:
    """Give the functions that a pool is handed to once it is made, and what is wrong with others."""
    found, problems = [], []
    for each in described.instruments:
        try:
            function = imported(each)
            if not callable(function):
                wanted = "wanted functions of a pool, or their dotted paths"
                raise ValueError(f"{wanted}, got {describe(function)}")
            found.append(function)
        except ValueError as error:
            problems.append(Problem(place(name), f"{INSTRUMENT}: {error}"))
    return found, problems


def imported(given: Any) -> Any:
    """
    Give what a dotted path leads to; anything but a text is itself.

    Raises:
        ValueError: it leads nowhere.
    """
    if not isinstance(given, str):
        return given
    if not _DOTTED.fullmatch(given):  # it may be a key, in the wrong place
        raise ValueError(f"wanted a dotted path, got {describe(given)}")
    try:
        return import_string(given)
    except ImportError as error:
        problem = f"{given!r} cannot be imported: {error}"
    raise ValueError(problem)


def _read_keys(where: str, given: Mapping[Any, Any], *, reveal: bool) -> Blueprint | list[Problem]:
    outline = Outline.of(ProviderPool)
    problems, mapping = _tables(where, given, outline)
    naming = _SettingNaming(where, mapping)
    try:
        plan = read_mapping(
            mapping, ProviderPool, source=where, naming=naming, references=References(reveal=reveal)
        )
    except ConfigError:
        return problems + naming.problems
    return problems or plan


def _read_file(where: str, given: Mapping[Any, Any], *, reveal: bool) -> Blueprint | list[Problem]:
    path = given[CONFIG]
    if len(given) > 1:
        return [Problem(where, f"{CONFIG}: wanted it or the other keys, got both")]
    if not isinstance(path, (str, os.PathLike)):
        return [Problem(where, f"{CONFIG}: wanted the path of a TOML file, got {said(path)}")]
    try:
        return read_file(path, ProviderPool, reveal=reveal)
    except ConfigError as error:
        return [Problem(where, problem) for problem in error.problems]
    except ImportError as error:  # before Python 3.11, without tomli
        return [Problem(where, str(error))]


def _tables(
    where: str, given: Mapping[Any, Any], outline: Outline
) -> tuple[list[Problem], dict[str, Any]]:
    """Give the tables that a file would have; keys of [pool] stand beside them here."""
    problems = []
    tables = {name.upper(): name for name in outline.tables if name != "pool"}
    own = {name.upper(): name for name in outline.pool}
    found: dict[str, Any] = {"pool": {}}
    for key, value in given.items():
        if key == DEPLOYMENTS:
            found["deployment"] = value
        elif key in own:
            found["pool"][own[key]] = value
        elif key in tables:
            found[tables[key]] = value
        elif key in ("pool", "POOL"):
            problems.append(
                Problem(where, f"{key}: its keys stand beside {DEPLOYMENTS}, in capitals")
            )
        else:
            problems.append(
                Problem(where, unknown(key, [CONFIG, DEPLOYMENTS, INSTRUMENT, *own, *tables]))
            )
    listed = found.get("deployment")
    if not isinstance(listed, (list, tuple)) or not listed:
        got = "nothing" if listed is None else said(listed)
        problems.append(Problem(where, f"{DEPLOYMENTS}: wanted a list of deployments, got {got}"))
        found["deployment"] = []
    return problems, found


def _build(name: str, described: Description) -> Made | list[Problem]:
    functions, problems = instruments(name, described)
    plan = described.plan
    try:
        pool = plan.build(ProviderPool, **{"name": name, **plan.options})
    except ConfigError as error:
        return problems + refused(name, plan, error)
    if problems:
        return problems
    for function in functions:
        function(pool)
    return Made(pool, own=True)


def refused(name: str, plan: Blueprint, error: ConfigError) -> list[Problem]:
    """Tell why the parts make no pool."""
    return [Problem(place(name), str(error).removeprefix(f"{plan.source}: "))]


class _SettingNaming:
    """Names places as they stand in the setting, and keeps what is told of each."""

    def __init__(self, where: str, mapping: Mapping[str, Any]) -> None:
        self.problems: list[Problem] = []
        self._where = where
        self._mapping = mapping

    def line(self, path: Path, message: str) -> str:
        """Name the place of *message*, which begins with a key of the table at *path*."""
        message = message.replace("a table", "a dict")
        problem = Problem(self._where + self._below(path), message)
        if not path or path[0] == "pool":
            key, colon, rest = message.partition(":")
            problem = Problem(self._where, f"{key.upper()}{colon}{rest}")
        self.problems.append(problem)
        return str(problem)

    def _below(self, path: Path) -> str:
        """Say where it is in the pool's description."""
        if not path or path[0] != "deployment":
            return "".join(f"[{str(part).upper()!r}]" for part in path)
        at, inner = path[1], path[2:]
        below = f"[{DEPLOYMENTS!r}][{at}]" + "".join(f"[{part!r}]" for part in inner)
        entry = self._mapping["deployment"][at]
        name = entry.get("name") if isinstance(entry, Mapping) else None
        return f"{below} {describe(name)}" if isinstance(name, str) else below
