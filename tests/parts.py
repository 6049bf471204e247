# SPDX-License-Identifier: Apache-2.0
"""Run the parts of the test suite, those that do not disturb each other side by side; `tests/run --help`."""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "artifacts/tests"
SCENARIOS = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))


@dataclass(frozen=True)
class Part:
    """Commands that follow each other, whatever the one before came to."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    seconds: int
    hosts: bool = True  # whether it needs a lab; what does not runs beside the labs, in the time that they wait


@dataclass(frozen=True)
class Outcome:
    """What a part came to."""

    passed: int
    failed: int


PARTS = {
    "lint": [
        Part(
            "lint",
            (
                ("ruff", "check"),
                ("ruff", "format", "--check"),
                ("mypy",),
                # Each with its own conftest.py, so each by itself.
                ("env", "MYPYPATH=molecule", "mypy", "molecule"),
                ("env", "MYPYPATH=tests/support", "mypy", "tests/faults", "tests/parts.py"),
                ("env", "MYPYPATH=tests/support", "mypy", "tests/lifecycle"),
                ("env", "MYPYPATH=tests/support", "mypy", "tests/machines"),
                ("yamllint", "--strict", "."),
                ("ansible-lint", "--offline"),
                ("ansible-config", "validate", "--type", "all"),
            ),
            900,
            hosts=False,
        )
    ],
    "unit": [Part("unit", (("pytest", "tests/unit"),), 3600, hosts=False)],
    "molecule": [Part(f"molecule {name}", (("molecule", "test", "--scenario-name", name),), 900) for name in SCENARIOS],
    "faults": [Part("faults", (("pytest", "tests/faults"),), 1200)],
    "lifecycle": [
        Part(f"lifecycle {path.stem.removeprefix('test_')}", (("pytest", f"tests/lifecycle/{path.name}"),), 2700)
        for path in sorted((ROOT / "tests/lifecycle").glob("test_*.py"))
    ],
    "machines": [
        Part(f"machines {path.stem.removeprefix('test_')}", (("pytest", f"tests/machines/{path.name}"),), 2700)
        for path in sorted((ROOT / "tests/machines").glob("test_*.py"))
    ],
}
# What only --full runs: where processors are emulated, it needs a machine that does nothing else; or it builds the
# programs of another release.
SLOW = (
    "machines cluster", "machines variants", "machines embedded", "lifecycle upgrade", "lifecycle upgrade_masters",
)  # fmt: skip
# What the labs of these roles and of Debian 12 prove as well: it runs with --full, and if its group is named.
REPEATED = ("molecule dashboard", "molecule registry", "molecule web_service", "lifecycle teardown_debian13")
# Parts run side by side: what fails soonest first, then the longest. Two cores carry no third lab, and 128 inotify
# instances no more than eight hosts at once. What needs no hosts runs behind them, with what the labs leave of the
# cores: in a session of its own, as niceness counts within one, and each run of Ansible has its own (sched(7)).
LABS = 2
BEHIND = "3"  # half the weight; with much less, time limits of their own run out
LONGEST = (
    "lifecycle doctor", "lifecycle web_services", "lifecycle plan", "faults", "lifecycle masters", "lifecycle cloud",
    "lifecycle teardown", "lifecycle dashboard", "lifecycle resume", "lifecycle nodes", "lifecycle backup",
    "lifecycle certs", "lifecycle status", "lifecycle offline", "lifecycle ssh", "lifecycle oldest_python",
    "lifecycle teardown_debian13",
    "machines node",  # an emulated machine takes precedence over the lab beside it: Molecule's are short
)  # fmt: skip


class Suite:
    """One run of some parts."""

    def __init__(self, full: bool) -> None:
        """Prepare the place for results."""
        self.environment = os.environ | {
            "PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }
        self.patience = 2 if full else 1
        if full:
            self.environment["YUNKUBE_FULL"] = "1"
        shutil.rmtree(RESULTS, ignore_errors=True)
        RESULTS.mkdir(parents=True)
        self._printing = threading.Lock()
        self._behind: list[subprocess.Popen[bytes]] = []
        self._interrupted = False

    def all_of(self, parts: list[Part], *, alone: bool) -> list[Outcome]:
        """Run parts in their order: `alone` one after the other, else labs side by side, and the rest behind them."""
        if alone:
            return [self.run(part) for part in parts]
        labs, rest = ([part for part in parts if part.hosts == hosts] for hosts in (True, False))
        with concurrent.futures.ThreadPoolExecutor(LABS) as front, concurrent.futures.ThreadPoolExecutor(1) as back:
            slow = back.map(lambda part: self.run(part, behind=bool(labs)), rest)
            try:
                return [*front.map(self.run, labs), *slow]
            except KeyboardInterrupt:
                self._interrupted = True
                back.shutdown(wait=False, cancel_futures=True)
                for process in self._behind:  # which are not of the terminal's session
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGINT)
                raise

    def run(self, part: Part, *, behind: bool = False) -> Outcome:
        """Run one part, show what it printed when it has ended, and count its tests."""
        started = time.monotonic()
        log, report = RESULTS / f"{part.name.replace(' ', '-')}.log", f"{part.name.replace(' ', '-')}"
        self._say(f"-- {part.name} …")
        codes = []
        with log.open("w") as stream:
            for number, command in enumerate(part.commands):
                if self._interrupted:
                    break
                environment = self.environment | {
                    "PYTEST_ADDOPTS": f"--junitxml={RESULTS / report}-{number}.xml -o junit_family=xunit2"
                }
                stream.write(f"$ {' '.join(command)}\n")
                stream.flush()
                codes.append(self._call(command, environment, stream.fileno(), self.patience * part.seconds, behind))
        outcome = count([*RESULTS.glob(f"{report}-*.xml")])
        if any(codes) and not outcome.failed:  # a linter, or what stands around the tests
            outcome = Outcome(outcome.passed, 1)
        said = "FAILED" if outcome.failed else "ok"
        self._say(
            log.read_text(errors="replace").rstrip(), f"== {part.name}: {said}, {time.monotonic() - started:.0f} s"
        )
        return outcome

    def _call(
        self, command: tuple[str, ...], environment: dict[str, str], output: int, seconds: int, behind: bool
    ) -> int:
        with subprocess.Popen(
            # Whoever runs the suite in the background may have it ignore interrupts, which children would inherit.
            ("env", "--default-signal=INT", "nice", "-n", BEHIND, *command) if behind else command,
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=behind,
        ) as process:  # fmt: skip
            if behind:
                self._behind.append(process)
                group = Path(f"/proc/{process.pid}/autogroup")
                if group.exists():
                    group.write_text(BEHIND)
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                os.write(output, f"{command[0]} was stopped after {seconds} s\n".encode())
                return 124

    def _say(self, *texts: str) -> None:
        with self._printing:
            sys.stdout.write("\n".join(texts) + "\n")
            sys.stdout.flush()


def count(reports: list[Path]) -> Outcome:
    """Add up the tests of pytest's reports."""
    passed = failed = 0
    for report in reports:
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 - our own file
            numbers = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
            bad = numbers["failures"] + numbers["errors"]
            failed += bad
            passed += numbers["tests"] - bad - numbers["skipped"]
    return Outcome(passed, failed)


def in_order(chosen: list[str]) -> list[Part]:
    """Return the parts of these names, those that take longest first."""
    order = {name: number for number, name in enumerate(LONGEST)}
    return sorted((part for name in chosen for part in PARTS[name]), key=lambda part: order.get(part.name, len(order)))


def left(chosen: list[Part], *, full: bool, named: bool) -> list[Part]:
    """Return the parts that are to run; `named` are groups that somebody asked for."""
    omitted = () if full else SLOW if named else SLOW + REPEATED
    return [part for part in chosen if part.name not in omitted]


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="tests/run", description="Prove the project.", allow_abbrev=False)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them by default")
    parser.add_argument("--full", action="store_true", help="also what takes longer or disturbs other containers")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    chosen = in_order(options.parts or list(PARTS))
    started = time.monotonic()
    # Some of what only --full has restarts Docker's engine, and with it the hosts of others.
    outcomes = Suite(options.full).all_of(
        left(chosen, full=options.full, named=bool(options.parts)), alone=options.full
    )
    failed = sum(outcome.failed for outcome in outcomes)
    seconds = time.monotonic() - started
    sys.stdout.write(f"All of it took {seconds:.0f} s; logs and reports are in {RESULTS.relative_to(ROOT)}.\n\n")
    sys.stdout.write(f"{sum(outcome.passed for outcome in outcomes)} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
