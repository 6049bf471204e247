# SPDX-License-Identifier: Apache-2.0
"""A cluster's public addresses (EIPs): they are bound, unbound and released some seconds after that was accepted.

https://www.alibabacloud.com/help/en/eip/developer-reference/api-vpc-2016-04-28-unassociateeipaddress-eips,
-associateeipaddress-eips, -releaseeipaddress-eips: until then they can be listed, and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ansible.module_utils.yunkube.cloud import existing
from ansible.module_utils.yunkube.cloud.existing import Json
from ansible.module_utils.yunkube.cloud.work import HostsError, Work

MOVING = ("Associating", "Unassociating", "Releasing")
SECONDS = 90.0  # until one has settled


def settle(work: Work, gone: Collection[str] = ()) -> bool:
    """Wait until no address is on its way, and none is listed with an instance or a gateway that is gone.

    Say whether it had to: what else was listed before may be another now.
    """

    def moving() -> list[Json]:
        return [
            eip for eip in work.there.eips if str(eip.get("Status")) in MOVING or str(eip.get("InstanceId")) in gone
        ]

    def settled() -> bool | None:
        work.there.eips = existing.eips(work.client, work.wanted.owner)
        return None if moving() else True

    if work.dry_run:  # as it will be then
        work.there.eips = [eip for eip in work.there.eips if eip.get("Status") != "Releasing"]
        for eip in work.there.eips:
            if eip.get("Status") == "Unassociating" or eip.get("InstanceId") in gone:
                eip["InstanceId"] = ""
        return False
    if not moving():
        return False
    if work.until(settled, SECONDS) is None:
        words = ", ".join(f"{eip['IpAddress']} is {eip['Status']}" for eip in moving())
        raise HostsError(
            f"public addresses still cost money: {words} after {SECONDS:.0f} s: see the VPC console, then run the same "
            "command again"
        )
    return True


def release(work: Work, free: Iterable[Json]) -> None:
    """Release addresses that nothing has, and wait until they are gone."""
    for eip in free:
        work.changes.append(f"release the public address {eip['IpAddress']}, which no host has")
        if not work.dry_run and (reason := work.remove(lambda eip=eip: _release(work, eip), SECONDS)):  # type: ignore[misc]
            raise HostsError(f"the public address {eip['IpAddress']} is still there and costs money: {reason}")
        eip["Status"] = "Releasing"
    if not work.dry_run:
        settle(work)


def _release(work: Work, eip: Json) -> str:
    work.client.call("vpc", "ReleaseEipAddress", allocation_id=eip["AllocationId"])
    return ""
