"""A session of requests in which some URLs are a pool."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from llmpool import Deployment, OpenAIProvider, ProviderPool
from llmpool.contrib.requests import PoolAdapter
from llmpool.testing import (
    EndEarly,
    Exchange,
    Hang,
    LocalServer,
    RateLimited,
    Refuse,
    Stall,
    Status,
)
from llmpool.testing.reply import Reply

CHAT = "https://llmpool.invalid/v1/chat/completions"
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def session(pool: ProviderPool) -> Iterator[requests.Session]:
    """A session on the pool."""
    with pool.requests_session() as session:
        yield session


def test_a_request(session: requests.Session) -> None:
    """It is answered as by the server itself."""
    response = session.post(CHAT, json=ASKED)
    response.raise_for_status()
    assert response.json()["choices"][0]["message"]["content"] == "echo: hello"
    assert response.headers["X-LLMPool-Deployment"] == "a"
    assert response.url == CHAT
    assert response.encoding == "utf-8"


def test_a_query(session: requests.Session, server: LocalServer) -> None:
    """It goes along."""
    url = "https://llmpool.invalid/v1/models"
    assert session.get(url, params={"limit": 2}).json()["data"]
    assert session.get("https://llmpool.invalid").status_code == 404
    assert [sent.query for sent in server.requests] == ["limit=2", ""]


def test_further_urls(pool: ProviderPool, server: LocalServer) -> None:
    """Those under a base of one's own are the pool; all others are what they ever were."""
    with pool.requests_session("https://api.openai.com/") as session:
        answer = session.post("https://api.openai.com/v1/chat/completions", json=ASKED)
        assert answer.headers["x-llmpool-deployment"] == "a"
        headers = session.get(f"{server.url}/models").headers
        assert "x-llmpool-deployment" not in headers


@pytest.mark.parametrize("base_url", ["", "api.openai.com", "ftp://x/"])
def test_a_base_that_is_none(pool: ProviderPool, base_url: str) -> None:
    """It is refused by its name."""
    with pytest.raises(ValueError, match="base_url: wanted"):
        pool.requests_session(base_url)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(ASKED),
        json.dumps(ASKED).encode(),
        io.BytesIO(json.dumps(ASKED).encode()),
        io.StringIO(json.dumps(ASKED)),
        (part for part in (b'{"model":"tiny",', b'"messages":[{"role":"user","content":"hi"}]}')),
    ],
    ids=["text", "bytes", "file", "text file", "generator"],
)
def test_a_body_of_any_kind(session: requests.Session, server: LocalServer, body: Any) -> None:
    """It goes out whole."""
    headers = {"Content-Type": "application/json", "X-Bytes": b"x"}
    assert session.post(CHAT, data=body, headers=headers).status_code == 200
    assert server.requests[0].json["messages"]
    assert server.requests[0].headers["x-bytes"] == "x"


def test_an_error(session: requests.Session, server: LocalServer) -> None:
    """It is an answer, as ever."""
    server.behave(Status(400))
    assert session.post(CHAT, json=ASKED).status_code == 400
    server.behave(RateLimited(retry_after=9))
    response = session.post(CHAT, json=ASKED)
    assert (response.status_code, response.headers["retry-after"]) == (429, "9")
    with pytest.raises(requests.HTTPError, match="429"):
        response.raise_for_status()


@pytest.mark.parametrize("timeout", [0.3, (5.0, 0.3)])
def test_a_timeout(session: requests.Session, server: LocalServer, timeout: Any) -> None:
    """Its part for reading is for everything."""
    server.behave(Hang())
    with pytest.raises(requests.ReadTimeout) as caught:
        session.post(CHAT, json=ASKED, timeout=timeout)
    assert caught.value.__context__ is None


def test_a_stream(session: requests.Session) -> None:
    """Its lines come as ever."""
    with session.post(CHAT, json={**ASKED, "stream": True}, stream=True) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == b"data: [DONE]"
    assert all(line.startswith(b"data: ") for line in lines)


def test_a_stream_is_prompt(
    session: requests.Session, pool: ProviderPool, server: LocalServer
) -> None:
    """Each event is there as soon as the server has sent it."""
    server.behave(Stall(1))
    with session.post(CHAT, json={**ASKED, "stream": True}, stream=True) as response:
        lines = response.iter_lines()
        assert b"assistant" in next(lines)
        assert next(lines) == b""
        assert b"echo" in next(lines)
        assert pool.health("a").requests_in_flight == 1
    assert pool.health("a").requests_in_flight == 0


def test_a_stream_that_is_cut(session: requests.Session, server: LocalServer) -> None:
    """It is the error that requests has for it."""
    server.behave(EndEarly())
    with (
        session.post(CHAT, json={**ASKED, "stream": True}, stream=True) as response,
        pytest.raises(requests.exceptions.ChunkedEncodingError, match="end mark"),
    ):
        list(response.iter_lines())


def test_a_stream_that_stalls(session: requests.Session, server: LocalServer) -> None:
    """It is the error that requests has for it."""
    server.behave(Stall())
    asked = {**ASKED, "stream": True}
    with (
        session.post(CHAT, json=asked, stream=True, timeout=0.4) as response,
        pytest.raises(requests.ConnectionError, match="broke off"),
    ):
        list(response.iter_lines())


def test_raw_bytes(session: requests.Session, server: LocalServer) -> None:
    """They can be read in portions of any size."""
    data = bytes(range(256)) * 40
    reply = Reply(200, {"Content-Type": "audio/mpeg"}, (data,))
    server.behave(lambda exchange: exchange.send(reply))
    url = "https://llmpool.invalid/v1/files/f/content"
    with session.get(url, stream=True) as response:
        portions = [response.raw.read(7), response.raw.read(0), response.raw.read1()]
        assert portions[:2] == [data[:7], b""]
        assert b"".join(portions) + response.raw.read() == data
        assert response.raw.read(5) == b""
    assert session.get(url).content == data


def test_a_file_that_is_cut(session: requests.Session, server: LocalServer) -> None:
    """It is the error that requests has for it, without being streamed too."""

    def half(exchange: Exchange) -> None:
        exchange.send_until(Reply(200, {}, (b"x" * 100,)), 0)
        exchange.close()

    server.behave(half)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        session.post("https://llmpool.invalid/v1/audio/speech", data=b"x")


def test_an_adapter_of_ones_own(pool: ProviderPool) -> None:
    """It may be mounted anywhere, and be closed without closing the pool."""
    session = requests.Session()
    session.mount("http://models/", PoolAdapter(pool))
    with session:
        assert session.post("http://models/v1/chat/completions", json=ASKED).status_code == 200
    session.close()
    assert pool.complete("hello").text == "echo: hello"


def test_the_reason_of_a_status(session: requests.Session, server: LocalServer) -> None:
    """It is not sent on; HTTP has done without it since its second version."""

    def refuse(exchange: Exchange) -> None:
        exchange.send(Reply(400, {}, (b"no",)))

    server.behave(refuse)
    response = session.post(CHAT, json=ASKED)
    assert (response.reason, response.ok, response.text) == ("", False, "no")


def test_a_key_of_the_sessions_own(session: requests.Session, server: LocalServer) -> None:
    """It goes nowhere."""
    session.post(CHAT, json=ASKED, auth=("user", "sekret"), cookies={"c": "sekret"})
    assert "sekret" not in str(dict(server.requests[0].headers))


def test_two_deployments(server: LocalServer) -> None:
    """A dead one is not noticed."""
    key = "sk-of-the-deployment-0123456789"
    with LocalServer("dead") as dead:
        dead.behave(Refuse())
        deployments = [
            Deployment("dead", OpenAIProvider(dead.url, api_key=key)),
            Deployment("b", OpenAIProvider(server.url, api_key=key)),
        ]
        with (
            ProviderPool(deployments, strategy="primary", health_check=None) as pool,
            pool.requests_session() as session,
        ):
            response = session.post(CHAT, json=ASKED)
        assert response.headers["x-llmpool-attempts"] == "2"
