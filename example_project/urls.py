"""The start page, and the admin for triage."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from example_project.shop.views import start

urlpatterns = [path("", start), path("admin/", admin.site.urls)]
