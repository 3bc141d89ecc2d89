"""What Prometheus reads, of one process and of several."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from viewer import Viewer, header, pool_of

from llmpool.web import StatusSite

prometheus_client = pytest.importorskip("prometheus_client")


def test_a_registry() -> None:
    """Its metrics are shown in Prometheus' own format."""
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("asked", "Calls.", registry=registry).inc(3)
    reply = Viewer(StatusSite(pool_of("eu"), registry=registry)).get("/metrics")
    assert reply.status == 200
    assert b"asked_total 3.0" in reply.body
    assert header(reply, "Content-Type") == prometheus_client.CONTENT_TYPE_LATEST
    assert header(reply, "Cache-Control") == "no-store"


ASK = """
import sys
from prometheus_client import Counter
Counter("asked", "Calls.").inc(float(sys.argv[1]))
"""


def test_several_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Their sum is shown, whichever of them is asked."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for calls in ("41", "42"):
        subprocess.run([sys.executable, "-c", ASK, calls], check=True, timeout=60)
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Gauge("own", "This process's own.", registry=registry)
    reply = Viewer(StatusSite(pool_of("eu"), registry=registry)).get("/metrics")
    assert reply.status == 200
    assert b"asked_total 83.0" in reply.body
    assert b"own" not in reply.body


NEEDED = (
    b"no metrics here: install llmpool with its extra 'prometheus', and give the site a registry\n"
)


def test_no_registry() -> None:
    """404, and one line on what is needed: the default registry is shown to nobody unasked."""
    reply = Viewer(StatusSite(pool_of("eu"))).get("/metrics")
    assert (reply.status, reply.body) == (404, NEEDED)


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same line."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    reply = Viewer(StatusSite(pool_of("eu"), registry=object())).get("/metrics")
    assert (reply.status, reply.body) == (404, NEEDED)
