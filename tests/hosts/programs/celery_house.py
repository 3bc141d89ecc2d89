"""Tasks for a Celery worker, over a broker that is a folder."""

from __future__ import annotations

import os
from typing import Any

import house
from celery import Celery

FOLDER = os.environ["HOUSE_FOLDER"]

app = Celery("house", broker="filesystem://", backend=f"file://{FOLDER}/results")
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
