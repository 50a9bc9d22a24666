"""Triage in Django's admin: the states of attempts, their failures, and people's verbs.

Importing it registers the attempt model in use. A project with an admin of its own says, in any
order of the installed apps:

    admin.site.unregister(Attempt)

    @admin.register(Attempt)
    class OurAttemptAdmin(AttemptAdminMixin, admin.ModelAdmin): ...
"""

from __future__ import annotations

from django.contrib import admin

from ..models import Failure, Queue, Schedule, Worker, get_attempt_model
from .attempts import AttemptAdmin, AttemptAdminMixin
from .failures import FailureAdmin
from .queues import QueueAdmin
from .schedules import ScheduleAdmin
from .workers import WorkerAdmin

__all__ = [
    "AttemptAdmin",
    "AttemptAdminMixin",
    "FailureAdmin",
    "QueueAdmin",
    "ScheduleAdmin",
    "WorkerAdmin",
]

admin.site.register(get_attempt_model(), AttemptAdmin)
admin.site.register(Failure, FailureAdmin)
admin.site.register(Queue, QueueAdmin)
admin.site.register(Schedule, ScheduleAdmin)
admin.site.register(Worker, WorkerAdmin)
