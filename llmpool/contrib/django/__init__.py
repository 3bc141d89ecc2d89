"""
The pools of a Django project, as ``settings.LLMPOOL`` describes them.

This package is an app for ``INSTALLED_APPS``; importing it reads no setting, and starts nothing.
"""

from __future__ import annotations

from typing import Any

from llmpool.contrib._optional import load

load("django", __name__, "django")

from django.core.signals import setting_changed  # noqa: E402 - what is missing is told above

from llmpool.contrib.django.registry import Pools  # noqa: E402

__all__ = ["Pools", "pools"]

pools = Pools()
"""Every pool of ``settings.LLMPOOL``, by name: ``pools["default"]``."""


def _follow_settings(*, setting: str, **_: Any) -> None:
    """Begin anew when a test overrides the setting, and when it ends."""
    if setting == "LLMPOOL":
        pools.close_all()


setting_changed.connect(_follow_settings)
