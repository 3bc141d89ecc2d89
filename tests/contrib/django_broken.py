"""A module of a project that raises while it is imported."""

from __future__ import annotations

raise ZeroDivisionError
