"""`manage.py demo` keeps what it tells, on each database, and notices when something is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.db import connections

from tests.databases import MARIADB_URL, POSTGRES_URL

BASE: Final = Path(__file__).parents[2]
URLS: Final = {"postgresql": POSTGRES_URL, "mariadb": MARIADB_URL}
NOT_INHERITED: Final = {"DATABASE_URL", "DJANGO_SETTINGS_MODULE", "ATTEMPTS_KEYS", "EXAMPLE_VAR"}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A shop of its own, in SQLite."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    # As for pytest itself: what is installed is tested, not what lies beside manage.py.
    return kept | {"EXAMPLE_VAR": str(tmp_path), "PYTHONSAFEPATH": "1"}


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def run(*command: str) -> subprocess.CompletedProcess[str]:
        python = [sys.executable, *command]
        return subprocess.run(
            python, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    return run


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


def test_the_demo_succeeds_twice_in_a_row(fresh_database, run, tmp_path):
    """The second finds the first's rows and mails, and isn't confused by them."""
    for orders in (1001, 1005):
        demo = run(BASE / "manage.py", "demo")
        assert (demo.returncode, demo.stderr) == (0, "")
        assert f"{orders}  OrderClient.fulfill             succeeded" in demo.stdout
        assert f"{orders + 1}  OrderClient.fulfill             rolled back" in demo.stdout
        assert f"{orders + 3}  OrderClient.declare_at_customs  failed       3 exec" in demo.stdout
        assert "/declarations answers 503" in demo.stdout
        assert "Traceback" not in demo.stdout
        assert "\x1b" not in demo.stdout
    mails = "".join(path.read_text() for path in (tmp_path / "mail").iterdir())
    confirmed = re.findall(r"Order (\d+) is confirmed", mails)
    assert sorted(confirmed) == ["1001", "1003", "1004", "1005", "1007", "1008"]


TAMPERED = """
import shutil
from django.conf import settings
from django.core.management import execute_from_command_line
from example_project.shop.management.commands.demo import Command

run_worker = Command.run_worker

def run_worker_and_send_a_mail_twice(self, warehouse_url):
    run_worker(self, warehouse_url)
    mail = min(settings.MAIL_DIR.iterdir())
    shutil.copy(mail, mail.with_name("again.log"))

Command.run_worker = run_worker_and_send_a_mail_twice
execute_from_command_line(["manage.py", "demo"])
"""


def test_the_demo_names_what_went_wrong(run, environment):
    environment["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
    setup = "import django; django.setup()\n"
    demo = run("-c", setup + TAMPERED)
    assert demo.returncode == 1
    assert re.search(
        r"send_confirmation_email: succeeded .* with 2 mails; .* 1 mail\n", demo.stderr
    )
    assert "Traceback" not in demo.stderr
    assert "all is well" not in demo.stdout


def test_the_demo_says_that_the_database_is_unreachable(run, environment):
    environment["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/nothing"
    demo = run(BASE / "manage.py", "demo")
    assert (demo.returncode, "Traceback" in demo.stderr) == (3, False)
    assert "can't be reached" in demo.stderr


VISIT = """
import sys, django
django.setup()
from django.test import Client
client = Client(headers={"host": "localhost"})
page = client.get("/")
assert page.status_code == 200 and b"ada@example.com" in page.content, page.content
assert client.login(username="demo", password=sys.argv[1])
assert client.get("/admin/").status_code == 200
"""


def test_the_printed_login_opens_the_admin(run, environment):
    demo = run(BASE / "manage.py", "demo")
    found = re.search(r"user demo, password (\S+)", demo.stdout)
    assert found
    environment["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
    visit = run("-c", VISIT, found[1])
    assert (visit.returncode, visit.stderr) == (0, "")
