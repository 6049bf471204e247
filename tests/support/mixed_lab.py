# SPDX-License-Identifier: Apache-2.0
"""A cluster of a master in a container and nodes that are virtual machines; the lab's overrides are the master's alone.

A control plane is too slow on an emulated processor: its leases expire.
"""

from __future__ import annotations

import json

import yaml
from laboratory import Json, Lab
from virtual_machine import Running

# Keys of the lab's settings that are about the whole cluster, and have a counterpart for one host.
KUBELET, DRIVER = "cluster_kubelet_config", "cluster_cgroup_driver"
# The kubelet asks containerd for the driver, so the file beside the project's own decides on this host alone.
RUNC = "plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc"
CONTAINERD = f'version = 3\n[{RUNC}]\nruntime_type = "io.containerd.runc.v2"\noptions.SystemdCgroup = false\n'
IGNORED = ["cgroup", "swap"]  # of the machine that the container is on; the patch lets the kubelet accept both


def make_master(lab: Lab) -> None:
    """Create the master in Docker, then leave it to the cluster as a host that exists."""
    lab.make_hosts()
    file = lab.inventory / "group_vars/all/lab.yml"
    settings = yaml.safe_load(file.read_text())
    file.unlink()
    driver = settings.pop(DRIVER)
    settings["master_patches"] = {"kubeletconfiguration": {**settings.pop(KUBELET), "cgroupDriver": driver}}
    settings["prepare_host_ignored_checks"] = IGNORED
    (lab.inventory / "host_vars").mkdir()
    (lab.inventory / "host_vars/master1.yml").write_text(json.dumps(settings, indent=1))
    if driver == "cgroupfs":
        folder = "/etc/containerd/conf.d"
        lab.run("master1", f"mkdir -p {folder}; cat > {folder}/lab.toml <<'END'\n{CONTAINERD}END")
    leave_docker(lab)


def leave_docker(lab: Lab) -> None:
    """Make an inventory of hosts that exist, without the overrides that containers need."""
    (lab.inventory / "group_vars/all/lab.yml").unlink(missing_ok=True)
    cluster = lab.inventory / "group_vars/all/cluster.yml"
    cluster.write_text(cluster.read_text().replace("cluster_provider: docker", "cluster_provider: existing"))


def declare(lab: Lab, *nodes: Running, master: Json | None = None, **variables: object) -> None:
    """Write hosts.yml: a master (by default the one in Docker) and these machines, with more variables for each."""
    masters: Json = {"master1": master or {"ansible_host": f"{lab.network}.11"}}
    members = {node.machine.name.partition(".")[0]: {**node.variables, **variables} for node in nodes}
    children = {"masters": {"hosts": masters}, "nodes": {"hosts": members}}
    (lab.inventory / "hosts.yml").write_text(json.dumps({"all": {"children": children}}, indent=1))
