# SPDX-License-Identifier: Apache-2.0
"""Modules that are given a host's cluster compare it before anything else, and every task passes it to them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(file for file in (ROOT / "library").glob("*.py") if '"cluster_id": {' in file.read_text())
COMPARING = sorted(file for file in (ROOT / "library").glob("*.py") if "identity.OPTIONS" in file.read_text())
EMPTY: dict[str, Any] = {"list": [], "dict": {}}


class ComparedError(Exception):
    """A module came to compare whose its host is."""


@pytest.mark.parametrize("file", COMPARING, ids=lambda file: file.stem)
def test_a_module_compares_the_clusters_id_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(module: AnsibleModule, argument_spec: dict[str, Any], **_settings: Any) -> None:
        module.params = {
            name: option.get("default", EMPTY.get(option["type"])) for name, option in argument_spec.items()
        }
        module.check_mode = False

    def compare(_module: AnsibleModule) -> None:
        raise ComparedError

    monkeypatch.setattr(AnsibleModule, "__init__", start)
    monkeypatch.setattr(identity, "refuse_another", compare)
    monkeypatch.setattr(host_lock, "take", lambda _module, **_: pytest.fail("it acts before it compares"))
    with pytest.raises(ComparedError):
        importlib.import_module(file.stem).main()


def tasks_in(found: Any) -> Iterator[dict[str, Any]]:
    """Yield every task of a list of tasks or plays, those in blocks as well."""
    for task in found or []:
        yield task
        for part in ("block", "rescue", "always", "pre_tasks", "tasks", "post_tasks"):
            yield from tasks_in(task.get(part))


def test_every_task_passes_the_clusters_identity_to_its_module() -> None:
    """A playbook may be run alone, so none relies on what the one before it has compared."""
    told = {file.stem for file in {*MODULES, *COMPARING}}
    assert len(told) >= 10
    without = []
    playbooks = [file for file in ROOT.glob("playbooks/**/*.yml") if file.parent.name != "vars"]
    for file in [*ROOT.glob("roles/*/tasks/*.yml"), *playbooks]:
        for task in tasks_in(yaml.safe_load(file.read_text())):
            for module in told & set(task):
                given = {**(task[module] or {}), "args": task.get("args")}
                if re.fullmatch(r"\{\{ \w+ \}\}", str(given["args"])):  # a variable of the role
                    given |= yaml.safe_load((file.parents[1] / "vars/main.yml").read_text())
                if not all(f"'{key}':" in str(given) for key in ("cluster", "cluster_id")):
                    without.append(f"{file.relative_to(ROOT)}: {task['name']}")
    assert without == []


def test_the_cluster_itself_keeps_its_id() -> None:
    manifest = yaml.safe_load((ROOT / "roles/cluster/vars/main.yml").read_text())["cluster_identity_manifest"]
    assert (manifest["kind"], manifest["metadata"]["namespace"]) == ("ConfigMap", "kube-system")
    assert manifest["data"] == {"name": "{{ cluster_name }}", "id": "{{ cluster_id }}"}
    (task,) = yaml.safe_load((ROOT / "roles/flannel/tasks/main.yml").read_text())
    assert "[cluster_identity_manifest] +" in task["kube_apply"]["resources"]  # the first objects of a cluster
