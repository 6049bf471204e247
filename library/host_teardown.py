#!/usr/bin/python
"""Ansible module: take the cluster off a host that stays."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_teardown
short_description: Remove Kubernetes from a host, and nothing else
description:
  - Ends pods, stops and disables the services, removes the named files, folders and network links, and undoes what the
    record of M(host_record) and the notes beside it tell of - packages, kernel settings, openings of a firewall, swap.
  - Of the packet filter only the chains with the given prefixes go, the rules that jump to them, and tables that were
    not there before and are empty.
  - Ends with an audit. The host is compared with its record; every difference fails the module, and the record stays
    until there is none.
  - Leaves the cluster's other hosts alone; etcd's members are not told, as all of them go.
options:
  cluster: {description: "Name of the cluster; a host of another one is refused", type: str, required: true}
  cluster_id: {description: "Id of the cluster; a host of another one is refused", type: str, required: true}
  adopt: {description: "Take off a cluster of which there is no record, too", type: bool, default: false}
  services: {description: Units to stop and disable, type: list, elements: str, required: true}
  paths: {description: Files and folders to remove, type: list, elements: path, required: true}
  links: {description: Network links to delete, type: list, elements: str, default: []}
  chain_prefixes: {description: How the chains begin that go, type: list, elements: str, default: []}
  nft_tables: {description: Tables of nftables that go, type: list, elements: str, default: []}
  shared_sysctls:
    description: Patterns of settings that are not the host's alone
    type: list
    elements: str
    default: []
  accept: {description: Patterns of differences that are known and fine, type: list, elements: str, default: []}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: [Yunkube]
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
faults: {description: Why the host is refused, returned: in check mode, type: list, elements: dict}
audit: {description: "C(passed), or C(none) without a record", returned: always, type: str}
"""

import fnmatch
import json
import os
import shlex
import shutil
import signal
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube import host_state, identity
from ansible.module_utils.yunkube.settings import without_swap
from ansible.module_utils.yunkube.store import write_atomic

FILTERS = ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy")
# Tables and chains that iptables makes in nftables when it writes its first rule, and leaves.
NFT_TABLES = ("filter", "nat", "mangle", "raw", "security")

# A host that is a member of some cluster.
KUBELET_CONF = Path("/etc/kubernetes/kubelet.conf")
FSTAB = Path("/etc/fstab")
NETWORKS = Path("/run/netns")
PAST = "run the same again when that is mended"


class TeardownError(Exception):
    """Something would not go; the message says what."""


def without_chains(saved: str, prefixes: t.Sequence[str]) -> str:
    """Return what iptables-restore --noflush needs to remove the chains, out of what iptables-save said."""
    script: list[str] = []
    table = ""
    jumps: list[str] = []
    chains: list[str] = []
    for line in saved.splitlines():
        words = shlex.split(line, comments=True)
        if line.startswith("*"):
            table, jumps, chains = line, [], []
        elif line.startswith(":") and _is_ours(words[0][1:], prefixes):
            chains.append(words[0][1:])
        elif line.startswith("-A ") and not _is_ours(words[1], prefixes) and _is_ours(_target(words), prefixes):
            jumps.append(f"-D {line.removeprefix('-A ')}")
        elif line == "COMMIT" and (jumps or chains):
            # All are emptied before the first is removed: they jump to each other.
            script += [table, *jumps, *(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains), line]
    return "".join(f"{line}\n" for line in script)


def _is_ours(chain: str, prefixes: t.Sequence[str]) -> bool:
    return chain.startswith(tuple(prefixes))


def _target(words: list[str]) -> str:
    for option in ("-j", "-g"):
        if option in words[:-1]:
            return words[words.index(option) + 1]
    return ""


def chains_of(script: str) -> list[str]:
    """Return the chains that such a script removes."""
    return [line.removeprefix("-X ") for line in script.splitlines() if line.startswith("-X ")]


def mounts_below(mounts: str, paths: t.Sequence[str]) -> list[str]:
    """Return the mount points at or below the paths, the deepest first, out of /proc/self/mounts."""
    points = [line.split()[1].replace("\\040", " ") for line in mounts.splitlines()]
    inside = [point for point in points if any(point == path or point.startswith(f"{path}/") for path in paths)]
    return sorted(inside, key=len, reverse=True)


def matches(name: str, patterns: t.Iterable[str]) -> bool:
    """Say whether a name is like one of the patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def nft_leftovers(ruleset: list[host_state.Json], before: t.Container[str]) -> list[list[str]]:
    """Return what nft is asked to delete: built-in chains and tables of iptables, empty and not there before."""
    used, own_chains, kept = set(), [], set()
    for entry in ruleset:
        ((kind, about),) = entry.items()
        if kind == "metainfo":
            continue
        table = (about["family"], about["name"] if kind == "table" else about["table"])
        if kind == "rule":
            used.add((*table, about["chain"]))
        elif kind == "chain" and "hook" in about and about.get("policy") == "accept" and table[1] in NFT_TABLES:
            own_chains.append((*table, about["name"], host_state.nft_lines([entry])[0]))
        elif kind != "table" or host_state.nft_lines([entry])[0] in before or table[1] not in NFT_TABLES:
            kept.add(table)
    chains = [chain[:3] for chain in own_chains if chain[3] not in before and chain[:3] not in used]
    kept |= {table[:2] for table in used} | {chain[:2] for chain in own_chains if chain[:3] not in chains}
    tables = dict.fromkeys((about["table"]["family"], about["table"]["name"]) for about in ruleset if "table" in about)
    gone = [table for table in tables if table not in kept]
    commands = [["delete", "chain", *chain] for chain in chains if chain[:2] not in gone]
    return commands + [["delete", "table", *table] for table in gone]


class Host:
    """What there is of the cluster on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        """Look at everything and change nothing."""
        self.module = module
        self.run_quietly = host_state.runner(module)
        params = module.params
        self.record = host_state.read_record()
        self.changes = host_state.read_changes()
        self.services = [name for name in params["services"] if self._is_there(name)]
        known = self.record["files"] if self.record else {}
        self.paths = [path for path in params["paths"] if is_left(Path(path)) and known.get(path, "/").endswith("/")]
        self.links = [link for link in params["links"] if Path("/sys/class/net", link).exists()]
        self.filters = self._filters(params["chain_prefixes"])
        tables = self.run_quietly(["nft", "list", "tables"]).splitlines()
        self.nft_tables = [table for table in params["nft_tables"] if f"table {table}" in tables]
        self.networks = sorted(NETWORKS.glob("cni-*"))
        self.packages = self._packages()
        self.sysctls = self._sysctls()

    def fault(self) -> dict[str, str] | None:
        """Return why the host is not touched: it belongs to a cluster that Yunkube did not make, or to another one."""
        remedy = "take it off by what made it, or add --adopt (teardown_adopt) to take it off all the same"
        ours = self.module.params["cluster"]
        if self.record is None and KUBELET_CONF.exists():
            message = "is a member of a cluster that Yunkube did not make: there is no record of what it was before"
            return {"check": "other cluster", "message": message, "remedy": remedy}
        return identity.fault(self.record, ours, self.module.params["cluster_id"]) if self.record is not None else None

    def found(self) -> list[str]:
        """Return what is to be done, a line each; nothing on a host that has no cluster of ours."""
        if self.record is None and not self.module.params["adopt"]:
            return []
        lines = [f"undo: {shlex.join(argv)}" for argv in self.changes["undo"]]
        lines += [f"remove service {name}" for name in self.services]
        lines += [f"remove link {link}" for link in self.links]
        lines += [f"remove pod network {path.name}" for path in self.networks]
        lines += [
            f"remove {program} chain {chain}" for program, text in self.filters.items() for chain in chains_of(text)
        ]
        lines += [f"remove nftables table {table}" for table in self.nft_tables]
        lines += [f"remove {path}" for path in self.paths]
        lines += [f"set {name} back to {value}" for name, value in self.sysctls.items()]
        lines += [f"remove package {name}" for name in self.packages]
        return [*lines, "compare the host with its record"]

    def remove(self) -> None:
        """Remove it, what runs first, and what needs a program of ours before that program."""
        for argv in self.changes["undo"]:
            self._run(*argv)
        if "kubelet.service" in self.services:
            self._run("systemctl", "disable", "--now", "kubelet.service")  # else it starts the pods again
        end_pods()
        for name in self.services:
            self._run("systemctl", "disable", "--now", name)
        self._end_slices()
        for link in self.links:
            self._run("ip", "link", "delete", link)
        # Again, as pods that ended last may have changed them.
        for program, script in self._filters(self.module.params["chain_prefixes"]).items():
            self._run(f"{program}-restore", "--noflush", data=script)
        for table in self.nft_tables:
            self._run("nft", "delete", "table", *table.split())
        self._remove_empty_tables()
        self._remove_paths()
        for name in self.changes["modules"]:
            self.run_quietly(["modprobe", "--remove", name])  # says no where something else uses it
        for name, value in self._sysctls().items():
            Path("/proc/sys", name.replace(".", "/")).write_text(value)
        self._bring_swap_back()
        self.firewall = host_state.firewall(self.run_quietly)
        self._remove_packages()
        self._run("systemctl", "daemon-reload")
        self.module.run_command(["systemctl", "reset-failed", *self.services])

    def audit(self) -> list[str]:
        """Return how the host differs from what it was."""
        if self.record is None:
            return []
        now = host_state.take(self.run_quietly, "")
        now["firewall"] = self.firewall  # as nft may be among the packages that went
        return host_state.differences(
            self.record, now, self.module.params["shared_sysctls"], self.module.params["accept"]
        )

    firewall: list[str] | None = None

    def _end_slices(self) -> None:
        """Let systemd forget the pods' slices, where it keeps them; the groups of others are gone by now."""
        if Path("/run/systemd/system").is_dir() and "ActiveState=active" in self._show("kubepods.slice"):
            self._run("systemctl", "stop", "kubepods.slice")

    def _remove_empty_tables(self) -> None:
        if self.record is None or self.record["firewall"] is None:
            return
        listing = json.loads(self.run_quietly(["nft", "--json", "list", "ruleset"]) or '{"nftables": []}')
        for words in nft_leftovers(listing["nftables"], self.record["firewall"]):
            self._run("nft", *words)

    def _remove_paths(self) -> None:
        known = self.record["files"] if self.record else {}
        networks = [str(path) for path in NETWORKS.glob("cni-*")]  # again: pods may have come after the first look
        for point in mounts_below(Path("/proc/self/mounts").read_text(), [*self.paths, *networks]):
            if point not in self.paths:  # a folder that is a disk of its own stays one
                self._run("umount", "--lazy", point)
        for name in [*networks, *self.paths]:
            remove(Path(name), known)
        for name in [str(NETWORKS / "any"), *self.paths]:
            self._remove_new_parents(Path(name))

    def _remove_new_parents(self, path: Path) -> None:
        """Remove folders above that the record does not know and in which nothing is left."""
        if self.record is None:
            return
        for parent in path.parents:
            if str(parent) in self.record["files"] or not host_state.is_recorded(parent) or not parent.is_dir():
                return
            if any(parent.iterdir()):
                return
            if parent.is_mount():  # pods' networks make /run/netns one
                self._run("umount", "--lazy", str(parent))
            parent.rmdir()

    def _bring_swap_back(self) -> None:
        for text in self.changes["fstab"]:
            if FSTAB.exists() and FSTAB.read_text() == without_swap(text):
                write_atomic(FSTAB, text)
        if self.record is not None and set(self.record["swaps"]) - set(host_state.swaps()):
            self._run("swapon", "--all")

    def _packages(self) -> list[str]:
        """Return the packages that came with the cluster and are still there."""
        if self.record is None or not self.changes["packages"]:
            return []
        now = host_state.packages(self.run_quietly)
        return [name for name in self.changes["packages"] if name in now and name not in self.record["packages"]]

    def _remove_packages(self) -> None:
        """Remove them; what something else needs by now stays, and the audit says so."""
        if not self.packages:
            return
        if shutil.which("dpkg"):
            argv = ["dpkg", "--force-unsafe-io", "--purge", *self.packages]
            self.module.run_command(argv, environ_update={"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
        else:
            self.module.run_command(["rpm", "--erase", *self.packages])

    def _sysctls(self) -> dict[str, str]:
        """Return the kernel's settings that are not as they were, with what they were."""
        if self.record is None:
            return {}
        names = [*self.changes["sysctls"], *host_state.KUBERNETES_SYSCTLS]
        shared = self.module.params["shared_sysctls"]
        now = host_state.sysctls(Path("/proc/sys"))
        return {
            name: value
            for name, value in self.record["sysctls"].items()
            if now.get(name, value) != value and matches(name, names) and not matches(name, shared)
        }

    def _show(self, name: str) -> str:
        return self.run_quietly(["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", name])

    def _is_there(self, name: str) -> bool:
        shown = self._show(name)
        return "LoadState=loaded" in shown or "ActiveState=active" in shown

    def _filters(self, prefixes: list[str]) -> dict[str, str]:
        scripts = {program: without_chains(self.run_quietly([f"{program}-save"]), prefixes) for program in FILTERS}
        return {program: script for program, script in scripts.items() if script}

    def _run(self, program: str, *words: str, data: str | None = None) -> None:
        path = self.module.get_bin_path(program, required=True)
        code, out, err = self.module.run_command([path, *words], data=data)
        if code != 0:
            reason = (err or out).strip().splitlines() or ["no message"]
            raise TeardownError(f"{' '.join([Path(program).name, *words])} failed: {reason[-1]}")


def end_pods() -> None:
    """Kill what outlived kubelet and containerd, and remove the pods' control groups."""
    groups = [path for pattern in ("kubepods*", "*/kubepods*") for path in Path("/sys/fs/cgroup").glob(pattern)]
    processes = {
        int(pid) for group in groups for file in group.rglob("cgroup.procs") for pid in file.read_text().split()
    }
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/containerd-shim-runc-v2") and b"k8s.io" in words:
            processes.add(int(folder.name))
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(Path("/proc", str(process)).exists() for process in processes):
        time.sleep(0.05)
    for group in groups:
        for folder_name, _, _ in os.walk(group, topdown=False):
            try:
                Path(folder_name).rmdir()
            except OSError:  # a process that is still ending; the next start of the host removes it
                break


def is_left(path: Path) -> bool:
    """Whether there is something to remove: an empty folder that is a disk of its own is not."""
    if path.is_mount():
        return any(path.iterdir())
    return path.exists() or path.is_symlink()


def remove(path: Path, known: t.Mapping[str, str]) -> None:
    """Remove a file or a folder with all in it, but what the record knows: that was there before.

    A folder that is a disk of its own stays, empty. What stays gets the mode that it had.
    """
    if not path.is_dir() or path.is_symlink():
        if str(path) not in known:
            path.unlink(missing_ok=True)
        return
    for child in path.iterdir():
        if child.is_dir() and not child.is_symlink() and not any(name.startswith(f"{child}/") for name in known):
            shutil.rmtree(child)
        else:
            remove(child, known)
    if not path.is_mount() and str(path) not in known and not any(path.iterdir()):
        path.rmdir()
    elif str(path) in known:
        path.chmod(int(known[str(path)].rstrip("/"), 8))


def main() -> None:
    """Run the module."""
    strings: dict[str, object] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "cluster_id": {"type": "str", "required": True},
            "adopt": {"type": "bool", "default": False},
            "services": {"type": "list", "elements": "str", "required": True},
            "paths": {"type": "list", "elements": "path", "required": True},
            **dict.fromkeys(("links", "chain_prefixes", "nft_tables", "shared_sysctls", "accept"), strings),
        },
        supports_check_mode=True,
    )
    host = Host(module)
    fault = host.fault()
    if module.params["adopt"]:
        host.record = host.record if fault is None else None
        fault = None
    found = host.found()
    audit = "none" if host.record is None else "passed"
    if module.check_mode:
        diff = {"before": "".join(f"{line}\n" for line in found), "after": ""}
        faults = [fault] if fault else []
        module.exit_json(changed=bool(found), changes=found, audit=audit, faults=faults, diff=diff)
    if fault:
        module.fail_json(msg=f"{fault['message']}; {fault['remedy']}", kind="preflight", faults=[fault])
    if not found:
        module.exit_json(changed=False, changes=[], audit=audit)
    try:
        host.remove()
        differences = host.audit()
        if not differences:
            shutil.rmtree(host_state.FOLDER, ignore_errors=True)
    except (TeardownError, OSError) as error:
        module.fail_json(msg=f"{error}; {PAST}", changes=found)
    if differences:
        remedy = "undo it, or accept it by a pattern in teardown_accept; then run the same again"
        module.fail_json(
            msg=f"{len(differences)} differences from what the host was: {'; '.join(differences)}; {remedy}",
            changes=found,
            kind="preflight",
            faults=[{"check": "audit", "message": line, "remedy": remedy} for line in differences],
        )
    module.exit_json(changed=True, changes=found, audit=audit)


if __name__ == "__main__":
    main()
