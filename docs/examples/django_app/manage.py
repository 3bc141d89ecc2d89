"""Manage the project: ``python manage.py runserver`` starts it, and no key is needed."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chat.settings")
    execute_from_command_line(sys.argv)
