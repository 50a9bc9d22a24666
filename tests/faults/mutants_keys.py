"""The guards of keys: what a missing one holds up, which open, and which may go."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

MISSING = "tests/worker/execution/test_missing_keys.py::"
PASSED_OVER = "tests/store/test_passed_over.py::"
KEYS = "tests/floors/test_encryption_keys.py::"
ROTATION = "tests/roof/test_rotate_keys.py::"
PUT_OFF = "tests/store/test_missing_keys.py::"
MADE_UP = "tests/worker/execution/test_made_up_keys.py::"
FORMATS = "tests/worker/execution/test_other_formats.py::"

MUTANTS: Final = (
    Mutant(
        "a claim passes over the keys that its process lacks",
        (
            (
                "worker/loop/claim_loop.py",
                "            passed_over=self.poller.missing_keys.passed_over,\n",
                "",
            ),
        ),
        ((f"{MISSING}test_what_other_keys_sealed_is_performed_behind_any_number_of_them[sqlite]"),),
    ),
    Mutant(
        "a look finds nothing that a claim passes over",
        (
            (
                "store/claims.py",
                'but_for(passed_over, self.database.quoted("args"), vendor)',
                '""',
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
                "return type(by).decrypt in ours",
                "return isinstance(by, AESGCMSIVCipher | NullCipher)",
            ),
        ),
        (f"{MISSING}test_of_a_ciphers_own_nothing_is_passed_over",),
    ),
    Mutant(
        "an attempt without a key is put off by its own claims",
        (
            (
                "worker/execution/missing_keys.py",
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
                "worker/execution/missing_keys.py",
                "most = self._in_a_row if at_most_as_here else MOST_DOUBLINGS",
                "most = MOST_DOUBLINGS",
            ),
        ),
        (f"{MISSING}test_snoozes_and_releases_before_a_key_was_missing_make_it_no_longer",),
    ),
    Mutant(
        "of made-up key ids their own claims decide",
        (
            (
                "worker/execution/missing_keys.py",
                "at_most_as_here=trouble is not self._others",
                "at_most_as_here=True",
            ),
        ),
        (f"{MISSING}test_whoever_makes_up_key_ids_fills_neither_log_nor_memory",),
    ),
    Mutant(
        "what others can open comes back within a minute",
        (("worker/execution/missing_keys.py", "1 if self.others_have_it else most", "most"),),
        (f"{MISSING}test_what_others_can_open_is_never_put_off_for_long",),
    ),
    Mutant(
        "workers that start together are waited for",
        (("worker/execution/missing_keys.py", "moment < self._began + ALONE_FOR or ", ""),),
        (f"{MISSING}test_they_are_put_off_together_once_workers_that_start_together_had_the_time",),
    ),
    Mutant(
        "what was put off together comes before it is put off again",
        (("worker/execution/missing_keys.py", " or moment >= self.lasts_until:", ":"),),
        (f"{MISSING}test_they_are_put_off_together_once_workers_that_start_together_had_the_time",),
    ),
    Mutant(
        "what is put off together is counted",
        (("worker/execution/missing_keys.py", "self._count(trouble.name, number)", "pass"),),
        (f"{MISSING}test_those_that_are_put_off_together_are_counted_and_told",),
    ),
    Mutant(
        "a look puts off what nobody can open",
        (
            (
                "worker/loop/poller.py",
                "is_head_clean = self._put_off_keyless()",
                "is_head_clean = True",
            ),
        ),
        (f"{MISSING}test_what_no_worker_can_open_is_put_off_together[sqlite]",),
    ),
    Mutant(
        "what a live worker can open is left to it",
        (
            (
                "store/missing_keys.py",
                '{one for one in causes if "" in known or one.hex() in known}',
                "set[bytes]()",
            ),
        ),
        (f"{PUT_OFF}test_what_a_live_worker_of_the_queue_opens_is_left_to_it[sqlite-0227255c00]",),
    ),
    Mutant(
        "a worker of another queue opens nothing of this one",
        (
            (
                "store/missing_keys.py",
                "in set(_texts(names)).intersection(queues):",
                "in queues:",
            ),
        ),
        (f"{PUT_OFF}test_what_a_live_worker_of_the_queue_opens_is_left_to_it[sqlite-0227255c00]",),
    ),
    Mutant(
        "a worker says what it can open",
        (("worker/shared/registration.py", "opens=openable()", "opens=[]"),),
        (f"{MISSING}test_what_an_other_live_worker_can_open_is_left_to_it[sqlite]",),
    ),
    Mutant(
        "what was sealed anew, or claimed, meanwhile is not put off",
        (
            (
                "store/missing_keys.py",
                (
                    "self.dialect.due(Q(pk__in=ids)).annotate(header=HEADER)\n"
                    "            rows = rows.filter(header__in=list(causes))\n"
                ),
                (
                    "self.dialect.due(Q(pk__in=ids))\n"
                    "            rows = rows.annotate(header=Value(next(iter(causes))))\n"
                ),
            ),
            (
                "store/missing_keys.py",
                "from django.db.models import Count, F, Q",
                "from django.db.models import F, Q, Value",
            ),
        ),
        (f"{PUT_OFF}test_what_others_lock_or_have_sealed_anew_is_passed_over[postgresql]",),
    ),
    Mutant(
        "what others lock is not waited for when it is put off",
        (
            (
                "store/missing_keys.py",
                'self.database.skipping_locked(rows.order_by("pk"))',
                'rows.order_by("pk").select_for_update()',
            ),
        ),
        (f"{PUT_OFF}test_what_others_lock_or_have_sealed_anew_is_passed_over[postgresql]",),
    ),
    Mutant(
        "what is behind the head is not read",
        (("store/missing_keys.py", "scheduled_at, id LIMIT {limit}", "scheduled_at, id"),),
        (f"{PUT_OFF}test_what_is_behind_the_head_is_left_for_later[sqlite]",),
    ),
    Mutant(
        "the head is read past what others open",
        (("store/missing_keys.py", "but_for=but_for(sorted(others), args, vendor)", 'but_for=""'),),
        (f"{PUT_OFF}test_what_is_behind_the_head_is_left_for_later[sqlite]",),
    ),
    Mutant(
        "no more than a batch is put off at a time",
        (
            (
                "store/missing_keys.py",
                "(left := PUT_OFF_AT_ONCE - found.numbers.total()) > 0",
                "left := PUT_OFF_AT_ONCE",
            ),
        ),
        (f"{PUT_OFF}test_no_more_at_a_time_than_one_statement_takes[sqlite]",),
    ),
    Mutant(
        "the place of what is put off goes to the next one",
        (("store/missing_keys.py", "        self.limits.unpark(keys)\n", ""),),
        (f"{PUT_OFF}test_the_place_that_one_was_woken_for_is_the_next_ones[sqlite]",),
    ),
    Mutant(
        "a worker that starts brings back what waits for its keys",
        (
            (
                "worker/maintenance/maintenance.py",
                "            found += self.bring_back()\n",
                "            pass\n",
            ),
        ),
        (f"{MADE_UP}test_a_worker_that_has_the_key_performs_at_once_what_others_put_off[sqlite]",),
    ),
    Mutant(
        "what was put off while a worker came is brought back",
        (("worker/maintenance/maintenance.py", "0 if self._exits_when_done else 2", "1"),),
        (f"{MISSING}test_what_was_put_off_while_a_worker_came_is_brought_back_later[sqlite]",),
    ),
    Mutant(
        "a late lease alone takes no worker's keys away",
        (
            (
                "store/missing_keys.py",
                "self.database.workers.filter(state=Worker.State.LIVE).values_list",
                "self.statistics.live_workers().values_list",
            ),
        ),
        (f"{PUT_OFF}test_what_a_live_worker_of_the_queue_opens_is_left_to_it[sqlite-0227255c00]",),
    ),
    Mutant(
        "a project's own rule hides no poison",
        (
            (
                "store/claim_trials.py",
                "values = self._accepted(write, self._plain_values(key))",
                "values = self._plain_values(key)",
            ),
        ),
        ("tests/store/test_claim_trials.py::test_a_projects_own_rule_hides_nothing[sqlite]",),
    ),
    Mutant(
        "a text in a sealed column is read as bytes",
        (("models/large_values.py", 'if vendor == "sqlite" else value', "if False else value"),),
        (f"{PUT_OFF}test_a_text_in_a_sealed_column_is_read_as_bytes[sqlite]",),
    ),
    Mutant(
        "what this process can't open either is not brought back",
        (("store/missing_keys.py", '        if "" not in openable:\n', "        if False:\n"),),
        (f"{PUT_OFF}test_one_that_has_the_key_brings_back_what_waits_for_it[sqlite-other header]",),
    ),
    Mutant(
        "nothing further ahead than an hour is looked at to bring it back",
        (
            (
                "store/missing_keys.py",
                " or last.scheduled_at > until",
                "",
            ),
        ),
        (f"{PUT_OFF}test_it_looks_no_further_ahead_than_anything_is_put_off[sqlite]",),
    ),
    Mutant(
        "a format that isn't known is counted",
        (
            (
                "store/missing_keys.py",
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
                "store/missing_keys.py",
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
        (("store/rotation.py", "for _ in range(TRIES):", "for _ in range(1):"),),
        (f"{ROTATION}test_what_others_change_meanwhile_is_tried_again[sqlite]",),
    ),
)
