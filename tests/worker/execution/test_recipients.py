"""Processes that enqueue and can't read, workers that can, and those who only have a public key."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError
from django.db import connections

from async_attempts import Arguments, Attempt, call, enqueue_many, gather, parallel
from async_attempts.encryption import RecipientCipher, key_id_of, new_recipient
from async_attempts.exceptions import UnknownKey
from async_attempts.models import Schedule
from async_attempts.schedules import enqueue_now
from async_attempts.store import store_for
from tests import recipients
from tests.shop import effects, flows, paced
from tests.worker.helpers.attempts import drain, enqueued, failures, make_due, put, stored
from tests.worker.helpers.processes import until

KEYS = ["AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="]


@pytest.fixture(autouse=True)
def becoming(settings: Any) -> Any:
    """Changes what this process has: at first only what is needed to enqueue."""
    given = settings.ASYNC_ATTEMPTS

    def become(having: dict[str, Any], **more: Any) -> None:
        settings.ASYNC_ATTEMPTS = {**given, **having, **more}

    become(recipients.WEB)
    return become


def enqueue_and_look(database: str, told: Any) -> None:
    """What a web process does that has no private key; writes what it could and couldn't."""
    kept = call(flows.fetch, 4711).using(database=database, keep_result=True).enqueue()
    last = call(flows.fetch, 1).then(flows.increase, by=5).using(database=database).enqueue()
    bulk = enqueue_many(call(flows.fetch, n).using(database=database) for n in range(20))
    burst = [call(paced.reindex, 7).using(database=database).enqueue() for _ in range(3)]
    attempts: Any = Attempt.objects.using(database)
    try:
        secret = attempts.get(pk=kept.pk).method_args
    except UnknownKey as error:
        secret = str(error)
    connections.close_all()
    told.write_text(
        json.dumps(
            {
                "kept": str(kept.pk),
                "last": str(last.pk),
                "bulk": [str(one.pk) for one in bulk],
                "burst": [str(one.pk) for one in burst],
                "read": secret,
            }
        )
    )


@pytest.mark.slow
def test_a_web_process_enqueues_and_a_worker_performs_and_hands_on(
    database: str, workers: Any, tmp_path: Any, becoming: Any
) -> None:
    told = tmp_path / "told.json"
    workers.settings = recipients.WEB
    web = workers.run(partial(enqueue_and_look, database, told))
    assert web.exit_code() == 0, web.output
    did = json.loads(told.read_text())
    assert "no private key for it" in did["read"]
    assert len(set(did["burst"])) == 1

    workers.settings = recipients.WORKER
    worker = workers.start(f"--database={database}", "--skip-checks")
    rows: Any = Attempt._base_manager.using(database)
    until(lambda: rows.filter(status="succeeded").count() == 23, worker)
    kept = rows.get(pk=did["kept"])
    with pytest.raises(UnknownKey):
        kept.stored_result  # noqa: B018 - it is this reading that fails
    becoming(recipients.WORKER)
    assert kept.result(timeout=0) == 4711
    assert rows.get(pk=did["last"]).method_args.kwargs == {"by": 5}
    assert rows.filter(pk__in=did["bulk"], status="succeeded").count() == 20


def test_everything_that_enqueues_works_without_a_private_key(database: str, becoming: Any) -> None:
    flows.noted.clear()
    attempts: Any = Attempt.objects.using(database)
    attempts.create(target=flows.fetch, method_args=[1])
    unsaved: Any = Attempt
    attempts.bulk_create([unsaved(target=flows.fetch, method_args=[n]) for n in (2, 3)])
    enqueue_many(call(flows.fetch, n).using(database=database) for n in (4, 5))
    named = call(flows.fetch, 6).using(database=database, idempotence_token="once")
    assert [named.enqueue().created, named.enqueue().created] == [True, False]
    group = parallel(call(flows.fetch, 7), call(flows.fetch, 8))
    follower = group.then(flows.build).using(database=database).enqueue()
    caught = call(flows.refuse, 9).catch(flows.report).using(database=database).enqueue()
    async_to_sync(call(flows.fetch, 10).using(database=database).aenqueue)()
    becoming(recipients.WORKER)
    drain(database)
    left = attempts.exclude(status="succeeded").exclude(method_name="refuse")
    assert not left.exists(), list(left.values_list("method_name", "status", "reason"))
    assert ("build", [7, 8]) in flows.noted
    assert sorted(value for name, value in flows.noted if name == "fetch") == [*range(1, 9), 10]
    (ending,) = [value for name, value in flows.noted if name == "report"]
    assert ending.message == "the stove is cold"
    assert stored(follower).status == "succeeded"
    assert caught is not None


def test_a_debounced_call_replaces_arguments_that_it_cannot_read(
    database: str, becoming: Any
) -> None:
    first = call(paced.reindex, 1).using(database=database, key="all").enqueue()
    again = call(paced.reindex, 2).using(database=database, key="all").enqueue()
    assert again.pk == first.pk
    becoming(recipients.WORKER)
    assert stored(first).method_args == [2]


def test_people_expire_fail_and_retry_what_they_cannot_read(database: str, becoming: Any) -> None:
    attempts = [enqueued(database, flows.fetch, n) for n in range(3)]
    attempts[0].expire("out of season")
    attempts[1].fail("no more of it")
    for one in attempts[:2]:
        stored(one).retry()
    becoming(recipients.WORKER)
    drain(database)
    assert {stored(one).status for one in attempts} == {"succeeded"}


def test_who_only_waits_is_told_how_it_ended(database: str, becoming: Any) -> None:
    kept = enqueued(database, flows.fetch, 4711, options={"keep_result": True})
    failed = enqueued(database, flows.refuse)
    becoming(recipients.WORKER)
    drain(database)
    becoming(recipients.WEB)
    endings = gather(kept, failed, until="settled", timeout=0)
    assert [ending.status for ending in endings] == ["succeeded", "failed"]
    assert "no private key for it" in endings[1].message
    with pytest.raises(UnknownKey, match="no private key for it"):
        endings[0].result  # noqa: B018 - it is this reading that fails
    with pytest.raises(UnknownKey):
        kept.result(timeout=0)
    with pytest.raises(UnknownKey):
        gather(kept, timeout=0)
    becoming(recipients.WORKER)
    assert gather(kept, timeout=0) == [4711]


def test_results_and_failures_are_sealed_for_the_recipient(database: str, becoming: Any) -> None:
    kept = enqueued(database, flows.fetch, 1, options={"keep_result": True})
    failed = enqueued(database, flows.refuse)
    becoming(recipients.WORKER)
    drain(database)
    known = key_id_of(stored(kept).args)
    assert key_id_of(stored(kept).sealed_result) == known
    (failure,) = failures(failed)
    assert key_id_of(failure.details) == known
    assert failure.message == "the stove is cold"
    becoming(recipients.WEB)
    (failure,) = failures(failed)
    assert "no private key for it" in failure.message


def test_a_worker_without_private_keys_does_not_start(database: str) -> None:
    attempt = enqueued(database, flows.fetch, 1)
    with pytest.raises(CommandError, match=r"\['PRIVATE_KEYS'\] is empty: this process can enq"):
        drain(database)
    assert (stored(attempt).status, stored(attempt).claim_seq) == ("pending", 0)


def test_who_has_the_public_key_only_can_make_no_worker_call_anything(
    database: str, becoming: Any
) -> None:
    """B: may write rows, and has read the public key, but not KEYS."""
    effects.seen.clear()
    attempt = enqueued(database, effects.record, 1)
    forged = enqueued(database, effects.record, 2)
    stranger = RecipientCipher(KEYS, [recipients.PUBLIC])
    sealed = stranger.encrypt(b'[["forged"],{}]', attempt.context("args"))
    genuine = bytes(stored(attempt).args)
    put(attempt, args=genuine[:5] + sealed[5:])
    put(forged, args=stranger.encrypt(b'[["forged"],{}]', forged.context("args")))
    becoming(recipients.WORKER)
    drain(database)
    assert not effects.seen
    assert stored(attempt).status == "failed"
    (failure,) = failures(attempt)
    assert failure.kind == "integrity"
    assert (stored(forged).status, stored(forged).num_attempts) == ("scheduled", 0)
    assert key_id_of(sealed) in stored(forged).reason


def test_what_another_workers_recipient_is_sent_waits_for_it(database: str, becoming: Any) -> None:
    private, public = new_recipient()
    becoming(recipients.WEB, RECIPIENTS=[public])
    attempt = enqueued(database, flows.fetch, 1)
    becoming(recipients.WORKER)
    drain(database)
    assert (stored(attempt).state, stored(attempt).num_attempts) == ("scheduled", 0)
    becoming(recipients.WORKER, PRIVATE_KEYS=[recipients.PRIVATE, private])
    make_due(attempt)
    drain(database)
    assert stored(attempt).status == "succeeded"


def test_a_schedule_of_a_web_process_ticks_in_a_worker(database: str, becoming: Any) -> None:
    row = Schedule(name="weekly", cron="@weekly", timezone="UTC", target="tests.shop.flows.fetch")
    row._state.db = database
    row.seal(Arguments(7))
    store_for(database).put(row)
    with pytest.raises(UnknownKey, match=r"The arguments of schedule .* no private key for it"):
        enqueue_now("weekly", database=database)
    becoming(recipients.WORKER)
    assert enqueue_now("weekly", database=database).method_args == [7]
