"""The shop's pages, and the admin for triage."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from example_project.shop.views import complete, show_order, start

urlpatterns = [
    path("", start, name="start"),
    path("orders/", complete, name="complete"),
    path("orders/<int:pk>/", show_order, name="order"),
    path("admin/", admin.site.urls),
]
