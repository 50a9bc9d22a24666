"""pytest in forks of a process that has imported what all of them need, each with its own package.

Starting Python and pytest, and importing Django, would take most of the time of a short run.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from compileall import compile_dir
from importlib import import_module
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "async_attempts"
FORKS: Final = multiprocessing.get_context("forkserver")


def prepare(directory: Path) -> None:
    """Set the environment of all forks, and compile the package; before the first of them."""
    os.environ |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        # The current directory doesn't come before a copy of the package.
        "PYTHONSAFEPATH": "1",
        # Bytecode of these runs alone: all share that of the tests.
        "PYTHONPYCACHEPREFIX": str(directory / "bytecode"),
    }
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Not on import: the tests' own workers are forked from another process.
    FORKS.set_forkserver_preload(["tests.faults.preloaded"])
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"]
    compile_dir(ROOT / PACKAGE, quiet=1)


def bytecode_of(path: Path) -> Path:
    """Where Python keeps it, of a module or a directory."""
    if path.suffix == ".py":
        return Path(cache_from_source(path))
    return Path(cache_from_source(path / "any.py")).parent


def share_bytecode(place: Path) -> None:
    """Have the copy of the package in `place` compiled, as long as a module isn't changed there."""
    shutil.copytree(
        bytecode_of(ROOT / PACKAGE), bytecode_of(place / PACKAGE), copy_function=os.link
    )


def ended(arguments: list[str], place: Path, output: Path, timeout: float) -> bool:
    """Run pytest with the package in `place` before any other, for at most these seconds."""
    child = FORKS.Process(target=_run, args=(arguments, place, output))
    child.start()
    child.join(timeout)
    if child.exitcode is not None:
        return True
    child.kill()
    return False


def done(work: Callable[..., object], *arguments: object) -> None:
    """Do this in a fork. Raises RuntimeError if it fails."""
    child = FORKS.Process(target=work, args=arguments)
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"{work.__name__} ended with {child.exitcode}")


def _run(arguments: list[str], place: Path, output: Path) -> None:
    """Be `python -m pytest`."""
    for number, file in ((0, os.devnull), (1, output), (2, output)):
        os.dup2(os.open(Path(file), os.O_RDWR | os.O_CREAT), number)
    first = str(place)
    os.environ["PYTHONPATH"] = os.pathsep.join([first, os.environ["PYTHONPATH"]])
    sys.path.insert(0, first)
    # pytest imports the tests' modules anew, and has them say what they assert.
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.modules["__main__"] = import_module("pytest.__main__")
    sys.argv = ["pytest", *arguments]
    os.chdir(ROOT)
    if (place / PACKAGE).exists():
        found = find_spec(PACKAGE)
        assert PACKAGE not in sys.modules
        assert found, PACKAGE
        assert Path(str(found.origin)).is_relative_to(place), found
    pytest.main(arguments)
