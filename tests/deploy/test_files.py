"""The files of `docs/deploy`: well-formed, patient enough, and asking where something answers."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from async_attempts.conf import Settings
from async_attempts.worker.health.server import PATHS
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


HARDENED = {
    "LimitCORE": "0",
    "NoNewPrivileges": "yes",
    "PrivateTmp": "yes",
    "ProtectHome": "yes",
    "ProtectSystem": "strict",
}
EXPOSURE = 35
"""The most that `systemd-analyze security` may find, of 100; without hardening it is 92."""


@pytest.mark.parametrize("name", files.UNITS)
def test_a_unit_dumps_no_core_and_sees_little_of_the_machine(name):
    unit = files.unit(name)
    assert {option: unit.get(option) for option in HARDENED} == HARDENED


@pytest.mark.parametrize("name", files.UNITS)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze isn't installed")
def test_a_unit_exposes_little(name, tmp_path):
    unit = files.written(tmp_path, name, files.here(name))
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize("name", files.UNITS)
def test_a_unit_reads_its_keys_from_a_credential(name):
    unit = files.unit(name)
    credential, path = unit["LoadCredential"].split(":")
    assert path.startswith("/etc/")
    assert unit["Environment"] == f"ATTEMPTS_KEYS_FILE=%d/{credential}"


def test_compose_reads_the_keys_from_a_secret_and_dumps_no_core():
    service = files.service()
    (secret,) = service["secrets"]
    assert service["environment"]["ATTEMPTS_KEYS_FILE"] == f"/run/secrets/{secret}"
    assert "ATTEMPTS_KEYS" not in service["environment"]
    assert service["ulimits"] == {"core": 0}


def test_kubernetes_reads_the_keys_from_a_secret_and_may_write_nothing():
    container, pod = files.container(), files.pod()
    environment = {each["name"]: each.get("value") for each in container["env"]}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "attempts-keys"]
    (volume,) = [each for each in pod["volumes"] if each["name"] == "attempts-keys"]
    assert mount["readOnly"] is True
    assert environment["ATTEMPTS_KEYS_FILE"] == f"{mount['mountPath']}/attempts-keys"
    assert volume["secret"]["items"] == [{"key": "attempts-keys", "path": "attempts-keys"}]
    # The file belongs to root and to this group.
    assert (volume["secret"]["defaultMode"], pod["securityContext"]["fsGroup"]) == (0o440, 10001)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


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
