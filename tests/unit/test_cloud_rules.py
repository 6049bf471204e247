"""What is wrong with a cluster's values about a cloud."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.yunkube.control.cloud_rules import routes
from ansible.module_utils.yunkube.control.cluster_rules import Cluster


@pytest.mark.parametrize(
    ("values", "complaints"),
    [
        ({}, []),
        ({"flannel_backend": "vxlan"}, []),
        ({"flannel_backend": "vpc", "alicloud_region": "cn-hangzhou"}, []),
        ({"flannel_backend": "vpc", "alicloud_region": ""}, ["set alicloud_region, or leave vxlan"]),
    ],
)
def test_routes_in_a_vpc_want_its_region(values: dict[str, Any], complaints: list[str]) -> None:
    assert [remedy for _, _, remedy in routes(Cluster(values))] == complaints
