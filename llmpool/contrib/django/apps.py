"""The app, as Django finds it."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class LLMPoolConfig(AppConfig):  # type: ignore[misc]
    """``"llmpool.contrib.django"`` in ``INSTALLED_APPS``."""

    name = "llmpool.contrib.django"
    label = "llmpool"
    verbose_name = "LLM pools"

    def ready(self) -> None:
        """Register the system checks, and start nothing: every command comes by here."""
        from llmpool.contrib.django.checks import check_pools, check_status

        checks.register(check_pools, "llmpool")
        checks.register(check_status, "llmpool")
