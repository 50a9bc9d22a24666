"""The German translation: complete, compiled, and what people see."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator
from gettext import GNUTranslations
from pathlib import Path

import pytest
from django.utils import translation

import async_attempts
from async_attempts import Attempt
from async_attempts.lifecycle import Status
from tests.roof.admin_pages import LIST, attempt_in, operator, page_of, select

CATALOGUE = Path(async_attempts.__file__).parent / "locale/de/LC_MESSAGES/django.po"
KEYWORD = re.compile(r'^(msg\w+(?:\[\d\])?) (".*")$', re.MULTILINE)
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")


def entries() -> Iterator[dict[str, str]]:
    """The keywords of each entry with their texts; the header comes first."""
    for block in CATALOGUE.read_text(encoding="utf-8").strip().split("\n\n"):
        on_one_line = block.replace('"\n"', "")
        yield {keyword: literal_eval(text) for keyword, text in KEYWORD.findall(on_one_line)}


HEADER, *TEXTS = entries()


@pytest.fixture
def _in_german():
    with translation.override("de"):
        yield


def test_every_text_is_translated():
    assert len(TEXTS) > 100
    assert [text["msgid"] for text in TEXTS if not all(text.values())] == []


def test_no_translation_is_fuzzy_or_obsolete():
    written = CATALOGUE.read_text(encoding="utf-8")
    assert not re.search("^#(,.*fuzzy|~)", written, re.MULTILINE)


def test_translations_keep_the_placeholders():
    """The form for one, which may leave out its number, is not looked at."""
    for text in TEXTS:
        original = text.get("msgid_plural", text["msgid"])
        translated = text.get("msgstr[1]") or text["msgstr"]
        assert sorted(PLACEHOLDER.findall(translated)) == sorted(PLACEHOLDER.findall(original))


def test_the_compiled_catalogue_holds_what_the_source_says():
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        compiled = GNUTranslations(file)
    assert compiled.gettext("") == HEADER["msgstr"]
    for text in TEXTS:
        if "msgid_plural" in text:
            forms = [compiled.ngettext(text["msgid"], text["msgid_plural"], n) for n in (1, 2)]
            assert forms == [text["msgstr[0]"], text["msgstr[1]"]]
        else:
            assert compiled.gettext(text["msgid"]) == text["msgstr"]


def test_the_catalogue_tells_nothing_of_who_made_it_or_where():
    assert not re.search(r"@|/home/|Date:", CATALOGUE.read_text(encoding="utf-8"))


@pytest.mark.usefixtures("_in_german")
def test_the_model_and_its_states_have_german_names():
    assert str(Attempt._meta.verbose_name) == "Versuch"
    assert str(Attempt._meta.verbose_name_plural) == "Versuche"
    assert {status.value: str(status.label) for status in Status} == {
        "scheduled": "geplant",
        "pending": "anstehend",
        "waiting": "wartend",
        "succeeded": "erfolgreich",
        "failed": "fehlgeschlagen",
        "expired": "verfallen",
    }


@pytest.mark.usefixtures("_in_german")
def test_the_admin_speaks_german(db):
    client, attempt = operator(), attempt_in("running")
    assert "übernommen" in client.get(LIST).content.decode()
    page = client.get(page_of(attempt)).content.decode()
    assert ">Fehlschläge</h2>" in page
    assert "in Ausführung: Ausführung 1 von 25 wurde am " in page
    asked = select(client, "expire", attempt, from_page="1")
    assert "<h1>Versuche verfallen lassen?</h1>" in asked.content.decode()
