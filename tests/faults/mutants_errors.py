"""The guards against what ciphers, hooks and missing keys do, and the tests that must notice."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

OUTAGES = "tests/worker/execution/test_cipher_outages.py::"
MISSING = "tests/worker/execution/test_missing_keys.py::"
ANNOUNCER = "tests/worker/execution/test_announcer.py::"
RUNNER = "worker/execution/runner.py"

MUTANTS: Final = (
    Mutant(
        "an attempt that can't be opened now isn't counted",
        (
            (
                RUNNER,
                "except (UnknownKey, UnknownFormat, CipherUnavailable) as",
                "except (UnknownKey, UnknownFormat) as",
            ),
        ),
        (f"{OUTAGES}test_what_cannot_be_opened_now_is_put_off_and_never_counted[sqlite-drain]",),
    ),
    Mutant(
        "nothing leaves a performer",
        (
            (
                RUNNER,
                "        except BaseException as exception:\n            outcome = unexpected",
                "        except ValueError as exception:\n            outcome = unexpected",
            ),
        ),
        (f"{OUTAGES}test_a_performer_always_gives_an_execution_back[sqlite]",),
    ),
    Mutant(
        "a failure is recorded though its details can't be sealed",
        (
            (
                "models/failure.py",
                "        except CipherUnavailable as error:\n            ended",
                "        except ZeroDivisionError as error:\n            ended",
            ),
        ),
        (
            (
                f"{OUTAGES}test_a_failure_that_cannot_be_sealed_is_recorded_without_its_details"
                "[sqlite-act-drain]"
            ),
        ),
    ),
    Mutant(
        "a cipher that waits in vain isn't asked again for as long",
        (("models/failure.py", "ended + min(ended - began, LONGEST_SILENCE)", "ended"),),
        (
            (
                f"{OUTAGES}test_a_cipher_that_waits_in_vain_is_not_asked_for_each_of_many_failures"
                "[sqlite]"
            ),
        ),
    ),
    Mutant(
        "a result is tried to be sealed again",
        (("worker/execution/outcomes.py", "if now() + pause >= until:", "if True:"),),
        (f"{OUTAGES}test_a_result_is_sealed_when_the_cipher_is_back[sqlite]",),
    ),
    Mutant(
        "a target that has returned isn't called again for its result",
        (
            (
                "worker/execution/outcomes.py",
                "isinstance(exception, ResultNotSealed) and not policy.atomic",
                "isinstance(exception, ResultNotSealed) and policy.atomic",
            ),
        ),
        (
            (
                f"{OUTAGES}test_a_result_that_cannot_be_sealed_is_no_reason_to_repeat_its_effects"
                "[sqlite-case0]"
            ),
        ),
    ),
    Mutant(
        "a reaper that failed waits before the next try",
        (("worker/processes/supervisor.py", "due_at=now() + pause", "due_at=now()"),),
        (f"{OUTAGES}test_a_reaper_that_fails_is_tried_again_ever_later[sqlite]",),
    ),
    Mutant(
        "claims pass over a missing key ever longer",
        (
            (
                "worker/execution/missing_keys.py",
                "            self._in_a_row += 1\n",
                "            self._in_a_row = 1\n",
            ),
        ),
        (f"{MISSING}test_claims_pass_over_each_key_by_itself_ever_longer_up_to_an_hour",),
    ),
    Mutant(
        "those that are met together are put off alike",
        (("worker/execution/missing_keys.py", "if moment >= self.lasts_until:", "if True:"),),
        (f"{OUTAGES}test_it_is_put_off_ever_longer_and_from_the_beginning_after_a_while",),
    ),
    Mutant(
        "so many made-up key ids and no more are remembered",
        (
            (
                "worker/execution/missing_keys.py",
                "                return self._others\n",
                "                pass\n",
            ),
        ),
        (f"{MISSING}test_whoever_makes_up_key_ids_fills_neither_log_nor_memory",),
    ),
    Mutant(
        "the row says which key it waits for",
        (("store/outcomes.py", '{"reason": reason} if reason else {}', "{}"),),
        (f"{MISSING}test_it_is_released_with_its_count_and_never_failed[sqlite]",),
    ),
    Mutant(
        "a claim clears the reason on PostgreSQL",
        (
            (
                "store/dialects/postgresql.py",
                "started_at = statement_timestamp(), reason = ''",
                "started_at = statement_timestamp()",
            ),
        ),
        (f"{MISSING}test_the_reason_is_gone_as_soon_as_somebody_claims_it[postgresql]",),
    ),
    Mutant(
        "a claim clears the reason on SQLite",
        (
            (
                "store/dialects/sqlite.py",
                "started_at = %(now)s, reason = ''",
                "started_at = %(now)s",
            ),
        ),
        (f"{MISSING}test_the_reason_is_gone_as_soon_as_somebody_claims_it[sqlite]",),
    ),
    Mutant(
        "a claim clears the reason on MariaDB",
        (("store/dialects/mysql.py", "started_at = %s,\n    reason = ''\n", "started_at = %s\n"),),
        (f"{MISSING}test_the_reason_is_gone_as_soon_as_somebody_claims_it[mariadb]",),
    ),
    Mutant(
        "a child's hooks have a thread of their own",
        (
            (
                "worker/execution/announcer.py",
                "        if self._hooks.put(hook):\n            return\n",
                "        told(hook)\n        return\n",
            ),
        ),
        (f"{ANNOUNCER}test_no_hook_is_called_in_the_thread_that_announces",),
    ),
    Mutant(
        "the log doesn't wait for hooks",
        (
            (
                "worker/execution/announcer.py",
                "self._lines.put(partial(signal.line",
                "self._hooks.put(partial(signal.line",
            ),
        ),
        (f"{ANNOUNCER}test_a_hook_that_hangs_holds_up_neither_its_caller_nor_the_log",),
    ),
    Mutant(
        "so many calls of hooks wait and no more",
        (
            (
                "worker/execution/announcer.py",
                "        if self._waiting.qsize() >= MOST:\n            return False\n",
                "",
            ),
        ),
        (f"{ANNOUNCER}test_what_is_too_much_is_left_out_and_that_is_told",),
    ),
    Mutant(
        "a hook leaves no transaction to the next one",
        (
            (
                "worker/execution/announcer.py",
                "            connections_here().clean(NO_BLOCKS)\n",
                "",
            ),
        ),
        (f"{ANNOUNCER}test_a_hook_leaves_no_connection_and_no_block_to_the_next_one[sqlite]",),
    ),
    Mutant(
        "the process that buries waits for hooks only so long",
        (
            (
                "worker/processes/reaper.py",
                "announcer, store = InThreads(), ",
                "announcer, store = AtOnce(), ",
            ),
            (
                "worker/processes/reaper.py",
                "        announcer.close(settings().LEASE)\n",
                "        pass\n",
            ),
            (
                "worker/processes/reaper.py",
                "import Announcer, InThreads",
                "import Announcer, AtOnce",
            ),
        ),
        (f"{ANNOUNCER}test_a_hook_that_hangs_after_a_crash_keeps_no_drain_for_ever[sqlite]",),
    ),
)
