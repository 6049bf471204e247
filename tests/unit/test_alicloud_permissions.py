# SPDX-License-Identifier: Apache-2.0
"""The policies for RAM in docs/ram: what the code calls, and no more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.yunkube.cloud.inventory import Settings, hosts
from ansible.module_utils.yunkube.cloud.routes import Node, Routes
from cloud_hosts import client_of
from cloud_routes import ID, open_vpc
from fake_alicloud import FakeCloud
from fake_alicloud_account import ACTIONS, Account

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:ssl\\.:DeprecationWarning")


@pytest.fixture
def vpc(tmp_path: Path) -> Iterator[Account]:
    """A VPC with instances to whose pods routes can lead."""
    fake = FakeCloud(tmp_path)
    yield open_vpc(fake, tmp_path)
    fake.close()


def policy(name: str) -> set[str]:
    """Return the actions of a policy."""
    [statement] = json.loads((ROOT / f"docs/ram/{name}.json").read_text())["Statement"]
    assert (statement["Effect"], statement["Resource"]) == ("Allow", "*")
    assert statement["Action"] == sorted(set(statement["Action"]))
    return set(statement["Action"])


def named(role: str) -> set[str]:
    """Return the actions that a role's README names."""
    return set(re.findall(r"`((?:ecs|vpc):\w+)`", (ROOT / f"roles/{role}/README.md").read_text()))


def list_hosts(account: Account) -> None:
    account.state["instances"].clear()  # so that it asks whether it may
    hosts(client_of(account), Settings("cn-hangzhou", "prod", ID))


def route(account: Account) -> None:
    routes = Routes(client_of(account), "prod", ID, account.advance)
    routes.present([Node("node-1", "10.244.1.0/24", "10.0.0.1")])
    account.state["instances"].clear()  # so that it looks into every VPC
    routes.absent()


@pytest.mark.parametrize(("name", "run"), [("inventory", list_hosts), ("routes", route)])
def test_a_policy_allows_what_is_called_and_no_more(vpc: Account, name: str, run: Callable[[Account], None]) -> None:
    run(vpc)
    assert {f"{ACTIONS[one['Action']].product}:{one['Action']}" for one in vpc.cloud.log} == policy(name)


def test_the_policies_are_those_of_the_roles() -> None:
    assert policy("hosts") == named("alicloud_hosts")  # which test_cloud_hosts compares with the calls
    assert policy("routes") == named("flannel")
    assert policy("inventory") <= policy("hosts") & policy("routes")
