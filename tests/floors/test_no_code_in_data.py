"""Nothing that is stored can become code: no part of the package has the means."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import async_attempts

PACKAGE = Path(async_attempts.__file__).parent
MODULES = {
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "jsonpickle", "joblib", "shelve"),
    *("marshal", "yaml", "ruamel", "code", "codeop", "runpy"),
}
BUILTINS = {"eval", "exec", "compile", "__import__"}


def means_to_run_data(source: str) -> Iterator[str]:
    """What in `source` could make code of data: imports of modules, uses of builtins."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                imported = [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names):
                imported = [f"{module or ''}.{alias.name}" for alias in names]
            case ast.Constant(str(text)) if text in MODULES:
                imported = [text]
            case ast.Name(name, ast.Load()) if name in BUILTINS:
                imported = []
                yield name
            case ast.Attribute(ast.Name("builtins"), name) if name in BUILTINS:
                imported = []
                yield f"builtins.{name}"
            case _:
                imported = []
        yield from (name for name in imported if MODULES & set(name.split(".")))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, yaml as y",
        "def f():\n    from marshal import loads",
        "from ruamel.yaml import YAML",
        "from celery.utils import pickle",
        "importlib.import_module('pickle')",
        "eval('1')",
        "run = exec",
        "import builtins\nbuiltins.eval('1')",
        "__import__('os')",
        "compile('1', '', 'eval')",
    ],
)
def test_the_search_finds_what_it_is_for(source):
    assert list(means_to_run_data(source))


@pytest.mark.parametrize(
    "source",
    ["import re\nre.compile('x')", "'no pickle here'", "# eval()", "class A:\n    eval = 1"],
)
def test_the_search_finds_nothing_else(source):
    assert not list(means_to_run_data(source))


def test_the_package_has_no_means_to_run_what_is_stored():
    files = sorted(PACKAGE.rglob("*.py"))
    assert PACKAGE / "payload" / "codec.py" in files
    found = {
        str(path.relative_to(PACKAGE)): means
        for path in files
        if (means := list(means_to_run_data(path.read_text(encoding="utf-8"))))
    }
    assert found == {}
