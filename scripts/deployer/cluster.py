# SPDX-License-Identifier: Apache-2.0
"""Which cluster an inventory means: its name and state directory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.yunkube.control.commands import command
from ansible.module_utils.yunkube.control.inventory_files import OPAQUE, TaggedLoader
from ansible.module_utils.yunkube.host.identity import same_inventory

from deployer.arguments import Request
from deployer.errors import DeployError
from deployer.inventory import FOLDERS, KEYS, Source, read_yaml, shown

ROOT = Path(__file__).absolute().parents[2]

# As roles/cluster/defaults has it.
DEFAULT_STATE_DIR = "~/.local/state/yunkube/{{ cluster_name }}"

DEFAULT_PROVIDER = "docker"

_VAULTED = re.compile(r"^\$ANSIBLE_VAULT;|^[^#]*:\s*!vault\b")
NAME_REFERENCE = re.compile(r"{{\s*cluster_name\s*}}")


@dataclass(frozen=True)
class Cluster:
    """A cluster as the control machine knows it before any play ran."""

    name: str
    source: Source = field(repr=False)
    state_dir: Path
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    hosts: Sequence[str] = ()
    extra_files: Sequence[Path] = ()

    @property
    def encrypted(self) -> list[str]:
        """The places of what ansible-vault wrote, in the inventory and in files of the command line."""
        return [*self.source.encrypted, *(place for file in self.extra_files for place in _encrypted(file))]

    @property
    def inventory(self) -> Path:
        """The absolute path of the inventory."""
        return self.source.path

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that stand under a secret's name, for any host, and must not be shown."""
        from ansible.module_utils.yunkube.control.redact import secret_values  # noqa: PLC0415 - only runs need it

        written = [{entry.key: entry.value} for entry in self.source.files.entries]
        return secret_values({"": [*written, dict(self.variables)]})

    @property
    def was_made(self) -> bool:
        """Whether `up` made it; that of hosts which stay may have been made elsewhere, and only they know."""
        docker = self.variables.get("cluster_provider", DEFAULT_PROVIDER) == "docker"
        return not docker or (self.state_dir / "id").exists()

    @property
    def kubeconfig(self) -> Path:
        """Where the admin kubeconfig is, once there is a cluster."""
        return self.state_dir / "kubeconfig"

    @property
    def kubectl(self) -> Path:
        """The bundle's kubectl, once there is a bundle."""
        return self.state_dir / "bin" / "kubectl"


def find_cluster(
    inventory: str, extra_vars: Mapping[str, Any], extra_files: Sequence[Path] = (), root: Path = ROOT
) -> Cluster:
    """Read the cluster's name and state directory; extra variables win over the inventory, as in Ansible."""
    source = Source(_find_inventory(inventory, root))
    extra = _merged(extra_files) | dict(extra_vars)
    if hidden := [key for key in KEYS if extra.get(key) is OPAQUE]:
        raise DeployError(
            f"-e: {hidden[0]}: is encrypted, but deploy.py reads it without a password", "store it as plain text"
        )
    answer = source.read(extra)
    name, state_dir = (str(answer.variables.get(key) or "") for key in ("cluster_name", "cluster_state_dir"))
    if not name:
        raise _without_name(source, extra)
    # In a role's default, which only plays know, and in what is kept of an inventory it stands as it is written.
    state_dir = NAME_REFERENCE.sub(name, state_dir or DEFAULT_STATE_DIR)
    return Cluster(name, source, _state_dir(state_dir, source, extra), answer.variables, answer.hosts, extra_files)


def _state_dir(text: str, source: Source, extra: Mapping[str, Any]) -> Path:
    """Return the state directory; refuse one that plays, or this command from elsewhere, would look for elsewhere."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        path, why = Path(), "the user does not exist on this machine"
    else:
        why = _why_not(text, path, source.path)
    if not why:
        return path.absolute()
    place = _place(source, "cluster_state_dir", extra)
    raise DeployError(
        f"{place}: cluster_state_dir: {text}: {why}",
        "use a path outside the inventory that starts with / or ~/, such as ~/clusters/{{ cluster_name }}",
    )


def _why_not(text: str, path: Path, inventory: Path) -> str:
    """Return what is wrong with a state directory."""
    if "$" in text:
        return "shell variables are not expanded"
    if not path.is_absolute():
        return "is not absolute, so it would depend on the working directory"
    read = [inventory] if inventory.is_dir() else [inventory.parent / folder for folder in FOLDERS]
    if any(path.resolve().is_relative_to(folder.resolve()) for folder in read):
        return "is inside the inventory, so its files would be read as hosts or variables"
    return ""


def _place(source: Source, key: str, extra: Mapping[str, Any]) -> str:
    """Return where a key is set: the command line wins."""
    return "-e" if key in extra else source.place(key)


def _without_name(source: Source, extra: Mapping[str, Any]) -> DeployError:
    entry = source.where("cluster_name")
    if entry and entry.scope != "all" and "cluster_name" not in extra:
        return DeployError(
            f"{shown(entry.file)}:{entry.line}: cluster_name: is set for {entry.scope} and not for all hosts",
            "move it, and every other setting of the cluster, to group_vars/all/cluster.yml",
        )
    whole = [shown(file) for file, _ in source.files.encrypted if file in source.files.unread]
    if whole and not entry and "cluster_name" not in extra:
        return DeployError(
            f"{', '.join(whole)}: is encrypted, but deploy.py reads cluster_name without a password",
            "store it in a file that is not encrypted, such as group_vars/all/name.yml",
        )
    return DeployError(
        f"{_place(source, 'cluster_name', extra)}: cluster_name: has no value",
        "set a name that none of your other clusters has, such as cluster_name: prod",
    )


def cluster_of(request: Request, *, own: bool = True) -> Cluster:
    """Return the cluster of a command line, whose state directory must be C(own)."""
    cluster = find_cluster(request.inventory, request.extra_vars, request.extra_files)
    if own:
        check_inventory(cluster)
    return cluster


def check_inventory(cluster: Cluster) -> None:
    """Refuse the state directory of another inventory: its keys and kubeconfig are those of another cluster."""
    try:
        owner = Path((cluster.state_dir / "inventory").read_text(encoding="utf-8").strip())
    except OSError:
        return
    given = cluster.inventory.resolve()
    if same_inventory(str(owner), str(given)):
        return
    raise DeployError(
        f"{cluster.state_dir} belongs to the inventory {owner} ({_id_of(cluster)}), not to {given}",
        f"give {shown(cluster.inventory)} a unique cluster_name, in its cluster.yml"
        if owner.exists()
        else f"if the inventory was moved, reattach it: {command('reattach', str(cluster.inventory))}; "
        "otherwise change its cluster_name",
    )


def _id_of(cluster: Cluster) -> str:
    try:
        return f"cluster {cluster.name}, id {(cluster.state_dir / 'id').read_text(encoding='utf-8').strip()}"
    except OSError:
        return f"cluster {cluster.name}"


def _find_inventory(inventory: str, root: Path) -> Path:
    """Return the inventory's absolute path: as given, or under the project for a run from elsewhere."""
    for path in (Path(inventory).expanduser().absolute(), root / inventory):
        if path.exists():
            return path
    there = sorted(f"inventory/{path.name}" for path in (root / "inventory").glob("*") if path.is_dir())
    hint = f"there are: {', '.join(there)}" if there else "create one: see README.md"
    raise DeployError(f"no inventory at {inventory}", hint)


def _merged(files: Sequence[Path]) -> dict[str, Any]:
    """Return the variables of all files, as far as plain YAML can tell them; later ones win."""
    merged: dict[str, Any] = {}
    for file in files:
        merged |= _load(file)
    return merged


def _encrypted(file: Path) -> list[str]:
    """Return the places of what ansible-vault wrote in a file that `-e @FILE` names."""
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    return [f"{shown(file)}:{number}" for number, line in lines if _VAULTED.search(line)]


def _load(file: Path) -> dict[str, Any]:
    """Return the pairs of a file that `-e @FILE` names."""
    content = read_yaml(file, TaggedLoader)
    if isinstance(content, str) and content.startswith("$ANSIBLE_VAULT;"):
        return {}  # Ansible opens it; what is needed here stands elsewhere
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DeployError(f"{shown(file)}:1: must be `key: value` lines, not a {type(content).__name__}")
    return content
