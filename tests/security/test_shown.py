"""What is shown, logged and pickled: no key, no prompt, and nothing that a log or a page would obey."""

from __future__ import annotations

import copy
import faulthandler
import json
import logging
import pickle
import tempfile
import threading
import traceback
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hostile import (
    CHUNKED,
    GOOD,
    KEY,
    PROMPT,
    STREAM,
    WALL,
    WAYS,
    Act,
    Hostile,
    answer,
    complete,
    embed,
    event,
    facing,
    pool_of,
    provider,
    said,
    sends,
    stream,
)

from llmpool import Deployment, HealthCheckConfig, ProviderPool
from llmpool.cli import main

BEGIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"


def echoing(visit: Any) -> None:
    """Repeat all that was said, in an error."""
    told = {"error": {"message": f"{visit.head} {visit.body!r}", "code": visit.head}}
    visit.send(said(told, f"X-Request-Id: {KEY}", status="401 No"))


FAILURES: dict[str, Act] = {
    "echo": echoing,
    "nothing": lambda visit: None,
    "cut": sends(BEGIN + b"{"),
    "malformed": sends(CHUNKED + b"nothing of a size\r\n"),
    "no HTTP": sends(b"220 mail\r\n"),
    "redirect": sends(answer(b"", "Location: /", status="302 Found")),
    "page": sends(answer(b"<html>", "Content-Type: text/html")),
    "no choices": sends(said({"choices": [], "data": []})),
    "late": lambda visit: threading.Event().wait(0.6) and None,
    "cut stream": sends(STREAM + event({"choices": [{"delta": {"content": "a"}}]})),
    "bad stream": sends(
        STREAM + event({"choices": [{"delta": {"content": "a"}}]}) + b"data: x\n\n"
    ),
    "busy": sends(answer(b"{}", status="503 No")),
}


@pytest.mark.parametrize("way", ["complete", "stream"])
@pytest.mark.parametrize("act", FAILURES.values(), ids=FAILURES)
def test_what_a_failed_call_carries(act: Act, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """No key: not in its text, its pickle, those behind it, or the variables of any frame of ours."""
    caplog.set_level(logging.DEBUG)
    with facing(act) as pool:
        try:
            WAYS[way](pool, 0.5)
        except Exception as error:
            caught = error
            logging.getLogger("app").exception("it failed")
        again = pickle.dumps(caught)
        shown = "".join(
            traceback.TracebackException.from_exception(caught, capture_locals=True).format()
        )
        repeated = repr(caught) + repr(vars(caught)) + repr(pickle.loads(again))
    frames = [frame.name for frame in traceback.extract_tb(caught.__traceback__)]
    assert len(frames) > 3
    for text in (shown, again.decode("latin-1"), repeated, caplog.text, repr(caplog.records)):
        assert KEY not in text
        assert KEY[-10:] not in text
    for text in (str(caught), again.decode("utf-8", "replace"), repeated, caplog.text):
        assert PROMPT not in text
        assert PROMPT[-12:] not in text


def test_what_answers_carry() -> None:
    """Neither in a ``repr`` nor in a pickle of any kind of answer is a key; the text is not in a repr."""
    stop = event({"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]})
    for way, data in (
        (complete, said(GOOD)),
        (stream, STREAM + stop),
        (embed, said(GOOD)),
    ):
        with facing(sends(data)) as pool:
            given = way(pool)
        assert KEY.encode() not in pickle.dumps(given)
        assert KEY not in repr(given)
        assert pickle.loads(pickle.dumps(given)) == given


def test_what_holds_the_key() -> None:
    """It is shown by none of its holders, and they are neither pickled nor copied."""
    with provider_of() as (asked, pool):
        deployment = pool.deployments[0]
        holders = [asked, deployment, pool, *vars(asked).values()]
        shown = [repr(one) for one in holders]
        shown += [repr(attrs.asdict(deployment)), repr(pool.explain()), pool._repr_html_()]
        shown += [json.dumps(pool.health_status().to_dict())]
        assert not [text for text in shown if KEY in text]
        for one in (asked, deployment, pool):
            with pytest.raises(TypeError):
                pickle.dumps(one)
        with pytest.raises(TypeError):
            copy.deepcopy(asked)


class provider_of:
    """A provider, and a pool with it; closed at the end."""

    def __enter__(self) -> tuple[Any, ProviderPool]:
        self._provider = provider("http://127.0.0.1:9/v1", headers={"Api-Key": KEY})
        self._pool = ProviderPool([Deployment("eu", self._provider)], health_check=None)
        return self._provider, self._pool

    def __exit__(self, *_: object) -> None:
        self._pool.close()


def test_a_dump_of_all_threads() -> None:
    """faulthandler, which writes where each thread is in the middle of a call, writes no key."""
    with tempfile.TemporaryFile() as written:

        def act(visit: Any) -> None:
            faulthandler.dump_traceback(written, all_threads=True)
            visit.send(said(GOOD))

        with facing(act) as pool:
            assert complete(pool).text == "yes"
        written.seek(0)
        text = written.read().decode()
    assert "_sockets.py" in text
    assert KEY not in text


# -- what a log, a terminal or a page would obey ---------------------------------------------------

WICKED = (
    "broken\r\n2030-01-01 CRITICAL all is lost\x1b[2J\x1b]0;title\x07\x00\x08\u202egone\u2066"
    "\u2028\u2029\x85\x9b31m\ufeff\u200b\ud800<script>alert(1)</script>end"
)


def in_all_places(visit: Any) -> None:
    """Say it wherever something can be said."""
    line = WICKED.encode("utf-8", "replace").decode("latin-1").replace("\r", "").replace("\n", "")
    visit.send(
        said(
            {
                "error": {"message": WICKED, "code": WICKED, "type": WICKED, "param": WICKED},
                "request_id": WICKED,
                "model": WICKED,
                "id": WICKED,
            },
            *(f"{name}: {line}" for name in ("X-Request-Id", "Server", "Retry-After", "Date")),
            status=f"500 {line}",
        )
    )


def in_a_page(visit: Any) -> None:
    """Say it in what is no JSON, under a type that says it too."""
    line = WICKED.encode("utf-8", "replace").decode("latin-1").replace("\r", "").replace("\n", "")
    visit.send(answer(WICKED.encode("utf-8", "replace"), f"Content-Type: text/{line}"))


def in_an_event(visit: Any) -> None:
    """Say it in an event."""
    visit.send(STREAM + event({"error": {"message": WICKED, "code": WICKED}}))


@pytest.mark.parametrize("way", ["complete", "stream", "embed"])
@pytest.mark.parametrize("act", [in_all_places, in_a_page, in_an_event])
def test_words_that_would_be_obeyed(act: Act, way: str, caplog: pytest.LogCaptureFixture) -> None:
    """In errors, logs and tables they are one line of printable signs, and no markup."""
    caplog.set_level(logging.DEBUG)
    with Hostile(act) as server:
        config = HealthCheckConfig(enabled=False, failure_threshold=1)
        with ProviderPool([Deployment("eu", provider(server.url))], health_check=config) as pool:
            with pytest.raises(Exception) as caught:
                WAYS[way](pool)
            pool.check_now()
            status = pool.health("eu")
            told = [status.reason, status.last_error, pool.explain()["eu"].why]
            html = pool._repr_html_() + pool.health_status()._repr_html_()
    error = caught.value
    told += [str(error), repr(error), error.code, error.request_id]
    told += [record.getMessage() for record in caplog.records if record.name.startswith("llmpool")]
    assert len(caplog.records) >= 1
    for text in filter(None, told):
        assert text.isprintable(), ascii(text)
    assert "<script>" not in html


def test_words_in_an_answer() -> None:
    """A good answer's text, model and id are given as they came; what shows them escapes them."""
    fine = WICKED.replace("\ud800", "")
    whole = {"id": fine, "model": fine, "choices": [{"message": {"content": fine}}]}
    with facing(sends(said(whole))) as pool:
        given = complete(pool)
    assert (given.text, given.model, given.id) == (fine, fine, fine)
    assert repr(given).isprintable()


@pytest.mark.parametrize(
    "make",
    [
        lambda name, server: Deployment(name, server),
        lambda name, server: Deployment("eu", server, region=name),
        lambda name, server: Deployment("eu", server, quota_group=name),
        lambda name, server: ProviderPool([Deployment("eu", server)], name=name),
    ],
    ids=["deployment", "region", "quota group", "pool"],
)
@pytest.mark.parametrize("sign", ["\n", "\x1b[31m", "\x00", "\u202e", "\u2028", "\x85"])
def test_a_name_that_would_be_obeyed(make: Callable[..., Any], sign: str) -> None:
    """It is refused where it is given."""
    with pytest.raises(ValueError, match="one line, of printable characters"):
        make(f"eu{sign}", provider("http://127.0.0.1:9/v1"))


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_the_command_line_prints(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What a server says moves no cursor of a terminal."""
    with Hostile(in_all_places) as server:
        assert main(["check", server.url, "--timeout", str(WALL), *form]) == 2
    out, err = capsys.readouterr()
    assert (out + err).replace("\n", "").isprintable()
    if not form:
        assert len(out.splitlines()) == 2


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("rest", ["\r\nX-Evil: 1", "\x00x", "\u2028x", "\u00e9"], ids=ascii)
def test_a_key_that_would_end_its_header(rest: str, way: Callable[..., Any]) -> None:
    """It is refused, and not shown; nothing is sent."""
    key = KEY + rest
    with pytest.raises(ValueError, match="wanted printable ASCII") as at_once:
        provider("http://127.0.0.1:9/v1", api_key=key)
    with Hostile(sends(said(GOOD))) as server, pool_of(server.url, api_key=lambda: key) as pool:
        with pytest.raises(ValueError, match="wanted printable ASCII") as at_the_call:
            way(pool)
        assert not server.visits
    assert KEY not in str(at_once.value) + str(at_the_call.value)
