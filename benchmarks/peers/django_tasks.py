"""What the backends of `django.tasks` have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from ..attempts import arguments_of
from .base import Peer


class DjangoTasksPeer(Peer):
    """A backend of `django.tasks`."""

    fulfill: ClassVar[Any]
    note: ClassVar[Any]

    def enqueue(self, number: int) -> object:
        return self.fulfill.enqueue(**arguments_of(number))

    def enqueue_note(self, number: int) -> object:
        return self.note.enqueue(number=number)
