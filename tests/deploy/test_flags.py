"""The flags in the files of `docs/deploy` are the worker's."""

from __future__ import annotations

import pytest

from async_attempts.management.commands.run_attempts import Command
from tests.deploy import files


@pytest.mark.parametrize("name", files.COMMANDS)
def test_the_worker_takes_the_flags_of(name):
    parser = Command().create_parser("manage.py", "run_attempts")
    given = parser.parse_args(files.flags(files.COMMANDS[name]))
    assert given.shutdown_timeout == 25


def test_the_default_patience_is_what_the_files_say():
    parser = Command().create_parser("manage.py", "run_attempts")
    assert parser.parse_args([]).shutdown_timeout == 25
