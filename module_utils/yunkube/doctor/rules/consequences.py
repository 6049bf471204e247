# SPDX-License-Identifier: Apache-2.0
"""What follows from what, by groups that many causes share."""

from __future__ import annotations

BROKEN = ("pod-not-ready", "user-pod-broken")
FAILING = (*BROKEN, "dns-not-ready", "workload-not-rolled-out")
PODS = (*FAILING, "coredns-differs")  # which is about pods that fail for no other reason
NODE = ("node-not-ready", *PODS)
PULLS = ("image-name-wrong", "image-access-denied", "image-registry-tls", "image-registry-unreachable")

# What hosts find out when they try to reach others' pods, and Services.
DATA_PLANE = ("pod-path-broken", "cluster-dns-unreachable", "api-service-unreachable")
SERVICES = ("services-unreachable", *DATA_PLANE)

FLANNEL_FILES = ("flannel-link-missing", "pod-route-missing", "subnet-env-missing", "cni-config-missing")
FLANNEL = ("flannel-not-ready", *FLANNEL_FILES)

API = ("control-plane-part-down", "api-unreachable", "api-silent")
CONTROL_PLANE = ("etcd-down", "api-server-down", *API)

# kube-proxy and flanneld ask the API server, and nodes report to it.
AFTER_API_SERVER = (*API, *FLANNEL, "kube-proxy-down", *NODE)
AFTER_ETCD = ("api-server-down", *AFTER_API_SERVER)
ALL_DOWN = ("etcd-down", *AFTER_ETCD)

KUBELET = ("kubelet-crash-looping", *ALL_DOWN)
RUNTIME = ("containerd-socket-gone", "kubelet-config-broken", *KUBELET)
