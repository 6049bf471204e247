# SPDX-License-Identifier: Apache-2.0
"""Where hosts and builds get things from, by the profile of the region, as Ansible makes it of the roles' variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: cluster, public: true}
    - ansible.builtin.import_role: {name: container_runtime}
      tags: [never]
      when: false
    - ansible.builtin.copy:
        dest: "{{ seen }}"
        content: "{{ found | to_json }}"
      vars:
        found:
          mirrors: "{{ cluster_mirrors }}"
          store: "{{ cluster_bundle_store }}"
          files: "{{ __container_runtime_registry_files }}"
"""


def seen(folder: Path, **given: Any) -> dict[str, Any]:
    """Return what the roles make of these values."""
    (folder / "play.yml").write_text(PLAY)
    extra = {"seen": str(folder / "seen"), "cluster_name": "shop", **given}
    argv = [
        sys.executable,
        "-m",
        "ansible",
        "playbook",
        "-i",
        "localhost,",
        "-e",
        json.dumps(extra),
        str(folder / "play.yml"),
    ]
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "seen").read_text())
    found["hosts"] = {
        Path(one["path"]).parent.name: tomllib.loads(one["content"])["host"] for one in found.pop("files")
    }
    return found


def test_without_a_profile_everything_comes_from_where_it_always_came(tmp_path: Path) -> None:
    assert seen(tmp_path) == {"mirrors": {"registries": {}}, "hosts": {}, "store": seen(tmp_path)["store"]}


def test_china_has_mirrors_and_none_for_what_has_no_dependable_one(tmp_path: Path) -> None:
    found = seen(tmp_path, cluster_region_profile="china")
    assert set(found["mirrors"]) == {"go", "pip", "debian", "debian_security", "registries", "downloads"}
    assert found["mirrors"]["downloads"] == {
        name: [f"https://files.m.daocloud.io/{name}"] for name in ("dl.k8s.io", "github.com")
    }
    assert set(found["hosts"]) == {"registry.k8s.io", "ghcr.io", "quay.io"}
    kubernetes = found["hosts"]["registry.k8s.io"]
    # The namespace is part of the path of the API, which containerd must not add itself.
    assert kubernetes["https://registry.aliyuncs.com/v2/google_containers"]["override_path"] is True
    assert "override_path" not in kubernetes["https://k8s.m.daocloud.io"]
    assert "aliyuncs.com/" not in json.dumps(
        {name: url for name, url in found["mirrors"].items() if name != "registries"}
    )


@pytest.mark.parametrize(("region", "others"), [("cn-beijing", {"ghcr.io", "quay.io"}), ("eu-central-1", set())])
def test_names_inside_of_the_cloud_are_those_of_the_region(tmp_path: Path, region: str, others: set[str]) -> None:
    found = seen(tmp_path, cluster_region_profile="vpc-internal", alicloud_region=region)
    assert found["hosts"].pop("registry.k8s.io").keys() == {
        f"https://registry-vpc.{region}.aliyuncs.com/v2/google_containers"
    }
    assert set(found["hosts"]) == others
    assert found["mirrors"]["pip"].startswith("http://mirrors.cloud.aliyuncs.com/")


def test_mirrors_of_ones_own_take_the_place_of_the_profiles(tmp_path: Path) -> None:
    own = {"docker.io": ["https://mirror.example"]}
    found = seen(tmp_path, cluster_region_profile="china", container_runtime_registry_mirrors=own)
    assert found["hosts"] == {"docker.io": {"https://mirror.example": {"capabilities": ["pull", "resolve"]}}}


@pytest.mark.parametrize(
    ("given", "upload", "fetch"),
    [
        ({}, "https://oss-cn-beijing.aliyuncs.com", "https://oss-cn-beijing.aliyuncs.com"),
        (
            {"cluster_region_profile": "vpc-internal"},
            "https://oss-cn-beijing-internal.aliyuncs.com",
            "https://oss-cn-beijing-internal.aliyuncs.com",
        ),
        ({"alicloud_endpoints": {"oss": "files.example"}}, "files.example", "files.example"),
        (  # a control machine that is outside, with hosts that reach nothing else
            {"cluster_region_profile": "vpc-internal", "alicloud_endpoints": {"oss": "files.example"}},
            "files.example",
            "https://oss-cn-beijing-internal.aliyuncs.com",
        ),
    ],
)
def test_the_bucket_is_reached_by_the_name_of_whoever_asks(
    tmp_path: Path, given: dict[str, Any], upload: str, fetch: str
) -> None:
    store = seen(tmp_path, alicloud_region="cn-beijing", **given)["store"]
    assert (store["upload"], store["fetch"]) == (upload, fetch)
