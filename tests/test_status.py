"""What the pool tells about itself can be printed, sent as JSON and shown in a notebook."""

from __future__ import annotations

import datetime
import html.parser
import json
import math
import pickle
from typing import Any

import attrs
import pytest

from llmpool.config import Deployment
from llmpool.status import (
    DeploymentStatus,
    Event,
    Explanation,
    HealthCheckResult,
    PoolHealthStatus,
)

AT = datetime.datetime(2026, 11, 23, 1, tzinfo=datetime.timezone.utc)
EVIL = "<script>alert('x')</script>&\"eu\""

CHECK = HealthCheckResult("eu", False, 0.25, "HTTP 500", AT)
STATUS = DeploymentStatus(
    name="eu", healthy=False, state="unhealthy", reason="HTTP 500", latency_p50_ms=12.3456,
    latency_p99_ms=None, requests_in_flight=1, total_requests=4, total_errors=1, error_rate=0.25,
    consecutive_failures=3, consecutive_successes=0, cooldown_remaining=math.inf,
    last_check=CHECK, last_error="HTTP 500",
)  # fmt: skip
POOL = PoolHealthStatus(
    total_deployments=2, healthy_deployments=1, avg_latency_ms=None, pool_healthy=True,
    deployments=(STATUS, DeploymentStatus(name="us", healthy=True, state="healthy")),
)  # fmt: skip


class Shown(html.parser.HTMLParser):
    """The tags and the words of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("value", [CHECK, STATUS, POOL, Explanation("eu", True, "healthy")])
def test_as_json(value: Any) -> None:
    """Every value that is told is one that JSON knows."""
    told = value.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert pickle.loads(pickle.dumps(value)) == value


def test_what_is_told() -> None:
    """The names are those of the fields, at every depth; a time is in ISO form, no end is null."""
    told = POOL.to_dict()
    assert told["deployments"][0]["last_check"] == {
        "deployment": "eu",
        "healthy": False,
        "latency": 0.25,
        "error": "HTTP 500",
        "timestamp": "2026-11-23T01:00:00+00:00",
    }
    assert told["deployments"][0]["cooldown_remaining"] is None
    assert told["deployments"][1]["last_check"] is None
    assert told["checker_alive"] is False
    assert Explanation("eu", False, "cooling", 2.5).to_dict() == {
        "deployment": "eu", "eligible": False, "why": "cooling", "until": 2.5,
    }  # fmt: skip


def test_a_mapping_in_a_value() -> None:
    """It is told as it is, its values plain."""
    status = DeploymentStatus(name="eu", healthy=True, state="healthy", reason={"at": AT})  # type: ignore[arg-type]
    assert status.to_dict()["reason"] == {"at": "2026-11-23T01:00:00+00:00"}


@pytest.mark.parametrize(
    "value",
    [
        HealthCheckResult(EVIL, False, 0.25, EVIL, AT),
        DeploymentStatus(name=EVIL, healthy=False, state=EVIL, reason=EVIL),
        PoolHealthStatus(
            total_deployments=1, healthy_deployments=0, avg_latency_ms=None, pool_healthy=False,
            deployments=(DeploymentStatus(name=EVIL, healthy=False, state="x", reason=EVIL),),
        ),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_in_a_notebook(value: Any) -> None:
    """A table; names and errors, which may be anybody's, are text in it."""
    shown = Shown(value._repr_html_())
    assert shown.tags <= {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "span"}
    assert EVIL in "".join(shown.words)


def test_cells() -> None:
    """Numbers are short, and what is not known is a dash."""
    words = Shown(POOL._repr_html_()).words
    assert words[0] == "1 of 2 healthy · no checker runs here"
    assert {"12.3", "–", "∞", "\xa0unhealthy"} <= set(words)


def test_what_says_nothing() -> None:
    """Columns that would be empty are left out, and what is known is told."""
    fine = DeploymentStatus(name="eu", healthy=True, state="healthy")
    assert Shown(fine._repr_html_()).words[:3] == ["name", "state", "p50 (ms)"]
    busy = PoolHealthStatus(
        total_deployments=1,
        healthy_deployments=1,
        avg_latency_ms=1234.5,
        pool_healthy=True,
        deployments=(attrs.evolve(fine, cost=0.000012, latency_p50_ms=1234.5),),
        checker_alive=True,
        input_tokens=10_000,
        output_tokens=1,
        cost=0.000012,
    )
    words = Shown(busy._repr_html_()).words
    told = "1 of 1 healthy · 1,234 ms on average · the checker runs · 10,000 tokens in, 1 out · cost 1.2e-05"
    assert words[0] == told
    assert {"cost", "1.2e-05", "1,234"} <= set(words)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"healthy": 1}, "healthy: wanted True or False, got 1"),
        ({"healthy": None}, "healthy: wanted True or False, got None"),
        ({"latency": -1}, "latency: wanted seconds >= 0, got -1"),
        ({"latency": math.nan}, "latency: wanted seconds >= 0, got nan"),
        ({"latency": None}, "latency: wanted seconds >= 0, got None"),
        ({"timestamp": AT.replace(tzinfo=None)}, "timestamp: wanted an aware datetime, got a "),
        ({"timestamp": 5}, "timestamp: wanted an aware datetime, got 5"),
    ],
)
def test_a_result_that_is_none(fields: dict[str, Any], said: str) -> None:
    """A user's check that answers with one is told what is wrong with it."""
    with pytest.raises((TypeError, ValueError)) as caught:
        HealthCheckResult(**({"deployment": "eu", "healthy": True} | fields))
    assert str(caught.value).startswith(said)


class Provider:
    """A provider that was never asked."""

    def complete(self, request: object, timeout: float) -> object:
        raise AssertionError("nobody should ask")


def test_a_result_of_a_users_check() -> None:
    """The deployment may stand for its name, an exception for its words; the time is now, in UTC."""
    result = HealthCheckResult(Deployment("eu", Provider()), False, error=OSError("two\nlines"))  # type: ignore[arg-type]
    assert result.deployment == "eu"
    assert type(result.deployment) is str
    assert result.error == "two lines"
    assert result.latency == 0.0
    assert result.timestamp.utcoffset() == datetime.timedelta(0)


def test_an_event() -> None:
    """It is a frozen value."""
    event = Event("main", "eu", "healthy", "unhealthy", "HTTP 500", 12.5)
    assert pickle.loads(pickle.dumps(event)) == event
    assert {event: 1}[event] == 1
