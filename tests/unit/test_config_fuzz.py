# SPDX-License-Identifier: Apache-2.0
"""Inventories with typical mistakes: whatever is changed in a valid one, the check ends with a message.

Fixed seeds; YUNKUBE_FULL=1 draws others, and prints the one that failed.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.yunkube.control import inventory_files, references, spec_check
from ansible.module_utils.yunkube.control.cluster_rules import Cluster
from deployer.cluster import find_cluster
from deployer.errors import DeployError
from sound_values import VALUES

ROOT = Path(__file__).resolve().parents[2]
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # most of the time went into writing
COUNT = 2000
PARTS = 8
DRAWN = random.randrange(1 << 30) if "YUNKUBE_FULL" in os.environ else 20261128  # noqa: S311 - no secret
OPTIONS = inventory_files.role_options(ROOT / "roles")

HOSTS: dict[str, Any] = {
    "all": {
        "vars": {"x_zone": "b"},
        "children": {
            "masters": {"hosts": {"master1": {"ansible_host": "192.0.2.11"}}},
            "nodes": {"hosts": {"node1": {"ansible_host": "192.0.2.21"}, "node2": {"ansible_host": "192.0.2.22"}}},
        },
    }
}
SETTINGS: dict[str, Any] = {
    **VALUES,
    "cluster_control_plane_endpoint": "192.0.2.11:6443",
    "cluster_registry_host": "node1",
    "cluster_ignore_preflight_errors": ["Swap"],
    "cluster_kubelet_config": {"maxPods": 110},
    "cluster_download_mirrors": {"dl.k8s.io": ["https://mirror.example.com/dl.k8s.io"]},
    "container_runtime_registry_mirrors": {"docker.io": ["https://mirror.example.com"]},
    "dashboard_provider": "kube_web_view",
    "dashboard_node_port": 30443,
    "master_certificate_names": ["k8s.example.com"],
    "master_cluster_configuration": {"apiServer": {"extraArgs": [{"name": "v", "value": "1"}]}},
    "node_taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}],
    "prepare_host_disk_mb": {"/var/lib": 20480},
    "prepare_host_systems": {"debian": "12"},
    "teardown_paths": ["/srv/data"],
    "web_services": [
        {"name": "shop", "image": "shop:1", "node_port": 31111, "env": {"A": "b"}, "env_from": [{"secret": "s"}]},
        {"name": "blog", "namespace": "blogs", "manifests": ["manifests/blog.yaml"], "replicas": 2, "port": 80},
    ],
}
BLOG = {
    "apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "blog"}, "spec": {"ports": [{"nodePort": 31112}]}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "blog"}, "data": {"a": "b"}},
    ],
}  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, -1, 70000, 1.5, float("inf"), float("nan"), "", " ", "{{ x_a }}", "{% if %}", "no", "集群",
    "a" * 300, "10.0.0.0/33", "::1", "2001:db8::/32", "0.0.0.0/0", "-", "..", "a:b:c", "host:99999", "\x00\x1b[31m",
    [], {}, [[]], [None], {"a": None}, {None: None}, {1: 2}, [{"a": []}], ["", 1, {}], {"name": {"name": []}},
]  # fmt: skip
NAMES = [7, None, "集群", "vars", "hosts", "children"]
SLIPS = ["\t", ":", "{", "]", "'", '"', "#", "&a ", "*a ", "!vault ", "!!python/none ", "\n", "- ", "<<: *x\n", ""]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to everything in a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutate(value: Any, chance: random.Random) -> None:
    """Change one place: another value, another name, gone, twice as deep, or what stands elsewhere."""
    ways = list(places(value))
    if not ways:
        return
    way = chance.choice(ways)
    inner = value
    for step in way[:-1]:
        inner = inner[step]
    last = way[-1]
    kind = chance.randrange(6)
    if kind == 0:
        del inner[last]
    elif kind == 1 and isinstance(inner, dict):
        inner[chance.choice([f"{last}s", str(last)[1:], str(last).upper(), *NAMES])] = inner.pop(last)
    elif kind == 2:
        inner[last] = {last if isinstance(last, str) else "a": inner[last]}
    elif kind == 3:
        inner[last] = [inner[last]]
    else:
        inner[last] = copy.deepcopy(chance.choice(ODD))


def scratch(text: str, chance: random.Random) -> str:
    """Change the text itself, as an editor's slip does."""
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(SLIPS) + text[at + chance.randrange(3) :]


def ini(hosts: Any) -> str:
    """Return an inventory of another format; what does not fit there is left out."""
    lines = ["[masters]", "master1 ansible_host=192.0.2.11", "[nodes]"]
    lines += [f"{key} {json.dumps(value)}" for key, value in (hosts.items() if isinstance(hosts, dict) else ())]
    return "\n".join([*lines, "[all:vars]", "cluster_name=prod", "[[odd", "=", "a=b=c", ""])


def write(folder: Path, chance: random.Random) -> Any:
    """Write a mutated inventory; return its settings."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("group_vars/all", "manifests"):
        (folder / name).mkdir(parents=True)
    hosts, settings, blog = copy.deepcopy((HOSTS, SETTINGS, BLOG))
    for _ in range(chance.randrange(1, 4)):
        mutate(chance.choice([hosts, settings, settings, blog]), chance)
    texts = {
        "hosts.yml": yaml.dump(hosts, Dumper=DUMPER),
        "manifests/blog.yaml": yaml.dump_all([blog], Dumper=DUMPER),
        "group_vars/all/cluster.yml": yaml.dump(settings, Dumper=DUMPER, allow_unicode=True),
    }
    if chance.random() < 0.1:
        texts["hosts"] = ini(hosts)
    for name, text in texts.items():
        (folder / name).write_text(scratch(text, chance) if chance.random() < 0.2 else text)
    return settings


def checked(folder: Path, settings: Any) -> list[str]:
    """Return what is said of an inventory whose values Ansible took as they are."""
    inventory = inventory_files.read([folder])
    hosts = {str(name): f"192.0.2.{number}" for number, name in enumerate(inventory.hosts)}
    given = Cluster(
        {key: value for key, value in settings.items() if isinstance(key, str)} if isinstance(settings, dict) else {},
        hosts, {"masters": list(hosts)[:1], "nodes": list(hosts)[1:]}, releases=["1.37.2"],
    )  # fmt: skip
    faults = spec_check.faults_of(inventory, OPTIONS, given, folder)
    wrong = references.complaints(inventory, OPTIONS)
    templates = [f"{one.file}:{one.line}: {one.key}: {message}; {remedy}" for one, message, remedy in wrong]
    return [*(str(fault) for fault in spec_check.in_order(faults)), *templates]


@pytest.mark.parametrize("part", range(PARTS))
def test_every_change_ends_in_lines_with_a_place(tmp_path: Path, part: int) -> None:
    said = 0
    for number in range(part, COUNT, PARTS):
        seed = DRAWN + number
        settings = write(tmp_path / "inventory", random.Random(seed))  # noqa: S311 - no secret
        try:
            lines = checked(tmp_path / "inventory", settings)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        for line in lines:
            assert line.count(": ") >= 1, (seed, line)
            assert "; " in line, (seed, line)
            assert "Undefined" not in line, (seed, line)
        said += bool(lines)
    assert said > COUNT / PARTS / 4  # or nothing of it would be seen


def test_a_good_one_has_no_fault(tmp_path: Path) -> None:
    for name in ("group_vars/all", "manifests"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(HOSTS))
    (tmp_path / "manifests/blog.yaml").write_text(yaml.safe_dump(BLOG))
    (tmp_path / "group_vars/all/cluster.yml").write_text(yaml.safe_dump(SETTINGS))
    assert checked(tmp_path, SETTINGS) == []


def test_ansible_and_the_command_end_in_words_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    refused: list[tuple[int, DeployError]] = []
    for seed in range(DRAWN + COUNT, DRAWN + COUNT + (200 if "YUNKUBE_FULL" in os.environ else 12)):
        write(tmp_path / "inventory", random.Random(seed))  # noqa: S311 - no secret
        try:
            find_cluster(str(tmp_path / "inventory"), {})
        except DeployError as error:
            refused.append((seed, error))
    assert refused
    for number, refusal in refused:
        assert refusal.code == 2, number
        assert "Traceback" not in refusal.message, (number, refusal.message)
        assert "inventory" in refusal.message, (number, refusal.message)
