# SPDX-License-Identifier: Apache-2.0
"""A host is compared with what is declared in one call, which changes nothing."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.host import bundle_files, drift, firewall, settings
from load_plugin import load_plugin

UNIT = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n"
STARTED = "ExecMainStartTimestamp=Mon 2096-11-23 23:07:54.414592 UTC\n"


class Module:
    """As much of a module as the comparison uses: a host whose containerd runs."""

    def __init__(self, root: Path, *, unit: str = UNIT + STARTED) -> None:
        """Declare a program, a file, a value of the kernel and a service."""
        self.check_mode = True
        self.unit = unit
        self.ran: list[list[str]] = []
        file = {"path": str(root / "config.toml"), "content": "version = 3\n", "mode": "0644", "restart": True}
        self.params: dict[str, t.Any] = {
            "files": [
                {"kind": "runtime", "name": "containerd", "version": "2.3", "path": str(root / "ctrd"), "sha256": "0"}
            ],
            "packages": [],
            "settings": {
                "modules": [],
                "modules_file": str(root / "modules.conf"),
                "sysctls": {"net.ipv4.ip_forward": 1},
                "sysctls_file": str(root / "sysctl.conf"),
                "swap": "leave",
            },
            "firewall": {"state": "open", "master": True, "sources": [], "pod_cidr": "10.244.0.0/16"},
            "services": [
                {
                    "name": "containerd.service",
                    "files": [file],
                    "programs": [str(root / "ctrd")],
                    "start_condition": None,
                }
            ],
        }

    def get_bin_path(self, name: str, **_more: t.Any) -> str | None:
        """Find systemctl and dpkg-query alone."""
        return f"/usr/bin/{name}" if name in ("systemctl", "dpkg-query") else None

    def run_command(self, argv: list[str], **_more: t.Any) -> tuple[int, str, str]:
        """Answer for systemd or dpkg."""
        self.ran.append(argv)
        return (0, self.unit if argv[0].endswith("systemctl") else "socat installed\n", "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host that is as declared."""
    (tmp_path / "ip_forward").write_text("1\n")
    (tmp_path / "sysctl.conf").write_text(settings.sysctls_text({"net.ipv4.ip_forward": 1}))
    (tmp_path / "config.toml").write_text("version = 3\n")
    (tmp_path / "ctrd").write_text("ELF")
    about = (tmp_path / "ctrd").stat()
    stamp = [about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
    (tmp_path / "digests.json").write_text(json.dumps({str(tmp_path / "ctrd"): [*stamp, "0"]}))
    monkeypatch.setattr(bundle_files, "STATE", tmp_path)
    monkeypatch.setattr(settings, "sysctl_path", lambda name: tmp_path / name.rpartition(".")[2])
    monkeypatch.setattr(firewall, "UFW_CONFIGURATION", tmp_path / "ufw.conf")
    return tmp_path


def look(module: Module) -> list[str]:
    """Compare, and see that nothing was asked of systemd but how it is."""
    found = drift.look(t.cast("t.Any", module))
    assert {argv[1] for argv in module.ran if argv[0].endswith("systemctl")} <= {"show"}
    return found


def test_a_host_as_declared_has_no_drift(host: Path) -> None:
    assert look(Module(host)) == []


def test_differences_are_listed_in_the_order_of_repair(host: Path) -> None:
    (host / "ctrd").unlink()
    (host / "ip_forward").write_text("0\n")
    (host / "config.toml").write_text("version = 2\n")
    assert look(Module(host)) == [
        "install containerd 2.3",
        "set net.ipv4.ip_forward to 1",
        f"write {host / 'config.toml'}",
        "restart containerd",
    ]
    assert (host / "config.toml").read_text() == "version = 2\n"
    assert (host / "ip_forward").read_text() == "0\n"


def test_a_stopped_service_is_drift(host: Path) -> None:
    stopped = Module(host, unit=UNIT.replace("ActiveState=active", "ActiveState=inactive"))
    assert look(stopped) == ["start containerd"]


def test_packages_of_the_distribution_are_looked_at_where_the_bundle_has_none(host: Path) -> None:
    module = Module(host)
    module.params["packages"] = ["socat", "ipset"]
    assert look(module) == ["install package ipset"]


def test_a_node_that_the_inventory_does_not_name_is_mentioned() -> None:
    unlisted = load_plugin("action/host_drift").unlisted
    assert unlisted(["Master1", "node1"], ["master1", "node1"]) == []
    [line] = unlisted(["master1"], ["master1", "node1"])
    assert line.startswith("node1 is a node of the cluster and not in the inventory")
