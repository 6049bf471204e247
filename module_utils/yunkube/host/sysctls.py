# SPDX-License-Identifier: Apache-2.0
"""The kernel's values of a host: where they are, which of them count, and how they are set back."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import typing as t
from pathlib import Path

VOLATILE_SYSCTLS = (
    "*.nf_conntrack_count", "dev.*", "fs.aio-nr", "fs.binfmt_misc.*", "fs.dentry-state", "fs.file-nr", "fs.inode-*",
    "fs.quota.*", "kernel.ns_last_pid", "kernel.perf_event_max_sample_rate", "kernel.pty.nr", "kernel.random.*",
    "kernel.sched_domain.*", "kernel.tainted", "net.ipv4.tcp_fastopen_key", "net.ipv4.tcp_mem", "net.ipv4.udp_mem",
    "net.ipv6.conf.*.stable_secret", "sunrpc.*", "vm.stat_refresh",
)  # fmt: skip
# Values that the kubelet and kube-proxy set when they start, besides those that the inventory names.
KUBERNETES_SYSCTLS = (
    "kernel.keys.root_maxbytes", "kernel.keys.root_maxkeys", "kernel.panic", "kernel.panic_on_oops",
    "net.ipv4.conf.all.route_localnet", "net.ipv4.conf.default.route_localnet", "net.ipv4.vs.*",
    "net.netfilter.nf_conntrack_*", "vm.overcommit_memory", "vm.panic_on_oom",
)  # fmt: skip
# What the kernel changes when the first one is written, "its change resets all configuration parameters":
# https://docs.kernel.org/networking/ip-sysctl.html
FORWARD = "net.ipv4.ip_forward"
FOLLOWING = ("net.ipv4.conf.all.accept_redirects", "net.ipv4.conf.*.forwarding")


def sysctl_path(name: str, root: Path = Path("/proc/sys")) -> Path:
    """Return where the kernel shows a value.

    As sysctl(8) reads a name: its first separator, a dot or a slash, is the one that parts it, and the other one is
    part of a name, such as that of a VLAN (C(net/ipv4/conf/eth0.100/rp_filter)).
    """
    return root / sysctl_name(name).translate(str.maketrans("./", "/."))


def sysctl_name(name: str) -> str:
    """Return a name as a record has it, with dots between its parts."""
    first = re.search(r"[./]", name)
    return name.translate(str.maketrans("./", "/.")) if first and first[0] == "/" else name


def read_sysctl(path: Path) -> str | None:
    """Return a value in single spaces; None where the kernel has no such value (yet)."""
    try:
        return " ".join(path.read_text().split())
    except FileNotFoundError:
        return None


def sysctls(folder: Path) -> dict[str, str]:
    """Return the kernel's values but those that change by themselves; of single interfaces whether they forward.

    Names are as sysctl(8) has them: a dot in the name of an interface is a slash.
    """
    found: dict[str, str] = {}
    for parent, folders, names in os.walk(folder):
        if Path(parent).name == "neigh" or (Path(parent).name == "conf" and Path(parent).parent.name != "ipv4"):
            folders[:] = [name for name in folders if name in ("all", "default")]
        single = Path(parent).parent.name == "conf" and Path(parent).name not in ("all", "default")
        for name in ["forwarding"] if single else names:
            path = Path(parent, name)
            key = str(path.relative_to(folder)).translate(str.maketrans("./", "/."))
            if not matches(key, VOLATILE_SYSCTLS) and (value := _value(path)) is not None:
                found[key] = value
    return found


def restore_sysctls(before: t.Mapping[str, str], names: t.Sequence[str], shared: t.Sequence[str]) -> None:
    """Set the kernel's values of these names back; twice, for those that the kernel changed with another one."""
    for _ in range(2):
        for name, value in changed_sysctls(before, names, shared).items():
            sysctl_path(name).write_text(value)


def changed_sysctls(before: t.Mapping[str, str], names: t.Sequence[str], shared: t.Sequence[str]) -> dict[str, str]:
    """Return those of the values by these names that are not as they were, with what they were."""
    names = [sysctl_name(name) for name in names]
    follow = FORWARD in names and not matches(FORWARD, shared)
    patterns = [*names, *KUBERNETES_SYSCTLS, *(FOLLOWING if follow else ())]
    now = sysctls(Path("/proc/sys"))
    return {
        name: value
        for name, value in before.items()
        if now.get(name, value) != value and matches(name, patterns) and not matches(name, shared)
    }


def _value(path: Path) -> str | None:
    try:
        return " ".join(path.read_text().split()) if path.stat().st_mode & stat.S_IRUSR else None
    except (OSError, ValueError):  # some answer to nobody, or only now and then
        return None


def matches(text: str, patterns: t.Sequence[str]) -> bool:
    """Say whether a text is one of these patterns."""
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
