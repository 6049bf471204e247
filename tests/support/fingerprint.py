# SPDX-License-Identifier: Apache-2.0
"""Print all that a host is, as JSON: the tests' own witness of what a run left or changed.

Runs on the host, from standard input, and shares no code with what it is a witness of.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

# What a host writes by itself, and what reaching it leaves.
LEFT_OUT = (
    "/proc", "/sys", "/dev", "/tmp", "/var/tmp", "/run/systemd", "/run/log", "/run/user", "/run/sshd", "/run/utmp",
    "/run/motd.dynamic", "/var/log/journal", "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/var/log/dpkg.log",
    "/var/log/alternatives.log", "/var/log/firewalld", "/var/lib/systemd", "/root/.ansible", "/var/cache/ldconfig",
    "/etc/ld.so.cache", "/var/lib/dpkg", "/var/cache/debconf", "/home/ops/.ansible", "/run/udev", "/run/sudo",
    "/run/mount", "/run/blkid", "/run/initramfs", *sys.argv[1:],
)  # fmt: skip


def files() -> dict[str, str]:
    """Return kind, mode, owner and content of every file, other file systems below included."""
    found: dict[str, str] = {}
    for parent, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if not str(Path(parent, name)).startswith(LEFT_OUT)]
        for name in folders + names:
            path = Path(parent, name)
            if str(path).startswith(LEFT_OUT):
                continue
            try:
                about = path.lstat()
                content = ""
                if stat.S_ISLNK(about.st_mode):
                    content = str(path.readlink())
                elif stat.S_ISREG(about.st_mode):
                    content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            except OSError:
                continue
            found[str(path)] = f"{about.st_mode:o} {about.st_uid}:{about.st_gid} {content}"
    return found


def lines(*argv: str) -> list[str]:
    """Return what a program prints, in order; nothing where there is no such program."""
    try:
        return sorted(subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines())
    except FileNotFoundError:
        return []


print(  # noqa: T201 - this is what it is for
    json.dumps(
        {
            "files": files(),
            "packages": lines("dpkg-query", "--show", "--showformat=${Package} ${Version} ${Status}\n"),
            "units": lines("systemctl", "list-unit-files", "--no-legend", "--no-pager"),
            "running": [
                line.split()[0]
                for line in lines("systemctl", "list-units", "--state=active", "--plain", "--no-legend", "*.service")
            ],
            "failed": lines("systemctl", "list-units", "--failed", "--plain", "--no-legend"),
            "sysctls": {
                name: path.read_text().split() if (path := Path("/proc/sys", name.replace(".", "/"))).exists() else []
                for name in (
                    "net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.ipv4.conf.all.route_localnet",
                    "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.all.forwarding",
                )
            },
            "mounts": sorted(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()),
            "links": sorted(path.name for path in Path("/sys/class/net").iterdir()),
            "routes": lines("ip", "route", "show", "table", "all"),
            "rules": lines("ip", "rule"),
            "tables": Path("/proc/net/ip_tables_names").read_text().split()
            if Path("/proc/net/ip_tables_names").exists()
            else [],
        }
    )
)  # fmt: skip
