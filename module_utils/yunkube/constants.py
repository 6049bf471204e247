# SPDX-License-Identifier: Apache-2.0
"""Values that several rooms share; roles read them by the lookup `constant`."""

from __future__ import annotations

OLDEST_PYTHON = (3, 9)  # of hosts; Enterprise Linux 9 has it. ansible-core 2.19 itself needs 3.8 there
PYTHON_NEEDED = f"modules need {'.'.join(map(str, OLDEST_PYTHON))} or newer"

# Of hosts: as the kernel names it, and as Go, Debian and images do.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"  # containerd's own default
CRI_ENDPOINT = f"unix://{CONTAINERD_SOCKET}"
# Label of the containers of kube-system's pods: somebody's pod may have a container named etcd, too.
OF_SYSTEM = "io.kubernetes.pod.namespace=kube-system"

EXPIRES_SOON_SECONDS = 30 * 86400  # a certificate that ends within it is worth a warning, and is renewed where we may

# Ports of a cluster, https://kubernetes.io/docs/reference/networking/ports-and-protocols/ and flannel's own.
API_PORT, KUBELET_PORT, CONTROLLER_MANAGER_PORT, SCHEDULER_PORT = 6443, 10250, 10257, 10259
ETCD_PORTS = (2379, 2380)  # clients, peers
VXLAN_PORT, WIREGUARD_PORT = 8472, 51820
REGISTRY_PORTS = (5000, 5001)  # of the cluster's own: pushes, pulls
MASTER_PORTS = (*ETCD_PORTS, API_PORT, KUBELET_PORT, CONTROLLER_MANAGER_PORT, SCHEDULER_PORT)
NODE_PORTS = (KUBELET_PORT,)
