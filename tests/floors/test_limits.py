"""What limits may be: options of a queue in the settings, of a target, and of a call."""

from __future__ import annotations

from uuid import UUID

import pytest

from async_attempts import Attempt, InvalidOption, attemptable, call, enqueue
from async_attempts.conf import limits
from async_attempts.exceptions import InvalidSetting
from async_attempts.limits import Bucket, Limits, Rate
from tests.shop import clients, limited


@pytest.fixture
def read(settings):
    """The limits of a queue with these options."""

    def read(**options):
        queues = {"QUEUES": {"default": options}}
        settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | queues
        return limits()["default"]

    return read


def test_nothing_said_is_no_limit(read):
    assert read() == Limits()
    assert not read(max_pending=5, paused=True, keep={}).of_claims


@pytest.mark.parametrize(
    ("text", "rate", "burst"),
    [
        ("100/m", Rate(100, 60), 1),
        ("5/s", Rate(5, 1), 1),
        ("500/sec", Rate(500, 1), 50),
        ("1/hour", Rate(1, 3600), 1),
        ("10/day", Rate(10, 86_400), 1),
        ("36000/h", Rate(36_000, 3600), 1),
    ],
)
def test_rates(read, text, rate, burst):
    found = read(rate=text)
    assert (found.rate, found.burst, found.of_claims) == (rate, burst, True)
    assert read(rate=text, burst=7).burst == 7


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rate": "100 per minute"}, r"\['default'\]\['rate'\] must be a count and a unit"),
        ({"rate": "0/m"}, r"\['rate'\] must be a count"),
        ({"rate": 100}, r"\['rate'\] must be a count"),
        ({"burst": 5}, r"\['burst'\] belongs to a rate"),
        ({"rate": "1/s", "burst": 0}, r"\['burst'\] must be a whole number, 1 or more"),
        ({"concurrency": 0}, r"\['concurrency'\] must be a whole number"),
        ({"concurrency": True}, r"\['concurrency'\] must be a whole number"),
        ({"concurrency": 20_000}, r"\['concurrency'\] must be at most 10000, not 20000"),
        ({"max_pending": 1.5}, r"\['max_pending'\] must be a whole number"),
        ({"paused": 1}, r"\['paused'\] must be True or False"),
        ({"concurency": 1}, r"\['concurency'\] is unknown; did you mean 'concurrency'"),
    ],
)
def test_what_is_wrong_is_named(read, options, expected):
    with pytest.raises(InvalidSetting, match=expected):
        read(**options)


def test_a_bucket_fills_evenly_up_to_its_burst():
    bucket = Bucket(2.0, 5)
    assert bucket.filled(1.0, 1.5) == 4.0
    assert bucket.filled(1.0, 60) == 5.0
    assert bucket.filled(1.0, -60) == 1.0
    assert (bucket.seconds(0.0), bucket.seconds(0.5), bucket.seconds(3.0)) == (0.5, 0.25, 0.0)


def test_limits_in_words(read):
    found = read(concurrency=2, rate="100/min", burst=3, max_pending=9)
    assert str(found) == "2 at once; 100/m, burst 3; at most 9 pending"
    assert str(read()) == ""


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("target", "arguments", "options", "expected"),
    [
        (clients.send_welcome, (1,), {}, ("", None)),
        (clients.send_welcome, (1,), {"limit_key": "k"}, ("k", 1)),
        (clients.send_welcome, (1,), {"limit_key": 42, "concurrency": 3}, ("42", 3)),
        (clients.send_welcome, (1,), {"limit_key": UUID(int=1)}, (str(UUID(int=1)), 1)),
        (
            clients.send_welcome,
            (1,),
            {"concurrency": 4},
            ("tests.shop.clients.send_welcome", 4),
        ),
        (limited.one_of_two, ("path",), {}, ("tests.shop.limited.one_of_two", 2)),
        (limited.one_of_two, ("path",), {"concurrency": 5}, ("tests.shop.limited.one_of_two", 5)),
        (limited.one_of_two, ("path",), {"limit_key": "k"}, ("k", 2)),
        (limited.one_of_two, ("path",), {"limit_key": False}, ("", None)),
        (limited.fixed_key, (), {}, ("all-of-them", 1)),
        (limited.one_of_a_customer, ("path", 7), {}, ("customer-7", 1)),
        (limited.one_of_a_customer, ("path", 8), {}, ("customer-8", 1)),
        (limited.one_of_a_customer, ("path", 7), {"limit_key": "k"}, ("k", 1)),
        (limited.unless_urgent, (False,), {}, ("slow", 3)),
        (limited.unless_urgent, (True,), {}, ("", None)),
    ],
)
def test_whose_key_it_is(target, arguments, options, expected):
    def said(attempt):
        attempt.refresh_from_db()
        return attempt.limit_key, attempt.concurrency

    made = call(target, *arguments).using(**options)
    assert [said(made.enqueue()) for _ in range(2)] == [expected] * 2
    created = Attempt.objects.create(target=target, method_args=arguments, **options)
    assert said(created) == expected
    if not options:
        assert [said(enqueue(target, *arguments)) for _ in range(2)] == [expected] * 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit_key": "x" * 256}, "limit_key: must have 1 to 255 characters"),
        ({"limit_key": "a\0"}, "limit_key: must have 1 to 255 characters, no NUL"),
        ({"limit_key": True}, "limit_key: must be text, a whole number or a UUID, not a bool"),
        ({"limit_key": object()}, "limit_key: must be text, a whole number or a UUID"),
        ({"concurrency": 0}, "concurrency: must be a whole number from 1 to 10000, not 0"),
        ({"concurrency": True}, "concurrency: must be a whole number"),
        ({"limit_key": False, "concurrency": 2}, "concurrency: limit_key=False turns the limit"),
    ],
)
def test_a_calls_wrong_options_are_named(options, expected):
    with pytest.raises(InvalidOption, match=expected):
        call(clients.send_welcome, 1).using(**options).enqueue()
    assert not Attempt.objects.exists()


@pytest.mark.django_db
def test_a_key_that_cannot_be_made_is_told():
    with pytest.raises(InvalidOption, match=r"limit_key: the function of .* raised ZeroDivision"):
        enqueue(limited.broken_key)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit_key": 5}, "limit_key: must be text, or a function"),
        ({"concurrency": 0}, "concurrency: must be a whole number from 1 to 10000"),
    ],
)
def test_an_authors_wrong_options_are_named(options, expected):
    with pytest.raises(InvalidOption, match=expected):
        attemptable(**options)


def test_a_row_that_exists_keeps_its_key():
    attempt = Attempt(limit_key="k")
    assert attempt.limit_key == "k"
