# SPDX-License-Identifier: Apache-2.0
"""Kernel modules, sysctl values and swap of a host: compare with what is declared, and change it."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host import originals
from ansible.module_utils.yunkube.host.atomic_file import make_parents, write_atomic
from ansible.module_utils.yunkube.host.state import remember, swap_priorities
from ansible.module_utils.yunkube.host.sysctls import read_sysctl, sysctl_path

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# What a module's argument spec says of them.
SETTINGS_SPEC: dict[str, dict[str, t.Any]] = {
    "modules": {"type": "list", "elements": "str", "default": []},
    "modules_file": {"type": "path", "required": True},
    "sysctls": {"type": "dict", "default": {}},
    "sysctls_file": {"type": "path", "required": True},
    "swap": {"type": "str", "choices": ["off", "leave"], "default": "leave"},
}

HEADER = "# Written by Yunkube for Kubernetes; changes here are overwritten.\n"
FSTAB = Path("/etc/fstab")
# Where units of swap are, also those that fstab knows nothing of: zram, a partition found by its type, one's own.
UNITS = [
    Path(folder)
    for folder in (
        "/etc/systemd/system",
        "/run/systemd/generator",
        "/run/systemd/generator.early",
        "/run/systemd/generator.late",
        "/usr/lib/systemd/system",
    )
]
# Where a feature shows that is no loaded module: built into the kernel, or given to a container.
FEATURES = {"br_netfilter": Path("/proc/sys/net/bridge")}


def swap_units() -> list[str]:
    """Return the units that turn swap on at boot and are not fstab's; none where their target is masked."""
    if (UNITS[0] / "swap.target").resolve() == Path("/dev/null"):
        return []
    found = {unit.name: unit for folder in UNITS for unit in sorted(folder.glob("*.swap"))}
    return [name for name, unit in found.items() if f"SourcePath={FSTAB}\n" not in unit.read_text(errors="replace")]


def is_loaded(name: str) -> bool:
    """Tell whether the kernel has the feature, as a module or of its own."""
    if name in FEATURES:
        return FEATURES[name].exists()
    listed = re.search(rf"\b{re.escape(name)}$", Path("/proc/filesystems").read_text(), re.MULTILINE)
    return listed is not None or Path("/sys/module", name).exists()


def modules_text(modules: list[str]) -> str:
    """Return the file that loads modules at boot."""
    return HEADER + "".join(f"{name}\n" for name in modules)


def sysctls_text(values: dict[str, t.Any]) -> str:
    """Return the file that sets sysctl values at boot."""
    return HEADER + "".join(f"{name} = {value}\n" for name, value in sorted(values.items()))


def without_swap(fstab: str) -> str:
    """Return fstab with its swap commented out."""
    return re.sub(r"^([ \t]*[^#\s]\S*[ \t]+\S+[ \t]+swap\s)", r"# \1", fstab, flags=re.MULTILINE)


class Settings:
    """Compares settings with their declaration, changes them unless in check mode, and records its changes."""

    def __init__(self, module: AnsibleModule) -> None:
        """Work for one call of the module."""
        self.module = module
        self.changes: list[str] = []
        self.diff: list[dict[str, str]] = []

    def write(self, path: Path, wanted: str) -> None:
        """Give a file its text."""
        there = path.read_text() if path.exists() else ""
        if there == wanted:
            return
        self._note(f"write {path}", str(path), there, wanted)
        if not self.module.check_mode:
            make_parents(path)
            originals.keep(path)
            write_atomic(path, wanted)

    def load(self, name: str) -> None:
        """Load a kernel module."""
        if is_loaded(name):
            return
        self._note(f"load kernel module {name}", "kernel modules", "", f"{name}\n")
        if not self.module.check_mode:
            remember("modules", [name])
            self._run(["modprobe", name], f"cannot load the kernel module {name}")

    def set_sysctl(self, name: str, wanted: str) -> None:
        """Set a value of the running kernel."""
        path = sysctl_path(name)
        value = read_sysctl(path)
        if value == wanted:
            return
        self._note(f"set {name} to {wanted}", name, f"{value or '(not there)'}\n", f"{wanted}\n")
        if not self.module.check_mode:
            remember("sysctls", [name])
            path.write_text(wanted)

    def turn_swap_off(self) -> None:
        """Turn off all swap: now, in fstab, and in units that systemd would start at boot."""
        areas = swap_priorities()
        if areas:
            self._note("turn swap off", "swap", "".join(f"{area}\n" for area, _ in areas), "")
            if not self.module.check_mode:
                remember("swaps", [[area, priority] for area, priority in areas])
                self._run(["swapoff", "--all"], "cannot turn swap off")
        if FSTAB.exists():
            there = FSTAB.read_text()
            if there != without_swap(there) and not self.module.check_mode:
                remember("fstab", [there])
            self.write(FSTAB, without_swap(there))
        units = swap_units()
        if units:
            starts = f"mask swap.target, which starts {', '.join(units)}"
            self._note(starts, "swap at boot", "", "swap.target is masked\n")
            if not self.module.check_mode:
                remember("undo", [["systemctl", "unmask", "swap.target"], ["systemctl", "start", "swap.target"]])
                self._run(["systemctl", "mask", "swap.target"], "cannot keep swap off at boot")

    def _note(self, change: str, header: str, before: str, after: str) -> None:
        self.changes.append(change)
        self.diff.append({"before_header": header, "after_header": header, "before": before, "after": after})

    def _run(self, argv: list[str], failure: str) -> None:
        rc, out, err = self.module.run_command(argv)
        if rc != 0:
            self.module.fail_json(msg=f"{failure}: {(err or out).strip()}", changes=self.changes)


def apply(settings: Settings, params: dict[str, t.Any]) -> None:
    """Apply everything, files first: after a killed run, a reboot then brings the right settings."""
    loadable = Path("/proc/modules").exists()
    if params["modules"] and loadable:
        settings.write(Path(params["modules_file"]), modules_text(params["modules"]))
    if params["sysctls"]:
        settings.write(Path(params["sysctls_file"]), sysctls_text(params["sysctls"]))
    for name in params["modules"]:
        settings.load(name)
    for name, value in sorted(params["sysctls"].items()):
        settings.set_sysctl(name, str(value))
    if params["swap"] == "off":
        settings.turn_swap_off()
