"""The guards that `mutations` takes out, and the tests that must notice, are where it looks."""

from __future__ import annotations

import pytest

from tests.faults.forked_pytest import ROOT
from tests.faults.mutations import MUTANTS, without_guard


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_text_is_there_once(mutant):
    assert without_guard(mutant)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_that_must_notice_are_there(mutant):
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()


def test_no_two_have_the_same_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
