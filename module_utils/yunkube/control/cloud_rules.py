# SPDX-License-Identifier: Apache-2.0
"""Check what a cluster's values say of a cloud."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible.module_utils.yunkube.control.cluster_rules import Cluster, Finding

# Names of buckets: https://www.alibabacloud.com/help/en/oss/user-guide/bucket-naming-conventions
BUCKET_URL = re.compile(
    r"oss://(?P<bucket>[a-z0-9][a-z0-9-]{1,61}[a-z0-9])(?P<prefix>(/[A-Za-z0-9][A-Za-z0-9._-]*)*)/?"
)

TAG_THEM = "tag the control plane's instances yunkube-cluster, the cluster's name, and yunkube-role=master"


def routes(cluster: Cluster) -> Iterator[Finding]:
    """Routes need a VPC to be written into."""
    if cluster.text("flannel_backend") == "vpc" and not cluster.text("alicloud_region"):
        message = "vpc leaves the way between nodes to a VPC of Alibaba Cloud, and alicloud_region is not set"
        yield "flannel_backend", message, "set alicloud_region, or leave vxlan"
    if cluster.text("flannel_backend") == "host-gw" and cluster.text("cluster_provider") == "alicloud":
        message = "host-gw sends pods' packets to a node by its hardware address, and a VPC carries none but its own"
        yield "flannel_backend", message, "write vpc, which has a route in the VPC for each node, or vxlan"


def region(cluster: Cluster) -> Iterator[Finding]:
    """Where things come from is a URL, or a bucket or name inside of a region's network."""
    url, name = cluster.text("cluster_bundle_url"), cluster.text("alicloud_region")
    if cluster.text("cluster_region_profile") == "vpc-internal" and not name:
        message = "vpc-internal takes names inside of a region of Alibaba Cloud, and alicloud_region is not set"
        yield "cluster_region_profile", message, "set alicloud_region, or leave global or china"
    if url and not url.startswith(("http://", "https://", "oss://")):
        remedy = "begin it with http://, https:// or oss://, or leave it empty"
        yield "cluster_bundle_url", f"{url} is not a URL", remedy
    if not url.startswith("oss://"):
        return
    if not BUCKET_URL.fullmatch(url):
        remedy = "write oss://bucket or oss://bucket/prefix, the bucket in a-z, 0-9 and -"
        yield "cluster_bundle_url", f"{url} names no bucket", remedy
    if not name:
        message = f"{url} is a bucket in a region, and alicloud_region is not set"
        yield "cluster_bundle_url", message, "set alicloud_region to that of the bucket"


RULES = (routes, region)
