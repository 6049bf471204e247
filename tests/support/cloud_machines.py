# SPDX-License-Identifier: Apache-2.0
"""Instances of the fake Alibaba Cloud that are real: each is a host in Docker, with the address, key and user data that
RunInstances was called with; and the VPC's router, which follows the route table.

The router is a host, too, at the address that the cloud keeps for it in a vSwitch, the last but two:
https://www.alibabacloud.com/help/en/vpc/user-guide/create-and-manage-vswitch
"""

from __future__ import annotations

import base64
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml
from ansible.module_utils.yunkube.docker.engine import Docker, socket_path
from ansible.module_utils.yunkube.docker.lab import bounding_set
from ansible.module_utils.yunkube.docker.machine import (
    CLUSTER_LABEL,
    Machine,
    container_name,
    container_spec,
    identity_archive,
    keys_archive,
    network_spec,
)
from laboratory import docker, host_image

Json = dict[str, Any]

ENTRY = "/usr/local/sbin/docker-host-entry"
NO_REDIRECTS = "for f in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 > $f; done"
# Its own default route is its own address, by which it would ask the link for everybody.
STRICT = "ip route replace unreachable 0.0.0.0/1; ip route replace unreachable 128.0.0.0/1"
FORWARD = "echo 1 > /proc/sys/net/ipv4/ip_forward; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done"


class Machines:
    """The hosts of one account, all in one vSwitch."""

    def __init__(self, name: str, subnet: str) -> None:
        """Take a name for network and containers that no other lab has, and the vSwitch's addresses."""
        self.name, self.subnet = name, ipaddress.IPv4Network(subnet)
        self.router = str(self.subnet[-3])
        self.image = host_image()  # and by it the engine
        self.engine = Docker(socket_path())
        self.keys: dict[str, str] = {}  # public keys by the name of a key pair

    def open(self) -> None:
        """Make the network and its router."""
        self.close()
        spec = network_spec(self.name, "fake-account", self.subnet)
        # Not an internal one: the engine lets nothing pass there but the subnet's own addresses, and pods have others.
        spec |= {"Internal": False, "Options": {"com.docker.network.bridge.enable_ip_masquerade": "false"}}
        spec["IPAM"]["Config"][0]["Gateway"] = str(self.subnet[-2])  # this machine; the first address is an instance's
        self.engine.post("/networks/create", spec)
        self._run(self._machine("router", self.router, (b"", b"")))
        docker("exec", container_name(self.name, "router"), "sh", "-c", f"{FORWARD}; {NO_REDIRECTS}; {STRICT}")

    def start(self, instance: Mapping[str, Any]) -> None:
        """Start an instance: with its key pair's key for root, and the host key that its user data brings."""
        given = yaml.safe_load(base64.b64decode(instance["UserData"])) or {}
        keys = given.pop("ssh_keys")
        assert given == {"ssh_deletekeys": True}, f"this cloud-init knows no more than keys of SSH, not {given}"
        public = self.keys[instance["KeyPairName"]].encode()
        address = instance["VpcAttributes"]["PrivateIpAddress"]["IpAddress"][0]
        machine = self._machine(instance["InstanceId"], address, (keys["ed25519_private"].encode(), public))
        self._run(machine, instance["HostName"])

    def stop(self, instance: Mapping[str, Any]) -> None:
        """Remove an instance with all that was on it."""
        self.engine.delete(f"/containers/{container_name(self.name, instance['InstanceId'])}", force=True, v=True)

    def route(self, entries: Mapping[str, str]) -> None:
        """Follow the route table: destinations with the private addresses of the instances that they go to."""
        lines = "".join(f"route replace {cidr} via {address} proto 99\n" for cidr, address in entries.items())
        script = f"ip route flush proto 99; ip -batch - <<'LINES'\n{lines}LINES\n"
        docker("exec", container_name(self.name, "router"), "sh", "-c", script)

    def close(self) -> None:
        """Remove everything."""
        label = {"label": [f"{CLUSTER_LABEL}={self.name}"]}
        for container in self.engine.get("/containers/json", all=True, filters=label):
            self.engine.delete(f"/containers/{container['Id']}", force=True, v=True)
        for network in self.engine.get("/networks", filters=label):
            self.engine.delete(f"/networks/{network['Id']}")

    def _machine(self, name: str, address: str, keys: tuple[bytes, bytes]) -> Machine:
        return Machine(
            cluster=self.name,
            cluster_id="fake-account",
            name=name,
            address=address,
            subnet=self.subnet,
            image=self.image,
            command=(ENTRY, self.router),
            keys=keys,
            restart_policy="no",
        )

    def _run(self, machine: Machine, hostname: str = "") -> None:
        name = container_name(self.name, machine.name)
        spec = container_spec(machine, bounding_set())
        self.engine.post("/containers/create", spec | {"Hostname": hostname or machine.name}, name=name)
        named = replace(machine, name=hostname or machine.name)
        self.engine.put(f"/containers/{name}/archive", identity_archive(named, f"{time.time_ns():032x}"), path="/")
        if machine.keys[0]:
            self.engine.put(f"/containers/{name}/archive", keys_archive(machine), path="/")
        self.engine.post(f"/containers/{name}/start")
