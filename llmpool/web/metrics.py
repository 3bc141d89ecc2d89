"""What Prometheus reads, if its library is there and told of a pool."""

from __future__ import annotations

import importlib
import os
from typing import Any

from llmpool.web import replies
from llmpool.web.replies import Reply

_NEEDED = (
    "no metrics here: install llmpool with its extra 'prometheus', and give the site a registry"
)


def show(registry: Any) -> Reply:
    """Answer with the metrics of *registry*, or under several processes with those of all of them."""
    if registry is None:
        return replies.of_text(404, _NEEDED)
    try:
        library = importlib.import_module("prometheus_client")
    except ImportError:
        return replies.of_text(404, _NEEDED)
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = library.CollectorRegistry()
        multiprocess = importlib.import_module("prometheus_client.multiprocess")
        multiprocess.MultiProcessCollector(registry)
    body: bytes = library.generate_latest(registry)
    return replies.reply(200, library.CONTENT_TYPE_LATEST, body, replies.NO_STORE)
