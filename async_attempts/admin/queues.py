"""The queues: their limits, what is pending there, and the verbs that pause and resume them."""

from __future__ import annotations

from typing import Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..conf import limits
from ..lifecycle import Status
from ..limits import UNLIMITED
from ..models import Queue
from ..store import Store, store_for
from .pages import ReadOnlyAdmin, log_changes

MOST_COUNTED: Final = 1000


class QueueAdmin(ReadOnlyAdmin):
    """The queues that a worker has asked for, or that were paused."""

    list_display = ("name", "state_word", "pending", "limits")
    list_display_links = None
    ordering = ("name",)
    actions = ("pause", "resume")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.pause_queue")

    @admin.action(permissions=["pause"], description=_("Pause: let no worker claim of it"))
    def pause(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """Let no worker claim from these queues."""
        n = self._set_paused(request, queryset, paused=True)
        told = ngettext("%(n)d queue paused.", "%(n)d queues paused.", n) % {"n": n}
        self.message_user(request, told, messages.SUCCESS if n else messages.WARNING)

    @admin.action(permissions=["pause"], description=_("Resume: let workers claim of it"))
    def resume(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        """Let workers claim from these queues again."""
        n = self._set_paused(request, queryset, paused=False)
        told = ngettext("%(n)d queue resumed.", "%(n)d queues resumed.", n) % {"n": n}
        self.message_user(request, told, messages.SUCCESS if n else messages.WARNING)

    def _set_paused(self, request: HttpRequest, chosen: QuerySet[Queue], *, paused: bool) -> int:
        """Pause or resume queues; return the number of queues that changed."""
        if request.method != "POST" or not self.has_pause_permission(request):
            raise PermissionDenied
        others = [queue for queue in chosen if queue.paused != paused]
        for queue in others:
            self._store.queues.set_paused(queue.name, paused=paused)
        if others:
            log_changes(request, others, "Paused." if paused else "Resumed.")
        return len(others)

    @property
    def _store(self) -> Store:
        return store_for(router.db_for_write(Queue))

    @admin.display(description=_("state"))
    def state_word(self, queue: Queue) -> str:
        """Return a word: active, or the reason why no worker claims from it."""
        if queue.name not in limits():
            return gettext("no longer declared")
        return gettext("paused") if queue.paused else gettext("active")

    @admin.display(description=_("pending"))
    def pending(self, queue: Queue) -> str:
        """Return the number of its due attempts that haven't ended."""
        mine = self._store.database.attempts.filter(queue=queue.name, status=Status.PENDING)
        number = mine[:MOST_COUNTED].count()
        return f"{number}+" if number == MOST_COUNTED else str(number)

    @admin.display(description=_("limits"))
    def limits(self, queue: Queue) -> str:
        return str(limits().get(queue.name, UNLIMITED)) or self.get_empty_value_display()
