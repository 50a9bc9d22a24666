"""A module whose own import is wrong."""

from __future__ import annotations

from importlib import import_module

import_module("tests.shop.no_such_module")
