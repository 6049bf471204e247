# SPDX-License-Identifier: Apache-2.0
"""What a cluster's hosts on Alibaba Cloud should be, and what is wrong with that before anybody is asked."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ansible.module_utils.yunkube.constants import VXLAN_PORT
from ansible.module_utils.yunkube.result import Fault

CLUSTER_TAG, ID_TAG, ROLE_TAG = "yunkube-cluster", "yunkube-id", "yunkube-role"
ROLES: Final = ("master", "node")
# From it come name servers, time, metadata and mirrors: https://www.alibabacloud.com/help/en/vpc/user-guide/plan-networks
SHARED: Final = "100.64.0.0/10"
RESERVED: Final = {"Alibaba Cloud's own services": SHARED}
QUOTA: Final = 200  # custom routes of a table, unless the account has more
# Families of public images; their names end in the minor version, and the newest image counts:
# https://www.alibabacloud.com/help/en/ecs/user-guide/image-families
IMAGES: Final = {
    "debian12": r"acs:debian_12(_\d+)?_x64",
    "debian13": r"acs:debian_13(_\d+)?_x64",
    "ubuntu2204": r"acs:ubuntu_22_04_x64",
    "ubuntu2404": r"acs:ubuntu_24_04_x64",
}
WIDE: Final = 8  # no one organisation's network is larger: the registries gave none a shorter prefix
# Those that ImportKeyPair takes, as of June 2026 still no ed25519: https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-importkeypair
KEY_TYPES: Final = re.compile(r"(ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/=]+( .*)?")
# Version 3 has Python 3.6, and but for its container-optimized image boots with cgroup version 1; of 4 the image boots
# with version 2: https://www.alibabacloud.com/help/en/ack/ack-managed-and-ack-dedicated/user-guide/migrate-nodes-to-cgroupv2
ALIBABA_CLOUD_LINUX: Final = re.compile(r"(?:acs:)?(?:alibaba_cloud_linux|aliyun)_(\d+)")


@dataclass(frozen=True)
class Owner:
    """The cluster that things in the account belong to."""

    cluster: str
    cluster_id: str

    @property
    def prefix(self) -> str:
        """What the names of hosts begin with."""
        return f"{self.cluster}-"

    @property
    def name(self) -> str:
        """What all else is called."""
        return f"yunkube-{self.cluster}"

    def tags(self, role: str = "") -> list[dict[str, str]]:
        """Return the tags that a thing gets when it is made."""
        pairs = {CLUSTER_TAG: self.cluster, ID_TAG: self.cluster_id, **({ROLE_TAG: role} if role else {})}
        return [{"Key": key, "Value": value} for key, value in pairs.items()]

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Say whether these are the tags of something of this cluster."""
        return bool(self.cluster_id) and tags.get(ID_TAG) == self.cluster_id and tags.get(CLUSTER_TAG) == self.cluster

    def token(self, what: str) -> str:
        """Return a client token, the same on every control machine: so two of them make one thing."""
        return hashlib.sha256(f"{self.cluster_id} {self.cluster} {what}".encode()).hexdigest()


@dataclass(frozen=True)
class Declaration:
    """The hosts, and where they are."""

    owner: Owner
    masters: int
    nodes: int
    types: Mapping[str, str]  # instance type by role
    image: str = "debian12"
    disk_category: str = "cloud_essd"
    disk_gb: int = 40
    zones: tuple[str, ...] = ()
    vpc_id: str = ""
    vpc_cidr: str = "10.20.0.0/16"
    vswitch_ids: tuple[str, ...] = ()
    vswitch_length: int = 20
    public_key: str = ""
    admin_cidrs: tuple[str, ...] = ()
    client_cidrs: tuple[str, ...] = ()
    cluster_networks: Mapping[str, str] = field(default_factory=dict)  # what the cluster uses inside, by its key
    routed_pods: bool = False
    route_quota: int = QUOTA  # custom routes that a table may hold
    overlay_port: int = VXLAN_PORT  # UDP, of flannel's backend between hosts; 0 for none
    ports: tuple[int, ...] = ()  # further TCP ports that hosts and administrators reach
    node_ports: str = "30000-32767"
    eip: str = "none"
    eip_mbps: int = 10
    nat: bool = False
    spot: bool = False
    spot_price_limit: float = 0
    auto_release_hours: int = 0
    remove_surplus: bool = False
    boot_timeout_seconds: int = 300
    user_data: Callable[[str], str] = lambda _: ""  # of a host, by its name, when it is made

    @property
    def hosts(self) -> dict[str, str]:
        """Return the role of every host, by its name."""
        counts = {"master": self.masters, "node": self.nodes}
        return {f"{role}-{number}": role for role in ROLES for number in range(1, counts[role] + 1)}

    def has_eip(self, role: str) -> bool:
        """Say whether a host has an address of its own in the internet."""
        return self.eip == "all" or (self.eip == "masters" and role == "master")


def faults(wanted: Declaration) -> Iterator[Fault]:
    """Yield what is wrong with a declaration by itself."""
    if wanted.masters < 1 or wanted.nodes < 0:
        words = f"{wanted.masters} masters and {wanted.nodes} nodes are not a cluster"
        yield Fault("masters", words, "declare at least one master")
    if not wanted.admin_cidrs:
        remedy = "list the networks that may reach the hosts over SSH, such as [203.0.113.7/32]"
        yield Fault("admin_cidrs", "no network may reach the hosts over SSH", remedy)
    if wanted.public_key.startswith("ssh-ed25519"):
        remedy = "create another key pair with `ssh-keygen -t ecdsa`, and set its .pub file"
        yield Fault("public_key", "Alibaba Cloud does not accept ed25519 keys in key pairs", remedy)
    elif not KEY_TYPES.fullmatch(wanted.public_key.strip()):
        yield Fault("public_key", "not a public key of type RSA or ECDSA", "set the .pub file of an SSH key pair")
    if found := ALIBABA_CLOUD_LINUX.match(wanted.image):
        why = "its Python is older than 3.9" if int(found[1]) < 4 else "Alibaba Cloud Linux 4 is not tested yet"
        yield Fault("image", f"{wanted.image} is not supported: {why}", f"choose one of {', '.join(IMAGES)}")
    for key, named in (("zones", wanted.zones), ("vswitch_ids", wanted.vswitch_ids)):
        for one in sorted({one for one in named if named.count(one) > 1}):
            yield Fault(key, f"names {one} twice", "remove it once")
    if wanted.vswitch_ids and not wanted.vpc_id:
        yield Fault("vswitch_ids", "vswitch_ids is set without the VPC", "set vpc_id too")
    if wanted.spot_price_limit and not wanted.spot:
        yield Fault("spot_price_limit", "a price limit applies to spot instances only", "set spot, or remove the limit")
    if wanted.nat and wanted.eip == "all":
        remedy = "set eip to none or masters, or nat to false"
        yield Fault("nat", "every host has a public address, so none would use a NAT gateway", remedy)
    yield from _network_faults(wanted)


def warnings(wanted: Declaration) -> Iterator[str]:
    """Yield what is allowed and most likely not meant."""
    blocks = {cidr: network(cidr) for cidr in wanted.admin_cidrs}
    wide = {cidr: block for cidr, block in blocks.items() if block and block.prefixlen < WIDE}
    if wide:
        count = sum(block.num_addresses for block in wide.values())
        who = "the whole internet" if count >= 2**32 else f"{count:,} addresses"
        words = f"SSH and the API of every host with a public address are open to {who}"
        yield f"admin_cidrs holds {', '.join(wide)}: {words}; list the networks from which you work"


def _network_faults(wanted: Declaration) -> Iterator[Fault]:
    for key, cidrs in (("admin_cidrs", wanted.admin_cidrs), ("client_cidrs", wanted.client_cidrs)):
        for cidr in cidrs:
            if network(cidr) is None:
                yield Fault(key, f"{cidr} is not a network", "write it like 203.0.113.0/24, without host bits")
    if wanted.vpc_id:
        return
    block = network(wanted.vpc_cidr)
    if block is None or not block.is_private:
        yield Fault("vpc_cidr", f"{wanted.vpc_cidr} is not a private network", "write it like 10.20.0.0/16")
    elif not 8 <= block.prefixlen <= 28 or not max(16, block.prefixlen) <= wanted.vswitch_length <= 29:
        remedy = "a VPC is /8 to /28; its vSwitches are /16 to /29, and not larger than the VPC"
        yield Fault("vswitch_length", f"vSwitches of /{wanted.vswitch_length} do not fit in {wanted.vpc_cidr}", remedy)
    else:
        yield from clashes("vpc_cidr", wanted.vpc_cidr, wanted)


def clashes(key: str, cidr: str, wanted: Declaration) -> Iterator[Fault]:
    """Yield the networks that one of hosts meets, and must not."""
    block = network(cidr)
    for name, other in {**wanted.cluster_networks, **RESERVED}.items():
        taken = network(other)
        if block and taken and block.overlaps(taken):
            yield Fault(key, f"the network of the hosts, {cidr}, overlaps {other} of {name}", "choose another network")


def network(cidr: str) -> ipaddress.IPv4Network | None:
    """Return the network that a text names, none if it names none."""
    try:
        return ipaddress.IPv4Network(cidr)
    except ValueError:
        return None
