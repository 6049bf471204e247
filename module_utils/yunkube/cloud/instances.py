# SPDX-License-Identifier: Apache-2.0
"""The instances of a cluster on Alibaba Cloud: created one by one, awaited, removed."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ansible.module_utils.yunkube.cloud import eips, existing
from ansible.module_utils.yunkube.cloud.declaration import Declaration
from ansible.module_utils.yunkube.cloud.errors import CloudError
from ansible.module_utils.yunkube.cloud.existing import Existing, Host, Json
from ansible.module_utils.yunkube.cloud.market import strategy
from ansible.module_utils.yunkube.cloud.network import Network
from ansible.module_utils.yunkube.cloud.work import HostsError, Work, until
from ansible.module_utils.yunkube.result import Fault

# Codes with which RunInstances says that another zone may well have it.
SOLD_OUT = (
    "OperationDenied.NoStock", "OperationDenied.ZoneNotAllowed", "Zone.NotOnSale", "Zone.NotOpen",
    "InvalidResourceType.NotSupported", "ResourceNotAvailable", "InvalidVSwitchId.IpNotEnough",
)  # fmt: skip
AT_ONCE = 100  # instances that DeleteInstances takes
RELEASE_SECONDS = 300
ROUTE_SECONDS = 60  # that a route which is gone may count


def faults(wanted: Declaration, there: Existing) -> Iterator[Fault]:
    """Yield what is wrong with existing instances."""
    for name, hosts in there.by_name().items():
        if len(hosts) > 1:
            ids = ", ".join(host.id for host in hosts)
            yield Fault(
                "hosts", f"several instances are called {name} in this cluster: {ids}", "release all but one of them"
            )
        for host in hosts:
            if host.locks and name in wanted.hosts:
                why = ", ".join(host.locks)
                remedy = "check the instance in the ECS console, and the account's balance"
                yield Fault("hosts", f"{host} is locked by Alibaba Cloud: {why}", remedy)


def surplus(wanted: Declaration, there: Existing) -> list[Host]:
    """Return the surplus hosts: those with the highest numbers."""
    extra = [
        host for host in there.hosts if host.name not in wanted.hosts and host.name == f"{host.role}-{host.number}"
    ]
    return sorted(extra, key=lambda host: (host.role, -host.number))


def differences(wanted: Declaration, there: Existing) -> Iterator[str]:
    """Yield what of a host is another than declared: it stays, as only a new host can be different."""
    bound = {str(eip.get("InstanceId")): str(eip["IpAddress"]) for eip in there.eips}
    for host in there.hosts:
        if host.name != f"{host.role}-{host.number}":
            words = f"{host}: has the tags of this cluster, but is not one of its hosts"
            yield f"{words}: remove the tags, or it is removed with the cluster"
        role = wanted.hosts.get(host.name)
        if role and host.type != wanted.types[role]:
            words = f"{host} is {host.type} and stays so; {wanted.types[role]} applies to new hosts"
            yield f"{words}: remove the host and add it again to change it"
        if role and not wanted.has_eip(role) and (eip := bound.get(host.id)):
            words = f"{host} has the public address {eip}, but none is declared for it, and it costs money"
            yield f"{words}: unbind it in the VPC console; the next run then releases it"


class Instances:
    """The hosts as they are, or are made."""

    def __init__(self, work: Work, network: Network) -> None:
        """Begin with what there is."""
        self.work, self.wanted, self.network = work, work.wanted, network
        self.hosts = {host.name: host for host in work.there.hosts if host.name in self.wanted.hosts}
        self.made: dict[str, str] = {}  # name -> id
        self._sold_out: set[tuple[str, str]] = set()

    def ensure(self, zones: list[str], offers: Mapping[str, list[str]], image: str) -> None:
        """Start hosts that are stopped, make those that are missing, and wait until all run."""
        stopped = [host for host in self.hosts.values() if host.status == "Stopped"]
        if stopped:
            self.work.changes += [f"start {host}" for host in stopped]
            if not self.work.dry_run:
                for part in _parts([host.id for host in stopped]):
                    self.work.client.call("ecs", "StartInstances", instance_ids=part)
        missing = [name for name in self.wanted.hosts if name not in self.hosts]
        try:
            for name in missing:
                kind = self.wanted.types[self.wanted.hosts[name]]
                self._make(name, kind, [zone for zone in zones if zone in offers[kind]], image)
        except CloudError as error:
            raise HostsError(f"{error}; {self._state()}") from error
        if not self.work.dry_run and (missing or any(host.status != "Running" for host in self.hosts.values())):
            self._wait()

    def _state(self) -> str:
        there = len(self.hosts) + len(self.made)
        words = f"{there} of {len(self.wanted.hosts)} hosts exist and cost money"
        return f"{words}: run the same command again to create the rest, or remove them all"

    def _make(self, name: str, kind: str, zones: list[str], image: str) -> None:
        """Make one host, in the zone that is its turn or in the next that has one."""
        role = self.wanted.hosts[name]
        turn = (int(name.rpartition("-")[2]) - 1) % len(zones)
        candidates = [zone for zone in (*zones[turn:], *zones[:turn]) if (zone, kind) not in self._sold_out]
        if self.work.dry_run:
            self.work.changes.append(f"create host {name}, {kind} in {candidates[0]}")
            return
        last = None
        for zone in candidates:
            try:
                self.made[name] = self._run(name, role, zone, image)
            except CloudError as error:
                if not error.code.startswith(SOLD_OUT):
                    raise
                self._sold_out.add((zone, kind))
                last = error
            else:
                self.work.changes.append(f"create host {name}, {kind} in {zone}")
                return
        tried = ", ".join(zones)
        raise HostsError(f"{kind} is sold out in {tried} ({last}); {self._state()}")

    def _run(self, name: str, role: str, zone: str, image: str) -> str:
        wanted = self.wanted
        data = wanted.user_data(name)
        release = None
        if wanted.auto_release_hours:
            at = datetime.now(UTC) + timedelta(hours=wanted.auto_release_hours)
            release = at.strftime("%Y-%m-%dT%H:%M:00Z")
        answer = self.work.client.call(
            "ecs", "RunInstances", image_id=image, instance_type=wanted.types[role],
            v_switch_id=self.network.vswitches[zone], security_group_id=self.network.groups[role],
            instance_name=f"{wanted.owner.prefix}{name}", host_name=name, key_pair_name=self.network.key,
            system_disk_category=wanted.disk_category, system_disk_size=str(wanted.disk_gb), amount=1,
            instance_charge_type="PostPaid", internet_max_bandwidth_out=0, http_endpoint="enabled",
            http_tokens="required", user_data=base64.b64encode(data.encode()).decode() if data else None,
            auto_release_time=release, tags=wanted.owner.tags(role), **strategy(wanted),
        )  # fmt: skip
        return str(answer["InstanceIdSets"]["InstanceIdSet"][0])

    def _wait(self) -> None:
        """Wait until every host runs; of two that other runs made at once the older one stays."""
        late: list[str] = []

        def running() -> bool | None:
            found = Existing(hosts=existing.hosts(self.work.client, self.wanted.owner)).by_name()
            self._settle(found)
            self.hosts = {name: hosts[0] for name, hosts in found.items() if name in self.wanted.hosts}
            late[:] = [
                name for name in self.wanted.hosts if name not in self.hosts or self.hosts[name].status != "Running"
            ]
            return None if late else True

        if until(running, self.wanted.boot_timeout_seconds, self.work.sleep) is None:
            raise HostsError(self._late_words(late))

    def _late_words(self, late: list[str]) -> str:
        def state(name: str) -> str:
            if name in self.hosts:
                return f"{self.hosts[name]} is {self.hosts[name].status}"
            return f"{name} ({self.made.get(name, 'no id')}) is not listed"

        words = ", ".join(state(name) for name in late)
        after = f"not Running after {self.wanted.boot_timeout_seconds} s"
        return f"{words}, {after}: see its events in the ECS console, release it, then run the same command again"

    def _settle(self, found: dict[str, list[Host]]) -> None:
        """Release the younger of two hosts of one name, of which this run made one."""
        for name, hosts in found.items():
            if len(hosts) > 1 and self.made.get(name) in {host.id for host in hosts}:
                younger = [host for host in hosts[1:] if host.status != "Stopping"]
                found[name] = hosts[:1]
                delete(self.work, younger)
                self.work.changes += [f"release {host}, which another run created too" for host in younger]

    def ensure_eips(self) -> None:
        """Give an address to every host that shall have one, those first that are there and have no host."""
        hosts = {name for name, role in self.wanted.hosts.items() if self.wanted.has_eip(role)}
        needy = sorted(name for name in hosts if name not in self.hosts or not self.hosts[name].public)
        free = [eip for eip in self.work.there.eips if not eip.get("InstanceId")]
        free.sort(key=lambda eip: str(eip["AllocationId"]))
        for name in needy:
            self.work.changes.append(f"assign a public address to {name}")
            if self.work.dry_run:
                free = free[1:]
            else:
                self._give_eip(name, free)
        eips.release(self.work, free)

    def _give_eip(self, name: str, free: list[Json]) -> None:
        """Give a host one of the free addresses, or a new one; where another run gave it one, that counts."""
        client, host = self.work.client, self.hosts[name]
        if not free:
            answer = client.call(
                "vpc", "AllocateEipAddress", bandwidth=str(self.wanted.eip_mbps), internet_charge_type="PayByTraffic",
                tags=self.wanted.owner.tags(),
            )  # fmt: skip
            free.append({"AllocationId": answer["AllocationId"], "IpAddress": answer["EipAddress"]})
        eip = free.pop(0)
        try:
            client.call(
                "vpc", "AssociateEipAddress", allocation_id=eip["AllocationId"], instance_id=host.id,
                instance_type="EcsInstance",
            )  # fmt: skip
        except CloudError:
            now = {str(one["AllocationId"]): one for one in existing.eips(client, self.wanted.owner)}
            given = next((one for one in now.values() if one.get("InstanceId") == host.id), None)
            if given is None:
                raise
            if not now.get(eip["AllocationId"], given).get("InstanceId"):
                free.append(eip)
            eip = given
        self.hosts[name] = replace(host, public=str(eip["IpAddress"]))


def delete(work: Work, hosts: Iterable[Host]) -> None:
    """Release instances, running or not; one that another run released is none to release."""
    for part in _parts([host.id for host in hosts]):
        try:
            _delete(work, part)
        except CloudError as error:
            if error.code != "InvalidInstanceId.NotFound":
                raise
            left = {host.id for host in existing.hosts(work.client, work.wanted.owner)}
            for identity in part:
                if identity in left:
                    _delete(work, [identity])


def _delete(work: Work, ids: list[str]) -> None:
    """Release instances; a route to one that was deleted just now may count for some seconds still."""

    def take() -> Json:
        return work.client.call("ecs", "DeleteInstances", instance_ids=ids, force="true")

    work.insist(take, ("DependencyViolation.RouteEntry",), ROUTE_SECONDS)


def wait_gone(work: Work, hosts: Iterable[Host]) -> None:
    """Wait until instances are released."""
    ids, left = {host.id for host in hosts}, list[Host]()

    def gone() -> bool | None:
        left[:] = [host for host in existing.hosts(work.client, work.wanted.owner) if host.id in ids]
        return None if left else True

    if until(gone, RELEASE_SECONDS, work.sleep) is None:
        names = ", ".join(map(str, left))
        raise HostsError(
            f"{names}: not released after {RELEASE_SECONDS} s: see the ECS console, then run the same command again"
        )


def _parts(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]
