"""Where things are."""

from __future__ import annotations

from django.urls import include, path

from chat import views

urlpatterns = [
    path("", views.index),
    path("ask", views.ask),
    path("stream", views.stream),
    path("llmpool/", include("llmpool.contrib.django.urls")),
]
