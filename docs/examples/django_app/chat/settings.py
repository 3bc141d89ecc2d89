"""Settings for a trial; those of a site on the network say more."""

from __future__ import annotations

import os
import pathlib

BASE_DIR = pathlib.Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("CHAT_DEBUG", "yes") == "yes"
SECRET_KEY = os.environ.get("CHAT_SECRET_KEY", "for a trial on this machine only")
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]

INSTALLED_APPS = ["llmpool.contrib.django"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "llmpool.contrib.django.middleware.UnavailableMiddleware",
]
ROOT_URLCONF = "chat.urls"
WSGI_APPLICATION = "chat.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "chat" / "templates"],
    }
]
USE_TZ = True

if "CHAT_CONFIG" in os.environ:
    LLMPOOL = {"default": {"CONFIG": BASE_DIR / os.environ["CHAT_CONFIG"]}}
else:
    LLMPOOL = {"default": "chat.stand_ins.make_pool"}

# A project with users leaves this out, and the page is for its staff.
LLMPOOL_STATUS = {"MAY_VIEW": "chat.views.may_view"}
