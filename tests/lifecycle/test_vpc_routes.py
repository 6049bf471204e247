"""Packets between nodes go by the routes of a VPC: a fake of Alibaba Cloud has them, and the lab's hosts follow it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
from cloud_inventory import KEYS, REGION, instance, lists, running
from fake_alicloud import FakeCloud, Json
from fake_alicloud_routes import RouteTables
from laboratory import Lab, docker

LAB = ("routes", "10.87.0", 1, 1)
pytestmark = pytest.mark.skipif(not os.environ.get("YUNKUBE_FULL"), reason="a lab of its own: tests/run --full")


class Router:
    """The VPC's router, which in the lab each host is for itself: what it sends to pods goes as the table says.

    On its way it is wrapped, as it is in a VPC: Docker lets nothing but hosts' addresses through the lab's network.
    """

    def __init__(self, cloud: FakeCloud, lab: Lab) -> None:
        """Follow every change of the tables."""
        self.lab, self.tables = lab, RouteTables(cloud)
        self.tables.vswitches = {"vsw-1": f"{lab.network}.0/24"}
        self.cloud, self._known = cloud, dict[str, dict[str, int]]()
        for name in ("CreateRouteEntry", "DeleteRouteEntry"):
            cloud.actions[name] = self._following(name)
        lists(cloud, [self._instance(number) for number in (11, 21, 22)], cluster=LAB[0])

    def _instance(self, number: int) -> Json:
        one = instance(f"routes-{number}", number=number)
        address = {"VSwitchId": "vsw-1", "PrivateIpAddress": {"IpAddress": [f"{self.lab.network}.{number}"]}}
        tags = {"Tag": [{"TagKey": "yunkube-cluster", "TagValue": "routes"}]}
        return {**one, "VpcAttributes": one["VpcAttributes"] | address, "Tags": tags}

    def _following(self, name: str) -> Callable[[Json], Json]:
        act = self.cloud.actions[name]

        def follow(given: Json) -> Json:
            answer = act(given)
            self.follow()
            return answer

        return follow

    def follow(self) -> None:
        """Give each host the routes that the table has to pods of the others."""
        ways = {
            one["DestinationCidrBlock"]: int(one["NextHops"]["NextHop"][0]["NextHopId"].removeprefix("i-"))
            for one in self.tables.entries.values()
            if one["Status"] != "Deleting"
        }
        for container in self.lab.containers():
            there = json.loads(docker("exec", container, "ip", "-json", "-4", "address", "show", "dev", "eth0"))
            own = int(there[0]["addr_info"][0]["local"].rpartition(".")[2])
            steps = [] if container in self._known else self._link(own)
            wanted = {cidr: hop for cidr, hop in ways.items() if hop != own}
            steps += [f"ip route del {cidr}" for cidr in set(self._known.get(container, {})) - set(wanted)]
            for cidr, hop in wanted.items():
                peer, card = f"{self.lab.network}.{hop}", f"02:00:00:00:00:{hop:02x}"
                steps += [
                    f"ip neigh replace {peer} lladdr {card} dev vpc0 nud permanent",
                    f"bridge fdb replace {card} dev vpc0 dst {peer}",
                    f"ip route replace {cidr} via {peer} dev vpc0 onlink",
                    f"ip route replace {peer} dev vpc0 table 87",  # what pods answer to a host
                ]
            docker("exec", container, "sh", "-euc", "\n".join(steps))
            self._known[container] = wanted

    def _link(self, own: int) -> list[str]:
        local = f"local {self.lab.network}.{own}"
        return [
            f"ip link add vpc0 address 02:00:00:00:00:{own:02x} type vxlan id 87 dstport 4787 {local} nolearning",
            "ip link set vpc0 up",
            "ip rule add from 10.244.0.0/16 lookup 87",
        ]


@pytest.fixture(scope="module")
def router(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """Run a cloud in whose VPC the lab's hosts are."""
    settings = lab.inventory / "group_vars/all/cluster.yml"
    before = settings.read_text()
    with running(tmp_path_factory.mktemp("cloud")) as cloud, mock.patch.dict(os.environ, KEYS):
        lab.write(
            "teardown_accept: ['link vpc0', 'route *', 'routing rule *']\n"  # the router's, which stays
            f"flannel_backend: vpc\nflannel_mtu: 1450\nalicloud_region: {REGION}\nalicloud_ca: {cloud.ca}\n"
            f"alicloud_endpoints: {{ecs: '{cloud.address}', vpc: '{cloud.address}'}}\n"
        )
        yield Router(cloud, lab)
    settings.write_text(before)  # the hosts go without this cloud


def routes(router: Router) -> dict[str, str]:
    """Return the table's routes, by the last byte of the node's address."""
    return {hop.removeprefix("i-"): cidr for cidr, hop in router.tables.hops().items()}


def cidrs(lab: Lab) -> dict[str, str]:
    """Return the pods' ranges that the API server gave, by the last byte of the node's address."""
    nodes = json.loads(lab.kubectl("get", "nodes", "--output=json"))["items"]
    return {
        next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP").rpartition(".")[2]:
        node["spec"]["podCIDR"] for node in nodes
    }  # fmt: skip


def test_pods_reach_each_other_by_the_routes_and_a_second_run_changes_nothing(lab: Lab, router: Router) -> None:
    plan = lab.deploy("plan")
    assert plan.code in (0, 5), plan.errors
    assert router.tables.entries == {}
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    assert routes(router) == cidrs(lab)
    assert set(routes(router)) == {"11", "21"}
    assert "flannel.1" not in lab.run("node1", "ip -brief link")
    router.cloud.log.clear()
    again = lab.deploy("up")
    assert (again.code, set(again.changed.values())) == (0, {0}), again.errors
    assert len(router.cloud.log) == 3
    assert lab.deploy("doctor").code == 0


def reached(cidr: str) -> bool:
    """Say whether master1 reaches the bridge of a node's pods."""
    bridge = cidr.replace(".0/24", ".1")
    return "1 received" in docker("exec", "yunkube-routes-master1", "ping", "-c1", "-W1", bridge, check=False)


def test_a_route_that_is_missing_cuts_pods_off_and_up_makes_it(lab: Lab, router: Router) -> None:
    [(lost, cidr)] = [
        (name, one["DestinationCidrBlock"])
        for name, one in router.tables.entries.items()
        if one["RouteEntryName"] == "routes-node1"
    ]
    assert reached(cidr)
    del router.tables.entries[lost]
    router.follow()
    assert not reached(cidr)
    result = lab.deploy("up")
    assert result.code == 0, result.errors
    assert reached(cidr)
    assert routes(router) == cidrs(lab)


def test_a_route_comes_and_goes_with_its_node(lab: Lab, router: Router) -> None:
    lab.declare(1, 2)
    added = lab.deploy("add", "node2")
    assert added.code == 0, added.errors
    assert routes(router) == cidrs(lab)
    assert set(routes(router)) == {"11", "21", "22"}
    removed = lab.deploy("remove", "node2", "--yes")
    assert removed.code == 0, removed.errors
    assert routes(router) == cidrs(lab)
    assert set(routes(router)) == {"11", "21"}
    lab.declare(1, 1)


def test_without_the_cluster_there_is_no_route(lab: Lab, router: Router) -> None:
    router.tables.add("vtb-system", "172.20.0.0/16", "i-99", "theirs")
    result = lab.deploy("down", "--yes")
    assert result.code == 0, result.errors
    assert router.tables.hops() == {"172.20.0.0/16": "i-99"}
