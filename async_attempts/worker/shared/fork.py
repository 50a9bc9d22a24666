"""Forking: what a child inherits, and its end with its parent."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from django.db import connections

CRASHED: Final = 1
"""The exit code of a process that ended by an error."""

PR_SET_PDEATHSIG: Final = 1


def die_with_parent(number: int) -> None:
    """Have the kernel send this signal when the parent dies (prctl(2)); does nothing elsewhere."""
    with suppress(OSError, AttributeError):
        libc: Any = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def close_all_before_fork() -> None:
    """Leave no connection, and no pool with its threads, to a forked child."""
    connection: Any
    for connection in connections.all(initialized_only=True):
        connection.close()
        if connection.alias in getattr(connection, "_connection_pools", ()):
            connection.close_pool()


def fork(work: Callable[[], int]) -> int:
    """Do `work` in a new process, which ends with the exit code that it returns; return its pid.

    The caller's connections are closed before: a session belongs to one process.
    """
    close_all_before_fork()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Objects from before the first child stay shared with all of them.
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
