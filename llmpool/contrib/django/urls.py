"""The status page and what belongs to it: ``path("llmpool/", include("llmpool.contrib.django.urls"))``."""

from __future__ import annotations

from django.urls import path

from llmpool.contrib.django.views import answer, answer_all

app_name = "llmpool"

urlpatterns = [
    path("", answer, {"page": "/"}, name="page"),
    path("status", answer, {"page": "/status"}, name="status"),
    path("metrics", answer, {"page": "/metrics"}, name="metrics"),
    path("control", answer, {"page": "/control"}, name="control"),
    path("static/<str:file>", answer, {"page": "/static/"}, name="static"),
    path("healthz", answer_all, {"page": "/healthz"}, name="healthz"),
]
