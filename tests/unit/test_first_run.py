# SPDX-License-Identifier: Apache-2.0
"""What is decided at the first run is compared with what the running cluster says of itself."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.yunkube.control.first_run import COMPARED, FIELDS, differences, in_words
from load_plugin import load_plugin

ROOT = Path(__file__).resolve().parents[2]
first_run_report = load_plugin("action/first_run_report")

# As kubeadm 1.37 keeps it, with what it fills in.
RUNNING = """apiServer:
  certSANs:
  - 10.0.0.11
  - k8s.example.com
  extraArgs:
  - name: audit-log-path
    value: "-"
apiVersion: kubeadm.k8s.io/v1beta4
caCertificateValidityPeriod: 87600h0m0s
certificateValidityPeriod: 8760h0m0s
certificatesDir: /etc/kubernetes/pki
clusterName: shop
controlPlaneEndpoint: 10.0.0.11:6443
controllerManager:
  extraArgs:
  - name: kube-api-qps
    value: "100"
dns: {}
encryptionAlgorithm: ECDSA-P256
etcd:
  local:
    dataDir: /var/lib/etcd
imageRepository: registry.k8s.io
kind: ClusterConfiguration
kubernetesVersion: v1.37.2
networking:
  dnsDomain: cluster.local
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/16
proxy: {}
scheduler: {}
"""
OVERLAY: dict[str, t.Any] = {
    "apiServer": {"extraArgs": [{"name": "audit-log-path", "value": "-"}]},
    "certificateValidityPeriod": "8760h",
}
PROXY = 'conntrack:\n  maxPerCore: 0\n  tcpEstablishedTimeout: 24h0m0s\nmode: ""\n'


def declared(**more: t.Any) -> dict[str, t.Any]:
    """Return what an inventory declares that fits the running cluster."""
    cluster = yaml.safe_load(RUNNING)
    for name in ("dns", "etcd", "proxy", "scheduler", "certificatesDir", "caCertificateValidityPeriod"):
        del cluster[name]
    return {
        "cluster": cluster,
        "overlay": OVERLAY,
        "proxy": {"conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "24h"}},
        "cgroup_driver": "systemd",
        "identity": {"name": "lab", "id": "1" * 16},
        **more,
    }


def found(wanted: dict[str, t.Any], **running: str) -> list[tuple[str, t.Any, t.Any]]:
    """Compare."""
    texts = {"cluster": RUNNING, "proxy": PROXY, "kubelet": "cgroupDriver: systemd\nmaxPods: 110\n", **running}
    return [tuple(one) for one in differences(wanted, texts)]


def with_field(key: str, value: t.Any) -> dict[str, t.Any]:
    """Declare another value of one key."""
    wanted = declared()
    *parents, last = FIELDS[key]
    place = wanted["cluster"]
    for name in parents:
        place = place[name]
    place[last] = value
    return wanted


def test_what_fits_has_no_differences() -> None:
    assert found(declared()) == []


@pytest.mark.parametrize(
    ("key", "value", "shown", "running"),
    [
        ("cluster_pod_cidr", "10.200.0.0/16", "10.200.0.0/16", "10.244.0.0/16"),
        ("cluster_service_cidr", "10.97.0.0/16", "10.97.0.0/16", "10.96.0.0/16"),
        ("cluster_dns_domain", "k8s.example", "k8s.example", "cluster.local"),
        ("cluster_control_plane_endpoint", "m1.internal:6443", "m1.internal:6443", "10.0.0.11:6443"),
        ("cluster_kubernetes_version", "v1.38.0", "1.38.0", "1.37.2"),
        ("cluster_image_repository", "mirror.example", "mirror.example", "registry.k8s.io"),
        ("master_key_algorithm", "RSA-2048", "RSA-2048", "ECDSA-P256"),
    ],
)
def test_a_key_that_differs_is_named_with_both_values(key: str, value: str, shown: str, running: str) -> None:
    assert found(with_field(key, value)) == [(key, shown, running)]


def test_certificate_names_count_without_the_address_of_the_host() -> None:
    key = "master_certificate_names"
    assert found(with_field(key, ["m1.internal", "k8s.example.com"])) == []
    assert found(with_field(key, ["10.0.0.11"])) == [(key, [], ["k8s.example.com"])]
    more = ["10.0.0.11", "k8s.example.com", "api.example"]
    assert found(with_field(key, more)) == [(key, more[1:], ["k8s.example.com"])]


def test_fields_of_the_users_own_are_compared_one_by_one() -> None:
    overlay = {**OVERLAY, "apiServer": {"extraArgs": [{"name": "audit-log-path", "value": "/var/log/audit"}]}}
    [(key, _, running)] = found(declared(overlay=overlay))
    assert key == "master_cluster_configuration.apiServer.extraArgs"
    assert running == [{"name": "audit-log-path", "value": "-"}]
    assert found(declared(overlay={**OVERLAY, "featureGates": {}, "scheduler": {}, "proxy": {"disabled": False}})) == []
    assert found(declared(proxy={"mode": "nftables"})) == [("master_kube_proxy_config.mode", "nftables", "")]


def test_a_field_that_is_not_declared_any_more_is_a_difference() -> None:
    wanted = declared(overlay={})
    del wanted["cluster"]["apiServer"]["extraArgs"]
    assert [key for key, *_ in found(wanted)] == ["master_cluster_configuration.apiServer.extraArgs"]


def test_arguments_of_the_projects_own_may_change_with_its_version() -> None:
    wanted = declared()
    wanted["cluster"]["controllerManager"]["extraArgs"] = [{"name": "kube-api-qps", "value": "200"}]
    assert found(wanted) == []


def test_another_slow_factor_is_no_difference() -> None:
    wanted = declared()
    wanted["cluster"]["scheduler"] = {"extraArgs": [{"name": "leader-elect-lease-duration", "value": "75s"}]}
    made = yaml.safe_dump({**yaml.safe_load(RUNNING), "scheduler": wanted["cluster"]["scheduler"]})
    assert found(wanted) == []  # of a cluster that an earlier version made
    wanted["cluster"]["scheduler"] = {"extraArgs": [{"name": "leader-elect-lease-duration", "value": "15s"}]}
    assert found(wanted, cluster=made) == []


def test_a_key_in_the_overlay_is_compared_as_such() -> None:
    wanted = declared(overlay={**OVERLAY, "networking": {"dnsDomain": "x.example"}})
    wanted["cluster"]["networking"]["dnsDomain"] = "x.example"
    assert found(wanted) == [("master_cluster_configuration.networking.dnsDomain", "x.example", "cluster.local")]


def test_the_cgroup_driver_is_that_of_the_kubelets() -> None:
    assert found(declared(cgroup_driver="cgroupfs")) == [("cluster_cgroup_driver", "cgroupfs", "systemd")]


def test_the_api_of_another_cluster_is_named_and_nothing_else_is_compared() -> None:
    wanted = with_field("cluster_pod_cidr", "10.1.0.0/16")
    [one] = differences(wanted, {"cluster": RUNNING, "identity": {"name": "shop", "id": "2" * 16}})
    message, remedy, commands = in_words(one)
    assert commands == ()
    assert message == f"the API that answers is that of the cluster shop (id {'2' * 16}), not of lab (id {'1' * 16})"
    assert "admin.conf" in remedy
    for fits in ({"name": "lab", "id": "1" * 16}, {"name": "", "id": ""}, {}):
        assert [one.key for one in differences(wanted, {"cluster": RUNNING, "identity": fits})] == ["cluster_pod_cidr"]


def test_nothing_is_said_of_what_the_cluster_does_not_say() -> None:
    assert found(with_field("cluster_pod_cidr", "10.1.0.0/16"), cluster="", proxy="", kubelet="") == []


def test_words_name_both_values_and_what_to_write() -> None:
    [one] = differences(with_field("cluster_pod_cidr", "10.1.0.0/16"), {"cluster": RUNNING})
    message, remedy, commands = in_words(one)
    assert commands == ()
    assert message.startswith("10.1.0.0/16 is declared and the running cluster has 10.244.0.0/16; ")
    assert remedy == "write `cluster_pod_cidr: 10.244.0.0/16`"
    [one] = differences(with_field("cluster_control_plane_endpoint", "m1:6443"), {"cluster": RUNNING})
    assert "cluster_control_plane_endpoint: 10.0.0.11:6443" in in_words(one)[1]


@pytest.mark.parametrize(
    ("runs", "kubelet", "words", "command"),
    [
        ("v1.36.5", "v1.36.5", ["1.37.2 is declared and the running cluster has 1.36.5", "`upgrade`"], ("upgrade",)),
        ("v1.37.2", "v1.36.5", ["a host has kubelet 1.36.5", "not finished", "`upgrade` continues"], ("upgrade",)),
        (
            "v1.38.0",
            "v1.38.0",
            ["is newer; a cluster is never downgraded", "write `cluster_kubernetes_version: 1.38.0`"],
            (),
        ),
    ],
)
def test_another_release_is_a_matter_of_upgrade(
    runs: str, kubelet: str, words: list[str], command: tuple[str, ...]
) -> None:
    running = RUNNING.replace("v1.37.2", runs)
    assert runs in running
    [one] = differences(declared(), {"cluster": running, "kubelet_version": kubelet})
    assert one.key == "cluster_kubernetes_version"
    *said, commands = in_words(one)
    assert all(word in " ".join(said) for word in words), said
    assert commands == command


def test_every_key_of_the_list_is_an_input_of_a_role() -> None:
    known = {
        name
        for file in (ROOT / "roles").glob("*/meta/argument_specs.yml")
        for entry in yaml.safe_load(file.read_text())["argument_specs"].values()
        for name in entry.get("options") or {}
    }
    assert set(COMPARED) <= known


# The verdict over all hosts, on the control machine.


def report(state: str, *keys: str) -> dict[str, t.Any]:
    """Return what one host's comparison came to."""
    return {"running": {"state": state, "first_run": [[key, "a", "b"] for key in keys]}}


def test_the_verdict_needs_one_host_that_could_ask() -> None:
    verdict = first_run_report.verdict
    assert verdict({"m1": report("found"), "n1": report("absent")}, "m1") == (True, [])
    assert verdict({"m1": report("absent"), "n1": report("absent")}, "m1") == (True, [])
    assert verdict({"m1": report("silent"), "n1": report("absent")}, "m1") == (False, [])
    assert verdict({"n1": report("absent")}, "m1") == (False, [])
    assert verdict({}, "m1") == (False, [])
    reinstalled = {"m1": report("absent"), "n1": report("found", "cluster_pod_cidr"), "n2": report("silent")}
    assert verdict(reinstalled, "m1") == (True, [["cluster_pod_cidr", "a", "b"]])
    twice = {"m1": report("found", "cluster_pod_cidr"), "n1": report("found", "cluster_pod_cidr")}
    assert len(verdict(twice, "m1")[1]) == 1
    assert json.dumps(verdict(twice, "m1"))
