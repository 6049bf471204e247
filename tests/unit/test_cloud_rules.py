# SPDX-License-Identifier: Apache-2.0
"""Faults in the cloud settings of a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.yunkube.control.cloud_rules import region, routes
from ansible.module_utils.yunkube.control.cluster_rules import Cluster


@pytest.mark.parametrize(
    ("values", "complaints"),
    [
        ({}, []),
        ({"flannel_backend": "vxlan"}, []),
        ({"flannel_backend": "vpc", "alicloud_region": "cn-hangzhou"}, []),
        ({"flannel_backend": "vpc", "alicloud_region": ""}, ["set alicloud_region, or leave vxlan"]),
        ({"flannel_backend": "host-gw", "cluster_provider": "existing"}, []),
        (
            {"flannel_backend": "host-gw", "cluster_provider": "alicloud"},
            ["write vpc, which has a route in the VPC for each node, or vxlan"],
        ),
    ],
)
def test_routes_in_a_vpc_want_its_region(values: dict[str, Any], complaints: list[str]) -> None:
    assert [remedy for _, _, remedy in routes(Cluster(values))] == complaints


HANGZHOU = {"alicloud_region": "cn-hangzhou"}


@pytest.mark.parametrize(
    ("values", "complaints"),
    [
        ({"cluster_region_profile": "china"}, []),
        ({"cluster_region_profile": "vpc-internal", **HANGZHOU}, []),
        ({"cluster_region_profile": "vpc-internal"}, ["set alicloud_region, or leave global or china"]),
        ({"cluster_bundle_url": "https://bundles.example"}, []),
        ({"cluster_bundle_url": "oss://shop-bundles", **HANGZHOU}, []),
        ({"cluster_bundle_url": "oss://shop-bundles/a/b.c/", **HANGZHOU}, []),
        ({"cluster_bundle_url": "oss://shop-bundles"}, ["set alicloud_region to that of the bucket"]),
        (
            {"cluster_bundle_url": "oss://Shop_Bundles"},
            [
                "write oss://bucket or oss://bucket/prefix, the bucket in a-z, 0-9 and -",
                "set alicloud_region to that of the bucket",
            ],
        ),
        (
            {"cluster_bundle_url": "oss://shop-bundles/../others", **HANGZHOU},
            ["write oss://bucket or oss://bucket/prefix, the bucket in a-z, 0-9 and -"],
        ),
    ],
)
def test_names_inside_of_a_cloud_want_its_region_and_a_bucket_its_form(
    values: dict[str, Any], complaints: list[str]
) -> None:
    assert [remedy for _, _, remedy in region(Cluster(values))] == complaints
