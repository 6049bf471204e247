# SPDX-License-Identifier: Apache-2.0
"""A host from which a cluster is removed: what it has of the cluster, and the removal."""

from __future__ import annotations

import json
import shlex
import shutil
import time
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.host import firewalld_zones, identity, originals
from ansible.module_utils.yunkube.host import state as host_state
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.dpkg_lock import PackagesBusy, package_turn
from ansible.module_utils.yunkube.host.firewall import in_ufws_words, is_closed
from ansible.module_utils.yunkube.host.settings import without_swap
from ansible.module_utils.yunkube.host.sysctls import changed_sysctls, restore_sysctls
from ansible.module_utils.yunkube.result import Fault
from ansible.module_utils.yunkube.teardown import filters, paths, processes

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

KUBERNETES = Path("/etc/kubernetes")
# What a host has that is a member of some cluster.
MEMBER = (KUBERNETES / "kubelet.conf", KUBERNETES / "admin.conf")
# What a host has that runs a control plane, or was to run one.
CONTROL_PLANE = (KUBERNETES / "admin.conf", KUBERNETES / "manifests/etcd.yaml", KUBERNETES / "pki/etcd")
ETCD = Path("/var/lib/etcd")
FSTAB = Path("/etc/fstab")
NETWORKS = Path("/run/netns")
UNITS = Path("/etc/systemd/system")


class TeardownError(Exception):
    """Something could not be removed; the message says what."""


class Host:
    """The cluster's parts on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        """Examine everything and change nothing."""
        self.module = module
        self.run_quietly = host_state.runner(module)
        params = module.params
        self.record = host_state.read_record()
        self.changes = host_state.read_changes()
        self.is_member = any(path.exists() for path in MEMBER)
        # All that the cluster may have put there. Without a control plane an etcd on this host is somebody else's.
        was_master = any(path.exists() for path in CONTROL_PLANE)
        self.paths = [path for path in params["paths"] if was_master or Path(path) != ETCD]
        self.paths += paths.half_written(self.paths)
        self.paths.sort(key=lambda path: Path(path) == KUBERNETES)  # last: it tells what the host was
        self.services = [name for name in params["services"] if self._is_there(name)]
        known = self._known()
        self.left = [path for path in self.paths if paths.is_left(Path(path), known)]
        before = self.record["links"] if self.record else []
        self.links = [name for name in params["links"] if Path("/sys/class/net", name).exists() and name not in before]
        self.filters = self._filters(params["chain_prefixes"])
        tables = self.run_quietly(["nft", "list", "tables"]).splitlines()
        new = [table for table in params["nft_tables"] if not self._had_table(table)]
        self.nft_tables = [table for table in new if f"table {table}" in tables]
        self.networks = self._networks()
        self.packages = self._packages()
        self.sysctls = self._sysctls()
        self.originals = originals.kept() if self.record else {}
        registry = host_state.FOLDER / paths.REGISTRY
        self.images = paths.registry_images(registry) if str(registry) not in known.points else paths.Images(0, 0)

    def fault(self) -> Fault | None:
        """Return why the host is refused: it belongs to a cluster that Yunkube did not create, or to another one."""
        remedy = "remove it with the tool that created it, or add --adopt (teardown_adopt) to remove it anyway"
        ours = self.module.params["cluster"]
        if self.record is None and self.is_member:
            message = "is a member of a cluster that Yunkube did not create: there is no record of its former state"
            return Fault("other cluster", message, remedy)
        return identity.fault(self.record, ours, self.module.params["cluster_id"]) if self.record is not None else None

    def faults(self) -> list[Fault]:
        """Return every reason for which the host is refused."""
        fault = None if self.module.params["adopt"] and self.is_member else self.fault()
        found = [fault] if fault else []
        if not self._is_torn_down():
            return found
        for path in self.module.params["paths"]:
            place = str(Path(path).parent.resolve() / Path(path).name)
            if paths.is_system(path) or paths.is_system(place):
                message = f"{path} is a system folder and is not removed"
                remedy = "list the cluster's own folder in teardown_paths"
                found.append(Fault("teardown_paths", message, remedy))
        for name, what in processes.other_users(self.run_quietly).items():
            message = f"containerd has {what} in its namespace {name}, not from Kubernetes"
            remedy = f"remove them first: nerdctl or ctr --namespace {name}; or stop the program that creates them"
            found.append(Fault("foreign data", message, remedy))
        if self.images.size and not self.module.params["force"]:
            message = f"holds the registry's images: {self.images} in {host_state.FOLDER / paths.REGISTRY}"
            remedy = "copy what is still needed to another registry, then add --force (teardown_force) to delete them"
            found.append(Fault("registry", message, remedy))
        return found

    def _is_torn_down(self) -> bool:
        """Whether there is something to do: with no record only a cluster that is adopted."""
        return self.record is not None or (self.module.params["adopt"] and self.is_member)

    def found(self) -> list[str]:
        """Return the changes, a line each; none on a host without a cluster of ours."""
        if not self._is_torn_down():
            return []
        lines = [f"undo: {shlex.join(in_ufws_words(argv))}" for argv in self.changes["undo"]]
        lines += [f"remove service {name}" for name in self.services]
        lines += [f"remove link {link}" for link in self.links]
        lines += [f"remove pod network {path.name}" for path in self.networks]
        lines += [
            f"remove {program} chain {chain}"
            for program, text in self.filters.items()
            for chain in filters.chains_of(text)
        ]
        lines += [f"remove nftables table {table}" for table in self.nft_tables]
        lines += [f"remove {path}" for path in self.left]
        lines += [f"restore {path}" for path in self.originals]
        lines += [f"delete the registry's images: {self.images}"] if self.images.size else []
        lines += [f"end process {pid} of a rehearsal" for pid in sorted(self._rehearsing())]
        lines += [f"unmount {point}" for point in self._rehearsed()]
        lines += self._snapshots()
        lines += [f"set {name} back to {value}" for name, value in self.sysctls.items()]
        lines += [f"remove package {name}" for name in self.packages]
        return [*lines, "compare the host with its record"] if self.record else lines

    def tear_down(self) -> list[str]:
        """Remove it, return how the host then differs from its record, and remove the record if it does not."""
        self.remove()
        differences = self.audit()
        if not differences:
            self.forget()
        return differences

    def remove(self) -> None:
        """Remove it, what runs first, and what needs a program of ours before that program."""
        for argv in self.changes["undo"]:
            self.take_back(argv)
        if self.record is not None and any("--permanent" in argv for argv in self.changes["undo"]):
            firewalld_zones.restore(self.record["files"])
        if "kubelet.service" in self.services:
            self._run("systemctl", "disable", "--now", "kubelet.service")  # else it starts the pods again
        processes.end_pods()
        self._end_services()
        self._end_rehearsal()
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
        if self.record is not None:
            originals.restore()
        for name in self.changes["modules"]:
            self.run_quietly(["modprobe", "--remove", name])  # says no where something else uses it
        shared = self.module.params["shared_sysctls"]
        restore_sysctls(self._recorded_sysctls(), self.changes["sysctls"], shared)
        self._bring_swap_back()
        self.firewall = host_state.firewall(self.run_quietly)
        self._remove_packages()
        self._run("systemctl", "daemon-reload")
        self._bring_services_back()

    def _bring_services_back(self) -> None:
        """Enable and start units of the host's own that ours replaced, those that were enabled, and ran, before."""
        self.module.run_command(["systemctl", "reset-failed", *self.services])
        record = self.record or {"units": {}}
        for name in self.services:
            if record["units"].get(name) == "enabled":
                self._run("systemctl", "enable", name)
            if name in record.get("active", ()):
                self.module.run_command(["systemctl", "start", name])  # the audit names one that fails

    def audit(self) -> list[str]:
        """Return how the host differs from its record."""
        if self.record is None:
            return []
        now = host_state.take(self.run_quietly, "")
        now["firewall"] = self.firewall  # as nft may be among the packages that went
        if self.firewall is not None:
            now["firewall"] = filters.without_idle_zones(self.firewall, self.record["firewall"] or [])
        used = processes.networks()
        for path in NETWORKS.glob("*"):  # of a container of the host's own, which was started after the record
            if path.exists() and path.stat().st_ino in used and str(path) not in self.record["files"]:
                now["files"].pop(str(path), None)
        return host_state.differences(
            self.record, now, self.module.params["shared_sysctls"], self.module.params["accept"]
        )

    firewall: list[str] | None = None

    def take_back(self, argv: list[str]) -> None:
        """Run a command that undoes something; one that an earlier run got to before it ended may fail."""
        try:
            self._run(*in_ufws_words(argv))
        except TeardownError:
            if not is_closed(self.module, argv):
                raise

    def _end_services(self) -> None:
        for name in self.services:
            # One that systemd refuses to load, as for a wrong time, cannot be stopped unless it runs.
            now = ["--now"] if self._is_up(name) else []
            self._run("systemctl", "disable", *now, name)

    @staticmethod
    def _rehearsing() -> set[int]:
        """Return the processes of a rehearsal of a backup that was killed."""
        return processes.from_folder(host_state.FOLDER / paths.SNAPSHOTS)

    def _rehearsed(self) -> list[str]:
        """Return what a rehearsal of a backup that was killed left mounted; a disk of the host's own is not listed."""
        folder = str(host_state.FOLDER / paths.SNAPSHOTS)
        before = self.record["mounts"] if self.record else []
        below = paths.mounts_below(self._known().points, [folder])
        return [point for point in below if point != folder and point not in before]

    def _end_rehearsal(self) -> None:
        """End an etcd that a killed rehearsal left, which holds the image that is mounted there, and unmount that."""
        processes.end(self._rehearsing())
        for point in self._rehearsed():
            self._run("umount", "--lazy", point)

    def _end_slices(self) -> None:
        """Let systemd forget the pods' slices, where it keeps them; the groups of others are gone by now."""
        if Path("/run/systemd/system").is_dir() and "ActiveState=active" in self._show("kubepods.slice"):
            self._run("systemctl", "stop", "kubepods.slice")

    def _remove_empty_tables(self) -> None:
        if self.record is None or self.record["firewall"] is None:
            return
        listing = json.loads(self.run_quietly(["nft", "--json", "list", "ruleset"]) or '{"nftables": []}')
        for words in filters.nft_leftovers(listing["nftables"], self.record["firewall"]):
            self._run("nft", *words)

    def _known(self) -> paths.Known:
        return paths.Known(self.record, paths.mount_points(Path("/proc/self/mounts").read_text()))

    def _snapshots(self) -> list[str]:
        """Say which backups go: they hold every Secret of the cluster. A disk of their own is left."""
        lines = []
        points = self._known().points
        for folder in (host_state.FOLDER / paths.SNAPSHOTS, host_state.FOLDER / paths.BACKUPS):
            count = len(list(folder.glob("*.db*"))) if str(folder) not in points else 0
            lines += [f"delete {count} snapshot{'' if count == 1 else 's'} of etcd in {folder}"] if count else []
        return lines

    def _networks(self) -> list[Path]:
        before = self.record["files"] if self.record else {}
        return [path for path in sorted(NETWORKS.glob("cni-*")) if str(path) not in before]

    def _remove_paths(self) -> None:
        used = processes.networks()  # by containers of others, as no pod runs any more
        # Again: pods may have come after the first look.
        networks = [str(path) for path in self._networks() if path.stat().st_ino not in used]
        before = self.record["mounts"] if self.record else []
        for point in paths.mounts_below(self._known().points, [*self.paths, *networks]):
            if point not in self.paths and point not in before:  # a folder that is a disk of its own stays one
                self._run("umount", "--lazy", point)
        known = self._known()
        for name in [*networks, *self.paths]:
            if not known.is_reached_by_link(Path(name)):
                paths.remove(Path(name), known)
        for name in [str(NETWORKS / "any"), *self.paths]:
            self._remove_new_parents(Path(name))

    def _remove_new_parents(self, path: Path) -> None:
        """Remove folders above that the record does not know and in which nothing is left."""
        if self.record is None:
            return
        trees = host_state.trees_of(self.record)
        for parent in path.parents:
            if str(parent) in self.record["files"] or not host_state.is_recorded(parent, trees) or not parent.is_dir():
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
            for area, priority in self.changes["swaps"]:  # which fstab did not name: turned on by hand, or zram
                if area in self.record["swaps"] and area not in host_state.swaps():
                    chosen = ["--priority", str(priority)] if priority >= 0 else []
                    self.run_quietly(["swapon", *chosen, area])  # the audit reports one that cannot be had again

    def _packages(self) -> list[str]:
        """Return the packages that came with the cluster and are still there."""
        if self.record is None or not self.changes["packages"]:
            return []
        installed, left = host_state.packages(self.run_quietly)
        new = [name for name in self.changes["packages"] if name not in self.record["packages"]]
        return [name for name in new if name in installed or (name in left and name not in self._config_files())]

    def _config_files(self) -> dict[str, str]:
        """Return the packages that had been removed before the cluster came, all but their configuration files."""
        found: dict[str, str] = (self.record or {}).get("config_files", {})
        return found

    def _remove_packages(self) -> None:
        """Remove them; what something else needs by now stays, and the audit says so."""
        if not self.packages:
            return
        if shutil.which("dpkg"):
            purged = [name for name in self.packages if name not in self._config_files()]
            steps = [("--purge", purged)] if purged else []
            if purged != self.packages:  # first, as others may need one that is purged
                steps.insert(0, ("--remove", self.packages))
            environment = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "DPKG_FRONTEND_LOCKED": "1"}
            try:
                with package_turn([]):
                    for step, names in steps:
                        argv = ["dpkg", "--force-unsafe-io", step, *names]
                        self.module.run_command(argv, environ_update=environment)
            except PackagesBusy as error:
                raise TeardownError(str(error)) from error
        else:
            self.module.run_command(["rpm", "--erase", *self.packages])

    def _sysctls(self) -> dict[str, str]:
        """Return the kernel's settings that are not as they were, with what they were."""
        shared = self.module.params["shared_sysctls"]
        return changed_sysctls(self._recorded_sysctls(), self.changes["sysctls"], shared)

    def _recorded_sysctls(self) -> dict[str, str]:
        return dict(self.record["sysctls"]) if self.record else {}

    def _show(self, name: str) -> str:
        return self.run_quietly(
            ["systemctl", "show", "--property=LoadState,ActiveState,UnitFileState,FragmentPath", name]
        )

    def _is_there(self, name: str) -> bool:
        """Whether the unit is there and the cluster's: not one of a package, nor one that we never replaced."""
        shown = self._show(name)
        unit = UNITS / name
        if self.record is not None:
            if f"FragmentPath={unit}\n" not in shown and "FragmentPath=/" in shown:
                return False
            if "trees" in self.record and str(unit) in self.record["files"] and not originals.is_kept(unit):
                return False
        loaded = ("LoadState=loaded", "LoadState=bad-setting", "LoadState=error")
        return any(state in shown for state in (*loaded, "ActiveState=active"))

    def _is_up(self, name: str) -> bool:
        """Whether the unit can be stopped."""
        shown = self._show(name)
        return "LoadState=loaded" in shown or "ActiveState=active" in shown

    def _had_table(self, table: str) -> bool:
        family, name = table.split()
        before = (self.record or {}).get("firewall") or []
        return any(line.startswith(f"nft table {family} ") and f'"name": "{name}"' in line for line in before)

    def _filters(self, prefixes: list[str]) -> dict[str, str]:
        before = (self.record or {}).get("firewall") or []
        scripts = {}
        for program in filters.FILTERS:
            known = filters.known_chains(program, before)
            scripts[program] = filters.without_chains(self.run_quietly([f"{program}-save"]), prefixes, known)
        return {program: script for program, script in scripts.items() if script}

    def _run(self, program: str, *words: str, data: str | None = None) -> None:
        path = self.module.get_bin_path(program, required=True)
        code, out, err = self.module.run_command([path, *words], data=data)
        if code != 0:
            reason = (err or out).strip().splitlines() or ["no message"]
            raise TeardownError(f"{' '.join([Path(program).name, *words])} failed: {reason[-1]}")

    def forget(self) -> None:
        """Remove the record and what lies beside it; that of another cluster is kept under another name."""
        name = ""
        if self.record is not None and self.fault() is not None:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            name = f"before-{stamp}.json"
        paths.remove_own(host_state.FOLDER, name)
