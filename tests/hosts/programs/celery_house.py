"""Tasks for a Celery worker, over a broker that is a folder."""

from __future__ import annotations

import os
from typing import Any

import folder_broker  # noqa: F401 - it is what folder:// stands for
import house
from celery import Celery

from llmpool import RetryPolicy
from llmpool.contrib.celery import retry_later

FOLDER = os.environ["HOUSE_FOLDER"]

app = Celery("house", broker="folder://", backend=f"file://{FOLDER}/results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": f"{FOLDER}/queue",
        "data_folder_out": f"{FOLDER}/queue",
        "control_folder": f"{FOLDER}/control",
        "polling_interval": 0.05,
    },
    # One task at a time for each process, so that both get some.
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task
def ask(label: str) -> dict[str, Any]:
    """Ask questions from several threads; tell what got a wrong answer, and how the pool is."""
    return {"astray": house.astray(house.POOL, label, 12), **house.state(house.POOL)}


@app.task
def look() -> dict[str, Any]:
    """Tell how the pool is."""
    return house.state(house.POOL)


IMPATIENT = house.build(retry=RetryPolicy(max_wait=0.0))
"""A pool that leaves the waiting to the queue."""


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=None)
def put_off(task: Any, question: str) -> dict[str, Any]:
    """Ask one question, later if need be."""
    with retry_later(task):
        text = IMPATIENT.complete(question, timeout=60).text
    return {"pid": os.getpid(), "text": text, "retries": task.request.retries}


@app.task(soft_time_limit=1)
def hurry(question: str) -> str:
    """Ask one question in a second."""
    return house.POOL.complete(question, timeout=60).text


@app.task
def fail(question: str) -> str:
    """Ask one question, once."""
    return IMPATIENT.complete(question, timeout=60, retry=False).text
