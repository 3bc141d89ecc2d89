"""The system checks: what each id stands for, what it says, and that none asks anybody."""

from __future__ import annotations

import pathlib
import re
import sys
from typing import Any

import pytest

pytest.importorskip("django")

import django_site
from django.core import checks, management
from django.test import override_settings
from django.urls import path
from django_site import described

from llmpool import Deployment, ProviderPool
from llmpool.contrib.django import checks as ours
from llmpool.testing import ScriptedProvider

KEY = "sk-of-a-setting-0123456789"
EU = {"name": "eu", "provider": "openai", "base_url": "http://eu.invalid/v1", "api_key": KEY}
IN_DEFAULT = "settings.LLMPOOL['default']"

needs_toml = pytest.mark.needs("tomllib" if sys.version_info >= (3, 11) else "tomli")


def found() -> list[tuple[str, str, str, str]]:
    """Run the checks as Django does; give id, place, message and hint of each."""
    messages = checks.run_checks(tags=["llmpool"])
    assert all(each.hint for each in messages)
    assert KEY not in str(messages)
    return [(each.id.partition(".")[2], each.obj, each.msg, each.hint) for each in messages]


def test_all_is_well() -> None:
    """Nothing is said of a pool of any kind, and none is made of what is a function."""
    django_site.made.clear()
    own = ProviderPool([Deployment("own", ScriptedProvider("hi"))], health_check=None)
    setting = {
        "default": described(STRATEGY="weighted"),
        "eu": {"DEPLOYMENTS": [EU]},
        "pool": own,
        "function": "django_site.make_pool",
    }
    with override_settings(LLMPOOL=setting):
        assert found() == []
        assert django_site.made == []


def test_a_deployment_of_ones_own_stays_open() -> None:
    """The pool that a check makes for a trial is not closed, and so is no provider of the setting's."""
    closed = []

    class Provider(ScriptedProvider):
        def close(self) -> None:
            closed.append(self)

    setting = {"default": {"DEPLOYMENTS": [Deployment("own", Provider("hi"))]}}
    with override_settings(LLMPOOL=setting):
        assert found() == []
    assert closed == []


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        (None, [("W001", "settings.LLMPOOL", "there is no such setting", "LLMPOOL = ")]),
        ([EU], [("E001", "settings.LLMPOOL", "wanted a dict of pools", "LLMPOOL = ")]),
        (
            {"DEPLOYMENTS": [EU]},
            [("E001", "settings.LLMPOOL", "wanted pools by name, got the keys of one", "LLMPOOL")],
        ),
        (
            {7: described(), "default": described()},
            [("E001", "settings.LLMPOOL", "wanted names of pools, got 7", "LLMPOOL = ")],
        ),
        ({}, [("W001", "settings.LLMPOOL", "there is no pool 'default'", "Commands")]),
        ({"default": 7}, [("E002", IN_DEFAULT, "wanted a dict with", "LLMPOOL = ")]),
        (
            {"default": "django_site.nothing"},
            [("E002", IN_DEFAULT, "'django_site.nothing' cannot be imported", "LLMPOOL = ")],
        ),
        (
            {"default": {"DEPLOYMENTS": [{**EU, "wieght": 2}], "RETRI": {}}},
            [
                ("E003", IN_DEFAULT, "RETRI: unknown key", "Did you mean RETRY?"),
                (
                    "E003",
                    f"{IN_DEFAULT}['DEPLOYMENTS'][0] 'eu'",
                    "wieght: unknown key",
                    "Did you mean weight?",
                ),
            ],
        ),
        (
            {"default": {"DEPLOYMENTS": [EU, EU]}},
            [("E003", IN_DEFAULT, "deployments: ", "The tables and keys are")],
        ),
        (
            {"default": {"DEPLOYMENTS": [{**EU, "api_key": "env:NOT_SET"}]}},
            [
                (
                    "W002",
                    f"{IN_DEFAULT}['DEPLOYMENTS'][0] 'eu'",
                    "api_key: wanted a value, got nothing from the environment variable NOT_SET",
                    "Set it where this runs",
                )
            ],
        ),
        ({"default": {"CONFIG": 7}}, [("E003", IN_DEFAULT, "CONFIG: wanted the path", "The tab")]),
    ],
)
def test_what_is_amiss(
    setting: Any, wanted: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its id, its place and a hint."""
    monkeypatch.delenv("NOT_SET", raising=False)
    with override_settings(LLMPOOL=setting):
        for seen, begins in zip(found(), wanted, strict=True):
            assert seen[:2] == begins[:2]
            assert seen[2].startswith(begins[2])
            assert seen[3].startswith(begins[3])


@needs_toml
def test_a_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in it is an error, and a relative path a warning."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "llmpool.toml"
    file.write_text('[[deployment]]\nname = "eu"\nprovider = "opnai"\n')
    with override_settings(LLMPOOL={"default": {"CONFIG": "llmpool.toml"}}):
        error, warning = found()
    assert error[0] == "E003"
    assert error[2:] == (
        "llmpool.toml: [[deployment]] 1 \"eu\": provider: wanted the name of a provider, got 'opnai'",
        "Did you mean openai?",
    )
    assert warning[0] == "W003"
    with override_settings(LLMPOOL={"default": {"CONFIG": file}}):
        assert [each[0] for each in found()] == ["E003"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (7, "wanted a dict, got 7"),
        ({"QUORM": 2}, "QUORM: unknown key"),
        ({"QUORUM": 0}, "QUORUM: wanted a whole number >= 1"),
        ({"REFRESH": "often"}, "REFRESH: wanted seconds"),
        ({"MAY_VIEW": None}, "MAY_VIEW: wanted a plain function of the request"),
        ({"MAY_VIEW": "django_site.not_a_function"}, "MAY_VIEW: wanted a plain function"),
        ({"MAY_VIEW": "django_site.nothing"}, "MAY_VIEW: 'django_site.nothing' cannot be imp"),
        ({"MAY_CONTROL": "django_site.later"}, "MAY_CONTROL: wanted a plain function of the req"),
        ({"MAY_CONTROL": True}, "MAY_CONTROL: wanted a plain function of the request"),
    ],
)
def test_the_setting_of_the_status_page(setting: Any, said: str) -> None:
    """What is wrong with it has an id of its own."""
    with override_settings(LLMPOOL={"default": described()}, LLMPOOL_STATUS=setting):
        ((number, place, message, _),) = found()
    assert (number, place) == ("E004", "settings.LLMPOOL_STATUS")
    assert message.startswith(said)


def test_a_page_that_nobody_can_see() -> None:
    """Staff without users is warned of where the page is in the URLs, and nowhere else."""
    without = ["llmpool.contrib.django"]
    with override_settings(LLMPOOL={"default": described()}, INSTALLED_APPS=without):
        assert [each[0] for each in found()] == ["W004"]
        with override_settings(ROOT_URLCONF=(path("ask", django_site.ask),)):
            assert found() == []
        with override_settings(ROOT_URLCONF=None):
            assert found() == []
        everybody = "llmpool.contrib.django.permissions.everybody"
        with override_settings(LLMPOOL_STATUS={"MAY_VIEW": everybody}):
            assert found() == []


def test_what_manage_py_check_shows() -> None:
    """The place, the id, the message and the hint."""
    setting = {"default": {"DEPLOYMENTS": [{**EU, "wieght": 2}]}}
    with override_settings(LLMPOOL=setting), pytest.raises(management.CommandError) as caught:
        management.call_command("check")
    assert (
        f"{IN_DEFAULT}['DEPLOYMENTS'][0] 'eu': (llmpool.E003) wieght: unknown key\n"
        "\tHINT: Did you mean weight?" in str(caught.value)
    )


def test_every_id_is_documented() -> None:
    """The docstring and the reference have the ids that the code has."""
    source = pathlib.Path(str(ours.__file__)).read_text(encoding="utf-8")
    documentation, _, code = source.partition('"""\n\nfrom')
    used = set(re.findall(r"llmpool\.[EW]\d{3}", code))
    assert set(re.findall(r"llmpool\.[EW]\d{3}", documentation)) == used
    page = pathlib.Path(__file__).parents[2] / "docs" / "reference" / "django.rst"
    assert set(re.findall(r"llmpool\.[EW]\d{3}", page.read_text(encoding="utf-8"))) == used
