"""Which cluster an inventory means: its name and state directory, read from group_vars without Ansible."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deployer.errors import DeployError
from deployer.verbs import command

ROOT = Path(__file__).absolute().parents[2]

# As roles/cluster/defaults has it.
DEFAULT_STATE_DIR = "~/.local/state/yunkube/{{ cluster_name }}"

_NAME_REFERENCE = re.compile(r"{{\s*cluster_name\s*}}")


class _Loader(yaml.SafeLoader):
    """Reads Ansible's own tags (!vault, !unsafe) as nothing: their values are not needed here."""


_Loader.add_multi_constructor("!", lambda *_: "")


@dataclass(frozen=True)
class Cluster:
    """A cluster as the control machine knows it before any play ran."""

    name: str
    inventory: Path
    state_dir: Path
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)

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
    path = _find_inventory(inventory, root)
    variables = _merged([*_group_vars_files(path), *extra_files]) | dict(extra_vars)
    name = str(variables.get("cluster_name") or "")
    if not name:
        raise DeployError(
            f"{_place('cluster_name', path)}: cluster_name: has no value",
            "give it a name that no other of your clusters has, such as cluster_name: prod",
        )
    if "{{" in name:
        raise DeployError(f"cluster_name must be a literal value, not {name}", f"write the name itself in {path}")
    state_dir = _NAME_REFERENCE.sub(name, str(variables.get("cluster_state_dir", DEFAULT_STATE_DIR)))
    if "{{" in state_dir:
        raise DeployError(
            f"cluster_state_dir may hold {{{{ cluster_name }}}} and no other expression, not {state_dir}",
            f"write the path itself in {path}",
        )
    return Cluster(name, path, Path(state_dir).expanduser().absolute(), variables)


def check_inventory(cluster: Cluster) -> None:
    """Refuse the state directory of another inventory: its keys and kubeconfig are those of another cluster."""
    try:
        owner = Path((cluster.state_dir / "inventory").read_text(encoding="utf-8").strip())
    except OSError:
        return
    # Ansible's package is slow to import, and a cluster that is not there yet needs none of it.
    import ansible.module_utils  # noqa: PLC0415

    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
    from ansible.module_utils.yunkube.identity import same_inventory  # noqa: PLC0415 - needs that path

    given = cluster.inventory.resolve()
    if same_inventory(str(owner), str(given)):
        return
    raise DeployError(
        f"{cluster.state_dir} belongs to the inventory {owner} ({_id_of(cluster)}), not to {given}",
        f"give {_shown(cluster.inventory)} a cluster_name of its own, in its cluster.yml"
        if owner.exists()
        else f"if the inventory was moved, attach it: {command('reattach', str(cluster.inventory))}; else give it "
        "another cluster_name",
    )


def _id_of(cluster: Cluster) -> str:
    try:
        return f"cluster {cluster.name}, id {(cluster.state_dir / 'id').read_text(encoding='utf-8').strip()}"
    except OSError:
        return f"cluster {cluster.name}"


def host_names(inventory: Path) -> list[str]:
    """Return the hosts that an inventory's YAML files name, as far as they can be read without Ansible."""
    files = sorted(inventory.glob("*.y*ml")) if inventory.is_dir() else [inventory]
    found: dict[str, None] = {}

    def collect(value: Any) -> None:
        for key, inner in value.items() if isinstance(value, dict) else ():
            if key == "hosts" and isinstance(inner, dict):
                found.update(dict.fromkeys(map(str, inner)))
            else:
                collect(inner)

    for file in files:
        with contextlib.suppress(OSError, yaml.YAMLError):
            collect(yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader))  # noqa: S506 - a SafeLoader
    return list(found)


def _find_inventory(inventory: str, root: Path) -> Path:
    """Return the inventory's absolute path: as given, or under the project for a run from elsewhere."""
    for path in (Path(inventory).expanduser().absolute(), root / inventory):
        if path.exists():
            return path
    there = sorted(f"inventory/{path.name}" for path in (root / "inventory").glob("*") if path.is_dir())
    hint = f"there are: {', '.join(there)}" if there else "make one: see README.md"
    raise DeployError(f"no inventory at {inventory}", hint)


def _group_vars_files(inventory: Path) -> list[Path]:
    """Return the files that hold the variables of the group `all`, in Ansible's order."""
    folder = (inventory if inventory.is_dir() else inventory.parent) / "group_vars"
    files = [folder / "all.yml", folder / "all.yaml", *sorted((folder / "all").glob("*.y*ml"))]
    return [file for file in files if file.is_file()]


def _place(key: str, inventory: Path) -> str:
    """Return file and line of a key, or the file where it belongs."""
    for file in reversed(_group_vars_files(inventory)):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith(f"{key}:"):
                return f"{_shown(file)}:{number}"
    folder = inventory if inventory.is_dir() else inventory.parent
    return _shown(folder / "group_vars/all/cluster.yml")


def _merged(files: Sequence[Path]) -> dict[str, Any]:
    """Return the variables of all files, as far as plain YAML can tell them; later ones win."""
    merged: dict[str, Any] = {}
    for file in files:
        merged |= _load(file)
    return merged


def _load(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    if text.startswith("$ANSIBLE_VAULT;"):  # Ansible opens it; what is needed here stands elsewhere
        return {}
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        place = f"{_shown(file)}:{line}"
        raise DeployError(f"{place}: not valid YAML: {error.problem}", "mend that line, or the one above it") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise DeployError(f"{_shown(file)}:1: must be `key: value` lines, not a {type(content).__name__}")
    return content


def _shown(path: Path) -> str:
    """Return a path as a person at this shell would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
