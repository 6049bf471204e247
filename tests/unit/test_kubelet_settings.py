# SPDX-License-Identifier: Apache-2.0
"""cluster_kubelet_config comes to a running cluster: what differs, in the ConfigMap and in each host's own file."""

from __future__ import annotations

import json
import typing as t

import yaml
from ansible.module_utils.yunkube.control.kubelet_settings import cluster_change, host_changes

# As kubeadm 1.37 keeps it and writes it to a host, shortened.
CONFIGMAP = """authentication:
  anonymous: {enabled: false}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
containerRuntimeEndpoint: ""
crashLoopBackOff: {}
logging: {flushFrequency: 0, verbosity: 0}
rotateCertificates: true
syncFrequency: 0s
"""
FILE = (
    CONFIGMAP.replace('""', "unix:///run/containerd/containerd.sock") + "resolvConf: /run/systemd/resolve/resolv.conf\n"
)


def running(kubelet: str = CONFIGMAP, file: str = FILE, **former: t.Any) -> dict[str, str]:
    """Return what was found on a host."""
    return {"kubelet": kubelet, "kubelet_file": file, "kubelet_declared": json.dumps(former) if former else ""}


def test_nothing_declared_changes_nothing() -> None:
    assert cluster_change({}, running()).text == ""
    assert host_changes({}, running(), []) == []


def test_a_declared_field_comes_to_the_configmap_and_to_hosts() -> None:
    declared = {"maxPods": 77, "syncFrequency": "1m30s", "authentication": {"anonymous": {"enabled": True}}}
    change = cluster_change(declared, running())
    wanted = ["authentication.anonymous.enabled: false -> true", "syncFrequency: 0s -> 1m30s"]
    assert change.changes == [*wanted, "maxPods: the default -> 77"]
    content = yaml.safe_load(change.text)
    assert content["maxPods"] == 77
    assert content["authentication"] == {"anonymous": {"enabled": True}}
    assert content["clusterDNS"] == ["10.96.0.10"]
    assert json.loads(change.declared) == declared
    assert "maxPods: the default -> 77" in host_changes(declared, running(), [])
    # kubeadm fills authentication in, so that what the host has of it counts only where the ConfigMap says it
    assert host_changes(declared, running(change.text, change.text), []) == []
    assert cluster_change(declared, running(change.text, FILE, **declared)).text == ""


def test_another_way_to_write_the_same_is_no_change() -> None:
    there = CONFIGMAP.replace("syncFrequency: 0s", "syncFrequency: 1m30s")
    assert cluster_change({"syncFrequency": "90s"}, running(there, there, syncFrequency="90s")).text == ""
    assert host_changes({"syncFrequency": "90s"}, running(there, there), []) == []


def test_a_field_that_is_not_declared_any_more_goes_back_to_the_default() -> None:
    former = CONFIGMAP + "maxPods: 77\nevictionSoft: {memory.available: 5%}\n"
    declared = {"maxPods": 77, "evictionSoft": {"memory.available": "5%"}}
    change = cluster_change({}, running(former, former, **declared))
    assert change.changes == ["maxPods: 77 -> the default", "evictionSoft.memory.available: 5% -> the default"]
    assert yaml.safe_load(change.text) == yaml.safe_load(CONFIGMAP)
    # also on a host that a run which was killed did not get to
    assert host_changes({}, running(CONFIGMAP, former), [])[0] == "maxPods: 77 -> the default"


def test_a_field_of_the_cluster_that_was_never_declared_here_stays() -> None:
    there = CONFIGMAP + "maxPods: 50\n"
    assert cluster_change({}, running(there, there)).text == ""
    assert host_changes({}, running(there, there), []) == []


def test_the_record_is_made_once_for_a_cluster_that_has_none() -> None:
    there = CONFIGMAP + "maxPods: 77\n"
    change = cluster_change({"maxPods": 77}, running(there, there))
    assert (change.text, change.changes) == (there, [])


def test_patches_of_the_host_are_kept() -> None:
    patches = [{}, {"kubeletconfiguration": {"maxPods": 66}}]
    assert host_changes({"maxPods": 77}, running(), patches) == ["maxPods: the default -> 66"]
    assert host_changes({"maxPods": 77}, running(CONFIGMAP, FILE + "maxPods: 66\n"), patches) == []


def test_what_kubeadm_writes_for_a_host_by_itself_is_no_difference() -> None:
    assert host_changes({"rotateCertificates": False}, running(), []) == []
    short = "cgroupDriver: systemd\n"
    filled = (
        short + "staticPodPath: /etc/kubernetes/manifests\nhealthzPort: 10248\nmemorySwap: {}\nimageMinimumGCAge: 0s\n"
    )
    assert host_changes({}, running(short, filled), []) == []


def test_a_file_that_was_edited_on_the_host_differs() -> None:
    assert host_changes(
        {}, running(CONFIGMAP, FILE.replace("cgroupDriver: systemd", "cgroupDriver: cgroupfs")), []
    ) == ["cgroupDriver: cgroupfs -> systemd"]
    assert host_changes({}, running(CONFIGMAP, FILE + "maxPods: 9\n"), []) == ["maxPods: 9 -> the default"]
