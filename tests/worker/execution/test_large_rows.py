"""What is too large for a process isn't fetched: its size is known before its bytes are here."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from async_attempts import call, gather
from async_attempts.exceptions import InvalidArguments
from async_attempts.models.bounds import MAX_METADATA_BYTES
from async_attempts.payload.limits import (
    ENVELOPE_BYTES,
    MAX_RESULT_BYTES,
    MOST_RESULT_BYTES,
    most_args_bytes,
)
from async_attempts.store import store_for
from tests.shop import clients, effects, flows
from tests.store.malformed import without_checks
from tests.store.rows import registered
from tests.worker.helpers.attempts import drain, enqueued, failures, put, stored

LARGE = 3_000_000
HEX = "tests.shop.vault.Hexadecimal"


def claims_of(database):
    store = store_for(database)
    return store.claim(registered(store).pk, ["default"], 10)


def test_arguments_over_the_limit_are_not_claimed(database):
    large, small = (enqueued(database, effects.record) for _ in range(2))
    put(large, args=bytes(LARGE))
    claims = {claim.id: claim.args for claim in claims_of(database)}
    assert claims[large.pk] is None
    assert claims[small.pk] == bytes(stored(small).args)


def test_the_attempt_fails_and_names_size_and_setting(database):
    large, small = (enqueued(database, effects.record) for _ in range(2))
    put(large, args=bytes(LARGE))
    drain(database)
    assert stored(small).status == "succeeded"
    failed = stored(large)
    assert failed.status == "failed"
    assert f"{LARGE} bytes" in failed.reason
    assert "ASYNC_ATTEMPTS['MAX_ARGS_BYTES']" in failed.reason
    assert len(failures(large)) == 1


def test_arguments_at_the_limit_are_claimed(database):
    one = enqueued(database, effects.record)
    put(one, args=bytes(most_args_bytes()))
    [claim] = claims_of(database)
    assert claim.args is not None
    assert len(claim.args) == most_args_bytes()


def test_the_limit_is_that_of_the_settings_in_force(database, settings):
    one = enqueued(database, effects.record)
    put(one, args=bytes(2 * 1_000 + ENVELOPE_BYTES + 1))
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"MAX_ARGS_BYTES": 1_000}
    [claim] = claims_of(database)
    assert claim.args is None


def test_metadata_over_the_limit_are_not_claimed(database):
    with without_checks(database):
        large, small = (enqueued(database, effects.record) for _ in range(2))
        put(large, metadata={"k": "x" * MAX_METADATA_BYTES})
        drain(database)
        assert stored(small).status == "succeeded"
        failed = stored(large)
        assert failed.status == "failed"
        assert f"{MAX_METADATA_BYTES + 9} bytes" in failed.reason
        assert "metadata" in failed.reason


def test_a_result_over_the_limit_is_not_handed_over(database):
    chain = call(flows.fetch, 1).using(database=database).then(flows.increase)
    then = chain.enqueue()
    call_command("run_attempts", once=True, database=database, verbosity=0)
    first = then.dependencies.get().prerequisite
    assert stored(first).status == "succeeded"
    put(first, sealed_result=bytes(LARGE))
    drain(database)
    failed = stored(then)
    assert failed.status == "failed"
    assert f"result of {first.pk} has {LARGE} bytes" in failed.reason


def test_details_of_a_failure_over_the_limit_are_not_fetched(database, caplog):
    one = enqueued(database, effects.fail_at_once, options={"max_attempts": 1})
    drain(database)
    assert "failed for good after 1 execution: " in caplog.text
    failure = failures(one)[0]
    whole = gather(one, timeout=1, until="settled")[0]
    type(failure).objects.using(database).filter(pk=failure.pk).update(details=bytes(LARGE))
    cut = gather(one, timeout=1, until="settled")[0]
    assert (whole.message, cut.message) == ("at once", stored(one).reason)


@pytest.mark.parametrize("size", [MOST_RESULT_BYTES + 1, LARGE])
def test_a_result_over_the_limit_is_not_fetched_by_who_waits(database, size):
    one = enqueued(database, clients.greet, 1, options={"keep_result": True})
    drain(database)
    put(one, sealed_result=bytes(size))
    with pytest.raises(InvalidArguments, match=f"result of {one.pk} has {size} bytes"):
        gather(one, timeout=1)
    # It concerns that one alone.
    other = enqueued(database, clients.greet, 1, options={"keep_result": True})
    drain(database)
    endings = gather(one, other, timeout=1, until="settled")
    assert [ending.succeeded for ending in endings] == [True, True]
    assert endings[1].result == stored(other).stored_result
    with pytest.raises(InvalidArguments, match=f"has {size} bytes"):
        endings[0].result  # noqa: B018


def test_the_largest_values_fit_with_a_cipher_that_stores_text(database, settings):
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "CIPHER": HEX, "MAX_ARGS_BYTES": 60_000}
    size = MAX_RESULT_BYTES - len('""')
    text = "x" * (60_000 - len(f'[["",{size}],{{}}]'))
    chain = call(flows.pad, text, size).using(database=database).then(flows.measure)
    then = chain.enqueue()
    drain(database)
    assert stored(then).status == "succeeded", stored(then).reason
    first = then.dependencies.get().prerequisite
    assert len(gather(first, timeout=1)[0]) == size
