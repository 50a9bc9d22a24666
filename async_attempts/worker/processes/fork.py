"""Forking: what a child inherits, and what it doesn't."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable

from ..shared.connections import close_all_before_fork
from .child import CRASHED


def fork(work: Callable[[], int]) -> int:
    """Do `work` in a new process, which ends with the exit code that it returns; returns its id.

    The caller's connections are closed before: a session belongs to one process.
    """
    close_all_before_fork()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # What is there before the first child stays shared with all of them.
    gc.freeze()
    with warnings.catch_warnings():
        # A thread of the project's own (a reporter of errors, say): it doesn't live on in there.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = CRASHED
    try:
        signal.set_wakeup_fd(-1)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
