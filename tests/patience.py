"""How long a test waits for something that should happen at once."""

from __future__ import annotations

import os
from typing import Final

VARIABLE: Final = "ATTEMPTS_TEST_PATIENCE"

PATIENCE: Final = float(os.environ.get(VARIABLE, "60"))
"""Seconds after which it is taken for what never will happen. No test that passes waits for it."""
