"""The files of `docs/deploy`: the commands that they run, and their paths made to exist here."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import sys
from configparser import ConfigParser, SectionProxy
from pathlib import Path
from typing import Any, Final

import yaml

from tests.examples.documented import ROOT

DEPLOY: Final = ROOT / "docs" / "deploy"
UNITS: Final = ("run_attempts.service", "run_attempts@.service")
QUEUE: Final = "emails"

Words = list[str]


def text(name: str) -> str:
    """What the file says."""
    return (DEPLOY / name).read_text()


def here(name: str) -> str:
    """What it says, with the Python, the project and the user of these tests."""
    said = text(name).replace("/srv/shop/.venv/bin/python", shlex.quote(sys.executable))
    said = said.replace("/srv/shop", str(ROOT))
    ours = getpass.getuser()
    return re.sub(r"^(user=)shop$", rf"\1{ours}", said, flags=re.IGNORECASE | re.MULTILINE)


def unit(name: str) -> SectionProxy:
    """What systemd is to do."""
    return _sections(name)["Service"]


def program() -> SectionProxy:
    """What supervisord is to do."""
    return _sections("supervisord.conf")["program:run_attempts"]


def _sections(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read_string(text(name))
    return parser


def procfile() -> dict[str, str]:
    """The commands by their processes' names."""
    return dict(line.split(": ", 1) for line in text("Procfile").splitlines())


def service() -> dict[str, Any]:
    """What Compose is to do."""
    found: dict[str, Any] = yaml.safe_load(text("compose.yaml"))["services"]["worker"]
    return found


def pod() -> dict[str, Any]:
    """What Kubernetes is to do."""
    deployment = yaml.safe_load(text("kubernetes.yaml"))
    assert deployment["spec"]["selector"]["matchLabels"].items() <= (
        deployment["spec"]["template"]["metadata"]["labels"].items()
    )
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    """The only one of the pod."""
    (found,) = pod()["containers"]
    return dict(found)


def _image() -> Words:
    (command,) = re.findall(r"^CMD (.+)$", text("Dockerfile"), re.MULTILINE)
    return list(json.loads(command))


COMMANDS: Final[dict[str, Words]] = {
    **{name: shlex.split(unit(name)["ExecStart"].replace("%i", QUEUE)) for name in UNITS},
    "supervisord.conf": shlex.split(program()["command"]),
    **{f"Procfile {n}": shlex.split(c) for n, c in procfile().items()},
    "Dockerfile": _image(),
    "compose.yaml": service()["command"],
    "kubernetes.yaml": container()["command"],
}
"""Every command that a file starts, by the file."""


def flags(words: Words) -> Words:
    """What stands behind `manage.py run_attempts`."""
    assert words[1:3] == ["manage.py", "run_attempts"], words
    return words[3:]


def value(words: Words, flag: str) -> str | None:
    """What a flag of a command says."""
    joined = " ".join(words).replace("=", " ").split()
    return joined[joined.index(flag) + 1] if flag in joined else None


def written(directory: Path, name: str, said: str) -> Path:
    """A file there that says this."""
    path = directory / name
    path.write_text(said)
    return path
