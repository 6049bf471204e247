# SPDX-License-Identifier: Apache-2.0
"""The way out for hosts without a public address: a NAT gateway, its address, and an SNAT entry for each vSwitch.

From https://www.alibabacloud.com/help/en/nat-gateway/developer-reference/api-vpc-2016-04-28-createnatgateway-natgws
and its siblings. The cloud itself writes the route 0.0.0.0/0 to the gateway into the VPC's route table.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping

from ansible.module_utils.yunkube.cloud import eips, existing
from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.declaration import Owner
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.existing import Json, tags_of
from ansible.module_utils.yunkube.cloud.network import Network
from ansible.module_utils.yunkube.cloud.work import UNKNOWN, HostsError, Work
from ansible.module_utils.yunkube.result import Fault

GATEWAY_SECONDS = 300.0  # one to three minutes until it is made, by the page above
CHANGE_SECONDS = 90.0  # in which an address is bound or free, and an entry made or gone
TAKEN = ("Forbidden.SourceVSwitchId.Duplicated", "OperationUnsupported.CidrConflict")  # another run made the entry


def ours(nats: Iterable[Json], owner: Owner) -> list[Json]:
    """Return the gateways of this cluster, the oldest first: on every machine in the same order."""
    found = [one for one in nats if owner.owns(tags_of(one))]
    return sorted(found, key=lambda one: (str(one.get("CreationTime")), str(one["NatGatewayId"])))


class Nat:
    """The gateway as it is, or is made."""

    def __init__(self, work: Work) -> None:
        """Begin with what there is."""
        self.work, self.client, self.wanted, self.owner = work, work.client, work.wanted, work.wanted.owner
        self.ours = ours(work.there.nats, self.owner)
        self.others = [
            one
            for one in work.there.nats
            if not self.owner.owns(tags_of(one)) and one.get("NetworkType", "internet") == "internet"
        ]
        self.warnings: list[str] = []

    def faults(self, zones: Iterable[str], have: Mapping[str, str]) -> Iterator[Fault]:
        """Yield why there can be no gateway: the VPC's way out leads to one of somebody else, and not for all hosts."""
        if not self.wanted.nat or self.ours or not self.others:
            return
        cidrs = {str(one["VSwitchId"]): str(one["CidrBlock"]) for one in self.work.there.vswitches}
        whole = str(self.work.there.vpcs[0]["CidrBlock"]) if self.work.there.vpcs else self.wanted.vpc_cidr
        served = [entry for gateway in self.others for entry in _entries(self.client, str(gateway["NatGatewayId"]))]
        left = []
        for zone in sorted({*zones, *have}):
            switch = have.get(zone, "")
            if not any(_covers(entry, switch, cidrs.get(switch, whole)) for entry in served):
                left.append(switch or f"the vSwitch for {zone}")
        if left:
            message = (
                f"{self._names()}, not owned by this cluster, is the way out of {self.wanted.vpc_id}, but not for "
            )
            remedy = "add SNAT entries for them there, or set nat to false"
            yield Fault("nat", message + ", ".join(left), remedy)

    def _names(self) -> str:
        return ", ".join(f"NAT gateway {one['NatGatewayId']}" for one in self.others)

    def ensure(self, network: Network) -> None:
        """Make what is missing for hosts in this network; a gateway that is wanted no more stays, or goes."""
        if not self.wanted.nat:
            self._give_up()
        elif self.others and not self.ours:
            self.warnings.append(f"hosts use {self._names()}, not owned by this cluster and left unchanged")
        else:
            for gateway in self.ours[1:]:
                self._remove(gateway)
            identity = self._gateway(network)
            address = self._address(identity)
            self._let_out(identity, address, network.vswitches)

    def _give_up(self) -> None:
        for gateway in self.ours:
            if self.wanted.remove_surplus:
                self._remove(gateway)
            else:
                words = f"NAT gateway {gateway['NatGatewayId']}: not declared any more, and it costs money"
                self.warnings.append(f"{words}: remove_surplus removes it; hosts then lose what they reach through it")

    def _remove(self, gateway: Json) -> None:
        self.work.changes.append(f"remove NAT gateway {gateway['NatGatewayId']}")
        if not self.work.dry_run and (reason := remove(self.work, gateway)):
            raise HostsError(f"NAT gateway {gateway['NatGatewayId']} is still there and costs money: {reason}")
        eips.settle(self.work, {str(gateway["NatGatewayId"])})

    def _gateway(self, network: Network) -> str:
        """Return the gateway, made if there is none; of two that runs made at once the older one stays."""
        if not self.ours:
            identity = self._make(network.vpc_id, network.vswitches[min(network.vswitches)])
            if self.work.dry_run:
                return identity
            made = {"NatGatewayId": identity, "Status": ""}  # which a list by tags may not have yet
            self.ours = ours(existing.nats(self.client, self.owner), self.owner) or [made]
            for younger in self.ours[1:]:
                if younger["NatGatewayId"] == identity:
                    self._remove(younger)
        identity = str(self.ours[0]["NatGatewayId"])
        if not self.work.dry_run and self.ours[0]["Status"] != "Available":
            _until_available(self.work, identity)
        return identity

    def _make(self, vpc: str, switch: str) -> str:
        return self.work.make(
            f"NAT gateway {self.owner.name}, billed in addition to hosts", "vpc", "CreateNatGateway", "NatGatewayId",
            lambda identity: _described(self.client, identity),
            vpc_id=vpc, v_switch_id=switch, nat_type="Enhanced", network_type="internet",
            instance_charge_type="PostPaid", internet_charge_type="PayByLcu", name=self.owner.name,
            tags=self.owner.tags(),
        )  # fmt: skip

    def _address(self, gateway: str) -> str:
        """Return the gateway's address: the one that it has, else one that is free, else a new one."""
        by_id = sorted(self.work.there.eips, key=lambda eip: str(eip["AllocationId"]))
        eip = next((one for one in by_id if one.get("InstanceId") == gateway), None)
        if eip is None:
            self.work.changes.append("assign a public address to the NAT gateway")
            eip = next((one for one in by_id if not one.get("InstanceId")), None) or self._allocate(gateway)
            eip["InstanceId"], eip["Status"] = gateway, ""
            if not self.work.dry_run:
                self._bind(str(eip["AllocationId"]), gateway)
        if not self.work.dry_run and eip.get("Status") != "InUse":
            bound = self.work.until(lambda: self._bound(gateway, "InUse"), CHANGE_SECONDS)
            if bound is None:
                raise HostsError(
                    f"NAT gateway {gateway} has no address after {CHANGE_SECONDS:.0f} s: run the same command again"
                )
            eip = bound
        return str(eip.get("IpAddress", UNKNOWN))

    def _allocate(self, gateway: str) -> Json:
        """Allocate an address, once for each gateway, whichever machine does."""
        if self.work.dry_run:
            return {}
        answer = self.client.call(
            "vpc", "AllocateEipAddress", bandwidth=str(self.wanted.eip_mbps), internet_charge_type="PayByTraffic",
            name=f"{self.owner.name}-nat", tags=self.owner.tags(),
            client_token=self.owner.token(f"AllocateEipAddress {gateway}"),
        )  # fmt: skip
        return {"AllocationId": answer["AllocationId"], "IpAddress": answer["EipAddress"]}

    def _bind(self, eip: str, gateway: str) -> None:
        try:
            self.client.call(
                "vpc", "AssociateEipAddress", allocation_id=eip, instance_id=gateway, instance_type="Nat"
            )  # fmt: skip
        except CloudError:
            if self._bound(gateway, "") is None:  # another run bound it
                raise

    def _bound(self, gateway: str, status: str) -> Json | None:
        for eip in existing.eips(self.client, self.owner):
            if eip.get("InstanceId") == gateway and status in ("", eip.get("Status")):
                return eip
        return None

    def _let_out(self, gateway: str, address: str, vswitches: Mapping[str, str]) -> None:
        """Make the SNAT entries that are missing, and wait for all."""
        found = {} if gateway == UNKNOWN else self._sources(gateway)
        missing = {zone: switch for zone, switch in sorted(vswitches.items()) if switch not in found}
        self.work.changes += [f"let hosts in {zone} out through the NAT gateway" for zone in missing]
        if self.work.dry_run or all(found.get(switch) == "Available" for switch in vswitches.values()):
            return
        table = str(_described(self.client, gateway)["SnatTableIds"]["SnatTableId"][0])  # type: ignore[index]
        refused: CloudError | None = None
        for switch in missing.values():
            try:
                self.client.call(
                    "vpc", "CreateSnatEntry", snat_table_id=table, source_v_switch_id=switch, snat_ip=address,
                    snat_entry_name=self.owner.name,
                )  # fmt: skip
            except CloudError as error:
                if not error.code.startswith(TAKEN):
                    raise
                refused = error

        def ready() -> Json | None:
            now = self._sources(gateway)
            return now if all(now.get(switch) == "Available" for switch in vswitches.values()) else None

        if self.work.until(ready, CHANGE_SECONDS) is None:
            raise refused or HostsError(
                f"SNAT entries of {gateway} are not ready after {CHANGE_SECONDS:.0f} s: run the same command again"
            )

    def _sources(self, gateway: str) -> Json:
        """Return the states of the gateway's entries by vSwitch."""
        return {
            str(entry.get("SourceVSwitchId")): str(entry["Status"])
            for entry in _entries(self.client, gateway)
            if entry["Status"] != "Deleting"
        }


def remove(work: Work, gateway: Json) -> str:
    """Remove a gateway of ours with its entries, and return why it stays, empty if it is gone."""
    return work.remove(lambda: _take_away(work, gateway), CHANGE_SECONDS)


def _take_away(work: Work, gateway: Json) -> str:
    identity = str(gateway["NatGatewayId"])
    if gateway["Status"] != "Deleting":
        if gateway["Status"] != "Available":
            _until_available(work, identity)
        if reason := _empty(work, identity):
            return reason
        work.client.call("vpc", "DeleteNatGateway", nat_gateway_id=identity)
    _until_gone(work, f"NAT gateway {identity}", lambda: _described(work.client, identity), GATEWAY_SECONDS)
    return ""


def _empty(work: Work, identity: str) -> str:
    """Take the entries and addresses off a gateway; say whose entry is in the way."""
    client, owner = work.client, work.wanted.owner
    found = _entries(client, identity)
    for entry in found:
        if entry.get("SnatEntryName") != owner.name:
            foreign = entry["SnatEntryId"]
            return f"its SNAT entry {foreign} is not this cluster's: delete it, then run the same command again"
    for entry in found:
        if entry["Status"] != "Deleting":
            client.call(
                "vpc", "DeleteSnatEntry", snat_table_id=entry["SnatTableId"], snat_entry_id=entry["SnatEntryId"]
            )  # fmt: skip
    if found:
        _until_gone(work, f"SNAT entries of {identity}", lambda: _entries(client, identity), CHANGE_SECONDS)

    def bound() -> list[Json]:
        return [eip for eip in existing.eips(client, owner) if eip.get("InstanceId") == identity]

    addresses = bound()
    for eip in addresses:
        if eip.get("Status") != "Unassociating":
            client.call(
                "vpc", "UnassociateEipAddress", allocation_id=eip["AllocationId"], instance_id=identity,
                instance_type="Nat",
            )  # fmt: skip
    if addresses:
        _until_gone(work, f"addresses of {identity}", bound, CHANGE_SECONDS)
    return ""


def _until_gone(work: Work, words: str, left: Callable[[], object], seconds: float) -> None:
    def gone() -> Json | None:
        return None if left() else {"gone": True}

    if work.until(gone, seconds) is None:
        raise HostsError(
            f"{words}: not gone after {seconds:.0f} s: see the VPC console, then run the same command again"
        )


def _until_available(work: Work, identity: str) -> None:
    def available() -> Json | None:
        found = _described(work.client, identity)
        return found if found and found["Status"] == "Available" else None

    if work.until(available, GATEWAY_SECONDS) is None:
        words = f"NAT gateway {identity} is not Available after {GATEWAY_SECONDS:.0f} s"
        raise HostsError(f"{words}: see it in the VPC console, then run the same command again")


def _described(client: Client, identity: str) -> Json | None:
    answer = client.call("vpc", "DescribeNatGateways", nat_gateway_id=identity, page_size=10)
    found: list[Json] = answer["NatGateways"]["NatGateway"]
    return found[0] if found else None


def _entries(client: Client, gateway: str) -> list[Json]:
    """Return the SNAT entries of a gateway."""
    outer, inner = "SnatTableEntries", "SnatTableEntry"
    return list(client.pages("vpc", "DescribeSnatTableEntries", outer, inner, nat_gateway_id=gateway))


def _covers(entry: Json, switch: str, cidr: str) -> bool:
    """Say whether an entry is for hosts of a vSwitch, or of a network that holds all of it."""
    if switch and entry.get("SourceVSwitchId") == switch:
        return True
    source = entry.get("SourceCIDR")
    return bool(source) and ipaddress.IPv4Network(cidr).subnet_of(ipaddress.IPv4Network(str(source), strict=False))
