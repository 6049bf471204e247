# SPDX-License-Identifier: Apache-2.0
"""What hosts and the registry's pods are configured with."""

from __future__ import annotations

import hashlib
import json
import tomllib
import types
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
CLUSTER = {
    "cluster_name": "shop",
    "cluster_registry_host": "node1",
    "cluster_registry_address": "10.0.0.11:5000",
    "cluster_registry_pull_address": "10.0.0.11:5001",
    "cluster_bundle_manifest": "manifest.json",
    "registry_data_dir": "/var/lib/yunkube/registry",
    "registry_resources": {},
}


def rendered(template: str) -> str:
    """Return a role's template as Ansible would write it."""
    # What is rendered is YAML and TOML.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)  # noqa: S701
    environment.filters["to_json"] = json.dumps
    environment.filters["hash"] = lambda text, kind: hashlib.new(kind, text.encode()).hexdigest()
    entry = types.SimpleNamespace(reference="registry:3")
    more = yaml.safe_load((ROLES / "registry/vars/main.yml").read_text())
    text = (ROLES / template).read_text()
    return environment.from_string(text).render(more | CLUSTER, lookup=lambda *_: entry)


def test_an_image_that_the_registry_does_not_have_is_asked_for_once() -> None:
    """A host of the same name as the server is one more try, and containerd asks the server in the end anyway."""
    told = tomllib.loads(rendered("container_runtime/templates/registry.toml.j2"))
    assert told.pop("ca")
    assert told == {"server": "https://10.0.0.11:5001", "capabilities": ["pull", "resolve"]}


def configurations() -> dict[str, Any]:
    """Return what the registry's two servers read, by file."""
    objects = list(yaml.safe_load_all(rendered("registry/templates/registry.yaml.j2")))
    (found,) = (one for one in objects if one["kind"] == "ConfigMap")
    return {name: json.loads(text) for name, text in found["data"].items()}


def test_no_image_can_be_deleted() -> None:
    """The garbage collection of docker-registry 2.8 loses the images inside a tagged index."""
    told = configurations()
    assert set(told) == {"config.yml", "pull.yml"}
    assert [one["storage"]["delete"] for one in told.values()] == [{"enabled": False}] * 2


def test_the_account_of_pods_meets_a_server_that_takes_no_image() -> None:
    told = configurations()
    assert told["pull.yml"]["storage"]["maintenance"]["readonly"] == {"enabled": True}
    assert told["config.yml"]["auth"]["htpasswd"]["path"] == "/etc/registry-login/htpasswd"
    assert told["pull.yml"]["auth"]["htpasswd"]["path"] == "/etc/registry-login/reader_htpasswd"
    objects = yaml.safe_load_all(rendered("registry/templates/registry.yaml.j2"))
    (pods,) = (one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment")
    data = {one["name"]: one["volumeMounts"][0] for one in pods["containers"]}
    assert {name: mount["readOnly"] for name, mount in data.items()} == {"registry": False, "pull": True}
