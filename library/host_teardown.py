#!/usr/bin/python
"""Ansible module: take the cluster off a host that stays."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_teardown
short_description: Remove Kubernetes from a host, and nothing else
description:
  - Runs C(kubeadm reset), stops and disables the services, ends what is left of pods, and removes the named files,
    folders and network links.
  - Of the packet filter only the chains with the given prefixes go, and the rules that jump to them.
  - Leaves the cluster's other hosts alone; etcd's members are not told, as all of them go.
options:
  services: {description: Units to stop and disable, type: list, elements: str, required: true}
  paths: {description: Files and folders to remove, type: list, elements: path, required: true}
  links: {description: Network links to delete, type: list, elements: str, default: []}
  chain_prefixes: {description: How the chains begin that go, type: list, elements: str, default: []}
  nft_tables: {description: Tables of nftables that go, type: list, elements: str, default: []}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: [Yunkube]
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
"""

import json
import os
import shlex
import shutil
import signal
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

FILTERS = ("iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy")

# Only a host that kubeadm worked on has something for it to reset.
JOINED = ("/etc/kubernetes/pki", "/etc/kubernetes/manifests", "/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/pki")

RESET = {
    "apiVersion": "kubeadm.k8s.io/v1beta4",
    "kind": "ResetConfiguration",
    "force": True,
    "criSocket": "unix:///run/containerd/containerd.sock",
    "skipPhases": ["remove-etcd-member"],
    "timeouts": {"kubernetesAPICall": "5s"},  # the API may be gone already
}


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


class Host:
    """What there is of the cluster on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        """Look at everything and change nothing."""
        self.module = module
        params = module.params
        self.kubeadm = shutil.which("kubeadm", path="/usr/local/bin:/usr/bin") if _any_exists(JOINED) else None
        self.services = [name for name in params["services"] if self._is_there(name)]
        self.paths = [path for path in params["paths"] if is_left(Path(path))]
        self.links = [link for link in params["links"] if Path("/sys/class/net", link).exists()]
        self.filters = self._filters(params["chain_prefixes"])
        tables = self._output("nft", "list", "tables").splitlines()
        self.nft_tables = [table for table in params["nft_tables"] if f"table {table}" in tables]

    def found(self) -> list[str]:
        """Return what is there, a line each."""
        lines = ["kubeadm's work on this host"] if self.kubeadm else []
        lines += [f"service {name}" for name in self.services]
        lines += [f"link {link}" for link in self.links]
        lines += [f"{program} chain {chain}" for program, script in self.filters.items() for chain in chains_of(script)]
        lines += [f"nftables table {table}" for table in self.nft_tables]
        return [*lines, *self.paths]

    def remove(self) -> None:
        """Remove it."""
        if self.kubeadm:
            config = Path(self.module.tmpdir, "reset.json")
            config.write_text(json.dumps(RESET))
            self._run(self.kubeadm, "reset", "--config", str(config))
        for name in self.services:
            self._run("systemctl", "disable", "--now", name)
        end_pods()
        for link in self.links:
            self._run("ip", "link", "delete", link)
        # Again, as pods that ended last may have changed them.
        for program, script in self._filters(self.module.params["chain_prefixes"]).items():
            self._run(f"{program}-restore", "--noflush", data=script)
        for table in self.nft_tables:
            self._run("nft", "delete", "table", *table.split())
        self._remove_paths()
        if self.services:
            self._run("systemctl", "daemon-reload")
            self.module.run_command(["systemctl", "reset-failed", *self.services])

    def _remove_paths(self) -> None:
        inside = [*self.paths, "/run/netns"]
        points = mounts_below(Path("/proc/self/mounts").read_text(), inside)
        own = [point for point in points if point not in inside]  # a folder that is a disk of its own stays one
        for point in own:
            self._run("umount", "--lazy", point)
        for name in self.paths:
            path = Path(name)
            if path.is_dir() and not path.is_symlink():
                _empty(path)
                if not path.is_mount():
                    path.rmdir()
            else:
                path.unlink(missing_ok=True)

    def _is_there(self, name: str) -> bool:
        shown = self._output("systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", name)
        return "LoadState=loaded" in shown or "ActiveState=active" in shown

    def _filters(self, prefixes: list[str]) -> dict[str, str]:
        scripts = {program: without_chains(self._output(f"{program}-save"), prefixes) for program in FILTERS}
        return {program: script for program, script in scripts.items() if script}

    def _output(self, program: str, *words: str) -> str:
        path = self.module.get_bin_path(program)
        return self.module.run_command([path, *words])[1] if path else ""

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


def _any_exists(paths: t.Iterable[str]) -> bool:
    return any(Path(path).exists() for path in paths)


def _empty(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "services": {"type": "list", "elements": "str", "required": True},
            "paths": {"type": "list", "elements": "path", "required": True},
            "links": {"type": "list", "elements": "str", "default": []},
            "chain_prefixes": {"type": "list", "elements": "str", "default": []},
            "nft_tables": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    host = Host(module)
    found = host.found()
    if found and not module.check_mode:
        try:
            host.remove()
        except (TeardownError, OSError) as error:
            module.fail_json(msg=f"{error}; run the same again when that is mended")
    diff = {"before": "".join(f"{line}\n" for line in found), "after": ""}
    module.exit_json(changed=bool(found), changes=[f"remove {line}" for line in found], diff=diff)


if __name__ == "__main__":
    main()
