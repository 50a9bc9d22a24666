"""The files of `docs/deploy`: well-formed, patient enough, and asking where something answers."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from async_attempts.conf import Settings
from async_attempts.worker.health import PATHS
from tests.deploy import files

PATIENCE = {
    **{name: files.unit(name)["TimeoutStopSec"] for name in files.UNITS},
    "supervisord.conf": files.program()["stopwaitsecs"],
    "compose.yaml": files.service()["stop_grace_period"].removesuffix("s"),
    "kubernetes.yaml": files.pod()["terminationGracePeriodSeconds"],
    "Procfile worker": 30,  # Heroku's
    "Procfile emails": 30,
}
PROBES = [f"{kind}Probe" for kind in ("startup", "liveness", "readiness")]


@pytest.mark.parametrize("name", PATIENCE)
def test_nothing_is_killed_before_the_worker_gives_up_itself(name):
    shutdown = files.value(files.COMMANDS[name], "--shutdown-timeout")
    assert float(shutdown or 25) + 5 <= float(PATIENCE[name])


@pytest.mark.parametrize("name", files.UNITS)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze isn't installed")
def test_systemd_finds_nothing_wrong_with(name, tmp_path):
    unit = files.written(tmp_path, name, files.here(name))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@pytest.mark.parametrize("name", files.UNITS)
def test_a_unit_leaves_the_children_to_the_supervisor(name):
    unit = files.unit(name)
    assert (unit["Type"], unit["NotifyAccess"]) == ("notify", "main")
    assert (unit["KillMode"], unit["OOMPolicy"]) == ("mixed", "continue")
    assert (unit["Restart"], unit["RestartPreventExitStatus"]) == ("always", "2")
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert float(unit["WatchdogSec"]) > 2 * Settings().LEASE


def test_supervisord_leaves_the_children_to_the_supervisor():
    program = files.program()
    assert (program["stopsignal"], program["stopasgroup"]) == ("TERM", "false")
    assert program["killasgroup"] == "true"


@pytest.mark.parametrize("probe", PROBES)
def test_kubernetes_asks_where_the_worker_answers(probe):
    container = files.container()
    asked = container[probe]["httpGet"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert str(ports[asked["port"]]) == files.value(container["command"], "--health-port")
    assert asked["path"] in PATHS
    assert asked["path"] == ("/readyz" if probe.startswith("readiness") else "/livez")


def test_compose_asks_where_the_worker_answers():
    service = files.service()
    *_, program = service["healthcheck"]["test"]
    ((port, path),) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", program)
    assert port == files.value(service["command"], "--health-port")
    assert path == "/livez"
    compile(program, "compose.yaml", "exec")


def test_the_page_tells_of_every_file():
    page = files.text("README.md")
    linked = set(re.findall(r"\]\(([^)/]+)\)", page))
    there = {path.name for path in files.DEPLOY.iterdir()}
    assert linked == there - {"README.md"}
