"""Guards of what ends bring with them: the attempts that follow, the signal, interruptions."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants import Mutant

FOLLOW_UPS = "tests/worker/execution/test_follow_ups.py::"
WHOEVER = f"{FOLLOW_UPS}test_whoever_ends_it_the_next_one_is_there_and_gets_the_same_arguments"
ENDED = "tests/worker/execution/test_ended.py::"
PEOPLE = "tests/store/test_people.py::"
TELLS_NOTHING = f"{FOLLOW_UPS}test_one_that_tells_nothing_of_what_it_follows_is_not_called"

MUTANTS: Final = (
    Mutant(
        "a follower is one that the code declares",
        (
            (
                "results/follow_ups.py",
                "if named.target_pk == pk and declared in (written, current_name(written)):",
                "if True:",
            ),
        ),
        (
            f"{FOLLOW_UPS}test_a_target_that_is_not_declared_to_follow_is_not_called[sqlite-columns1]",
            f"{FOLLOW_UPS}test_a_changed_note_makes_nothing_else_run[sqlite]",
        ),
    ),
    Mutant(
        "a follower tells what it follows",
        (
            (
                "results/follow_ups.py",
                "if end is None or followed != [_uuid(end.attempt)]:",
                "if end is None:",
            ),
        ),
        (f"{TELLS_NOTHING}[sqlite-another]",),
    ),
    Mutant(
        "a finish writes what follows",
        (("store/outcomes.py", "self.ends.follow([", "len(["),),
        (f"{FOLLOW_UPS}test_a_target_that_ends_itself_is_followed[sqlite-raised0]",),
    ),
    Mutant(
        "people's verbs write what follows",
        (("store/changes.py", "self.ends.note(states)", "pass"),),
        (
            f"{WHOEVER}[sqlite-fail-failed-no stock]",
            f"{ENDED}test_one_signal_tells_of_every_end_whoever_records_it[sqlite-fail_all-failed]",
        ),
    ),
    Mutant(
        "the overdue are followed",
        (("store/retention.py", "self.ends.note(locked)", "pass"),),
        (f"{WHOEVER}[sqlite-be_overdue-expired-not begun before its expires_at]",),
    ),
    Mutant(
        "what a dead worker let fail is followed",
        (("store/workers.py", "self.ends.note([row.id for row, _ in lost])", "pass"),),
        (f"{WHOEVER}[sqlite-lose_its_cancelled_worker-expired-cancelled while it ran]",),
    ),
    Mutant(
        "what waits in vain is followed",
        (("store/dependencies.py", "self.ends.note(attempts)", "pass"),),
        (f"{FOLLOW_UPS}test_what_waits_in_vain_is_followed[sqlite]",),
    ),
    Mutant(
        "followers without arguments of their own are no foreign key's",
        (
            (
                "worker/execution/missing_keys.py",
                "foreign_header(claim.args) if claim.args else None",
                'foreign_header(claim.args or b"")',
            ),
        ),
        (f"{FOLLOW_UPS}test_one_whose_key_is_missing_holds_up_no_other[postgresql]",),
    ),
    Mutant(
        "a circle of followers is refused",
        (("targets/end_handlers.py", "    _refuse_circle(target, ())\n", ""),),
        (f"{FOLLOW_UPS}test_what_cannot_follow_is_refused_in_the_caller[sqlite-circle]",),
    ),
    Mutant(
        "an end is told after its commit",
        (
            (
                "store/ends.py",
                "transaction.on_commit(partial(self._deliver, send), ",
                "(lambda *_, **__: self._deliver(send))(send, ",
            ),
        ),
        (f"{ENDED}test_nobody_is_told_of_an_end_that_was_rolled_back[sqlite]",),
    ),
    Mutant(
        "only what is to be interrupted is told",
        (("store/outcomes.py", "status=Status.PENDING, interrupt=True", "status=Status.PENDING"),),
        (f"{PEOPLE}test_only_what_is_to_be_interrupted_is_told_with_the_reason[sqlite]",),
    ),
    Mutant(
        "an interrupted target gets no more time",
        (
            (
                "worker/execution/timeouts.py",
                "        if self.interrupted_for is not None:\n            return\n",
                "",
            ),
        ),
        ("tests/worker/execution/test_timeouts.py::test_what_is_interrupted_gets_no_more_time",),
    ),
)
