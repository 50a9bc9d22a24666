"""The worker performs within a `TestCase`, whose transaction never commits."""

from __future__ import annotations

import unittest

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import IntegrityError, OperationalError, connections, transaction
from django.test import TestCase, override_settings

from async_attempts import Attempt
from async_attempts.models import Worker
from async_attempts.worker.loop.outages import Outages
from async_attempts.worker.shared.stop_event import StopEvent
from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import drain, enqueued, failures, performed, raising, stored


class WithinTestCase(TestCase):
    """Run by `test_…` below on each database."""

    __test__ = False
    alias: str

    def tearDown(self) -> None:
        effects.action = effects.nothing
        effects.seen.clear()

    def test_a_drain_performs_and_records(self):
        attempt = performed(self.alias, effects.record, 1)
        assert attempt.status == "succeeded"
        assert effects.seen == [("function", (1,), {})]

    def test_a_failure_is_recorded(self):
        effects.action = raising(ValueError("boom"))
        attempt = performed(self.alias, effects.act)
        assert attempt.state == "scheduled"
        assert [failure.message for failure in failures(attempt)] == ["boom"]

    def test_what_a_failed_atomic_target_wrote_is_rolled_back(self):
        def write_and_raise() -> None:
            effects.write_ledger(self.alias)
            raise ValueError

        effects.action = write_and_raise
        failing = enqueued(self.alias, effects.act_atomically)
        writing = enqueued(self.alias, effects.write_row, self.alias)
        drain(self.alias)
        assert stored(failing).state == "scheduled"
        assert stored(writing).status == "succeeded"
        written = Ledger.objects.using(self.alias).values_list("attempt_id", flat=True)
        assert list(written) == [writing.pk]

    def test_what_is_enqueued_in_a_hook_after_a_commit_is_performed(self):
        with (
            self.captureOnCommitCallbacks(using=self.alias, execute=True) as hooks,
            transaction.atomic(self.alias),
        ):
            transaction.on_commit(
                lambda: enqueued(self.alias, effects.record, "by hook"), self.alias
            )
        assert len(hooks) == 1
        drain(self.alias)
        assert effects.seen == [("function", ("by hook",), {})]

    def test_what_is_rolled_back_is_not_performed(self):
        with transaction.atomic(self.alias):
            enqueued(self.alias, effects.record)
            transaction.set_rollback(True, self.alias)
        drain(self.alias)
        assert effects.seen == []

    def test_an_attempt_can_be_performed_by_itself(self):
        attempt = enqueued(self.alias, effects.record, 1)
        attempt.perform()
        assert attempt.status == "succeeded"

    def test_a_drain_within_a_block_of_the_test_is_refused(self):
        enqueued(self.alias, effects.record)
        with pytest.raises(RuntimeError, match="atomic"), transaction.atomic(self.alias):
            drain(self.alias)
        assert effects.seen == []

    def break_uniqueness(self) -> None:
        effects.write_ledger(self.alias)
        row = Ledger.objects.using(self.alias).latest("pk")
        Ledger.objects.using(self.alias).create(pk=row.pk, attempt_id=row.attempt_id)

    def require_that_only_the_first_fails(self, target: object) -> None:
        failing = enqueued(self.alias, target, options={"priority": 1})
        writing = enqueued(self.alias, effects.write_row, self.alias)
        drain(self.alias)
        assert stored(failing).state == "scheduled"
        assert [f.error_class.split(".")[-1] for f in failures(failing)] == ["IntegrityError"]
        assert stored(writing).status == "succeeded"
        written = Ledger.objects.using(self.alias).values_list("attempt_id", flat=True)
        assert list(written) == [writing.pk]

    def test_a_database_error_ends_with_its_execution(self):
        effects.action = self.break_uniqueness
        self.require_that_only_the_first_fails(effects.act)

    def test_a_database_error_of_an_async_target_does_too(self):
        effects.action = sync_to_async(self.break_uniqueness)
        self.require_that_only_the_first_fails(effects.act_asynchronously)

    def test_a_database_error_while_it_is_performed_by_itself(self):
        effects.action = self.break_uniqueness
        attempt = enqueued(self.alias, effects.act)
        attempt.perform()
        assert attempt.state == "scheduled"
        assert not Ledger.objects.using(self.alias).exists()

    def test_a_wrong_statement_ends_with_its_execution(self):
        def ask_wrongly() -> None:
            with connections[self.alias].cursor() as cursor:
                cursor.execute("SELECT no_such_column FROM no_such_table")

        effects.action = ask_wrongly
        failing = performed(self.alias, effects.act)
        assert failing.state == "scheduled"
        assert performed(self.alias, effects.record).status == "succeeded"

    def test_a_swallowed_database_error_fails_instead_of_losing_what_was_written(self):
        def swallow() -> None:
            with pytest.raises(IntegrityError):
                self.break_uniqueness()

        effects.action = swallow
        failing = performed(self.alias, effects.act)
        assert failing.state == "scheduled"
        assert "swallowed" in failures(failing)[0].message
        assert performed(self.alias, effects.record).status == "succeeded"

    def test_what_a_target_wrote_before_it_raised_stays_as_outside_of_tests(self):
        def write_and_raise() -> None:
            effects.write_ledger(self.alias)
            raise ValueError

        effects.action = write_and_raise
        assert performed(self.alias, effects.act).state == "scheduled"
        assert Ledger.objects.using(self.alias).count() == 1

    def test_hooks_after_a_commit_are_those_of_what_was_kept(self):
        def hook_and_break(*, breaks: bool) -> None:
            transaction.on_commit(lambda: effects.seen.append((breaks,)), self.alias)
            if breaks:
                self.break_uniqueness()

        effects.action = hook_and_break
        for breaks in (True, False):
            enqueued(self.alias, effects.act, breaks=breaks)
        with self.captureOnCommitCallbacks(using=self.alias, execute=True) as hooks:
            drain(self.alias)
        assert effects.seen == [(False,)]
        assert hooks

    def test_a_target_may_open_a_durable_block(self):
        def write_durably() -> None:
            with transaction.atomic(self.alias, durable=True):
                effects.write_ledger(self.alias)

        effects.action = write_durably
        assert performed(self.alias, effects.act).status == "succeeded"
        assert Ledger.objects.using(self.alias).count() == 1

    def test_a_block_that_a_target_left_open_ends_with_its_execution(self):
        def leave_open() -> None:
            transaction.atomic(self.alias).__enter__()
            effects.write_ledger(self.alias)

        effects.action = leave_open
        assert performed(self.alias, effects.act).state == "scheduled"
        assert performed(self.alias, effects.record).status == "succeeded"
        assert not Ledger.objects.using(self.alias).exists()

    def test_a_database_error_of_an_error_hook_ends_with_it(self):
        effects.action = raising(ValueError())
        failing = enqueued(self.alias, effects.act, options={"priority": 1})
        neighbour = enqueued(self.alias, effects.record)

        raised = []

        def hook(attempt: Attempt, error: BaseException) -> None:
            try:
                for _ in range(2):
                    Ledger.objects.using(self.alias).create(pk=1, attempt_id=attempt.pk)
            except IntegrityError as again:
                raised.append(again)
                raise

        with override_settings(ASYNC_ATTEMPTS={**settings.ASYNC_ATTEMPTS, "ON_ERROR": hook}):
            drain(self.alias)
        assert raised
        assert stored(failing).state == "scheduled"
        assert stored(neighbour).status == "succeeded"

    def test_an_outage_does_not_close_the_connection(self):
        connection = connections[self.alias].connection
        with StopEvent() as stop_event:
            stop_event.set()
            Outages(stop_event).wait(OperationalError("gone"))
        assert connections[self.alias].connection is connection
        assert performed(self.alias, effects.record).status == "succeeded"

    def test_a_query_that_times_out_ends_with_its_execution(self):
        if connections[self.alias].vendor != "postgresql":
            return

        def ask_for_long() -> None:
            with connections[self.alias].cursor() as cursor:
                cursor.execute("SELECT pg_sleep(60)")

        effects.action = ask_for_long
        for target in (effects.act, effects.act_atomically):
            attempt = performed(self.alias, target, options={"timeout": 0.2})
            assert [failure.kind for failure in failures(attempt)] == ["timeout"]
        assert performed(self.alias, effects.record).status == "succeeded"

    def test_the_connection_stays_open(self):
        connection = connections[self.alias].connection
        performed(self.alias, effects.record)
        assert connections[self.alias].connection is connection


def test_the_worker_works_within_a_testcase(database):
    case = type("OnDatabase", (WithinTestCase,), {"alias": database, "databases": {database}})
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert (
        result.testsRun == unittest.defaultTestLoader.loadTestsFromTestCase(case).countTestCases()
    )
    assert not result.errors, result.errors[0][1]
    assert not result.failures, result.failures[0][1]
    assert not Attempt.objects.using(database).exists()
    assert not Worker.objects.using(database).exists()


class OverTwoDatabases(TestCase):
    """Run by `test_…` below."""

    __test__ = False
    databases = {"default", "postgresql"}  # noqa: RUF012 - as Django's own

    def tearDown(self) -> None:
        effects.action = effects.nothing

    def test_an_error_on_the_other_one_ends_with_its_execution(self):
        def break_the_other() -> None:
            effects.write_ledger("default")
            with connections["postgresql"].cursor() as cursor:
                cursor.execute("SELECT no_such_column FROM no_such_table")

        effects.action = break_the_other
        assert performed("default", effects.act).state == "scheduled"
        # What went to the database that is whole has stayed.
        assert Ledger.objects.using("default").count() == 1
        effects.action = lambda: effects.write_ledger("postgresql")
        assert performed("default", effects.act).status == "succeeded"
        assert Ledger.objects.using("postgresql").count() == 1


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql"])
def test_a_testcase_over_two_databases():
    case = type("OverTwo", (OverTwoDatabases,), {})
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun == 1
    assert not result.errors, result.errors[0][1]
    assert not result.failures, result.failures[0][1]


@pytest.mark.parametrize("alias", ["default", "postgresql"])
@pytest.mark.django_db(databases=["default", "postgresql"])
def test_the_transaction_of_a_pytest_fixture_is_such_a_one(alias, acting):
    def break_and_raise() -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM no_such_table")

    acting(break_and_raise)
    failing = enqueued(alias, effects.act, options={"priority": 1})
    after = enqueued(alias, effects.record)
    drain(alias)
    assert [stored(failing).state, stored(after).state] == ["scheduled", "succeeded"]
