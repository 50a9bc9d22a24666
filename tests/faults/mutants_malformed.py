"""The guards against malformed and oversized rows, and the tests that must notice."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

STORE = "tests/store/test_malformed.py::"
TRIALS = "tests/store/test_claim_trials.py::"
WORKER = "tests/worker/maintenance/test_malformed.py::"
LARGE = "tests/worker/execution/test_large_rows.py::"
BOUNDS = "tests/store/test_bounds.py::"

MUTANTS: Final = (
    Mutant(
        "a worker sets a malformed row aside",
        (
            (
                "worker/loop/claim_loop.py",
                "if is_about_a_value(error) and set_malformed_aside(",
                "if False and set_malformed_aside(",
            ),
        ),
        (f"{WORKER}test_it_fails_and_says_why[postgresql-num_attempts-2147483647]",),
    ),
    Mutant(
        "an attempt fails only if plain values in its row can be claimed",
        (("store/claim_trials.py", "if self._is_to_blame(key, work):", "if True:"),),
        (f"{TRIALS}test_nobody_fails_where_the_database_refuses_all[sqlite-claims-1]",),
    ),
    Mutant(
        "plain values can be claimed after the row's own were refused, too",
        (
            (
                "store/claim_trials.py",
                "Exception)\n            and self._works_when_plain(key, work)",
                "Exception)",
            ),
        ),
        (f"{TRIALS}test_an_outage_that_comes_and_goes_fails_nobody[postgresql-1, 2, 4, 5]",),
    ),
    Mutant(
        "what can't be claimed is found behind what can",
        (("store/claim_trials.py", "[:MOST_TRIED])", "[:TRIED_AT_ONCE])"),),
        (f"{TRIALS}test_what_is_behind_many_healthy_ones_is_found[sqlite-pending]",),
    ),
    Mutant(
        "a schedule that is mended is paused",
        (("store/malformed_rows.py", '{"is_paused": True, "next_tick": None}', "{}"),),
        (f"{STORE}test_a_malformed_schedule_is_paused_and_the_others_tick[sqlite]",),
    ),
    Mutant(
        "arguments over the limit aren't fetched",
        (("store/database.py", 'if name == "args":', "if False:"),),
        (f"{LARGE}test_arguments_over_the_limit_are_not_claimed[sqlite]",),
    ),
    Mutant(
        "a result over the limit isn't handed over",
        (("results/prerequisites.py", "refuse_large(one.id, one.size)", "pass"),),
        (f"{LARGE}test_a_result_over_the_limit_is_not_handed_over[sqlite]",),
    ),
    Mutant(
        "metadata have a limit",
        (("models/validation.py", "if size > MAX_METADATA_BYTES:", "if False:"),),
        (f"{BOUNDS}test_metadata_have_a_limit[sqlite]",),
    ),
    Mutant(
        "what was claimed by a child that had begun nothing becomes suspect",
        (
            (
                "worker/processes/reaper.py",
                "if self.is_unexplained and not self.begun:",
                "if False:",
            ),
        ),
        (
            (
                "tests/faults/test_claimed_only.py::"
                "test_a_death_without_anything_begun_makes_suspects_of_what_was_claimed"
            ),
        ),
    ),
)
