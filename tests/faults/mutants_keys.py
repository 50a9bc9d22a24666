"""The guards of keys: what a missing one holds up, which open, and which may go."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

MISSING = "tests/worker/test_missing_keys.py::"
PASSED_OVER = "tests/store/test_passed_over.py::"
KEYS = "tests/floors/test_encryption_keys.py::"
ROTATION = "tests/roof/test_rotate_keys.py::"
FORMATS = "tests/worker/test_other_formats.py::"

MUTANTS: Final = (
    Mutant(
        "a claim passes over the keys that its process lacks",
        (("worker/loop.py", "            passed_over=self.lookout.passed_over,\n", ""),),
        ((f"{MISSING}test_what_other_keys_sealed_is_performed_behind_any_number_of_them[sqlite]"),),
    ),
    Mutant(
        "a look finds nothing that a claim passes over",
        (
            (
                "store/looking.py",
                ' + but_for(passed_over, self.quoted("args"), vendor)',
                "",
            ),
        ),
        (f"{PASSED_OVER}test_a_look_finds_nothing_due_that_a_claim_would_pass_over[sqlite-0]",),
    ),
    Mutant(
        "arguments whose key is there are never passed over",
        (
            (
                "encryption/configured.py",
                "return None if has_key else bytes(stored[:HEADER_BYTES])",
                "return bytes(stored[:HEADER_BYTES])",
            ),
        ),
        (f"{MISSING}test_a_key_that_is_there_is_never_passed_over",),
    ),
    Mutant(
        "what a project's own cipher wrote is never passed over",
        (
            (
                "encryption/configured.py",
                "if type(by).decrypt not in ours:",
                "if not isinstance(by, AESGCMSIVCipher | NullCipher):",
            ),
        ),
        (f"{MISSING}test_of_a_ciphers_own_nothing_is_passed_over",),
    ),
    Mutant(
        "an attempt without a key is put off by its own claims",
        (
            (
                "worker/missing_keys.py",
                "1 + max(0, claim.claim_seq - claim.num_attempts),",
                "1,",
            ),
        ),
        (f"{MISSING}test_it_is_put_off_longer_by_its_own_claims_up_to_an_hour",),
    ),
    Mutant(
        "snoozes make nothing wait longer for a key",
        (
            (
                "worker/missing_keys.py",
                "self._in_a_row if at_most_as_here else MOST_DOUBLINGS",
                "MOST_DOUBLINGS",
            ),
        ),
        (f"{MISSING}test_snoozes_and_releases_before_a_key_was_missing_make_it_no_longer",),
    ),
    Mutant(
        "of made-up key ids their own claims decide",
        (
            (
                "worker/missing_keys.py",
                "at_most_as_here=trouble is not self._others",
                "at_most_as_here=True",
            ),
        ),
        (f"{MISSING}test_whoever_makes_up_key_ids_fills_neither_log_nor_memory",),
    ),
    Mutant(
        "a format that isn't known is counted",
        (
            (
                "store/missing.py",
                "TELLS: Final = Q(reason__startswith=REASON) | Q(reason__startswith=FORM)",
                "TELLS: Final = Q(reason__startswith=REASON)",
            ),
        ),
        (f"{FORMATS}test_figures_and_checks_name_the_format_that_is_not_known[sqlite]",),
    ),
    Mutant(
        "what claims pass over for its format is counted",
        (
            (
                "store/missing.py",
                "names = key_id_of(header), format_of(header)",
                "names = (key_id_of(header),)",
            ),
        ),
        (f"{FORMATS}test_figures_and_checks_name_the_format_that_is_not_known[sqlite]",),
    ),
    Mutant(
        "a retired key opens for a rotation alone",
        (
            (
                "encryption/ciphers.py",
                "{key_id: key for key_id, key in known.items() if not key.is_retired}",
                "dict(known)",
            ),
        ),
        (f"{KEYS}test_a_retired_key_opens_for_a_rotation_alone",),
    ),
    Mutant(
        "a key is random",
        (
            (
                "encryption/keys.py",
                "is_weak = different < LEAST_DIFFERENT",
                "is_weak = False",
            ),
        ),
        ("tests/roof/test_checks.py::test_a_key_that_is_not_random_is_refused",),
    ),
    Mutant(
        "no key may go of which something is left",
        (
            (
                "management/commands/_rotation.py",
                "if number := self.unreadable[key_id]:\n                raise",
                "if (number := self.unreadable[key_id]) < 0:\n                raise",
            ),
        ),
        (
            f"{ROTATION}test_a_value_that_names_the_key_that_is_to_go_is_told_with_its_place[sqlite]",
        ),
    ),
    Mutant(
        "a value that others change meanwhile is sealed anew all the same",
        (("store/resealing.py", "for _ in range(TRIES):", "for _ in range(1):"),),
        (f"{ROTATION}test_what_others_change_meanwhile_is_tried_again[sqlite]",),
    ),
)
