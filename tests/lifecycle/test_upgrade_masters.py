# SPDX-License-Identifier: Apache-2.0
"""Two masters of 1.36 become 1.37, one after the other: etcd and the API of the one are there while the other changes.

`make test-full` runs it, as it needs the bundles of two releases.
"""

from __future__ import annotations

import json
import sys
import time

from laboratory import Lab

LAB = ("upmasters", "10.123.0", 2, 1)
UP_MAKES_HOSTS = True
FROM, TO = "1.36.5", "1.37.2"
SETTINGS = f'cluster_kubernetes_version: "{FROM}"\n'


def releases(lab: Lab) -> set[str]:
    """Return the releases of all kubelets and of all parts of the control plane."""
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    chosen = ("--namespace", "kube-system", "--selector", "tier=control-plane,component!=etcd", "-o", "json")
    pods = json.loads(lab.kubectl("get", "pods", *chosen))["items"]
    assert len(pods) == 6
    images = {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in pods}
    return images | {node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes}


def test_up_makes_two_masters_of_the_older_release(lab: Lab) -> None:
    result = lab.deploy("up", seconds=1800)
    assert result.code == 0, result.errors
    assert releases(lab) == {f"v{FROM}"}


def test_a_master_without_its_kubelet_keeps_both_as_they_are(lab: Lab) -> None:
    lab.run("master2", "systemctl stop kubelet")
    refused = lab.deploy("upgrade", "--to", TO)
    lab.run("master2", "systemctl start kubelet")
    assert refused.code == 3, refused.errors
    assert "kubelet" in refused.faults
    assert "master2" in refused.errors
    assert "Nothing was changed." in refused.errors
    deadline = time.monotonic() + 60
    while "NotReady" in lab.kubectl("get", "node", "master2", "--no-headers"):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert releases(lab) == {f"v{FROM}"}


def test_both_are_upgraded_and_etcd_with_them(lab: Lab) -> None:
    began = time.monotonic()
    result = lab.deploy("upgrade", "--to", TO, seconds=1200)
    sys.stdout.write(f"\n  {time.monotonic() - began:.0f} s\n")
    assert result.code == 0, result.errors
    assert releases(lab) == {f"v{TO}"}
    for master in ("master1", "master2"):
        container = lab.run(master, "crictl ps --quiet --name ^etcd$").strip()
        assert "3.7" in lab.run(master, f"crictl exec {container} etcd --version")
    again = lab.deploy("upgrade", "--to", TO)
    assert (again.code, set(again.changed.values())) == (0, {0}), again.errors
    doctor = lab.deploy("doctor", cluster_kubernetes_version=TO)
    assert doctor.code == 0, json.dumps(doctor.summary, indent=1)
