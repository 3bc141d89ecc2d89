"""Who may see the status page and who may use its controls; each function is asked with the request."""

from __future__ import annotations

from typing import Any


def staff(request: Any) -> bool:
    """Let in members of the staff; without ``django.contrib.auth`` nobody is one."""
    return _has(request, "is_staff")


def superuser(request: Any) -> bool:
    """Let in superusers."""
    return _has(request, "is_superuser")


def everybody(request: Any) -> bool:
    """Let in whoever asks: what is shown holds no key and no prompt."""
    return True


def _has(request: Any, flag: str) -> bool:
    user = getattr(request, "user", None)
    return bool(getattr(user, "is_active", False)) and bool(getattr(user, flag, False))
