"""The pools of ``settings.LLMPOOL``: what makes them, and that there is one of each in a process."""

from __future__ import annotations

import copy
import os
import pathlib
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("django")

import django_site
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django_site import described, made
from forks import in_child

from llmpool import Deployment, PoolClosed, ProviderPool
from llmpool.contrib.django import pools, reading
from llmpool.testing import ScriptedProvider

KEY = "sk-of-a-setting-0123456789"


def refusal(name: str = "default") -> str:
    """Ask for a pool that cannot be made; give what is said."""
    with pytest.raises(ImproperlyConfigured) as caught:
        pools[name]
    return str(caught.value)


def test_importing_before_there_are_settings() -> None:
    """Nothing is read, nothing is started, and what is missing is told when a pool is asked for."""
    code = """
import threading
from llmpool.contrib.django import pools
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
print(pools, threading.active_count())
try:
    pools["default"]
except ImproperlyConfigured as error:
    print("DJANGO_SETTINGS_MODULE" in str(error))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("<Pools of settings.LLMPOOL: none made> 1\nTrue\n", "")


def test_setting_up_django() -> None:
    """The app starts nothing."""
    assert not [name for name in django_site.THREADS_AFTER_SETUP if name.startswith("llmpool-")]


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it is named."""
    monkeypatch.setitem(sys.modules, "django", None)
    monkeypatch.delitem(sys.modules, "llmpool.contrib.django")
    with pytest.raises(ImportError, match=r"needs django, .* with its extra 'django'"):
        import llmpool.contrib.django  # noqa: F401


def test_a_pool_of_the_settings() -> None:
    """It is made once, by its keys, and is called as its place unless it is given a name."""
    setting = {
        "default": described(STRATEGY="primary", RETRY={"max_attempts": 1}, CHECK={"kind": "ping"}),
        "named": described(NAME="main"),
    }
    with override_settings(LLMPOOL=setting):
        pool = pools["default"]
        assert pool.complete("hello").text == "hi"
        assert pool is pools["default"]
        assert (pool.name, pools["named"].name) == ("default", "main")
        assert repr(pools) == "<Pools of settings.LLMPOOL: default, named made>"


def test_a_mapping_of_pools() -> None:
    """Its names are those of the setting, and looking at them makes no pool."""
    with override_settings(LLMPOOL={"default": described(), "other": described()}):
        assert list(pools) == ["default", "other"]
        assert len(pools) == 2
        assert "other" in pools
        assert "third" not in pools
        assert pools.get("third") is None
        assert "none made" in repr(pools)
        assert [pool.name for pool in pools.values()] == ["default", "other"]


def test_a_name_that_is_none() -> None:
    """It is told with the one that may be meant, or with all there are."""
    with override_settings(LLMPOOL={"default": described()}):
        with pytest.raises(KeyError, match="no pool 'defautl'; did you mean default"):
            pools["defautl"]
        with pytest.raises(KeyError, match="no pool 'x'; there are default"):
            pools["x"]
    with override_settings(LLMPOOL={}), pytest.raises(KeyError, match="there are none"):
        pools["default"]


def test_one_thing_whoever_holds_it() -> None:
    """A copy is the same, and it is not pickled."""
    assert copy.copy(pools) is copy.deepcopy(pools) is pools
    assert pools == pools
    assert pools != {}
    assert {pools: 1}[pools] == 1
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(pools)


def test_threads_that_ask_at_once() -> None:
    """One makes the pool, the others wait for it and get the same."""
    crowd = threading.Barrier(8)

    def ask(_: int) -> ProviderPool:
        crowd.wait(20)
        return pools["default"]

    made.clear()
    with override_settings(LLMPOOL={"default": "django_site.make_pool"}):
        with ThreadPoolExecutor(8) as threads:
            got = set(map(id, threads.map(ask, range(8))))
        assert got == {id(made[0])}
        assert len(made) == 1


def test_a_pool_that_is_made_meanwhile() -> None:
    """Who waited for another thread to make it takes that one."""

    class Behind(dict[str, Any]):
        asked = 0

        def get(self, name: str, default: Any = None) -> Any:
            self.asked += 1
            return default if self.asked == 1 else super().get(name, default)

    with override_settings(LLMPOOL={"default": described()}):
        pool = pools["default"]
        pools._made = Behind(pools._made)
        assert pools["default"] is pool


def test_a_pool_that_takes_long_to_make() -> None:
    """Who wants another, which is made, does not wait for it."""
    began, go_on = threading.Event(), threading.Event()

    def make() -> ProviderPool:
        began.set()
        assert go_on.wait(20)
        return django_site.make_pool()

    with override_settings(LLMPOOL={"default": described(), "slow": make}):
        quick = pools["default"]
        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(lambda: pools["slow"])
            assert began.wait(20)
            assert pools["default"] is quick
            go_on.set()
            assert slow.result(20) is pools["slow"]


def test_a_setting_that_is_overridden() -> None:
    """What was made is closed and made anew, there and back."""
    with override_settings(LLMPOOL={"default": described()}):
        outer = pools["default"]
        with override_settings(LLMPOOL={"default": described(NAME="inner")}):
            inner = pools["default"]
            assert inner.name == "inner"
            with pytest.raises(PoolClosed):
                outer.complete("hello")
        with pytest.raises(PoolClosed):
            inner.complete("hello")
        with override_settings(USE_TZ=False):
            again = pools["default"]
        assert again is pools["default"]
        assert again.complete("hello").text == "hi"
        pools.close_all()
        assert pools["default"] is not again


def test_a_pool_in_the_settings() -> None:
    """It is taken as it is, and its owner closes it."""
    own = ProviderPool([Deployment("own", ScriptedProvider("hi", repeat=True))], health_check=None)
    with override_settings(LLMPOOL={"default": own}):
        assert pools["default"] is own
    assert own.complete("hello").text == "hi"
    own.close()


@pytest.mark.parametrize("given", ["django_site.make_pool", django_site.make_pool])
def test_a_function_in_the_settings(given: Any) -> None:
    """It is asked once, by itself or by its dotted path, and what it gives is closed in the end."""
    made.clear()
    with override_settings(LLMPOOL={"default": given}):
        assert [pools["default"], pools["default"]] == [made[0], made[0]]
    with pytest.raises(PoolClosed):
        made[0].complete("hello")


def test_a_function_that_asks_for_another_pool() -> None:
    """It gets it."""
    setting = {"default": "django_site.make_of_another", "other": described()}
    with override_settings(LLMPOOL=setting):
        assert pools["default"] is pools["other"]


def test_what_pools_are_handed_to() -> None:
    """Each function is called once with a pool that is made, before anybody else has it."""
    handed: list[ProviderPool] = []
    django_site.handed.clear()
    own = described(INSTRUMENT=[handed.append, "django_site.note"])
    with override_settings(LLMPOOL={"default": own, "one": described(INSTRUMENT=handed.append)}):
        assert [pools["default"], pools["one"]] == handed
        assert [pools["default"]] == django_site.handed
        pools["default"].complete("hello")
    assert len(handed) == 2


def test_a_file(tmp_path: pathlib.Path) -> None:
    """It is read as ever; a mistake in it names its place."""
    pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    path = tmp_path / "llmpool.toml"
    path.write_text(
        '[[deployment]]\nname = "eu"\nprovider = "openai"\nbase_url = "http://eu/v1"\napi_key = false\n'
    )
    with override_settings(LLMPOOL={"default": {"CONFIG": path}}):
        assert pools["default"].name == "default"
    path.write_text('[[deployment]]\nname = "eu"\nprovider = "opnai"\n')
    with override_settings(LLMPOOL={"default": {"CONFIG": str(path)}}):
        assert f"settings.LLMPOOL['default']: {path}: [[deployment]] 1" in refusal()


def test_a_file_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter without TOML says what it needs."""

    def read_file(*_: Any, **__: Any) -> None:
        raise ImportError("it needs tomli")

    monkeypatch.setattr(reading, "read_file", read_file)
    with override_settings(LLMPOOL={"default": {"CONFIG": "llmpool.toml"}}):
        assert refusal() == "settings.LLMPOOL['default']: it needs tomli"


EU = {"name": "eu", "provider": "openai", "base_url": "http://eu/v1", "api_key": KEY}
IN_DEFAULT = "settings.LLMPOOL['default']"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (None, "settings.LLMPOOL: wanted a dict of pools, such as {'default': …}, got nothing"),
        ([EU], "settings.LLMPOOL: wanted a dict of pools, such as {'default': …}, got a list"),
        ({"default": 7}, f"{IN_DEFAULT}: wanted a dict with …, got 7"),
        ({"default": None}, f"{IN_DEFAULT}: wanted a dict with …, got None"),
        ({"default": "django_site.not_a_function"}, f"{IN_DEFAULT}: wanted a dict with …, got 7"),
        (
            {"default": "django_site.nothing"},
            f"{IN_DEFAULT}: 'django_site.nothing' cannot be imported: …",
        ),
        ({"default": "nowhere.at_all"}, f"{IN_DEFAULT}: 'nowhere.at_all' cannot be imported: …"),
        ({"default": KEY}, f"{IN_DEFAULT}: wanted a dotted path, got a str of …"),
        ({"default": [EU]}, f"{IN_DEFAULT}: wanted a dict with …, got a list"),
        (
            {"default": "django_site.make_none"},
            f"{IN_DEFAULT}: wanted a function that gives a ProviderPool, got None",
        ),
        (
            {"default": "django_site.make_of_itself"},
            f"{IN_DEFAULT} asks for itself while it is made",
        ),
        ({"default": {}}, f"{IN_DEFAULT}: DEPLOYMENTS: wanted a list of deployments, got nothing"),
        (
            {"default": {"DEPLOYMENTS": EU}},
            f"{IN_DEFAULT}: DEPLOYMENTS: wanted a list of deployments, got a table",
        ),
        (
            {"default": {"deployments": [EU], "DEPLOYMENTS": [EU]}},
            f"{IN_DEFAULT}: deployments: unknown key; did you mean DEPLOYMENTS?",
        ),
        (
            {"default": {"DEPLOYMENTS": [EU], "pool": {}}},
            f"{IN_DEFAULT}: pool: its keys stand beside DEPLOYMENTS, in capitals",
        ),
        (
            {"default": {"DEPLOYMENTS": [EU], "STRATEGY": "x"}},
            f"{IN_DEFAULT}: STRATEGY: wanted one of …",
        ),
        (
            {"default": {"DEPLOYMENTS": [EU], "RETRY": 3}},
            f"{IN_DEFAULT}: RETRY: wanted a dict, got 3",
        ),
        (
            {"default": {"DEPLOYMENTS": [EU], "RETRY": {"timeot": 3}}},
            f"{IN_DEFAULT}['RETRY']: timeot: unknown key; did you mean timeout?",
        ),
        (
            {"default": {"DEPLOYMENTS": [EU, {**EU, "name": "us", "wieght": 2}]}},
            f"{IN_DEFAULT}['DEPLOYMENTS'][1] 'us': wieght: unknown key; did you mean weight?",
        ),
        (
            {"default": {"DEPLOYMENTS": [{**EU, "prices": {"inptu": 2}}]}},
            f"{IN_DEFAULT}['DEPLOYMENTS'][0]['prices'] 'eu': inptu: unknown key; did you mean input?…",
        ),
        (
            {"default": {"DEPLOYMENTS": [7]}},
            f"{IN_DEFAULT}['DEPLOYMENTS'][0]: wanted a dict, got 7",
        ),
        (
            {"default": {"DEPLOYMENTS": [EU, EU]}},
            f"{IN_DEFAULT}: deployments: …",
        ),
        (
            {"default": {"CONFIG": "x.toml", "DEPLOYMENTS": [EU]}},
            f"{IN_DEFAULT}: CONFIG: wanted it or the other keys, got both",
        ),
        (
            {"default": {"DEPLOYMENTS": [EU, EU], "INSTRUMENT": ["django_site.nothing", 7]}},
            f"{IN_DEFAULT}: INSTRUMENT: 'django_site.nothing' cannot be imported: …\n"
            f"{IN_DEFAULT}: INSTRUMENT: wanted functions of a pool, or their dotted paths, got 7\n…",
        ),
        (
            {"default": {"DEPLOYMENTS": [EU], "INSTRUMENT": 7}},
            f"{IN_DEFAULT}: INSTRUMENT: wanted functions of a pool, or their dotted paths, got 7",
        ),
        (
            {"default": {"CONFIG": 7}},
            f"{IN_DEFAULT}: CONFIG: wanted the path of a TOML file, got 7",
        ),
    ],
)
def test_what_makes_no_pool(setting: Any, said: str) -> None:
    """It is told with its place, shows no key, and is told again the next time."""
    with override_settings(LLMPOOL=setting):
        for _ in range(2):
            assert said_so(refusal(), said)


def said_so(text: str, wanted: str) -> bool:
    """Compare texts; where *wanted* has an ellipsis there may be anything."""
    assert KEY not in text
    parts = wanted.split("…")
    at = 0
    for part in parts:
        at = text.find(part, at)
        assert at >= 0, text
        at += len(part)
    return "…" in wanted or text == wanted


def test_every_problem_at_once() -> None:
    """They stand on a line each."""
    setting = {"default": {"DEPLOYMENTS": [{**EU, "a": 1}], "RETRY": {"b": 1}, "C": 1}}
    with override_settings(LLMPOOL=setting):
        assert len(refusal().splitlines()) == 3


def raise_in(*_: object) -> None:
    """Be a function of the project's that fails."""
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "setting",
    [
        {
            "default": {
                "DEPLOYMENTS": [EU, {**EU, "headers": {"X-Any": KEY}, "model": "env:NOT_SET"}]
            }
        },
        {"default": {"DEPLOYMENTS": [EU], "INSTRUMENT": raise_in}},
        {"default": raise_in, "other": {"DEPLOYMENTS": [EU]}},
        {"default": {"DEPLOYMENTS": [EU], "INSTRUMENT": "django_broken.instrument"}},
        {"default": "django_broken.make", "other": {"DEPLOYMENTS": [EU]}},
        {"default": [EU]},
        [EU],
    ],
)
def test_no_frame_has_the_setting(setting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages for developers and error trackers show local variables: none of an error's holds a key."""
    monkeypatch.delenv("NOT_SET", raising=False)
    raised = pytest.raises((ImproperlyConfigured, ZeroDivisionError))
    with override_settings(LLMPOOL=setting), raised as caught:
        pools["default"]
    hidden_in(caught)
    if "django_broken" in str(setting):
        with override_settings(LLMPOOL=setting), raised as caught:
            run_checks(tags=["llmpool"])
        hidden_in(caught)


def hidden_in(caught: pytest.ExceptionInfo[BaseException]) -> None:
    """Look for the key in the local variables of an error's frames, the test's own apart."""
    assert caught.value.__context__ is None
    trace = caught.tb
    while trace.tb_next is not None:
        trace = trace.tb_next
        shown = {**trace.tb_frame.f_locals, "__builtins__": None}
        assert KEY not in repr(shown)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
# Python 3.12 warns of what is shown here to be safe.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
def test_a_fork(held: bool) -> None:
    """A child goes on with the pools that were made, and makes others, whoever was making one."""
    with override_settings(LLMPOOL={"default": described(), "other": described()}):
        before = pools["default"]
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with pools._home.lock:
                pools._under_way.add("other")
                entered.set()
                assert leave.wait(20)
                pools._under_way.clear()

        holder = threading.Thread(target=hold)
        if held:
            holder.start()
            assert entered.wait(20)
        try:
            work = lambda: (  # noqa: E731
                pools["default"] is before,
                pools["default"].complete("hello").text,
                pools["other"].complete("hello").text,
            )
            assert in_child(work) == (True, "hi", "hi")
        finally:
            leave.set()
            if held:
                holder.join(20)


def test_a_fork_that_runs_no_hook() -> None:
    """uWSGI's: the process id tells, and what another thread was making there is made here."""
    with override_settings(LLMPOOL={"default": described()}):
        pools._under_way.add("default")
        pools._home.pid = -1
        assert pools["default"].complete("hello").text == "hi"
        assert pools._home.pid == os.getpid()
