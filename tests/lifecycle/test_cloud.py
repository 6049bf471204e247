# SPDX-License-Identifier: Apache-2.0
"""From an access key to a cluster and back, by the real footmark, in a cloud whose instances are hosts of the lab.

The VPC routes pods' addresses: its router, a host of the lab as well, follows the entries of the route table. The tests
follow each other. What an access key's secret and a token of STS leave behind is looked for at every step.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from canaries import Canaries
from cloud_machines import Machines
from fake_alicloud import KEY_ID, FakeCloud, Json
from fake_alicloud_account import Account
from fake_alicloud_instances import open_account
from fake_alicloud_routes import follow, hops_of
from laboratory import ROOT, Lab, Result, docker

NAME, SUBNET = "cloud", "10.111.0.0/24"
SETTINGS = {
    "alicloud_hosts_admin_cidrs": [SUBNET],
    "alicloud_hosts_vpc_cidr": SUBNET,
    "alicloud_hosts_vswitch_length": 24,
    "alicloud_hosts_zones": ["cn-hangzhou-b"],
    "alicloud_hosts_eip": "none",
    "alicloud_hosts_connect": "private",
    "dashboard_provider": "none",
    "flannel_backend": "vpc",
}
CALLS = 14  # of a run with nothing to do: two read the inventory, nine list what there is, three are for routes


@dataclass
class CloudLab:
    """An account, its hosts, and an inventory."""

    account: Account
    machines: Machines
    lab: Lab
    canaries: Canaries
    environment: dict[str, str] = field(repr=False)

    def declare(self, **variables: object) -> None:
        """Write variables, which win over those that were written before."""
        with (self.lab.inventory / "group_vars/all/test.yml").open("w") as stream:
            json.dump({**SETTINGS, **variables}, stream)

    def deploy(self, verb: str, *options: str) -> Result:
        """Run a verb with the account's key, and watch for its secrets."""
        argv = [*self.lab.argv(verb), *options]
        with self.canaries.watching(self.lab.state / "run"):  # for as long as a new machine builds the bundle
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=2400, env=self.environment)
        self.canaries.check(f"what {verb} wrote", done.stdout + done.stderr)
        return Result(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)

    def leaks(self) -> set[str]:
        """Look where watching does not, and return all places where a secret was found."""
        kept = [self.lab.state, self.lab.inventory, Path("~/.ansible").expanduser()]
        self.canaries.look_at_files([folder for folder in kept if folder.is_dir()])
        for container in self.lab.containers():
            self.canaries.look_at_host(container)
        for request in self.account.cloud.requests:
            self.canaries.check("a request to the API", self.canaries.without_token(request))
        return self.canaries.seen

    def cidrs(self) -> dict[str, str]:
        """Return the pods' ranges that the API server gave, with the id of the instance that each node is."""
        there = {one["HostName"]: one["InstanceId"] for one in self.account.state["instances"].values()}
        nodes = json.loads(self.lab.kubectl("get", "nodes", "--output=json"))["items"]
        return {node["spec"]["podCIDR"]: there[node["metadata"]["name"]] for node in nodes}

    def run(self, host: str, script: str) -> str:
        """Run a shell's script on a host."""
        there = {one["HostName"]: one["InstanceId"] for one in self.account.state["instances"].values()}
        return docker("exec", f"yunkube-{NAME}-{there[host]}", "sh", "-c", script, check=False)

    def reaches(self, host: str, other: str) -> bool:
        """Say whether a host reaches the bridge of another one's pods."""
        bridge = self.run(other, "ip -4 -o address show dev cni0").split()[3].partition("/")[0]
        return "1 received" in self.run(host, f"ping -c1 -W1 {bridge}")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudLab]:
    folder = tmp_path_factory.mktemp("cloud")
    fake = FakeCloud(folder)
    secret, token = f"canary-secret-{secrets.token_hex(16)}", f"canary-token-{secrets.token_hex(16)}"
    fake.keys = {KEY_ID: (secret, token)}
    account = open_account(fake, folder)
    machines = Machines(NAME, SUBNET)

    def start(instance: Json) -> None:
        machines.keys = {name: pair["PublicKey"] for name, pair in account.state["keys"].items()}
        machines.start(instance)

    account.start_host, account.stop_host, account.route = start, machines.stop, machines.route
    account.route_seconds = 0.5
    inventory = folder / "inventory"
    shutil.copytree(ROOT / "inventory/alicloud", inventory)
    shutil.copy(ROOT / "inventory/docker/group_vars/all/lab.yml", inventory / "group_vars/all/lab.yml")
    file = inventory / "group_vars/all/cluster.yml"
    text = file.read_text().replace('cluster_name: ""', f"cluster_name: {NAME}")
    kept = [line for line in text.splitlines() if line.partition(":")[0] not in SETTINGS]
    kept += [f"alicloud_endpoints: {{ecs: {fake.address!r}, vpc: {fake.address!r}}}", f"alicloud_ca: {fake.ca}"]
    file.write_text("\n".join(kept) + "\n")
    key = {"KEY_ID": KEY_ID, "KEY_SECRET": secret}
    environment = {f"ALIBABA_CLOUD_ACCESS_{name}": value for name, value in key.items()}
    environment |= {"ALIBABA_CLOUD_SECURITY_TOKEN": token}
    lab = Lab(inventory, NAME, SUBNET.rpartition(".")[0])
    made = CloudLab(account, machines, lab, Canaries(secret, token), {**os.environ, **environment})
    shutil.rmtree(lab.state, ignore_errors=True)
    made.declare()
    machines.open()
    yield made
    machines.close()
    fake.close()
    shutil.rmtree(lab.state, ignore_errors=True)


def test_a_plan_says_what_it_would_make_and_cost(cloud: CloudLab) -> None:
    result = cloud.deploy("cloud plan")
    assert result.code == 5, result.errors
    words = json.dumps(result.summary["plan"])
    assert "create host master-1" in words
    assert "an hour" in words
    assert cloud.account.left() == {}


def test_a_key_becomes_a_cluster_whose_pods_the_vpc_routes(cloud: CloudLab) -> None:
    result = cloud.deploy("cloud up")
    assert result.code == 0, result.errors
    assert all(row["ok"] for row in result.summary["table"])
    assert len(cloud.cidrs()) == 3
    assert hops_of(cloud.account) == cloud.cidrs()
    for host in ("master-1", "node-1", "node-2"):
        assert "flannel.1" not in cloud.run(host, "ip -brief link")
        assert "10.244" not in cloud.run(host, "ip route show proto static; ip route show dev eth0")
    assert cloud.reaches("node-1", "node-2")


def test_status_lists_the_hosts_and_what_they_cost(cloud: CloudLab) -> None:
    result = cloud.deploy("cloud status")
    assert result.code == 0, result.errors
    rows = result.summary["table"]
    assert [row["check"] for row in rows][:4] == ["cost", "host", "host", "host"]
    assert "1.50 CNY an hour" in rows[0]["detail"]
    assert "Running, 10.111.0." in rows[1]["detail"]


def test_a_further_run_changes_nothing(cloud: CloudLab) -> None:
    cloud.account.cloud.log.clear()
    result = cloud.deploy("cloud up")
    assert result.code == 0, result.errors
    assert set(result.changed.values()) == {0}
    assert len(cloud.account.cloud.log) <= CALLS, [given["Action"] for given in cloud.account.cloud.log]


def test_a_missing_route_cuts_pods_off_and_the_doctor_makes_it(cloud: CloudLab) -> None:
    healthy = cloud.deploy("doctor")
    assert (healthy.code, healthy.summary["doctor"]["findings"]) == (0, []), healthy.errors
    routes = cloud.account.state["routes"]
    [lost] = [name for name, one in routes.items() if one["RouteEntryName"] == f"{NAME}-node-2"]
    del routes[lost]
    follow(cloud.account)
    assert not cloud.reaches("node-1", "node-2")
    result = cloud.deploy("doctor", "--fix")
    assert result.summary["doctor"]["repaired"] == ["cloud-route-missing node-2 node-2"], (
        result.summary,
        result.errors,
    )
    assert (result.code, result.summary["doctor"]["findings"]) == (0, [])
    assert hops_of(cloud.account) == cloud.cidrs()
    assert cloud.reaches("node-1", "node-2")


def test_a_node_more_joins_and_has_its_route(cloud: CloudLab) -> None:
    cloud.declare(alicloud_hosts_nodes=3)
    result = cloud.deploy("cloud up")
    assert result.code == 0, result.errors
    assert len(cloud.cidrs()) == 4
    assert hops_of(cloud.account) == cloud.cidrs()


def test_fewer_nodes_leave_with_their_instances_and_routes(cloud: CloudLab) -> None:
    cloud.declare(alicloud_hosts_nodes=1)
    before = cloud.account.left()
    refused = cloud.deploy("cloud up")
    assert (refused.code, refused.events) == (2, [])
    assert "node-2, node-3: more than declared; cloud up would drain them" in refused.errors
    assert cloud.account.left() == before
    result = cloud.deploy("cloud up", "--yes")
    assert result.code == 0, result.errors
    assert cloud.lab.kubectl("get", "nodes", "-o", "name").split() == ["node/master-1", "node/node-1"]
    assert hops_of(cloud.account) == cloud.cidrs()
    assert len(cloud.account.left()["instances"]) == 2


def test_the_secrets_of_the_key_are_nowhere(cloud: CloudLab) -> None:
    assert cloud.leaks() == set()


def test_down_leaves_nothing_in_the_account(cloud: CloudLab) -> None:
    result = cloud.deploy("cloud down", "--yes")
    assert result.code == 0, result.errors
    cloud.account.advance(60)
    empty = cloud.deploy("cloud status")
    assert (empty.code, empty.summary["table"][0]["detail"]) == (0, "the account has nothing of this cluster")
    assert cloud.account.left() == {}
    assert not cloud.lab.containers() - {f"yunkube-{NAME}-router"}
    assert [path.name for path in (cloud.lab.state / "ssh").iterdir()] == []
    assert cloud.leaks() == set()


def test_a_secret_that_leaks_would_be_found(cloud: CloudLab) -> None:
    router = f"yunkube-{NAME}-router"
    canary = Canaries(f"canary-{secrets.token_hex(16)}")
    (secret,) = canary.secrets
    with canary.watching():
        subprocess.run([sys.executable, "-c", "import time; time.sleep(1)", secret], check=True)
        docker("exec", router, "sh", "-c", f"echo {secret} > /tmp/leak; logger {secret}")
    (cloud.lab.state / "leak").write_text(secret)
    canary.look_at_files([cloud.lab.state])
    canary.look_at_host(router)
    canary.check("a request to the API", canary.without_token(f"/?SecurityToken={secret}&Description={secret}"))
    assert canary.seen >= {
        "the arguments of a process", f"{router}:/tmp/leak", f"the journal of {router}", str(cloud.lab.state / "leak"),
        "a request to the API",
    }  # fmt: skip
