"""Targets that nobody decorated: a project names them in the setting `TARGETS`."""

from __future__ import annotations

import posixpath
from os import getcwd

from tests.shop.clients import OrderClient as ImportedClient

__all__ = ["ImportedClient", "getcwd", "posixpath", "print_invoice"]

LIMIT = 3


def print_invoice(order_number: int) -> str:
    return f"invoice {order_number}"


class Printer:
    @staticmethod
    def print_label(order_number: int) -> str:
        return f"label {order_number}"

    @classmethod
    def print_all(cls) -> str:
        return cls.__name__

    join = staticmethod(posixpath.join)
