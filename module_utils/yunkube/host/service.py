# SPDX-License-Identifier: Apache-2.0
"""A systemd service of a host: compare its files and its process with what is declared, and change them."""

from __future__ import annotations

import datetime as dt
import os
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.files import FILES_SPEC, State, bring, differences, read_state

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# What a module's argument spec says of one.
SERVICE_SPEC: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "required": True},
    "files": FILES_SPEC,
    "programs": {"type": "list", "elements": "path", "default": []},
    "start_condition": {"type": "path"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "ExecMainStartTimestamp", "MainPID")
RUNNING = ("active", "activating", "reloading")


def parse_show(text: str) -> dict[str, str]:
    """Return the properties that systemctl show prints."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


class Start(t.NamedTuple):
    """When a process started, in seconds since 1970."""

    real: float  # by the clock as it is set now
    noted: float  # by the clock as it was set then


def started_at(unit: t.Mapping[str, str], proc: Path = Path("/proc")) -> Start:
    """Return when the main process started; 0 when it never did.

    The kernel counts its ticks since the boot, and nobody sets that clock; the date that systemd noted is wrong where
    the host's clock was set after it.
    """
    text = unit.get("ExecMainStartTimestamp", "")
    if not text or text == "n/a":
        return Start(0.0, 0.0)
    noted = dt.datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=dt.timezone.utc).timestamp()
    try:
        ticks = int((proc / unit.get("MainPID", "0") / "stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return Start(noted, noted)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - (ticks + 1) / os.sysconf("SC_CLK_TCK")
    return Start(time.time() - age, noted)


def changed_after(paths: t.Iterable[str], start: Start) -> list[str]:
    """Return the files that were put in place after a start (ctime: mtime may be a build's)."""
    return [path for path in paths if Path(path).exists() and _is_after(Path(path).stat().st_ctime, start)]


def _is_after(changed: float, start: Start) -> bool:
    """Compare by one clock: a file of the future was written while the clock was fast, as the start may have been."""
    return changed > (start.noted if changed > time.time() else start.real)


def is_of_unit(path: str, name: str) -> bool:
    """Say whether a file is of the unit's definition: its unit file, or a part of it in a folder of its own."""
    return name in (Path(path).name, Path(path).parent.name.removesuffix(".d"))


def needed_actions(unit: t.Mapping[str, str], *, stale: bool, may_start: bool) -> list[str]:
    """Return what to ask of systemd, in order."""
    actions = []
    if unit.get("NeedDaemonReload") == "yes":
        actions.append("daemon-reload")
    if unit.get("UnitFileState") != "enabled":
        actions.append("enable")
    if may_start and unit.get("ActiveState") not in RUNNING:
        actions.append("start")
    elif may_start and stale:
        actions.append("restart")
    return actions


def in_words(written: t.Iterable[str], actions: t.Iterable[str], name: str) -> list[str]:
    """Describe which files are written and which actions systemd performs."""
    unit = name.removesuffix(".service")
    asked = ["reload systemd's units" if do == "daemon-reload" else f"{do} {unit}" for do in actions]
    return [f"write {path}" for path in written] + asked


class Systemd:
    """One unit of the host's systemd."""

    def __init__(self, module: AnsibleModule, name: str) -> None:
        """Speak of the unit of this name."""
        self.module = module
        self.name = name
        self.systemctl = module.get_bin_path("systemctl", required=True)

    def show(self) -> dict[str, str]:
        """Return how the unit is."""
        properties = f"--property={','.join(PROPERTIES)}"
        argv = [self.systemctl, "show", "--timestamp=us+utc", properties, self.name]
        rc, out, err = self.module.run_command(argv, environ_update={"LC_ALL": "C"})
        if rc != 0:
            self.module.fail_json(msg=f"systemd does not answer: {err.strip()}")
        return parse_show(out)

    def do(self, action: str) -> None:
        """Ask for one action; fail with the end of the service's log."""
        argv = [self.systemctl, action] + ([] if action == "daemon-reload" else [self.name])
        rc, _, err = self.module.run_command(argv)
        if rc != 0:
            argv = ["journalctl", "--unit", self.name, "--lines", "20", "--no-pager", "--output", "cat"]
            _, journal, _ = self.module.run_command(argv)
            lines = journal.strip().splitlines() or [err.strip()]
            self.module.fail_json(
                msg=f"systemctl {action} {self.name} failed; end of its log: {lines[-1]}", journal=lines
            )


class Outcome(t.NamedTuple):
    """What was done, or would be."""

    changes: list[str]
    written: list[str]
    diff: list[dict[str, t.Any]]


def bring_service(module: AnsibleModule, service: t.Mapping[str, t.Any], changed_paths: t.Iterable[str]) -> Outcome:
    """Compare, then write and ask systemd, unless the module only looks."""
    if service.get("state") == "absent":
        return _remove(module, service)
    condition = service["start_condition"]
    may_start = condition is None or Path(condition).exists()
    try:
        written, diff = bring(service["files"], check_mode=module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    systemd = Systemd(module, service["name"])
    unit = systemd.show()
    if unit.get("LoadState") == "not-found":  # systemd has not read the new unit yet
        if not module.check_mode:
            systemd.do("daemon-reload")
            unit = systemd.show()
    elif any(is_of_unit(path, service["name"]) for path in written):
        unit["NeedDaemonReload"] = "yes"  # in check mode systemd cannot know it yet
    read_at_start = [file["path"] for file in service["files"] if file["restart"]] + service["programs"]
    stale = changed_after(read_at_start, started_at(unit))
    stale += {*read_at_start} & {*written, *changed_paths}
    actions = needed_actions(unit, stale=bool(stale), may_start=may_start)
    if not module.check_mode:
        for action in actions:
            systemd.do(action)
    return Outcome(in_words(written, actions, systemd.name), written, diff)


def _remove(module: AnsibleModule, service: t.Mapping[str, t.Any]) -> Outcome:
    """Stop a service that is no longer declared, and remove its files; without them, systemd is not asked."""
    there = [Path(file["path"]) for file in service["files"] if Path(file["path"]).exists()]
    if not there:
        return Outcome([], [], [])
    diff = [entry for path in there for entry in differences(str(path), read_state(path), State())[:1]]
    if not module.check_mode:
        systemd = Systemd(module, service["name"])
        unit = systemd.show()
        if unit.get("LoadState") != "not-found":
            # One that was never right, with a time that systemd refuses, is enabled and cannot be stopped.
            if unit.get("LoadState") == "loaded" or unit.get("ActiveState") in RUNNING:
                systemd.do("stop")
            systemd.do("disable")
        for path in there:
            path.unlink()
        systemd.do("daemon-reload")
    changes = [f"disable {service['name']}", *(f"remove {path}" for path in there)]
    return Outcome(changes, [str(path) for path in there], diff)
