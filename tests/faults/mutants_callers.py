"""Guards on the caller's side: of what enqueues attempts, changes them, and waits for them."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

REPLICAS = "tests/roof/test_enqueue_replicas.py::"

MUTANTS: Final = (
    Mutant(
        "a row that was read is changed where the router writes",
        (("models/database.py", 'return "_loaded" in row.__dict__ and', "return False and"),),
        (
            f"{REPLICAS}test_a_verb_of_a_row_goes_to_where_it_is_written[sqlite-expire]",
            f"{REPLICAS}test_who_waits_looks_there[sqlite]",
        ),
    ),
    Mutant(
        "what was enqueued stays where it was written",
        (("models/database.py", ' and "created" not in row.__dict__', ""),),
        (f"{REPLICAS}test_what_was_enqueued_elsewhere_is_changed_there[enqueued]",),
    ),
    Mutant(
        "what a token finds stays where it was written",
        (("store/inserting.py", "                taken.created = False\n", ""),),
        (f"{REPLICAS}test_what_was_enqueued_elsewhere_is_changed_there[found by its token]",),
    ),
    Mutant(
        "a row is read again from where it is written",
        (("models/editing.py", "            using = alias\n", "            pass\n"),),
        (f"{REPLICAS}test_what_the_open_transaction_has_written_is_there[sqlite-debounce]",),
    ),
)
