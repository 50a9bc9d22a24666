"""Commands whose output may be cut off: `attempts stats | head`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

from django.core.management.base import BaseCommand

CUT_OFF: Final = 128 + signal.SIGPIPE
"""What a shell says of a program that ended as its reader did."""


class PipedCommand(BaseCommand):
    """A command that ends without a traceback when the reader of its output has ended."""

    def run_from_argv(self, argv: list[str]) -> None:
        try:
            super().run_from_argv(argv)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(CUT_OFF)
