"""The worker performs within a `TestCase`, whose transaction never commits."""

from __future__ import annotations

import unittest

import pytest
from django.db import connections, transaction
from django.test import TestCase

from async_attempts import Attempt
from async_attempts.models import Worker
from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.attempts import drain, enqueued, failures, performed, raising, stored


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

    def test_the_connection_stays_open(self):
        connection = connections[self.alias].connection
        performed(self.alias, effects.record)
        assert connections[self.alias].connection is connection


def test_the_worker_works_within_a_testcase(database):
    case = type("OnDatabase", (WithinTestCase,), {"alias": database, "databases": {database}})
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun == 8
    assert not result.errors, result.errors[0][1]
    assert not result.failures, result.failures[0][1]
    assert not Attempt.objects.using(database).exists()
    assert not Worker.objects.using(database).exists()
