"""`manage.py demo` keeps what it tells, on each database, and notices when something is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.db import connections

from tests.databases import MARIADB_URL, POSTGRES_URL

BASE: Final = Path(__file__).parents[2]
URLS: Final = {"postgresql": POSTGRES_URL, "mariadb": MARIADB_URL}
NOT_INHERITED: Final = {
    "DATABASE_URL",
    "DJANGO_SETTINGS_MODULE",
    "ATTEMPTS_KEYS",
    "ATTEMPTS_KEYS_FILE",
    "EXAMPLE_VAR",
}
WIDTH: Final = 100
"""Of the terminal."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environment_of_a_shop(directory: Path) -> dict[str, str]:
    """For a shop of its own, in SQLite."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    # As for pytest itself: what is installed is tested, not what lies beside manage.py.
    return kept | {"EXAMPLE_VAR": str(directory), "PYTHONSAFEPATH": "1"}


def run_in(environment: dict[str, str], *command: str | Path) -> subprocess.CompletedProcess[str]:
    python = [sys.executable, *command]
    return subprocess.run(
        python, env=environment, capture_output=True, text=True, check=False, timeout=180
    )


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_of_a_shop(tmp_path)


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    return partial(run_in, environment)


class Shop(NamedTuple):
    """A shop in which a demo has ended, and what that printed."""

    environment: dict[str, str]
    printed: str


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    environment = environment_of_a_shop(tmp_path_factory.mktemp("shop"))
    return Shop(environment, run_in(environment, BASE / "manage.py", "demo").stdout)


@pytest.fixture
def fresh_database(database: str, environment: dict[str, str]) -> Iterator[None]:
    """An empty database on the server under test, for the demo to migrate."""
    if database not in URLS:
        yield
        return
    name = f"{connections[database].settings_dict['NAME']}_{uuid4().hex[:8]}"
    url = urlsplit(os.environ[URLS[database]])
    environment["DATABASE_URL"] = url._replace(path=f"/{name}").geturl()
    with connections[database].cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield
        cursor.execute(f"DROP DATABASE {name}")


@pytest.mark.slow
def test_the_demo_succeeds_twice_in_a_row(fresh_database, run, tmp_path):
    """The second finds the first's rows and mails, and isn't confused by them."""
    completed: list[str] = []
    for orders in (2, 4):
        demo = run(BASE / "manage.py", "demo")
        assert (demo.returncode, demo.stderr) == (0, "")
        (first,) = re.findall(r"order (\d+)   confirm ", demo.stdout)
        (second,) = re.findall(r"order (\d+)   reserve moon lamp ", demo.stdout)
        (third,) = re.findall(r"order (\d+)   all 8 attempts ", demo.stdout)
        completed += [first, second]
        for line in (
            f"order {first}   confirm              succeeded    1 execution   1 mail",
            f"order {first}   tell_analytics       failed       3 executions  3 requests",
            f"order {first}   ship                 succeeded    2 executions  2 requests, 1 parcel",
            f"order {first}   cancel               expired      0 executions  nothing",
            f"order {second}   reserve moon lamp    failed       1 execution   1 request",
            f"order {second}   ship                 expired      0 executions  nothing",
            f"order {second}   close_the_books      succeeded    1 execution   1 entry of 0.00 EUR",
            f"order {third}   all 8 attempts       rolled back  0 executions  nothing",
            "          send_catalogue       succeeded    2 executions  2 requests, 1 parcel",
            "          20 x send_catalogue  succeeded    1 execution   1 request, 1 parcel",
            f'          send_report          succeeded    1 execution   1 mail "{orders} orders, ',
        ):
            assert f"\n  {line}" in demo.stdout
        assert "execution 1: WorkerLost: its process was lost: ended by SIGKILL" in demo.stdout
        assert "a third request at once, and never had more than 2." in demo.stdout
        assert "Refused: /analytics answers 503" in demo.stdout
        assert "Traceback" not in demo.stdout
        assert "\x1b" not in demo.stdout
        assert max(map(len, demo.stdout.splitlines())) <= WIDTH
    mails = "".join(path.read_text() for path in (tmp_path / "mail").iterdir())
    confirmed = re.findall(r"Order (\d+) is confirmed", mails)
    assert sorted(confirmed) == sorted(completed)
    assert sorted(re.findall(r"sorry about order (\d+)", mails)) == sorted(completed[1::2])


@pytest.mark.slow
def test_the_documentation_shows_what_the_demo_prints(shop):
    page = (BASE / "docs" / "example.md").read_text()
    shown = re.search(r"```text\n(.*?)```", page, re.DOTALL)
    assert shown
    assert timeless(shop.printed) == timeless(shown[1])


def timeless(text: str) -> str:
    """Without what is new each time."""
    return re.sub(r"Next: .*|took .* s|password \S+", "", text)


TAMPERED = """
import shutil
import django; django.setup()
from django.conf import settings
from django.core.management import execute_from_command_line
from example_project.shop.management.commands import demo
from example_project.shop.models import Entry, Order

find = demo.find

def tamper_and_find(promises, warehouse):
    if promises[0].order == 1 and promises[-1].attempt.schedule:  # the last look at all of them
        mail = min(settings.MAIL_DIR.iterdir())
        shutil.copy(mail, mail.with_name("again.log"))
        warehouse.received.append(warehouse.received[0])
        warehouse.received.append(warehouse.received[0]._replace(key="unknown"))
        warehouse.shelf["tea"] += 1
        warehouse.most_at_once = 3
        Entry.objects.create(order=Order.objects.get(pk=2), amount=1)
        Order.objects.create(pk=3, basket={}, amount=0)
    return find(promises, warehouse)

demo.find = tamper_and_find
execute_from_command_line(["manage.py", "demo"])
"""


@pytest.mark.slow
def test_the_demo_names_what_went_wrong(run, environment):
    environment["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
    demo = run("-c", TAMPERED)
    assert demo.returncode == 1
    for wrong in (
        r"\.\w+: succeeded after 1 execution with .*2 mails; it should have: .*1 mail\n",
        r"order 1, .*: \w+ after \d executions? with \d+ requests.*; it should have: ",
        r"order 2, .*\.close_the_books: .* with 1 entry of 0\.00 EUR, 1 entry of 1\.00 EUR",
        r"order 3: is there\n",
        r"the warehouse received what nobody promised: .*'unknown'",
        r"the warehouse: 3 requests at once, not 2 at most",
        r"the warehouse's shelf: \d+ tea, not \d+\n",
    ):
        assert re.search(wrong, demo.stderr), (wrong, demo.stderr)
    assert "Traceback" not in demo.stderr
    assert "All is well" not in demo.stdout


def test_the_demo_says_that_the_database_is_unreachable(run, environment):
    environment["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/nothing"
    demo = run(BASE / "manage.py", "demo")
    assert (demo.returncode, "Traceback" in demo.stderr) == (3, False)
    assert "can't be reached" in demo.stderr


VISIT = r"""
import re, sys, django
django.setup()
from django.test import Client
client = Client(headers={"host": "localhost"})
assert b"ada@example.com" in client.get("/").content
ended = client.get("/orders/2/").content.decode()
assert re.findall(r'<span class="(\w+)">', ended) == sys.argv[2].split(), ended
assert "moon lamp is sold out" in ended
assert "All have ended." in ended and "refresh" not in ended
placed = client.post("/orders/", {"product": ["tea", "hat"]}, follow=True)
assert placed.redirect_chain == [("/orders/3/", 302)]
page = placed.content.decode()
assert '<meta http-equiv="refresh" content="1">' in page and "for 1 of the others" in page, page
assert client.post("/orders/").url == "/"
assert client.login(username="demo", password=sys.argv[1])
assert client.get("/admin/").status_code == 200
"""
STATES_OF_2: Final = "succeeded succeeded failed succeeded failed expired succeeded succeeded"


@pytest.mark.slow
def test_the_pages_show_the_orders_and_the_printed_login_opens_the_admin(shop):
    found = re.search(r"user demo, password (\S+)", shop.printed)
    assert found
    environment = shop.environment | {"DJANGO_SETTINGS_MODULE": "example_project.settings"}
    visit = run_in(environment, "-c", VISIT, found[1], STATES_OF_2)
    assert (visit.returncode, visit.stderr) == (0, "")
