"""Orders and sales, to look at beside the attempts."""

from __future__ import annotations

from django.contrib import admin

from .models import Order, Sale

admin.site.register(Order, list_display=("number", "customer_email", "amount", "status"))
admin.site.register(Sale, list_display=("order", "amount"))
