"""Tasks that ask a pool of LLM deployments; docs/how-to/celery.rst tells about them."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from celery import Celery

from llmpool import ProviderPool
from llmpool.contrib.celery import retry_later

HERE = pathlib.Path(__file__).parent
# A folder is broker enough to try it; for work take Redis or RabbitMQ.
FOLDER = pathlib.Path(os.environ.get("CELERY_FOLDER", HERE / "queue"))
for part in ("queue", "control", "results"):
    (FOLDER / part).mkdir(parents=True, exist_ok=True)

app = Celery("tasks", broker="filesystem://", backend=f"file://{FOLDER}/results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": f"{FOLDER}/queue",
        "data_folder_out": f"{FOLDER}/queue",
        "control_folder": f"{FOLDER}/control",
    },
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
)

# Made once, when this module is loaded, and shared by all tasks. It starts nothing: each worker
# process begins its own checks and opens its own connections with its first call.
pool = ProviderPool.from_config(HERE / "llmpool.toml")


@app.task(
    bind=True,
    max_retries=8,
    # A task whose process was killed is run again, by another one.
    acks_late=True,
    reject_on_worker_lost=True,
    # The call has its own deadline; these are for what is wrong with it.
    soft_time_limit=90,
    time_limit=120,
)
def summarise(task: Any, text: str) -> str:
    """Summarise a text in one sentence."""
    question = [
        {"role": "system", "content": "Summarise in one sentence."},
        {"role": "user", "content": text},
    ]
    with retry_later(task):
        return pool.complete(question, timeout=60, max_tokens=100).text
