# SPDX-License-Identifier: Apache-2.0
"""Bring a cluster's hosts on Alibaba Cloud to their declaration: read, refuse, then change, in this order."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible.module_utils.yunkube.cloud import declaration, eips, instances, market, network, routes
from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.declaration import Declaration
from ansible.module_utils.yunkube.cloud.existing import Host, look
from ansible.module_utils.yunkube.cloud.instances import Instances
from ansible.module_utils.yunkube.cloud.nat import Nat
from ansible.module_utils.yunkube.cloud.network import Network
from ansible.module_utils.yunkube.cloud.work import Work, until
from ansible.module_utils.yunkube.result import Fault, RefusedError

STOP_SECONDS = 60.0  # in which an instance that is about to stop has stopped, or is gone


@dataclass
class Outcome:
    """What was done, or would be, and the resulting hosts."""

    hosts: list[Host] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    per_hour: float | None = None  # of the hosts that are made
    cost: str = ""


def present(
    client: Client,
    wanted: Declaration,
    *,
    dry_run: bool = False,
    sleep: Callable[[float], None] = time.sleep,
    before: Callable[[], None] = lambda: None,
) -> Outcome:
    """Make what is missing. RefusedError with all faults before the first write, HostsError and CloudError after it.

    `before` is called once nothing is refused any more, before the first write; not in a dry run.
    """
    if found := list(declaration.faults(wanted)):
        raise RefusedError(found)
    work = Work(client, wanted, look(client, wanted.owner, wanted.vpc_id), dry_run, sleep)
    _let_stop(work)
    if eips.settle(work):
        work.there = look(client, wanted.owner, wanted.vpc_id)
    return _carry_out(work, before)


def _let_stop(work: Work) -> None:
    """Wait for instances that are about to stop, or to be gone: what they are then decides what is done."""

    def stopping() -> bool:
        return any(host.status == "Stopping" for host in work.there.hosts)

    def settled() -> bool | None:
        work.there = look(work.client, work.wanted.owner, work.wanted.vpc_id)
        return None if stopping() else True

    if not work.dry_run and stopping():
        until(settled, STOP_SECONDS, work.sleep)


def _carry_out(work: Work, before: Callable[[], None]) -> Outcome:
    wanted, there, client = work.wanted, work.there, work.client
    names = {host.name for host in there.hosts}
    missing = [wanted.types[role] for name, role in wanted.hosts.items() if name not in names]
    offers = {kind: market.zones_with(client, wanted, kind) for kind in sorted(set(missing))}
    have = network.vswitches_by_zone(wanted, there)
    zones = market.choose_zones(wanted, have, offers)
    image = market.find_image(client, wanted) if missing else ""
    nat = Nat(work)
    found = [
        *network.faults(wanted, there),
        *nat.faults(zones, have),
        *instances.faults(wanted, there),
        *market.offer_faults(zones, offers),
        *(routes.room(client, wanted, there.vpcs, have.values()) if missing and wanted.routed_pods else ()),
        *(_image_fault(wanted) for _ in missing[:1] if not image),
    ]
    if found:
        raise RefusedError(found)
    warnings = [*declaration.warnings(wanted), *instances.differences(wanted, there)]
    outcome = Outcome(changes=work.changes, warnings=warnings)
    if missing:
        outcome.per_hour, outcome.cost = market.cost(client, wanted, Counter(missing))
    if not work.dry_run:
        before()
    if not wanted.routed_pods:
        routes.delete_all(work)
    net = Network(work)
    net.ensure(zones)
    nat.ensure(net)
    outcome.warnings += nat.warnings
    hosts = Instances(work, net)
    hosts.ensure(zones, offers, image)
    _scale_down(work, outcome)
    hosts.ensure_eips()
    outcome.hosts = [hosts.hosts[name] for name in wanted.hosts if name in hosts.hosts]
    return outcome


def _image_fault(wanted: Declaration) -> Fault:
    known = ", ".join(declaration.IMAGES)
    remedy = f"choose one of {known}, or set an image id or an image family"
    return Fault("image", f"there is no image {wanted.image} in this region", remedy)


def _scale_down(work: Work, outcome: Outcome) -> None:
    """Remove hosts that are more than declared, where that is allowed; they must have left the cluster before."""
    extra = instances.surplus(work.wanted, work.there)
    if not extra:
        return
    if not work.wanted.remove_surplus:
        outcome.surplus = [host.name for host in extra]
        names = ", ".join(map(str, extra))
        outcome.warnings.append(f"{names}: more than declared, and they cost money: remove them from the cluster first")
        return
    work.changes += [f"remove host {host}" for host in extra]
    if not work.dry_run:
        instances.delete(work, extra)
        instances.wait_gone(work, extra)
    eips.settle(work, {host.id for host in extra})  # then released or used again with all that are free
