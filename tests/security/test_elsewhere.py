"""A key goes to the server that it was given for, whatever a server or the environment would have."""

from __future__ import annotations

import base64
import os
import pathlib
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from hostile import (
    GOOD,
    KEY,
    WALL,
    WAYS,
    Hostile,
    answer,
    complete,
    pool_of,
    provider,
    said,
    sends,
)

from llmpool import ProviderError
from llmpool.providers._dial import TRUST
from llmpool.providers._http import Deadline, HttpClient

OURS = f"Bearer {KEY}"
TLS = pathlib.Path(__file__).parents[1] / "data" / "tls"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(
    ("status", "place"),
    [
        ("301", "http://{}/v1"),
        ("302", "https://{}/"),
        ("303", "//{}/v1/chat/completions"),
        ("307", "http://{}/v1"),
        ("308", "https://{}/v1"),
    ],
)
def test_a_redirect(status: str, place: str, way: Callable[..., Any]) -> None:
    """Nobody is asked where it leads, under whatever scheme; neither is the server asked again."""
    with Hostile(sends(said(GOOD))) as trap:
        redirect = answer(b"", f"Location: {place.format(trap.where)}", status=f"{status} Moved")
        with Hostile(sends(redirect)) as server, pool_of(server.url) as pool:
            with pytest.raises(ProviderError, match="redirect"):
                way(pool)
            assert len(server.visits) == 1
        assert trap.accepted == 0


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_headers_that_lead_elsewhere(way: Callable[..., Any]) -> None:
    """None of them is followed or kept: the next request goes where the first one went."""
    with Hostile(sends(said(GOOD))) as trap:
        leading = (
            f'Alt-Svc: h2="{trap.where}"; ma=86400, http/1.1="{trap.where}"',
            f"Location: http://{trap.where}/",
            f"Content-Location: http://{trap.where}/",
            f"Refresh: 0; url=http://{trap.where}/",
            f"Link: <http://{trap.where}/>; rel=preload",
            f'NEL: {{"report_to":"http://{trap.where}/"}}',
            "Set-Cookie: session=theirs",
            "Upgrade: h2c",
            'WWW-Authenticate: Basic realm="a"',
        )
        good = said(GOOD, *leading)  # also for one who asked for a stream
        with Hostile(sends(good), stays=True) as server, pool_of(server.url) as pool:
            for _ in range(2):
                way(pool)
            assert [visit.headers["host"] for visit in server.visits] == [server.where] * 2
            assert all("cookie" not in visit.headers for visit in server.visits)
        assert trap.accepted == 0


def test_an_answer_that_says_who_to_be() -> None:
    """A demand for other credentials is an error, not answered with any."""
    demand = said({"error": {}}, 'WWW-Authenticate: Basic realm="a"', status="401 Unauthorized")
    with Hostile(sends(demand)) as server, pool_of(server.url) as pool:
        with pytest.raises(ProviderError):
            complete(pool)
        assert [visit.headers["authorization"] for visit in server.visits] == [OURS]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("key", [KEY, None])
def test_netrc(
    key: str | None,
    way: Callable[..., Any],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither takes the place of a key nor is sent to a server that wants none."""
    for name in (".netrc", "_netrc"):
        (tmp_path / name).write_text("default login eve password swapped\n")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for netrc in (None, str(tmp_path / ".netrc")):
        if netrc is None:
            monkeypatch.delenv("NETRC", raising=False)
        else:
            monkeypatch.setenv("NETRC", netrc)
        with (
            Hostile(sends(answer(b"no", status="500 No"))) as server,
            pool_of(server.url, api_key=key) as pool,
        ):
            with pytest.raises(ProviderError):
                way(pool)
            (visit,) = server.visits
        assert visit.headers.get("authorization") == (OURS if key else None)


def test_a_proxy_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy gets its own password and the server the key; neither takes the other's place."""
    with Hostile(sends(said(GOOD))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://eve:swapped@{proxy.where}")
        with pool_of("http://llm.invalid/v1") as pool:
            assert complete(pool).text == "yes"
        (visit,) = proxy.visits
    login = base64.b64encode(b"eve:swapped").decode()
    assert visit.target == "http://llm.invalid/v1/chat/completions"
    assert visit.headers["authorization"] == OURS
    assert visit.headers["proxy-authorization"] == f"Basic {login}"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_that_nobody_asked_for(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees nothing where the environment is not asked, is told to spare the host, or comes late."""
    with Hostile(sends(said(GOOD))) as trap, Hostile(sends(said(GOOD))) as server:
        with pool_of(server.url) as early:
            monkeypatch.setenv(variable, f"http://eve:swapped@{trap.where}")
            with pool_of(server.url, proxies={}) as pool:
                complete(pool)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            with pool_of(server.url) as pool:
                complete(pool)
            complete(early)
        assert trap.accepted == 0
        for visit in server.visits:
            assert visit.headers["authorization"] == OURS
            assert "proxy-authorization" not in visit.headers


@pytest.mark.parametrize("scheme", ["https", "socks5", "socks5h"])
def test_a_proxy_of_another_kind(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused when the provider is made, and not passed by; its password is not shown."""
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://eve:swapped@127.0.0.1:9")
    with pytest.raises(
        ValueError, match="the environment's proxy: wanted an http:// URL"
    ) as caught:
        provider("http://127.0.0.1:9/v1")
    assert "swapped" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["https://eve:swapped@127.0.0.1/v1", "https://127.0.0.1:swapped@127.0.0.2/", "https://eve@a/"],
)
def test_a_url_with_a_password(url: str) -> None:
    """It is refused, for it would stand in the place of the key; it is not shown."""
    with pytest.raises(ValueError, match="wanted a URL without user and password") as caught:
        provider(url)
    assert "swapped" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["/../admin", "/..", "/models/../../admin?a=b", "/%2e%2E/x", "/./x", "/x/."]
)
def test_a_path_that_leads_out(path: str) -> None:
    """It is refused: a model's name in it, which may be a stranger's, reaches no other page."""
    with Hostile(sends(said(GOOD))) as server:
        client = HttpClient(server.url, proxies={}, auth=lambda: {"Authorization": OURS})
        with pytest.raises(ValueError, match="leads out of it"):
            client.open("POST", path, json={}, deadline=Deadline.after(WALL))
        assert server.accepted == 0
        for fine in ("/a..b", "/.well-known/x", "/models/gpt-4.1", "/x?path=/../y"):
            client.open("GET", fine, deadline=Deadline.after(WALL)).close()
        assert len(server.visits) == 4
        client.close()


def test_a_proxy_that_a_web_server_was_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under CGI a client's Proxy header comes as HTTP_PROXY: it is not heeded."""
    with Hostile(sends(said(GOOD))) as trap, Hostile(sends(said(GOOD))) as server:
        monkeypatch.setenv("REQUEST_METHOD", "POST")
        monkeypatch.setenv("HTTP_PROXY", f"http://{trap.where}")
        with pool_of(server.url) as pool:
            assert complete(pool).text == "yes"
        assert trap.accepted == 0


@pytest.mark.parametrize("verify", [False, 0, None, "", b"", "no/such/file"])
def test_verification_switched_off(verify: Any) -> None:
    """There is no such option: what is not True must be an authority that is there."""
    with pytest.raises((TypeError, ValueError), match="verify: wanted True or the path of a CA"):
        provider("https://127.0.0.1:9/v1", verify=verify)


def test_what_is_demanded_of_a_certificate() -> None:
    """A trusted signature, the host's name where it belongs, a protocol that is not broken."""
    context = TRUST.context(str(TLS / "ca.pem"))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_log_of_session_keys(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSLKEYLOGFILE, by which whoever sets it could read along, is not heeded."""
    log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    context = TRUST.context(os.fspath(TLS / "elsewhere.pem"))  # a new one, for it is not kept yet
    assert context.keylog_filename is None
    assert not log.exists()
