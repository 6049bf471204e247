# SPDX-License-Identifier: Apache-2.0
"""The inventory of a cluster on Alibaba Cloud, by the real ansible-inventory and the real footmark."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.credentials import Credentials
from ansible.module_utils.yunkube.cloud.inventory import Found, InventoryError, Settings, ask, hosts, settle
from cloud_inventory import KEYS, REGION, environment, instance, lists, running, write
from fake_alicloud import KEY_ID, SECRET, FakeCloud, Json, RefusedError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[FakeCloud]:
    """Start a cloud."""
    with running(tmp_path) as fake:
        yield fake


CLUSTER = [
    instance("prod-node-10", number=4),
    instance("prod-node-2", number=3),
    instance("prod-master-1", "master", 1, eip="192.0.2.1"),
    instance("prod-node-1", number=2),
]


def found(cloud: FakeCloud, cluster_id: str = "") -> Found:
    """Return what an inventory of the cloud finds."""
    client = Client(REGION, lambda: Credentials(KEY_ID, SECRET), {"ecs": cloud.address}, str(cloud.ca), lambda _: None)
    return hosts(client, Settings(REGION, "prod", cluster_id))


def run(program: str, folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs with an inventory."""
    return subprocess.run(
        [str(Path(sys.executable).parent / program), "-i", str(folder), *arguments],
        env=environment(folder.parent) | more, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def inventory(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-inventory."""
    return run("ansible-inventory", folder, *arguments, **more)


def plain(listed: str) -> Json:
    """Return what --list printed, without the marks of what comes from outside."""

    def unmarked(pairs: Json) -> object:
        return pairs.get("__ansible_unsafe", pairs)

    found: Json = json.loads(listed, object_hook=unmarked)
    return found


def test_hosts_are_in_their_groups_under_short_names(cloud: FakeCloud, tmp_path: Path) -> None:
    lists(cloud, CLUSTER)
    folder = write(tmp_path / "mine", cloud, {"keyed_groups": [{"key": "alicloud_instance.zone", "prefix": "zone"}]})
    graph = inventory(folder, "--graph")
    assert (graph.returncode, graph.stderr) == (0, "")
    assert [line.strip("| -") for line in graph.stdout.splitlines()] == [
        "@all:", "@ungrouped:", "@masters:", "master-1", "@nodes:", "node-1", "node-2", "node-10",
        "@zone_cn_hangzhou_i:", "master-1", "node-2", "@zone_cn_hangzhou_h:", "node-1", "node-10",
    ]  # fmt: skip
    assert len(cloud.log) == 1


def test_an_address_of_oss_is_none_of_its_own_and_no_fault(cloud: FakeCloud, tmp_path: Path) -> None:
    lists(cloud, CLUSTER)
    endpoints = {"ecs": cloud.address, "oss": "files.example.com"}
    listed = inventory(write(tmp_path / "mine", cloud, alicloud_endpoints=endpoints), "--list")
    assert (listed.returncode, listed.stderr) == (0, "")


def test_a_host_has_its_addresses_and_what_the_cloud_knows_of_it(cloud: FakeCloud, tmp_path: Path) -> None:
    evil = instance("prod-node-1", number=2)
    evil["Tags"]["Tag"].append({"TagKey": "owner", "TagValue": "{{ lookup('ansible.builtin.pipe', 'id') }}"})
    lists(cloud, [CLUSTER[2], evil])
    options = {"compose": {"x_type": "alicloud_instance.type"}, "groups": {"big": "'large' in alicloud_instance.type"}}
    folder = write(tmp_path / "mine", cloud, options, alicloud_hosts_connect="public")
    listed = plain(inventory(folder, "--list").stdout)
    master, node = (listed["_meta"]["hostvars"][name] for name in ("master-1", "node-1"))
    assert (master["ansible_host"], master["cluster_node_ip"], master["x_type"]) == (
        "192.0.2.1",
        "10.0.0.1",
        "ecs.g7.large",
    )
    assert (node["ansible_host"], node["alicloud_instance"]["id"]) == ("10.0.0.2", "i-2")
    assert listed["big"]["hosts"] == ["master-1", "node-1"]
    owner = "msg={{ hostvars['node-1'].alicloud_instance.tags.owner }}"
    shown = run("ansible", folder, "localhost", "-m", "ansible.builtin.debug", "-a", owner)
    assert "lookup(" in shown.stdout
    assert "uid=" not in shown.stdout


def test_hosts_behind_a_bastion_are_reached_by_it_and_its_key_is_checked(cloud: FakeCloud, tmp_path: Path) -> None:
    lists(cloud, [CLUSTER[2]])
    ssh = tmp_path / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    ssh.chmod(0o755)
    folder = write(tmp_path / "mine", cloud, alicloud_hosts_connect="private")
    lines = (ROOT / "inventory/alicloud/group_vars/all/connection.yml").read_text().splitlines()
    told = [
        line.removesuffix('"') + ' -o ProxyJump=ops@198.51.100.9"' if "common_args" in line else line for line in lines
    ]
    (folder / "group_vars/all/connection.yml").write_text("\n".join(told) + "\n")
    assert (
        run(
            "ansible", folder, "masters", "-m", "ansible.builtin.raw", "-a", "true", PATH=f"{ssh.parent}:/usr/bin:/bin"
        ).returncode
        == 0
    )
    for line in (tmp_path / "asked").read_text().splitlines():
        assert "-o ProxyJump=ops@198.51.100.9" in line
        assert "-o UserKnownHostsFile=~/.local/state/yunkube/prod/ssh/known_hosts" in line
        assert "StrictHostKeyChecking=no" not in line
        assert " 10.0.0.1 " in line


def test_a_thousand_hosts_are_ten_calls(cloud: FakeCloud) -> None:
    lists(cloud, [instance(f"prod-node-{number}", number=number) for number in range(1000)])
    assert len(found(cloud).hosts) == 1000
    assert len(cloud.log) == 10


@pytest.mark.parametrize("how", ["an empty list", "an error"])
def test_what_ram_does_not_allow_is_no_empty_cluster(cloud: FakeCloud, tmp_path: Path, how: str) -> None:
    lists(cloud, [], dry_run="Forbidden.RAM")
    if how == "an error":
        cloud.refusals = [RefusedError(403, "Forbidden.RAM")]
    ended = inventory(write(tmp_path / "mine", cloud), "--graph")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith(
        "[ERROR]: cannot list the hosts of prod in cn-hangzhou: DescribeInstances: Forbidden.RAM"
    )
    assert "allow ecs:DescribeInstances to this user in RAM" in ended.stderr
    assert SECRET not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_play_does_not_begin_where_the_hosts_are_not_known(cloud: FakeCloud, tmp_path: Path) -> None:
    lists(cloud, [], dry_run="Forbidden.RAM")
    play = [
        {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [{"debug": {"msg": "began"}}]}
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    ended = run("ansible-playbook", write(tmp_path / "mine", cloud), str(tmp_path / "play.yml"))
    assert ended.returncode != 0
    assert "began" not in ended.stdout
    assert "Forbidden.RAM" in ended.stderr


def test_a_cluster_without_hosts_is_said_to_have_none(cloud: FakeCloud, tmp_path: Path) -> None:
    lists(cloud, [])
    ended = inventory(write(tmp_path / "mine", cloud), "--graph")
    assert ended.returncode == 0
    assert "@masters:" in ended.stdout
    assert "the cluster prod has no instance in cn-hangzhou" in ended.stderr


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ALIBABA_CLOUD_ACCESS_KEY_ID": ""}, "ALIBABA_CLOUD_ACCESS_KEY_SECRET is set and"),
        (dict.fromkeys(KEYS, ""), "no credentials for Alibaba Cloud"),
        ({"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "wrong"}, "the secret does not belong to the access key"),
        ({"ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAIother"}, "the access key does not exist or is disabled"),
        ({"ALIBABA_CLOUD_SECURITY_TOKEN": "old"}, "the STS token does not belong"),
    ],
)
def test_credentials_that_do_not_do_are_one_line(
    cloud: FakeCloud, tmp_path: Path, wrong: dict[str, str], words: str
) -> None:
    lists(cloud, CLUSTER)
    settings = settle({}, write(tmp_path / "mine", cloud) / "alicloud.yml")
    with pytest.raises(InventoryError, match=words) as error:
        ask(settings, {"HOME": str(tmp_path), **KEYS, **wrong} | {"ALIBABA_CLOUD_CREDENTIALS_FILE": ""})
    assert "\n" not in str(error.value)


def test_a_token_that_has_expired_says_so(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.refusals = [RefusedError(400, "InvalidSecurityToken.Expired")]
    with pytest.raises(InventoryError, match="the STS token has expired: get new credentials"):
        ask(settle({}, write(tmp_path / "mine", cloud) / "alicloud.yml"), KEYS)


def test_without_footmark_it_says_what_to_install(cloud: FakeCloud, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", cloud)
    (tmp_path / "aliyunsdkcore.py").write_text("raise ModuleNotFoundError('gone', name='aliyunsdkcore')\n")
    ended = inventory(folder, "--graph", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    assert re.match(r"\[ERROR\]: aliyunsdkcore is not installed for \S+/python\S*: run ./scripts/setup", ended.stderr)
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("plugin", "variables", "words"),
    [
        ({"regoin": "x"}, {}, "regoin: unknown key; did you mean region?"),
        ({"cluster": "other"}, {}, "cluster is other, but cluster_name is prod: remove `cluster`"),
        ({"endpoints": {"rds": "x"}}, {}, "endpoints: rds is not one of ecs, vpc"),
        ({"endpoints": {"ecs": "http://x"}}, {}, "endpoints: http://x is not https: write a host name or an https URL"),
        ({}, {"alicloud_region": ""}, "alicloud_region is not set: set it in group_vars/all/cluster.yml"),
        ({}, {"cluster_name": ""}, "cluster_name is not set"),
        ({}, {"alicloud_hosts_connect": "vpn"}, "connect: vpn is not one of private, public"),
        ({}, {"alicloud_region": "{{ x }}"}, "alicloud_region: a template cannot be used before the hosts are known"),
    ],
)
def test_settings_that_do_not_do_are_named(
    cloud: FakeCloud, tmp_path: Path, plugin: Json, variables: Json, words: str
) -> None:
    ended = inventory(write(tmp_path / "mine", cloud, plugin, **variables), "--graph")
    assert ended.returncode == 1
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert cloud.log == []


def test_two_clusters_of_one_name_are_not_mixed(cloud: FakeCloud) -> None:
    lists(cloud, [instance("prod-node-1"), instance("prod-node-2", number=2, cluster_id="b" * 16)])
    with pytest.raises(InventoryError, match=r"of 2 clusters are tagged .* aaaa.* and bbbb.*: write `cluster_id`"):
        found(cloud)
    assert [host.name for host in found(cloud, cluster_id="b" * 16).hosts] == ["node-2"]


def test_two_hosts_of_one_name_are_an_error(cloud: FakeCloud) -> None:
    lists(cloud, [instance("prod-node-1"), instance("node-1", number=2)])
    with pytest.raises(InventoryError, match="i-1 and i-2 are both called node-1: rename one of them"):
        found(cloud)


def test_an_instance_that_is_not_a_host_is_reported(cloud: FakeCloud) -> None:
    starting = instance("prod-node-1")
    starting["VpcAttributes"]["PrivateIpAddress"]["IpAddress"] = []
    lists(cloud, [starting, instance("prod-bastion", None, 7)])
    answer = found(cloud)
    assert [host.name for host in answer.hosts] == ["node-1"]
    assert answer.warnings == [
        "i-7 is not a host: its tag yunkube-role is neither master nor node",
        "node-1 has no address yet",
    ]


def test_what_is_kept_is_that_of_the_same_cluster_and_no_secret(cloud: FakeCloud, tmp_path: Path) -> None:
    lists(cloud, CLUSTER)
    kept = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "kept")}
    folder = write(tmp_path / "mine", cloud, kept)
    first, second = (inventory(folder, "--list") for _ in range(2))
    assert first.stdout == second.stdout
    assert len(cloud.log) == 1
    [note] = (tmp_path / "kept").iterdir()
    assert SECRET not in note.read_text()
    inventory(folder, "--list", "--flush-cache")
    assert len(cloud.log) == 2
    other = (folder / "group_vars/all/cluster.yml").read_text().replace("cn-hangzhou", "cn-beijing")
    (folder / "group_vars/all/cluster.yml").write_text(other)
    inventory(folder, "--list")
    assert len(cloud.log) == 3


def test_the_example_wants_a_name_only() -> None:
    with pytest.raises(InventoryError, match="cluster_name is not set"):
        settle({}, ROOT / "inventory/alicloud/alicloud.yml")
    content = yaml.safe_load((ROOT / "inventory/alicloud/alicloud.yml").read_text())
    assert content.pop("plugin") == "alicloud"
    assert set(content) == {"keyed_groups"}
