"""Check what a cluster's values say of a cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.yunkube.control.cluster_rules import Cluster, Finding

TAG_THEM = "tag the control plane's instances yunkube-cluster, the cluster's name, and yunkube-role=master"


def routes(cluster: Cluster) -> Iterator[Finding]:
    """Routes need a VPC to be written into."""
    if cluster.text("flannel_backend") == "vpc" and not cluster.text("alicloud_region"):
        message = "vpc leaves the way between nodes to a VPC of Alibaba Cloud, and alicloud_region is not set"
        yield "flannel_backend", message, "set alicloud_region, or leave vxlan"
