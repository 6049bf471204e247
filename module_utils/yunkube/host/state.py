# SPDX-License-Identifier: Apache-2.0
"""What a host is, in a form small enough to keep: taken before the first change, compared after the last.

Everything that Kubernetes or Yunkube can leave on a host is looked at. File contents count in /etc alone;
elsewhere names do, as far down as anything of a cluster is put.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import stat
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.sysctls import FOLLOWING, FORWARD, matches, sysctls

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Json = dict[str, t.Any]
Run = t.Callable[[t.Sequence[str]], str]  # runs a program and returns what it prints, nothing where there is none

FOLDER = Path("/var/lib/yunkube")
RECORD = "before.json"
CHANGES = "changes.json"

# Folders, how far down names count in them, and whether contents do.
TREES: tuple[tuple[str, int, bool], ...] = (
    ("/etc", 9, True),
    ("/usr/local", 3, False),
    ("/opt", 3, False),
    ("/usr/libexec", 1, False),
    ("/var/lib", 1, False),
    ("/var/log", 1, False),
    ("/run", 1, False),
    ("/root/.kube", 1, True),
    ("/home/*/.kube", 1, True),
)
# Folders that a cluster fills and others may, too: what they held before has to be known to be left.
SHARED_TREES: tuple[tuple[str, int, bool], ...] = (
    ("/usr/libexec/kubernetes", 2, False),
    ("/var/lib/cni", 2, False),
    ("/var/lib/containerd", 2, False),
    ("/var/lib/etcd", 2, False),
    ("/var/lib/kubelet", 2, False),
    ("/var/log/containers", 1, False),
    ("/var/log/pods", 2, False),
    ("/run/containerd", 2, False),
    ("/run/flannel", 1, False),
    ("/run/netns", 1, False),
    ("/run/nri", 1, False),
)
ALL_TREES = [(tree, depth) for tree, depth, _ in (*TREES, *SHARED_TREES)]
# What goes by itself, as when a container of the host's own ends; mounts of network namespaces, which count as files;
# and the rules of Docker's resolver in a host that is a container, which has other ports after each start.
RESOLVER = ("DOCKER_OUTPUT", "DOCKER_POSTROUTING")
PASSING = (
    "file /run/netns/* is gone", "file /var/lib/cni/* is gone", "mount /run/netns/*",
    *(f"packet filter *{chain}*" for chain in RESOLVER),
)  # fmt: skip
# In the names of chains of programs that run containers. Where the host had some, they come and go with its containers.
ENGINES = ("CNI-", "NETAVARK", "DOCKER")
# What a host writes itself, cluster or not.
VOLATILE_FILES = (
    "/etc/.pwd.lock", "/etc/adjtime", "/etc/group-", "/etc/gshadow-", "/etc/ld.so.cache", "/etc/mtab", "/etc/passwd-",
    "/etc/resolv.conf", "/etc/shadow-", "/run/*.pid", "/run/sudo", "/run/user", "/run/utmp", "/run/reboot-required*",
    "/run/yunkube", "/var/lib/yunkube", "/var/lib/systemd", "/var/log/*.log", "/var/log/*.log.*", "/var/log/*.gz",
    "/var/log/[bw]tmp*", "/var/log/lastlog",
)  # fmt: skip
VOLATILE_MOUNTS = ("/dev*", "/proc*", "/sys*", "/run/credentials*", "/run/user*")


def take(run: Run, cluster: str, cluster_id: str = "", root: Path = Path("/")) -> Json:
    """Return the host's current state."""
    installed, config_files = packages(run)
    return {
        "cluster": cluster,
        "cluster_id": cluster_id,
        "trees": [list(tree) for tree in ALL_TREES],
        "packages": installed,
        "config_files": config_files,
        "units": units(run),
        "active": sorted(line.split()[0] for line in run(["systemctl", "list-units", *PLAIN, *RUNNING]).splitlines()),
        "failed": sorted(line.split()[0] for line in run(["systemctl", "list-units", *PLAIN, "--failed"]).splitlines()),
        "sysctls": sysctls(root / "proc/sys"),
        "modules": sorted(line.split()[0] for line in _text(root / "proc/modules").splitlines()),
        "mounts": mounts(_text(root / "proc/self/mounts")),
        "swaps": swaps(root),
        "links": links(run(["ip", "-json", "-details", "link"])),
        "routes": routes(run(["ip", "-json", "route", "show", "table", "all"])),
        "routes6": routes(run(["ip", "-json", "-6", "route", "show", "table", "all"])),
        "rules": sorted(run(["ip", "rule"]).splitlines()),
        "firewall": firewall(run),
        "files": files(root),
    }


RUNNING = ("--type=service", "--state=active")
PLAIN = ("--no-legend", "--no-pager", "--plain")


def runner(module: AnsibleModule) -> Run:
    """Return what runs programs for `take`: one that is not there, or fails, has nothing to tell."""

    def run(argv: t.Sequence[str]) -> str:
        path = module.get_bin_path(argv[0])
        code, out, _ = module.run_command([path, *argv[1:]]) if path else (1, "", "")
        return out if code == 0 else ""

    return run


def packages(run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """Return the versions of packages that are installed, and of those that left their configuration files."""
    debian = run(["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\n"])
    listing = debian or run(["rpm", "--query", "--all", "--queryformat", "installed %{NAME} %{VERSION}-%{RELEASE}\n"])
    rows = [row for line in listing.splitlines() if len(row := line.split(" ", 2)) == 3 and row[0] != "not-installed"]
    installed = {name: version for state, name, version in rows if state != "config-files"}
    return installed, {name: version for _, name, version in rows if name not in installed}


def units(run: Run) -> dict[str, str]:
    """Return the state of every unit file; what generators and programs make while the host runs aside."""
    rows = (line.split() for line in run(["systemctl", "list-unit-files", *PLAIN]).splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1 and row[1] not in ("generated", "transient", "alias")}


def mounts(text: str) -> list[str]:
    """Return the mount points out of /proc/self/mounts."""
    points = {line.split()[1].replace("\\040", " ") for line in text.splitlines()}
    return sorted(point for point in points if not matches(point, VOLATILE_MOUNTS))


def swaps(root: Path = Path("/")) -> list[str]:
    """Return the areas that are swapped to."""
    return [area for area, _ in swap_priorities(root)]


def swap_priorities(root: Path = Path("/")) -> list[tuple[str, int]]:
    """Return the areas that are swapped to, each with its priority; negative: the kernel's choice (swapon(8))."""
    rows = (line.split() for line in _text(root / "proc/swaps").splitlines()[1:])
    return [(row[0], int(row[-1])) for row in rows]


def links(text: str) -> list[str]:
    """Return the network links; of pairs only those that hang on nothing, as others come and go with containers."""
    found = json.loads(text or "[]")
    return sorted(
        link["ifname"]
        for link in found
        if not ("master" in link and link.get("linkinfo", {}).get("info_kind") == "veth")
    )


def routes(text: str) -> list[str]:
    """Return the ways to other machines, out of ip's JSON."""
    found = json.loads(text or "[]")
    keys = ("gateway", "dev", "table", "metric")
    lines = [
        " ".join([route["dst"], *(f"{key} {route[key]}" for key in keys if key in route)])
        for route in found
        if route.get("type", "unicast") == "unicast" and "expires" not in route
    ]
    return sorted(lines)


def firewall(run: Run) -> list[str] | None:
    """Return the rules of the packet filter without counters, a line each; None if no program can list them."""
    nft = run(["nft", "--json", "list", "ruleset"])
    legacy = [run([f"{name}-legacy-save"]) for name in ("iptables", "ip6tables")]
    if not nft and not any(legacy):
        return None
    lines = nft_lines(json.loads(nft)["nftables"] if nft else [])
    return sorted(lines + [line for text in legacy for line in legacy_lines(text)])


def nft_lines(ruleset: list[Json]) -> list[str]:
    """Return nft's objects as lines, in words that do not change with counters and handles."""
    lines = []
    for entry in ruleset:
        ((kind, about),) = entry.items()
        if kind == "metainfo":
            continue
        place = " ".join(str(about[key]) for key in ("family", "table", "chain") if key in about)
        rest = {key: value for key, value in about.items() if key not in ("family", "table", "chain")}
        lines.append(f"nft {kind} {place} {json.dumps(_without_counters(rest), sort_keys=True)}")
    return lines


def _without_counters(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in ("bytes", "handle", "index", "packets")}
        return {key: _without_counters(item) for key, item in kept.items()}
    if isinstance(value, list):
        return [_without_counters(item) for item in value]
    return value


def legacy_lines(text: str) -> list[str]:
    """Return the rules and chains of iptables-legacy-save; a built-in chain counts when it denies."""
    lines, table = [], ""
    for line in text.splitlines():
        table = line[1:] if line.startswith("*") else table
        if line.startswith("-A") or (line.startswith(":") and " ACCEPT " not in line):
            rule = re.sub(r" ?\[\d+:\d+\]", "", line)
            lines.append(f"iptables {table} {rule}")
    return lines


def files(root: Path) -> dict[str, str]:
    """Return mode and, in /etc, digest of everything in the folders of TREES and SHARED_TREES."""
    found: dict[str, str] = {}
    for pattern, depth, contents in (*TREES, *SHARED_TREES):
        for top in sorted(root.glob(pattern.lstrip("/"))):
            _walk(top, root, depth, contents, found)
    return found


def is_recorded(path: Path, trees: t.Iterable[tuple[str, int]] | None = None) -> bool:
    """Say whether a record would hold this path if it were there."""
    return any(
        len(path.parts) - len(Path(tree).parts) in range(1, depth + 1) and fnmatch.fnmatchcase(str(path), f"{tree}/*")
        for tree, depth in (ALL_TREES if trees is None else trees)
    )


def trees_of(record: Json) -> list[tuple[str, int]]:
    """Return which folders a record looked into, and how far down; older ones do not say it."""
    trees = record.get("trees")
    return [(tree, depth) for tree, depth in trees] if trees else [(tree, depth) for tree, depth, _ in TREES]


def _walk(folder: Path, root: Path, depth: int, contents: bool, found: dict[str, str]) -> None:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        name = f"/{path.relative_to(root)}"
        if matches(name, VOLATILE_FILES):
            continue
        found[name] = about(path, contents)
        if depth > 1 and path.is_dir() and not path.is_symlink():
            _walk(path, root, depth - 1, contents, found)


def about(path: Path, contents: bool) -> str:
    """Return what is kept of a file, a folder or a symbolic link."""
    state = path.lstat()
    if stat.S_ISLNK(state.st_mode):
        return f"-> {path.readlink()}"
    if stat.S_ISDIR(state.st_mode):
        return f"{stat.S_IMODE(state.st_mode):o}/"
    if contents and stat.S_ISREG(state.st_mode) and state.st_size < 1 << 20:
        return f"{stat.S_IMODE(state.st_mode):o} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    return f"{stat.S_IMODE(state.st_mode):o}"


def differences(before: Json, after: Json, shared_sysctls: t.Sequence[str], accept: t.Sequence[str]) -> list[str]:
    """Return in words how the host differs from its record; `accept` holds patterns of lines that are known."""
    lines = [*_packages(before, after), *_pairs("unit", before, after, "units")]
    lines += [f"unit {name} failed" for name in after["failed"] if name not in before["failed"]]
    shared = [*shared_sysctls, *(FOLLOWING if matches(FORWARD, shared_sysctls) else ())]
    lines += [
        f"sysctl {key} was {value}, is {after['sysctls'][key]}"
        for key, value in before["sysctls"].items()
        if key in after["sysctls"] and after["sysctls"][key] != value and not matches(key, shared)
    ]
    for what, key in (
        ("mount", "mounts"), ("swap", "swaps"), ("link", "links"), ("route", "routes"), ("route", "routes6"),
        ("routing rule", "rules"),
    ):  # fmt: skip
        lines += _lists(what, before[key], after[key])
    if before["firewall"] is not None and after["firewall"] is not None:
        own = [line for line in before["firewall"] if not any(chain in line for chain in RESOLVER)]
        engines = [name for name in ENGINES if any(name in line for line in own)]
        rules = _lists("packet filter", before["firewall"], after["firewall"])
        lines += [line for line in rules if not any(name in line for name in engines)]
    trees = trees_of(before)
    files_now = {name: state for name, state in after["files"].items() if is_recorded(Path(name), trees)}
    lines += _pairs("file", before, {"files": files_now}, "files")
    return [line for line in lines if not matches(line, (*PASSING, *accept))]


def _packages(before: Json, after: Json) -> list[str]:
    """Compare packages; of those that left configuration files, only new ones count: the files are compared anyway."""
    left = {
        name: version
        for name, version in after.get("config_files", {}).items()
        # Records of earlier releases hold these among the others.
        if "config_files" not in before or name not in {**before["config_files"], **before["packages"]}
    }
    return _pairs("package", before, {"packages": {**left, **after["packages"]}}, "packages")


def _pairs(what: str, before: Json, after: Json, key: str) -> list[str]:
    was, now = before[key], after[key]
    lines = [f"{what} {name} is left" for name in now if name not in was]
    lines += [f"{what} {name} is gone" for name in was if name not in now]
    changed = [name for name, state in now.items() if was.get(name, state) != state]
    return lines + [f"{what} {name} was {was[name]}, is {now[name]}" for name in changed]


def _lists(what: str, was: list[str], now: list[str]) -> list[str]:
    left = [f"{what} {entry} is left" for entry in now if entry not in was]
    return left + [f"{what} {entry} is gone" for entry in was if entry not in now]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


# What is kept on the host.


def read_record(folder: Path | None = None) -> Json | None:
    """Return the record of the host's former state, None if there is none."""
    text = _text((folder or FOLDER) / RECORD)
    return json.loads(text) if text else None


def write_record(record: Json, where: Path | None = None) -> int:
    """Write a record, readable by root only; return its size."""
    folder = where or FOLDER
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    text = json.dumps(record, separators=(",", ":"))
    write_atomic(folder / RECORD, text, mode=0o600)
    return len(text)


def complete_record(run: Run) -> None:
    """Add the packet filter to a record that was taken before any program was there to list it."""
    record = read_record()
    if record is not None and record["firewall"] is None:
        record["firewall"] = firewall(run)
        write_record(record)


def read_changes(folder: Path | None = None) -> Json:
    """Return what was changed.

    Packages, kernel modules and settings by name, undoing commands, fstab's old text, areas of swap with priorities.
    """
    return {
        "packages": [],
        "modules": [],
        "sysctls": [],
        "undo": [],
        "fstab": [],
        "swaps": [],
        **json.loads(_text((folder or FOLDER) / CHANGES) or "{}"),
    }


def remember(kind: str, entries: t.Sequence[t.Any], where: Path | None = None) -> None:
    """Note a change before it is made, so that a run that is killed in between has noted it."""
    folder = where or FOLDER
    changes = read_changes(folder)
    new = [entry for entry in entries if entry not in changes[kind]]
    if new:
        changes[kind] += new
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomic(folder / CHANGES, json.dumps(changes), mode=0o600)


def forget(kind: str, entries: t.Sequence[t.Any], where: Path | None = None) -> None:
    """Drop changes that were taken back, after that."""
    folder = where or FOLDER
    changes = read_changes(folder)
    if any(entry in changes[kind] for entry in entries):
        changes[kind] = [entry for entry in changes[kind] if entry not in entries]
        write_atomic(folder / CHANGES, json.dumps(changes), mode=0o600)
