"""The application as a Flask app; the tests copy this file and touch the copy."""

from __future__ import annotations

from typing import Any

import house
from flask import Flask, request

app = Flask(__name__)


@app.get("/")
@app.get("/ask")
def page() -> Any:
    """Answer as the application does."""
    return house.respond(request.path, request.query_string.decode())
