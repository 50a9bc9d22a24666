"""What every mutant's pytest needs and no mutant changes, imported once for all of them.

`mutations` has this imported in the process that it forks from. Nothing of the package may be
loaded there: each fork is to find its own copy.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from tempfile import TemporaryDirectory
from typing import Final

import pytest

MODULES: Final = """
    asyncio croniter cryptography.hazmat.primitives.asymmetric.ec
    cryptography.hazmat.primitives.ciphers.aead cryptography.hazmat.primitives.kdf.hkdf
    environ hypothesis.strategies multiprocessing.forkserver psutil psycopg_pool unittest.mock yaml
    django.contrib.admin.utils django.contrib.staticfiles.handlers django.core.mail
    django.core.management.base django.core.paginator django.core.serializers
    django.db.backends.postgresql.base django.db.backends.sqlite3.base
    django.db.migrations.autodetector django.db.migrations.executor django.db.models django.forms
    django.template.loader_tags django.test django.views.generic
""".split()
PACKAGE: Final = "async_attempts"


class _Imports:
    """A pytest plugin: what it imports is imported as it would be for a test."""

    def pytest_configure(self) -> None:
        for name in MODULES:
            import_module(name)
        if find_spec("MySQLdb"):
            import_module("django.db.backends.mysql.base")


def _import_all() -> None:
    with TemporaryDirectory() as nothing, redirect_stdout(StringIO()):
        options = ["-q", "-c", os.devnull, "-p", "no:cacheprovider", "--rootdir", nothing]
        code = pytest.main([*options, nothing], plugins=[_Imports()])
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED, code
    assert not any(name.partition(".")[0] == PACKAGE for name in sys.modules)


_import_all()
