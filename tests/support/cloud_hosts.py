# SPDX-License-Identifier: Apache-2.0
"""A declaration of three hosts on the fake Alibaba Cloud, and runs that make them."""

from __future__ import annotations

from collections.abc import Callable

from ansible.module_utils.yunkube.cloud.client import Client
from ansible.module_utils.yunkube.cloud.credentials import Credentials
from ansible.module_utils.yunkube.cloud.declaration import Declaration, Owner
from ansible.module_utils.yunkube.cloud.hosts import Outcome, present
from ansible.module_utils.yunkube.cloud.removal import Removal, absent
from fake_alicloud import KEY_ID, SECRET
from fake_alicloud_account import Account

REGION = "cn-hangzhou"
KEY = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAI test"
OWNER = Owner("prod", "0123456789abcdef")
NETWORKS = {"cluster_pod_cidr": "10.244.0.0/16", "cluster_service_cidr": "10.96.0.0/16"}
THREE = Declaration(
    OWNER,
    masters=1,
    nodes=2,
    types={"master": "ecs.g7.large", "node": "ecs.g7.large"},
    public_key=KEY,
    admin_cidrs=("203.0.113.7/32",),
    cluster_networks=NETWORKS,
)


class Interrupted(BaseException):
    """The run ends here."""


class Watched(Client):
    """A client that calls `after` when one of its calls that changes something was answered."""

    after: Callable[[str], None] = staticmethod(lambda _: None)

    def _once(self, product: str, action: str, built: dict[str, object]) -> dict[str, object]:
        answer = super()._once(product, action, built)
        if not action.startswith("Describe"):
            self.after(action)
        return answer


def client_of(account: Account, *, secret: str = SECRET, token: str = "") -> Watched:
    """Return a client whose waits take no time but in the cloud."""
    endpoints = dict.fromkeys(("ecs", "vpc"), account.cloud.address)
    return Watched(
        REGION, lambda: Credentials(KEY_ID, secret, token), endpoints, str(account.cloud.ca), account.advance
    )


def up(
    account: Account, wanted: Declaration = THREE, *, dry_run: bool = False, client: Client | None = None
) -> Outcome:
    """Make hosts, by a client of its own as every run has."""
    return present(client or client_of(account), wanted, dry_run=dry_run, sleep=account.advance)


def down(account: Account, owner: Owner = OWNER, *, dry_run: bool = False, client: Client | None = None) -> Removal:
    """Remove them again."""
    return absent(client or client_of(account), owner, dry_run=dry_run, sleep=account.advance)


def writes(account: Account) -> list[str]:
    """Return the actions that changed something."""
    return [given["Action"] for given in account.cloud.log if not given["Action"].startswith("Describe")]
