"""A row that is copied from a template is what Django would have made field by field."""

from __future__ import annotations

import pickle
from contextlib import nullcontext
from functools import wraps
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from django.db.models import DEFERRED, JSONField, Model
from django.db.models.signals import post_init, pre_init, pre_save
from django.test.utils import isolate_apps

from async_attempts import Arguments, Attempt, call, enqueue_many
from async_attempts.models import AbstractAttempt
from async_attempts.models.new_rows import complete
from async_attempts.models.row_template import adopt_template, template_of
from tests.shop import clients

fulfill = clients.OrderClient.fulfill


def as_django_makes_it(**columns: Any) -> Attempt:
    row = Attempt.__new__(Attempt)
    Model.__init__(row, **columns)
    return row


def as_given(*values: Any, **columns: Any) -> Attempt:
    model: Any = Attempt
    row: Attempt = model(*values, **columns)
    return row


def columns_of(row: Model) -> list[tuple[str, Any]]:
    made_anew = {"_state": None, "id": type(row.pk)}
    return [(name, made_anew.get(name, value)) for name, value in vars(row).items()]


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"target": clients, "method_name": "greet"},
        {"method_args": [1], "subject": None, "metadata": {"a": 1}, "priority": 5},
        {"pk": 7},
    ],
    ids=["nothing", "columns", "properties", "another name"],
)
def test_it_has_the_same_attributes_in_the_same_order(columns):
    quick, slow = columns_of(as_given(**columns)), columns_of(as_django_makes_it(**columns))
    assert dict(quick) == dict(slow)
    assert [name for name, _ in quick[:40]] == [name for name, _ in slow[:40]]


def test_each_has_an_id_a_state_and_metadata_of_its_own():
    one, other = Attempt(), Attempt()
    assert one.pk != other.pk
    assert one._state is not other._state
    assert one.metadata is not other.metadata
    assert one._state.adding


@isolate_apps("tests.shop")
@pytest.mark.parametrize("default", [lambda: {"team": "red"}, None], ids=["made", "constant"])
def test_a_column_of_ours_keeps_the_default_that_a_project_gave_it(default: Any):
    class Owned(AbstractAttempt):
        metadata = JSONField(default=default, null=True)

        class Meta(AbstractAttempt.Meta):
            app_label = "shop"

    model: Any = Owned
    expected = default() if default else None
    assert model().metadata == expected
    assert model(target=clients.greet).metadata == expected
    assert template_of(Owned, clients.greet) is None


def test_an_unknown_column_is_refused_in_djangos_words():
    with pytest.raises(TypeError, match="unexpected keyword arguments: 'nonsense'"):
        as_given(nonsense=1)


def test_who_listens_to_the_making_of_rows_hears_of_it():
    heard = []

    def listen(*, instance: Any, **kwargs: Any) -> None:
        heard.append(instance)

    post_init.connect(listen, sender=Attempt)
    try:
        made = Attempt()
    finally:
        post_init.disconnect(listen, sender=Attempt)
    assert heard == [made]


@isolate_apps("tests.shop")
def test_what_a_listener_puts_on_a_row_is_on_that_row_alone():
    class Tracked(Attempt):
        class Meta:
            proxy = True
            app_label = "shop"

    heard = []

    def track(*, instance: Any, **kwargs: Any) -> None:
        heard.append(instance)
        instance.tracked = True

    post_init.connect(track, sender=Tracked)
    try:
        made = Tracked(target=clients.greet)
        assert adopt_template([made]) is None
    finally:
        post_init.disconnect(track, sender=Tracked)
    assert heard == [made]
    assert not hasattr(Tracked(target=clients.greet), "tracked")


def test_a_row_of_the_database_may_lack_columns():
    values = [DEFERRED if f.attname == "args" else None for f in Attempt._meta.concrete_fields]
    row = as_given(*values)
    assert row.get_deferred_fields() == {"args"}


def test_what_is_due_now_is_read_only_when_somebody_asks(database: str):
    row = call(clients.greet, 1).using(database=database).enqueue()
    assert row.get_deferred_fields() == {"scheduled_at", "created_at"}
    assert row.status == "pending"
    assert row.scheduled_at <= row.created_at


def test_a_pickled_row_has_no_plain_arguments(database: str):
    for row in (
        call(fulfill, order_number=1, customer_token="canary-1").using(database=database).enqueue(),
        *enqueue_many(
            [call(fulfill, order_number=1, customer_token="canary-2").using(database=database)]
        ),
    ):
        assert b"canary" not in pickle.dumps(row)


@pytest.mark.parametrize("options", [{}, {"priority": 7}, {"queue": "emails"}])
def test_each_row_of_a_template_has_its_own_arguments_and_options(database: str, options: Any):
    for number in range(3):
        written = call(clients.greet, number).using(database=database, **options).enqueue()
        row = Attempt.objects.using(database).get(pk=written.pk)
        assert row.method_args == [number]
        columns = {"priority": row.priority, "queue": row.queue}
        assert columns == {"priority": 0, "queue": "default", **options}


def test_a_template_is_forgotten_with_the_settings(database: str, settings: Any):
    call(clients.greet, 1).using(database=database).enqueue()
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "QUEUES": {"other": {}}}
    with pytest.raises(ValueError, match="not declared"):
        call(clients.greet, 1).using(database=database).enqueue()


def test_many_with_equal_arguments_or_without_any(database: str):
    for arguments in (Arguments(1), Arguments(2)):
        calls = [call(clients.greet, *arguments.args).using(database=database)] * 10
        rows = Attempt.objects.using(database).in_bulk([row.pk for row in enqueue_many(calls)])
        assert [row.method_args for row in rows.values()] == [list(arguments.args)] * 10


@pytest.mark.parametrize("options", [{}, {"priority": 7}], ids=["plain", "with options"])
def test_async_code_is_left_nothing_to_read(database: str, options: Any):
    columns: Any = {"target": clients.greet, "database": database, **options}
    arguments = {"method_args": [1]}
    by_call = call(clients.greet, 1).using(database=database, **options)
    unsaved = [by_call.attempt(), by_call.attempt()]
    saved = by_call.attempt()

    async def written() -> list[Attempt]:
        there, _ = await Attempt.objects.aget_or_create(
            idempotence_token="once", defaults=arguments, **columns
        )
        await saved.asave()
        return [
            there,
            saved,
            await by_call.aenqueue(),
            await Attempt.objects.acreate(**columns, **arguments),
            *await Attempt.objects.using(database).abulk_create(unsaved),
        ]

    for row in async_to_sync(written)():
        assert row.get_deferred_fields() == set()
        assert (row.status, row.created) == ("pending", True)


def unsaved(number: int) -> Attempt:
    return as_given(target=clients.greet, method_args=[number])


def test_a_row_of_a_template_is_the_one_that_would_be_filled_in():
    slow = unsaved(1)
    complete(slow)
    template = template_of(Attempt, clients.greet)
    assert template is not None
    quick = template.row(slow.pk, Arguments(1))
    due_now = {"status", "scheduled_at", "created_at", "created", "_state"}
    names = vars(slow).keys() - due_now
    assert vars(quick).keys() - due_now == names
    assert {name: vars(quick)[name] for name in names} == {n: vars(slow)[n] for n in names}
    assert quick.metadata is not template.row(slow.pk, Arguments(1)).metadata
    assert quick._state.adding


@pytest.mark.parametrize("signal", [pre_init, post_init, pre_save])
def test_there_is_no_template_where_a_receiver_may_change_a_row(signal: Any):
    def listen(**kwargs: Any) -> None:
        """Nothing: that it could do something is enough."""

    signal.connect(listen, sender=Attempt)
    try:
        assert template_of(Attempt, clients.greet) is None
    finally:
        signal.disconnect(listen, sender=Attempt)
    assert template_of(Attempt, clients.greet) is not None


@isolate_apps("tests.shop")
def test_a_value_that_only_equals_a_default_is_not_taken_for_it():
    class Levelled(AbstractAttempt):
        level = JSONField(default=1)

        class Meta(AbstractAttempt.Meta):
            app_label = "shop"

    model: Any = Levelled
    rows = [model(target=clients.greet, level=True) for _ in range(2)]
    assert adopt_template(rows) is None
    assert [row.level for row in rows] == [True, True]
    untouched = model(target=clients.greet, method_args=[1])
    assert adopt_template([untouched]) is template_of(model, clients.greet)


@pytest.mark.parametrize("patched", [True, False])
def test_a_save_that_a_test_patches_is_called(database: str, patched: bool):
    saved = []
    save = Attempt.save

    @wraps(save)
    def noted(row: Any, **options: Any) -> None:
        saved.append(row)
        save(row, **options)

    with mock.patch.object(Attempt, "save", noted) if patched else nullcontext():
        row = Attempt.objects.create(target=clients.greet, method_args=[1], database=database)
    assert saved == [row][:patched]
    with mock.patch.object(Attempt, "save") as save_nothing:
        Attempt.objects.create(target=clients.greet, method_args=[1], database=database)
    save_nothing.assert_called_once()


def test_rows_that_were_given_target_and_arguments_alone_share_a_template():
    rows = [unsaved(number) for number in range(3)]
    assert adopt_template(rows) is template_of(Attempt, clients.greet)
    assert [row.method_args for row in rows] == [[0], [1], [2]]


@pytest.mark.parametrize(
    "attributes",
    [
        {"priority": 0},
        {"target": clients.shout},
        {"metadata": {"a": 1}},
        {"loads_defaults": True},
        {"allow_autocommit": True},
        {"status": "failed"},
    ],
    ids=lambda attributes: next(iter(attributes)),
)
def test_a_row_that_was_given_more_shares_none(attributes: Any):
    rows = [unsaved(number) for number in range(3)]
    for name, value in attributes.items():
        setattr(rows[1], name, value)
    assert adopt_template(rows) is None
