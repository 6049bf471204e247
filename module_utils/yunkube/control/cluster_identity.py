# SPDX-License-Identifier: Apache-2.0
"""Keep the id of a cluster on the control machine, and which inventory it belongs to."""

from __future__ import annotations

import contextlib
import os
import secrets
import typing as t
from pathlib import Path

from ansible.module_utils.yunkube.docker.engine import Docker, DockerError, socket_path
from ansible.module_utils.yunkube.docker.machine import CLUSTER_LABEL, HOST_LABEL, ID_LABEL
from ansible.module_utils.yunkube.host.atomic_file import write_atomic
from ansible.module_utils.yunkube.host.identity import ID, named, same_inventory
from ansible.module_utils.yunkube.result import CONFIG, Fault, RefusedError

Found = t.Mapping[str, tuple[str, str]]  # name and id of a cluster, by host


class IdentityError(RefusedError):
    """The state directory is not this inventory's, or the hosts are not one cluster's."""

    def __init__(self, *faults: Fault) -> None:
        """Keep every fault, and say them in lines."""
        super().__init__(faults, CONFIG)


def _refused(message: str, remedy: str, host: str = "localhost", command: str = "") -> Fault:
    return Fault("identity", message, remedy, host, commands=(command,) if command else ())


class State:
    """What the control machine keeps of a cluster's identity."""

    def __init__(self, folder: Path) -> None:
        """Read both files."""
        self.folder = folder
        self.cluster_id = self._read("id")
        self.inventory = self._read("inventory")
        if self.cluster_id and not ID.fullmatch(self.cluster_id):
            remedy = "restore the file from a copy, or delete it and take the id from the hosts with `reattach`"
            message = f"{folder / 'id'} does not hold 16 hexadecimal digits"
            raise IdentityError(_refused(message, remedy, command="reattach"))

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def write(self, name: str, text: str) -> None:
        """Write one of them, for the owner alone."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self.folder / name, f"{text}\n", mode=0o600)

    def create(self, cluster_id: str) -> None:
        """Write the id where there is none; of two that do so at once, the first one's stays."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.folder / f".id.{secrets.token_hex(4)}"
        write_atomic(part, f"{cluster_id}\n", mode=0o600)
        with contextlib.suppress(FileExistsError):
            os.link(part, self.folder / "id")
        part.unlink()
        self.cluster_id = self._read("id")

    def forget(self) -> None:
        """Remove both."""
        for name in ("id", "inventory"):
            (self.folder / name).unlink(missing_ok=True)


def inventory_of(sources: t.Sequence[str]) -> str:
    """Return the inventory's absolute path; empty without one.

    Of several sources, as Molecule gives them, it is the first that has variables for all hosts: there is the name.
    """
    paths = [path for source in sources if (path := Path(source).expanduser().resolve()).exists()]
    declaring = (path for path in paths if any(_folder(path).glob("group_vars/all*")))
    return str(next(declaring, paths[0])) if paths else ""


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def wrong_inventory(state: State, cluster: str, given: str) -> Fault | None:
    """Return the fault of an inventory that is not the one to which the state directory belongs."""
    if same_inventory(state.inventory, given):
        return None
    message = (
        f"{state.folder} belongs to the inventory {state.inventory} (cluster {named(cluster, state.cluster_id)}), "
        f"not to {given}"
    )
    if Path(state.inventory).exists():
        return _refused(message, f"give {given} a cluster_name of its own")
    remedy = "if the inventory was moved, attach it with `reattach`; else give it another cluster_name"
    return _refused(message, remedy, command="reattach")


def on_engine(cluster: str) -> Found:
    """Return the ids of the Docker hosts and the network of that name; nothing where no engine answers."""
    try:
        docker = Docker(socket_path())
        there = [*docker.get("/networks"), *docker.get("/containers/json", all=True)]
    except DockerError:
        return {}
    labels = [(one.get("Name"), one["Labels"] or {}) for one in there]  # a container has Names
    return {
        about.get(HOST_LABEL) or f"network {name}": (cluster, about.get(ID_LABEL, ""))
        for name, about in labels
        if about.get(CLUSTER_LABEL) == cluster
    }


def agreed(cluster: str, found: Found) -> str:
    """Return the id that all hosts have which have one; refuse hosts of several clusters, or of another name."""
    others = {host: theirs for host, theirs in found.items() if theirs[0] != cluster}
    ids = {cluster_id for _, cluster_id in found.values() if cluster_id}
    if others or len(ids) > 1:
        remedy = "leave those of another cluster out of the inventory, then reattach"
        shown = others or found
        raise IdentityError(
            *(_refused(f"belongs to the cluster {named(*shown[host])}", remedy, host, "reattach") for host in shown)
        )
    return next(iter(ids), "")


def reattach(state: State, cluster: str, given: str, found: Found, *, dry_run: bool) -> list[str]:
    """Take the id of the hosts and keep the inventory as the cluster's own; return what that took."""
    theirs = agreed(cluster, found)
    elsewhere = wrong_inventory(state, cluster, given)
    if elsewhere and Path(state.inventory).exists() and (not theirs or theirs != state.cluster_id):
        raise IdentityError(elsewhere)  # another living cluster's state
    if not theirs and not state.cluster_id and not found:
        message = f"no host of {given} belongs to a cluster"
        raise IdentityError(_refused(message, "create the cluster: `up`", command="up"))
    wanted = theirs or state.cluster_id or secrets.token_hex(8)
    changes = [f"keep the id {wanted} of the cluster {cluster}"] if wanted != state.cluster_id else []
    changes += [f"keep {given} as the inventory of the cluster {cluster}"] if given != state.inventory else []
    if not dry_run:
        state.write("id", wanted)
        state.write("inventory", given)
    state.cluster_id = wanted
    return changes


def present(state: State, cluster: str, given: str, *, dry_run: bool) -> list[str]:
    """Make the id where there is none, and return what that took."""
    fault = wrong_inventory(state, cluster, given)
    if fault:
        raise IdentityError(fault)
    changes = [] if state.cluster_id else [f"give the cluster {cluster} an id"]
    if not dry_run:
        if not state.cluster_id:
            state.create(secrets.token_hex(8))
        if given and not state.inventory:
            state.write("inventory", given)
    return changes


def run(params: t.Mapping[str, t.Any], *, dry_run: bool) -> dict[str, t.Any]:
    """Do what is asked for and return the module's result."""
    cluster, given = params["cluster"], inventory_of(params["sources"])
    if not cluster:
        raise IdentityError(_refused("cluster_name is empty", "give the cluster a name of its own in cluster.yml"))
    state = State(Path(params["state_dir"]).expanduser())
    if params["reattach"]:
        told = {host: (about["cluster"], about["cluster_id"]) for host, about in params["hosts"].items()}
        changes = reattach(state, cluster, given, {**on_engine(cluster), **told}, dry_run=dry_run)
    elif params["state"] == "present":
        changes = present(state, cluster, given, dry_run=dry_run)
    else:
        if fault := wrong_inventory(state, cluster, given):
            raise IdentityError(fault)
        changes = []
        if params["state"] == "absent" and state.cluster_id:
            changes = [f"forget the id of the cluster {cluster}"]
            if not dry_run:
                state.forget()
    return {"changed": bool(changes), "changes": changes, "cluster_id": state.cluster_id}


SPEC: dict[str, dict[str, t.Any]] = {
    "cluster": {"type": "str", "required": True},
    "state_dir": {"type": "path", "required": True},
    "sources": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "compared", "absent"], "default": "present"},
    "reattach": {"type": "bool", "default": False},
    "hosts": {"type": "dict", "default": {}},
}


def failure(error: IdentityError) -> dict[str, t.Any]:
    """Return the result that holds the faults."""
    return error.report.as_failure()
