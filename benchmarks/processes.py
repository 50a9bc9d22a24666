"""The processes that a run starts: workers, and those that must begin together."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

ROOT: Final = Path(__file__).resolve().parents[1]
PATIENCE: Final = 30.0
"""Seconds that a process has to end after SIGTERM."""

Command = Sequence[str]


class ProcessFailedError(Exception):
    """A process ended with an error, or before its time."""


def child(name: str, *arguments: str) -> Command:
    """The command that calls `main` of a module of the benchmarks."""
    return (sys.executable, "-m", "benchmarks.child", name, *arguments)


def manage(*arguments: str) -> Command:
    """The command that runs one of Django's."""
    return (sys.executable, "-m", "django", *arguments)


def run_attempts(alias: str, *options: str) -> Command:
    """The command that runs our worker."""
    return manage("run_attempts", "--verbosity", "0", "--database", alias, *options)


def run(commands: Sequence[Command], environment: Mapping[str, str]) -> None:
    """Run `commands` beside each other to their end. Raises ProcessFailedError."""
    with ExitStack() as stack:
        started = [stack.enter_context(running(command, environment)) for command in commands]
        for process in started:
            process.wait()
            raise_if_failed(process)


@contextmanager
def running(command: Command, environment: Mapping[str, str]) -> Iterator[Process]:
    """Keep `command` running for as long as the block lasts."""
    process = Process(command, environment)
    try:
        yield process
    finally:
        process.end()


class Process:
    """One that was started; what it writes to stderr is kept for the error that tells of it."""

    def __init__(self, command: Command, environment: Mapping[str, str]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `end` closes it
        self.command = command
        self.popen = subprocess.Popen(  # noqa: S603 - our own
            command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def wait(self) -> None:
        self.popen.wait()

    def hear(self) -> str:
        """The next line that it writes. Raises ProcessFailedError if it ends instead."""
        assert self.popen.stdout is not None  # noqa: S101 - for the type checker
        line = self.popen.stdout.readline()
        if not line:
            self.wait()
            raise ProcessFailedError(f"{' '.join(self.command)}: {self.said()}")
        return line.strip()

    def tell(self, line: str) -> None:
        assert self.popen.stdin is not None  # noqa: S101 - for the type checker
        self.popen.stdin.write(f"{line}\n")
        self.popen.stdin.flush()

    def said(self) -> str:
        """The last line of its stderr."""
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return lines[-1] if lines else f"ended with {self.popen.returncode}"

    def family(self) -> list[psutil.Process]:
        """It and all its descendants."""
        parent = psutil.Process(self.popen.pid)
        return [parent, *parent.children(recursive=True)]

    def end(self) -> None:
        """SIGTERM, if it still runs, then SIGKILL to it and its descendants."""
        if self.popen.poll() is None:
            family = self.family()
            self.popen.terminate()
            psutil.wait_procs(family, PATIENCE)
            for left in family:
                if left.is_running():
                    left.kill()
        self.popen.communicate()
        self.errors.close()


def raise_if_failed(process: Process) -> None:
    if process.popen.returncode:
        raise ProcessFailedError(f"{' '.join(process.command)}: {process.said()}")


def together(processes: Sequence[Process], line: str) -> list[str]:
    """Tell all of `processes` at once, when each is ready, and hear what each answers."""
    for process in processes:
        process.tell(line)
    return [process.hear() for process in processes]
