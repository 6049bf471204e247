# SPDX-License-Identifier: Apache-2.0
"""Inventories that ask a cloud of the test's own."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml
from fake_alicloud import KEY_ID, SECRET, FakeCloud, Json, RefusedError

REGION = "cn-hangzhou"
KEYS = {"ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET}


@contextmanager
def running(folder: Path) -> Iterator[FakeCloud]:
    """Give a cloud. The SDK makes a session for each call and closes none: the garbage collector does."""
    fake = FakeCloud(folder)
    yield fake
    fake.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def environment(home: Path) -> dict[str, str]:
    """Return an environment with the fake's key, and without what would change Ansible or name another cloud."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ALI", "ANSIBLE"))}
    return {**own, "LC_ALL": "C.UTF-8", "HOME": str(home), **KEYS}


def instance(
    name: str, role: str | None = "node", number: int = 1, *, cluster_id: str = "a" * 16, eip: str = ""
) -> Json:
    """Return an instance, as DescribeInstances has it."""
    tags = {"yunkube-cluster": "prod", "yunkube-id": cluster_id, **({"yunkube-role": role} if role else {})}
    return {
        "InstanceId": f"i-{number}",
        "InstanceName": name,
        "RegionId": REGION,
        "ZoneId": f"{REGION}-{'hi'[number % 2]}",
        "InstanceType": "ecs.g7.large",
        "Status": "Running",
        "VpcAttributes": {"VpcId": "vpc-1", "PrivateIpAddress": {"IpAddress": [f"10.0.0.{number}"]}},
        "EipAddress": {"IpAddress": eip},
        "PublicIpAddress": {"IpAddress": []},
        "Tags": {"Tag": [{"TagKey": key, "TagValue": value} for key, value in tags.items()]},
    }


def lists(cloud: FakeCloud, instances: list[Json], dry_run: str = "DryRunOperation", cluster: str = "prod") -> None:
    """Make a cloud list these instances of a cluster, also to a dry run."""

    def describe(given: Json) -> Json:
        if given.get("DryRun") == "true":
            raise RefusedError(400, dry_run)
        assert (given["Tag.1.Key"], given["Tag.1.Value"]) == ("yunkube-cluster", cluster)
        start = int(given.get("NextToken", 0))
        end = start + int(given["MaxResults"])
        more = {"NextToken": str(end)} if end < len(instances) else {}
        return {"Instances": {"Instance": instances[start:end]}, **more}

    cloud.actions["DescribeInstances"] = describe


def write(folder: Path, cloud: FakeCloud, plugin: Mapping[str, object] = {}, **variables: object) -> Path:
    """Write an inventory that asks the cloud."""
    (folder / "group_vars/all").mkdir(parents=True)
    (folder / "alicloud.yml").write_text(yaml.safe_dump({"plugin": "alicloud", **plugin}))
    own = {"cluster_name": "prod", "alicloud_region": REGION, "alicloud_endpoints": {"ecs": cloud.address}}
    (folder / "group_vars/all/cluster.yml").write_text(
        yaml.safe_dump({**own, "alicloud_ca": str(cloud.ca), **variables})
    )
    return folder
