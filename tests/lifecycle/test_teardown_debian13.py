# SPDX-License-Identifier: Apache-2.0
"""A whole cluster on Debian 13 comes and goes, and leaves its hosts as they were."""

from __future__ import annotations

from laboratory import Lab, differences

LAB = ("trixie", "10.94.0", 1, 1)
# With all that a cluster may have.
SETTINGS = "docker_hosts_distribution: debian13\ndashboard_provider: kube_web_view\ncluster_registry_host: node1\n"
HOSTS = ("master1", "node1")


def test_nothing_is_left_of_a_cluster_on_debian_13(lab: Lab) -> None:
    assert "trixie" in lab.run("node1", "cat /etc/os-release")
    before = lab.fingerprints(HOSTS)
    up = lab.deploy("up", cluster_provider="existing")
    assert up.code == 0, up.errors
    assert differences(before["node1"], lab.fingerprint("node1")) != []  # else the end proves nothing
    down = lab.deploy("down", "--yes", cluster_provider="existing")
    assert down.code == 0, down.errors
    after = lab.fingerprints(HOSTS)
    assert [line for host in HOSTS for line in differences(before[host], after[host])] == []
