"""From an access key to a cluster and back, by the real footmark, in a cloud whose instances are hosts of the lab."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cloud_machines import Machines
from fake_alicloud import KEY_ID, SECRET, FakeCloud, Json
from fake_alicloud_account import Account
from fake_alicloud_instances import open_account
from laboratory import ROOT, Lab, Result

NAME, SUBNET = "cloud", "10.111.0.0/24"
SETTINGS = {
    "alicloud_hosts_admin_cidrs": [SUBNET],
    "alicloud_hosts_vpc_cidr": SUBNET,
    "alicloud_hosts_vswitch_length": 24,
    "alicloud_hosts_zones": ["cn-hangzhou-b"],
    "alicloud_hosts_eip": "none",
    "alicloud_hosts_connect": "private",
    "alicloud_hosts_nodes": 1,
    "dashboard_provider": "none",
}


@dataclass
class CloudLab:
    """An account, its hosts, and an inventory."""

    account: Account
    machines: Machines
    lab: Lab

    def set(self, **variables: object) -> None:
        """Write variables, which win over those that were written before."""
        with (self.lab.inventory / "group_vars/all/test.yml").open("w") as stream:
            json.dump({**SETTINGS, **variables}, stream)

    def deploy(self, verb: str, *options: str) -> Result:
        """Run a verb with the account's key."""
        argv = [*self.lab.argv(verb), *options]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=400, env=self.environment)
        return Result(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)

    @property
    def environment(self) -> dict[str, str]:
        """The key, as a person exports it."""
        key = {"ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET}
        return {**os.environ, **key}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudLab]:
    folder = tmp_path_factory.mktemp("cloud")
    fake = FakeCloud(folder)
    account = open_account(fake, folder)
    machines = Machines(NAME, SUBNET)

    def start(instance: Json) -> None:
        machines.keys = {name: pair["PublicKey"] for name, pair in account.state["keys"].items()}
        machines.start(instance)

    account.start_host, account.stop_host = start, machines.stop
    inventory = folder / "inventory"
    shutil.copytree(ROOT / "inventory/alicloud", inventory)
    shutil.copy(ROOT / "inventory/docker/group_vars/all/lab.yml", inventory / "group_vars/all/lab.yml")
    file = inventory / "group_vars/all/cluster.yml"
    text = file.read_text().replace('cluster_name: ""', f"cluster_name: {NAME}")
    kept = [line for line in text.splitlines() if line.partition(":")[0] not in SETTINGS]
    kept += [f"alicloud_endpoints: {{ecs: {fake.address!r}, vpc: {fake.address!r}}}", f"alicloud_ca: {fake.ca}"]
    file.write_text("\n".join(kept) + "\n")
    lab = CloudLab(account, machines, Lab(inventory, NAME, SUBNET.rpartition(".")[0]))
    shutil.rmtree(lab.lab.state, ignore_errors=True)
    lab.set()
    machines.open()
    yield lab
    machines.close()
    fake.close()
    shutil.rmtree(lab.lab.state, ignore_errors=True)


def test_a_plan_says_what_it_would_make_and_cost(cloud: CloudLab) -> None:
    result = cloud.deploy("cloud plan")
    assert result.code == 5, result.errors
    words = json.dumps(result.summary["plan"])
    assert "make host master-1" in words
    assert "an hour" in words
    assert cloud.account.left() == {}


def test_a_key_becomes_a_cluster(cloud: CloudLab) -> None:
    result = cloud.deploy("cloud up")
    assert result.code == 0, result.errors
    assert all(row["ok"] for row in result.summary["table"])


def test_status_lists_the_hosts_and_what_they_cost(cloud: CloudLab) -> None:
    result = cloud.deploy("cloud status")
    assert result.code == 0, result.errors
    rows = result.summary["table"]
    assert [row["check"] for row in rows][:3] == ["cost", "host", "host"]
    assert "1.00 CNY an hour" in rows[0]["detail"]
    assert "Running, 10.111.0." in rows[1]["detail"]


def test_and_two_further_runs_change_nothing(cloud: CloudLab) -> None:
    for _ in range(2):
        before = len(cloud.account.cloud.log)
        result = cloud.deploy("cloud up")
        assert result.code == 0, result.errors
        assert set(result.changed.values()) == {0}
        assert len(cloud.account.cloud.log) - before <= 24


def test_a_node_more_joins(cloud: CloudLab) -> None:
    cloud.set(alicloud_hosts_nodes=2)
    result = cloud.deploy("cloud up")
    assert result.code == 0, result.errors
    assert cloud.lab.kubectl("get", "nodes", "-o", "name").split() == ["node/master-1", "node/node-1", "node/node-2"]


def test_down_leaves_nothing_in_the_account(cloud: CloudLab) -> None:
    result = cloud.deploy("cloud down", "--yes")
    assert result.code == 0, result.errors
    cloud.account.advance(60)
    empty = cloud.deploy("cloud status")
    assert (empty.code, empty.summary["table"][0]["detail"]) == (0, "nothing of this cluster is in the account")
    assert cloud.account.left() == {}
    assert not cloud.lab.containers() - {f"yunkube-{NAME}-router"}
    assert [path.name for path in (cloud.lab.state / "ssh").iterdir()] == []
