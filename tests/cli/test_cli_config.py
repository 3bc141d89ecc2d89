"""``llmpool config``, ``llmpool doctor`` and ``llmpool import-litellm``."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import os
import pathlib
import ssl
import stat
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import pytest

from llmpool import ProviderPool, cli
from llmpool.commands import doctor
from llmpool.commands.doctor import NOTE, OK, PROBLEM, WARNING
from llmpool.settings import files, read_mapping
from llmpool.testing import LocalServer, ScriptedProvider

needs_toml = pytest.mark.needs(*(() if sys.version_info >= (3, 11) else ("tomli",)))
Configure = Callable[..., None]

GOOD = """
[[deployment]]
name = "eu"
provider = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key = "env:EU_KEY"
"""
LITELLM = """
model_list:
  - model_name: gpt
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/EU_KEY, max_retries: 2}
"""


@needs_toml
def test_a_valid_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says so, and the status is 0; secrets may be left out."""
    pathlib.Path("llmpool.toml").write_text(GOOD)
    assert cli.main(["config", "validate"]) == 2
    assert "EU_KEY, which is not set" in capsys.readouterr().out
    assert cli.main(["config", "validate", "--without-secrets"]) == 0
    monkeypatch.setenv("EU_KEY", "of-tests")
    assert cli.main(["config", "validate"]) == 0
    assert capsys.readouterr().out == "llmpool.toml: valid, 1 deployments: eu\n" * 2


@needs_toml
def test_doubts_about_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """What is allowed and seldom meant is told, without the key; the status is 0."""
    text = GOOD.replace("env:EU_KEY", "as-it-is").replace("127.0.0.1", "h.invalid")
    pathlib.Path("x.toml").write_text(
        f"{text}weight = 0\n{GOOD.replace('eu', 'us').replace('env:EU_KEY', 'file:x.toml')}"
    )
    assert cli.main(["config", "validate", "x.toml", "--json", "--without-secrets"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["valid"], told["problems"], told["deployments"]) == (True, [], ["eu", "us"])
    assert told["warnings"] == [
        'x.toml: [[deployment]] 1 "eu": api_key: stands in the file itself; "env:NAME" or "file:PATH" '
        "keeps it out",
        'x.toml: [[deployment]] 1 "eu": api_key: goes over plain http to another machine',
        'x.toml: [[deployment]] 1 "eu": weight: is 0, so it gets no calls',
    ]
    assert cli.main(["config", "validate", "x.toml", "--without-secrets"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("warning: x.toml")
    assert "as-it-is" not in written


@needs_toml
def test_a_file_with_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a line; the status is 2."""
    pathlib.Path("x.toml").write_text(GOOD.replace("name", "nmae") + "weight = -1\n")
    assert cli.main(["config", "validate", "x.toml", "--without-secrets"]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "x.toml: [[deployment]] 1: nmae: unknown key; did you mean name?",
        "x.toml: [[deployment]] 1: weight: wanted a number from 0 to 1e+06, got -1",
        "x.toml: [[deployment]] 1: name: wanted a text, got nothing",
    ]


def test_no_tomli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what is to be installed."""
    read_toml = functools.partial(files._toml, (3, 10))
    monkeypatch.setattr(files, "_toml", read_toml)
    monkeypatch.setitem(sys.modules, "tomli", None)
    pathlib.Path("x.toml").write_text(GOOD)
    assert cli.main(["config", "validate", "x.toml"]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "needs tomli: install the extra named toml" in told


def test_no_file_to_validate(capsys: pytest.CaptureFixture[str]) -> None:
    """The status is 2."""
    assert cli.main(["config", "validate"]) == 2
    assert "there is no llmpool.toml here" in capsys.readouterr().err


def test_the_schema_and_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    """Both are printed as they are to stand in a file."""
    assert cli.main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "llmpool"
    assert cli.main(["config", "example"]) == 0
    assert "[[deployment]]" in capsys.readouterr().out


@needs_toml
def test_the_example_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    """As it is printed, keys apart."""
    cli.main(["config", "example"])
    pathlib.Path("llmpool.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert cli.main(["config", "validate", "--without-secrets"]) == 0


def test_a_healthy_machine(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line is ok or a note; without problems and warnings the status is 0."""
    monkeypatch.setattr(doctor, "findings", lambda config: [doctor.Finding(OK, "a", "b")])
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == "ok        a  b\nall is well\n"
    monkeypatch.setattr(doctor, "findings", lambda config: [doctor.Finding(WARNING, "a", "b")])
    assert cli.main(["doctor"]) == 1
    assert "0 problems, 1 warnings" in capsys.readouterr().out


def test_a_machine_with_a_configuration(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    """The configuration is read too; no server is asked."""
    with LocalServer("eu") as server:
        configure(server)
        assert cli.main(["doctor", "--json"]) in (0, 1)
        told = json.loads(capsys.readouterr().out)
        assert not server.requests
    subjects = {each["subject"] for each in told["findings"]}
    assert {"python", "libraries", "clock", "processes", "limits", "netrc"} <= subjects
    said = [each["said"] for each in told["findings"] if each["subject"] == "configuration"]
    assert said == ["environment: eu"]


def configuration(config: str | None) -> list[tuple[str, str]]:
    found = doctor.findings(config)
    return [(each.level, each.said) for each in found if each.subject == "configuration"]


def test_a_machine_without_a_configuration(configure: Configure) -> None:
    """None is a note; one that is wrong is a problem for each line."""
    ((level, said),) = configuration(None)
    assert (level, said[:12]) == (NOTE, "there is no ")
    with LocalServer("eu") as server:
        configure(server, EU__WIGHT="1", EU__TIMEOUT="x")
        assert [level for level, _ in configuration(None)] == [PROBLEM, PROBLEM]
        configure(server, EU__WEIGHT="0")
        for name in ("EU__WIGHT", "EU__TIMEOUT"):
            os.environ.pop(f"LLMPOOL_{name}")
        ((level, said),) = configuration(None)
        assert (level, said[:23]) == (PROBLEM, "environment: deployment")


def levels(found: Any) -> list[str]:
    return [each.level for each in found]


def test_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of years ago is a problem, one of coarse steps a warning."""
    old = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    assert levels(doctor.clock(old)) == [PROBLEM, OK]
    coarse = types.SimpleNamespace(resolution=1.0, monotonic=True)
    monkeypatch.setattr(time, "get_clock_info", lambda name: coarse)
    assert levels(doctor.clock()) == [OK, WARNING]


def test_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of starting them is told, and what an installed host wants."""
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" if name == "gevent" else None)
    first, second = doctor.process()
    assert first.subject == "processes"
    assert second.said.startswith("1.0 is installed: call gevent.monkey.patch_all()")
    monkeypatch.setattr(doctor.multiprocessing, "get_start_method", lambda allow_none: "spawn")
    assert "made anew" in next(doctor.process()).said


def test_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions of what is there; what is not there is a note, tomli only where it is of use."""
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 0))
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" if name == "rich" else None)
    found = {each.subject: each.level for each in doctor.libraries()}
    assert (found["rich"], found["tqdm"], found["tomli"]) == (OK, NOTE, NOTE)
    monkeypatch.setattr(doctor.sys, "version_info", (3, 11, 0))
    assert "tomli" not in {each.subject for each in doctor.libraries()}
    monkeypatch.undo()
    assert doctor._version("no-such-thing-anywhere") is None
    assert doctor._version("attrs") == importlib.metadata.version("attrs")


def test_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A low limit is a warning."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 100))
    (found,) = doctor.files_limit()
    assert (found.level, found.said[:14]) == (WARNING, "100 open files")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (-1, -1))
    assert levels(doctor.files_limit()) == [OK]


def test_passwords_of_others(tmp_path: pathlib.Path) -> None:
    """A netrc is told of, and not read."""
    assert levels(doctor.netrc({"HOME": str(tmp_path)})) == [OK]
    (tmp_path / ".netrc").write_text("machine x password y")
    (found,) = doctor.netrc({"HOME": str(tmp_path)})
    assert (found.level, str(tmp_path) in found.said) == (NOTE, True)
    assert levels(doctor.netrc({"NETRC": str(tmp_path / "none")})) == [OK]


def test_authorities(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle that is not there or is none is a problem; a folder is taken."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert levels(doctor.authorities({})) == [OK]
    assert levels(doctor.authorities({"SSL_CERT_FILE": "x"})) == [NOTE, OK]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    (found,) = doctor.authorities({})
    assert found.said == f"{tmp_path}; {ssl.OPENSSL_VERSION}"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
    assert levels(doctor.authorities({})) == [PROBLEM]
    (tmp_path / "none").write_text("no certificate")
    (found,) = doctor.authorities({})
    assert (found.level, found.said[: len(str(tmp_path))]) == (PROBLEM, str(tmp_path))


def test_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is asked by way of one is told, without its password."""
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@proxy.invalid:3128")
    monkeypatch.setenv("NO_PROXY", "direct.invalid")
    entries = [
        {"name": name, "provider": "openai", "base_url": f"http://{name}.invalid", "api_key": None}
        for name in ("far", "direct")
    ]
    own = {"name": "own", "provider": ScriptedProvider()}
    plan = read_mapping({"deployment": [*entries, own]}, ProviderPool, source="x")
    found = [each.said for each in doctor.proxies(os.environ, plan)]
    assert found[1].startswith("far is asked by the proxy proxy.invalid:3128")
    assert found[2].startswith("direct is asked directly")
    assert len(found) == 3
    assert "secret" not in "".join(found)
    assert levels(doctor.proxies({}, plan)) == [OK]
    assert levels(doctor.proxies({"http_proxy": "x"}, None)) == [NOTE]


@pytest.mark.needs("yaml")
def test_an_import(capsys: pytest.CaptureFixture[str]) -> None:
    """The file is written, and each key that is not carried over is listed; the status is 0."""
    pathlib.Path("c.yaml").write_text(LITELLM)
    assert cli.main(["import-litellm", "c.yaml"]) == 0
    assert capsys.readouterr().out == (
        "llmpool.toml: 1 deployments\nNot carried over:\n"
        "  model_list[0].litellm_params.max_retries: attempts are counted for a whole call: "
        "[retry] max_attempts\n"
    )
    written = pathlib.Path("llmpool.toml").read_text()
    assert 'preset = "openai"\nmodel = "gpt-4o"\napi_key = "env:EU_KEY"' in written
    assert cli.main(["import-litellm", "c.yaml"]) == 2
    assert "llmpool.toml is there already" in capsys.readouterr().err
    assert cli.main(["import-litellm", "c.yaml", "--force", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["deployments"]) == ("llmpool.toml", ["gpt-1"])
    assert len(told["not_carried_over"]) == 1
    assert cli.main(["import-litellm", "c.yaml", "-o", "none/x.toml"]) == 2
    assert "none/x.toml: No such file or directory" in capsys.readouterr().err


@pytest.mark.needs("yaml")
def test_an_import_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """What is told goes to standard error then."""
    pathlib.Path("c.yaml").write_text(LITELLM.replace(", max_retries: 2", ""))
    assert cli.main(["import-litellm", "c.yaml", "-o", "-"]) == 0
    written = capsys.readouterr()
    assert written.out.startswith("# Made by `llmpool import-litellm`.")
    assert written.err == "-: 1 deployments\nEverything was carried over.\n"


@pytest.mark.needs("yaml")
def test_an_import_with_keys_and_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    """A file with keys is for its owner alone; what a pool would refuse is told."""
    text = LITELLM.replace("os.environ/EU_KEY", "as-it-is").replace("max_retries: 2", "timeout: -1")
    pathlib.Path("c.yaml").write_text(text)
    pathlib.Path("llmpool.toml").touch(0o644)
    assert cli.main(["import-litellm", "c.yaml", "--force"]) == 0
    written = capsys.readouterr().out
    assert "It holds keys as they are" in written
    assert 'to be mended: [[deployment]] 1 "gpt-1": timeout: wanted seconds > 0 or None' in written
    assert "as-it-is" not in written
    assert stat.S_IMODE(pathlib.Path("llmpool.toml").stat().st_mode) == 0o600


@pytest.mark.needs("yaml")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file or directory"),
        (b"\xff", "wanted UTF-8 text, got other bytes"),
        (b"a: [secret\nb: }", "no YAML: line 2"),
        (b"a: \x00secret", "no YAML"),
        (b"a: 1", "model_list: wanted deployments of a provider that is known here"),
    ],
)
def test_an_import_of_what_is_none(
    content: bytes | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is told, and nothing of the file; the status is 2."""
    if content is not None:
        pathlib.Path("c.yaml").write_bytes(content)
    assert cli.main(["import-litellm", "c.yaml"]) == 2
    written = capsys.readouterr().err
    assert written.startswith(f"llmpool error: import-litellm: c.yaml: {told}")
    assert "secret" not in written


def test_an_import_without_yaml(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line tells what to install."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert cli.main(["import-litellm", "c.yaml"]) == 2
    assert "needs PyYAML: install the extra named yaml" in capsys.readouterr().err
