# SPDX-License-Identifier: Apache-2.0
"""Final values of a cluster on which no rule has anything to say."""

from __future__ import annotations

from typing import Any

VALUES: dict[str, Any] = {
    "cluster_name": "prod",
    "cluster_provider": "existing",
    "cluster_kubernetes_version": "1.37.2",
    "cluster_pod_cidr": "10.244.0.0/16",
    "cluster_service_cidr": "10.96.0.0/16",
    "cluster_dns_domain": "cluster.local",
    "cluster_control_plane_host": "master1",
}
