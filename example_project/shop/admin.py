"""Orders and what they left, to look at beside the attempts."""

from __future__ import annotations

from django.contrib import admin

from .models import Entry, Order, Reward

admin.site.register(Order, list_display=("pk", "customer_email", "amount", "status"))
admin.site.register(Entry, list_display=("order", "amount"))
admin.site.register(Reward, list_display=("order", "points"))
