"""The guards that keep plaintext out of error reports, and the tests that must notice."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

PLAINTEXT = "tests/floors/test_plaintext.py::"
ARGUMENTS = "tests/roof/test_shown_arguments.py::"
VALUES = "tests/worker/execution/test_shown_values.py::"
SETTINGS = "tests/roof/test_shown_settings.py::"
DSN = f"{SETTINGS}test_what_a_connection_string_does_not_say_is_as_in_databases"

MUTANTS: Final = (
    Mutant(
        "plaintext has a repr of its own",
        (("plaintext.py", 'return f"<sealed {len(self)} bytes>"', "return bytes.__repr__(self)"),),
        (
            f"{PLAINTEXT}test_bytes_show_their_size_alone",
            f"{VALUES}test_a_row_that_is_gone[drain-sqlite-act]",
        ),
    ),
    Mutant(
        "frames below a border are cleared",
        (("plaintext.py", "frame.clear()", "pass"),),
        (
            f"{PLAINTEXT}test_frames_below_the_one_that_catches_are_cleared",
            f"{ARGUMENTS}test_arguments_that_are_refused_are_not_shown[sqlite-enqueue]",
        ),
    ),
    Mutant(
        "what the caller was handling keeps its variables",
        (("plaintext.py", "frames[0] in callers", "False"),),
        (f"{PLAINTEXT}test_what_the_caller_was_handling_keeps_its_variables",),
    ),
    Mutant(
        "enqueue lets go of its arguments",
        (
            (
                "calls/enqueueing.py",
                "    del args, kwargs  # An error report would show them.\n",
                "",
            ),
        ),
        (f"{ARGUMENTS}test_arguments_that_are_refused_are_not_shown[sqlite-enqueue]",),
    ),
    Mutant(
        "the manager's own method hides its arguments",
        (("models/querysets.py", '("create", "get_or_create", "update_or_create")', "()"),),
        (f"{ARGUMENTS}test_arguments_that_are_refused_are_not_shown[sqlite-create]",),
    ),
    Mutant(
        "a failure that was read is pickled without its message",
        (("models/failure.py", 'state.pop("_opened", None)', "pass"),),
        (f"{VALUES}test_a_failure_that_was_read_keeps_its_message_to_itself[sqlite]",),
    ),
    Mutant(
        "a reason doesn't lead through the keys of a result",
        (("worker/execution/outcomes.py", "{error.in_clear}", "{error}"),),
        (f"{VALUES}test_a_result_that_cannot_be_kept[drain-sqlite-act]",),
    ),
    Mutant(
        "another user isn't authenticated as Django's",
        (("store/notifications.py", "replaced |= CREDENTIALS", "pass"),),
        (f"{DSN}[postgresql://listener@db:5432-params4]",),
    ),
)
