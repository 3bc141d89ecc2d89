"""Faults before a request has left: refused connections, certificates, proxies."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from scene import ANSWER, KEY, PATIENCE, PROMPT, Stage, deployment, hits, states, verdicts

from llmpool import (
    ConnectionFailed,
    MalformedResponse,
    ServerFault,
)
from llmpool.testing import BlackHole, Hang, Html, Refuse, Status

TLS = pathlib.Path(__file__).parents[1] / "data" / "tls"
CA = str(TLS / "ca.pem")


# -- refused ----------------------------------------------------------------------------------


def test_refused_connection(stage: Stage) -> None:
    """It is a fault of that deployment; another answers at once, without any pause."""
    eu, us = stage.server("eu", Refuse()), stage.server("us")
    pool = stage.timed(eu, us)
    began = stage.clock.now()
    answer = pool.complete(PROMPT)
    assert (answer.text, answer.deployment) == (ANSWER, "us")
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    failed = answer.attempts[0]
    assert failed.error == f"ConnectionFailed: 127.0.0.1:{eu.port}: connection refused"
    assert (failed.status, failed.sent) == (None, "no")
    assert stage.clock.now() == began
    assert hits(us) == [1]


def test_three_refused_connections_in_a_row(stage: Stage) -> None:
    """The third takes the deployment out, for five seconds at most the first time."""
    eu, us = stage.server("eu", Refuse()), stage.server("us")
    pool = stage.timed(eu, us)
    for expected in ("healthy", "healthy", "unhealthy"):
        pool.complete(PROMPT)
        assert states(pool) == {"eu": expected, "us": "healthy"}
    status = pool.health("eu")
    assert status.cooldown_remaining == 5.0
    assert (status.total_requests, status.total_errors, status.consecutive_failures) == (3, 3, 3)
    assert len(pool.complete(PROMPT).attempts) == 1


def test_refused_connection_everywhere(stage: Stage) -> None:
    """Refusals cost nothing, so each is asked before the call ends, and the error lists them all."""
    pool = stage.timed(*(stage.server(name, Refuse()) for name in ("ap", "eu", "sa", "us")))
    with pytest.raises(ConnectionFailed) as caught:
        pool.complete(PROMPT, retry="unsent", timeout=1.0)
    assert {name for name, _ in verdicts(caught.value)} == {"ap", "eu", "sa", "us"}
    assert {attempt.sent for attempt in caught.value.attempts} == {"no"}


def test_address_that_swallows_connection_attempts(stage: Stage) -> None:
    """Connecting has a time of its own, so the call goes elsewhere with most of its time left."""
    eu, us = stage.server("eu", BlackHole()), stage.server("us")
    pool = stage.pool(deployment(eu, connect_timeout=0.1), us)
    answer = pool.complete(PROMPT, timeout=PATIENCE)
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    assert answer.attempts[0].sent == "no"
    assert (answer.attempts[0].error or "").endswith("no answer to the connection attempt")


# -- certificates -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "verify", "words"),
    [
        ("expired", CA, "certificate: certificate has expired"),
        ("elsewhere", CA, "certificate: IP address mismatch"),
        ("selfsigned", CA, "certificate: self-signed certificate"),
        ("loopback", True, "certificate: unable to get local issuer certificate"),
    ],
)
def test_certificate_that_proves_nothing(
    stage: Stage, certificate: str, verify: Any, words: str
) -> None:
    """No byte of the request leaves, the message names the certificate, nobody is disabled."""
    pair = (str(TLS / f"{certificate}.pem"),) * 2
    eu, us = stage.server("eu", tls=pair), stage.server("us")
    pool = stage.timed(deployment(eu, verify=verify), us)
    answer = pool.complete(PROMPT)
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    failed = answer.attempts[0]
    assert failed.sent == "no"
    assert words.lower() in (failed.error or "").lower()
    assert eu.hits() == 0
    assert states(pool) == {"eu": "healthy", "us": "healthy"}


def test_certificate_that_proves_nothing_and_nobody_else(stage: Stage) -> None:
    """A certificate does not change by asking again: the deployment is tried once."""
    pair = (str(TLS / "expired.pem"),) * 2
    eu = stage.server("eu", tls=pair)
    pool = stage.timed(deployment(eu, verify=CA))
    with pytest.raises(ConnectionFailed, match="certificate has expired") as caught:
        pool.complete(PROMPT)
    assert verdicts(caught.value) == [("eu", "fault")]
    assert eu.connections == 1


def test_certificate_of_an_authority_that_was_named(stage: Stage) -> None:
    """A CA bundle of one's own is enough for a server of one's own."""
    pair = (str(TLS / "loopback.pem"),) * 2
    eu = stage.server("eu", tls=pair)
    assert stage.pool(deployment(eu, verify=CA)).complete(PROMPT).text == ANSWER


def test_handshake_that_never_ends(stage: Stage) -> None:
    """A server that accepts and never says hello costs the time for connecting and no more."""
    pair = (str(TLS / "loopback.pem"),) * 2
    eu, us = stage.server("eu", Hang(after="accept"), tls=pair), stage.server("us")
    pool = stage.pool(deployment(eu, verify=CA, connect_timeout=0.1), us)
    answer = pool.complete(PROMPT, timeout=PATIENCE)
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    assert "the TLS handshake took too long" in (answer.attempts[0].error or "")


# -- proxies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "kind", "status"),
    [
        (Status(407, "Proxy Authentication Required"), ConnectionFailed, 407),
        (Status(502, "<html>Bad Gateway</html>"), ServerFault, 502),
        (Html(status=504), ServerFault, 504),
        (Html(), MalformedResponse, None),
    ],
)
def test_proxy_that_answers_itself(
    stage: Stage, behaviour: Any, kind: type[Exception], status: int | None
) -> None:
    """Its refusal, its error page and its welcome page are faults, and another deployment answers."""
    proxy, eu, us = stage.server("proxy", behaviour), stage.server("eu"), stage.server("us")
    pool = stage.timed(deployment(eu, proxies={"http": f"http://127.0.0.1:{proxy.port}"}), us)
    answer = pool.complete(PROMPT)
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    assert (answer.attempts[0].error or "").startswith(kind.__name__)
    assert answer.attempts[0].status == status
    assert hits(proxy, eu, us) == [1, 0, 1]


@pytest.mark.parametrize("status", [403, 407, 502])
def test_proxy_that_opens_no_tunnel(stage: Stage, status: int) -> None:
    """What it says is not the server's word: a 403 of a proxy disables nobody, and no key has left."""
    pair = (str(TLS / "loopback.pem"),) * 2
    proxy, eu, us = (
        stage.server("proxy", Status(status)),
        stage.server("eu", tls=pair),
        stage.server("us"),
    )
    proxies = {"https": f"http://127.0.0.1:{proxy.port}"}
    pool = stage.timed(deployment(eu, verify=CA, proxies=proxies), us)
    answer = pool.complete(PROMPT)
    assert verdicts(answer) == [("eu", "fault"), ("us", "ok")]
    assert answer.attempts[0].sent == "no"
    assert f"with HTTP {status}" in (answer.attempts[0].error or "")
    assert states(pool) == {"eu": "healthy", "us": "healthy"}
    assert [request.method for request in proxy.requests] == ["CONNECT"]
    assert KEY not in repr([request.headers for request in proxy.requests])
