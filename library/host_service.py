#!/usr/bin/python
"""Write the files of a systemd service, and have it enabled and running what they say."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_service
short_description: Write a service's files, enable it, start it, and restart it when they are newer than its process
description:
  - Writes the files that differ, each in one step, makes systemd read changed units, enables and starts the service.
  - Restarts it when something that it reads changed after its process started. The host itself says that, so a run
    that is killed between a change and the restart is made good by the next one, where a handler would be forgotten.
author: [The maintainers]
options:
  name: {description: "The unit, such as C(containerd.service).", type: str, required: true}
  files:
    description: The files, in the order in which they are written; missing parent folders are made (0755).
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Where the file stands., type: path, required: true}
      content: {description: The whole text., type: str, required: true}
      mode: {description: "Permissions as an octal string, such as C('0644').", type: str, default: "0644"}
      restart: {description: Whether the service reads it only when it starts., type: bool, default: true}
  programs: {description: What else the process is made of., type: list, elements: path, default: []}
  changed_paths:
    description: Programs that this run changed; in check mode they are still the old ones, so they are named here.
    type: list
    elements: path
    default: []
  start_condition: {description: The service is started only where this path exists., type: path}
attributes:
  check_mode: {support: full, details: [A unit that is not there yet would be enabled and started.]}
  diff_mode: {support: full}
"""

RETURN = r"""
changed_paths: {description: The files that were (or would be) written., returned: always, type: list}
actions: {description: What was (or would be) asked of systemd., returned: always, type: list}
"""

import datetime as dt
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.files import FILES_SPEC, bring

PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "ExecMainStartTimestamp")
RUNNING = ("active", "activating", "reloading")


def parse_show(text: str) -> dict[str, str]:
    """Return the properties that systemctl show prints."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def started_at(unit: t.Mapping[str, str]) -> float:
    """Return when the process started, in seconds since 1970; 0 when it never did."""
    text = unit.get("ExecMainStartTimestamp", "")
    if not text or text == "n/a":
        return 0.0
    time = dt.datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S.%f UTC")
    return time.replace(tzinfo=dt.UTC).timestamp()


def changed_after(paths: t.Iterable[str], moment: float) -> list[str]:
    """Return the files that were put in place after a moment (ctime: mtime may be a build's)."""
    return [path for path in paths if Path(path).exists() and Path(path).stat().st_ctime > moment]


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


class Systemd:
    """One unit of the host's systemd."""

    def __init__(self, module: AnsibleModule) -> None:
        """Speak of the unit that the module is called for."""
        self.module = module
        self.name: str = module.params["name"]
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
        """Ask for one action; end with the service's own words where it does not succeed."""
        argv = [self.systemctl, action] + ([] if action == "daemon-reload" else [self.name])
        rc, _, err = self.module.run_command(argv)
        if rc != 0:
            argv = ["journalctl", "--unit", self.name, "--lines", "20", "--no-pager", "--output", "cat"]
            _, journal, _ = self.module.run_command(argv)
            lines = journal.strip().splitlines() or [err.strip()]
            self.module.fail_json(
                msg=f"systemctl {action} {self.name} failed; its last words: {lines[-1]}", journal=lines
            )


def main() -> None:
    """Compare, then ask systemd."""
    spec: dict[str, dict[str, t.Any]] = {
        "name": {"type": "str", "required": True},
        "files": FILES_SPEC,
        "programs": {"type": "list", "elements": "path", "default": []},
        "changed_paths": {"type": "list", "elements": "path", "default": []},
        "start_condition": {"type": "path"},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    params = module.params
    condition = params["start_condition"]
    may_start = condition is None or Path(condition).exists()
    try:
        written, diff = bring(params["files"], check_mode=module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    systemd = Systemd(module)
    unit = systemd.show()
    if unit.get("LoadState") == "not-found" and not module.check_mode:  # systemd has not read the new unit yet
        systemd.do("daemon-reload")
        unit = systemd.show()
    read_at_start = [file["path"] for file in params["files"] if file["restart"]] + params["programs"]
    stale = changed_after(read_at_start, started_at(unit))
    stale += {*read_at_start} & {*written, *params["changed_paths"]}
    actions = needed_actions(unit, stale=bool(stale), may_start=may_start)
    if not module.check_mode:
        for action in actions:
            systemd.do(action)
    module.exit_json(changed=bool(written or actions), actions=actions, changed_paths=written, diff=diff)


if __name__ == "__main__":
    main()
