#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Look at a host and say what would keep a cluster from running on it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_preflight
short_description: Find every fault of a host that keeps Kubernetes from running on it
description:
  - Reads the host once and returns its faults, each with its remedy. It never fails because of them and changes
    nothing, so that the faults of all hosts can be reported together.
  - A host that is a member of the cluster already has proved that it can be; of its own it has no faults but another
    processor than the inventory says, ports that a registry would need, and programs and a time zone that it lacks.
  - A member of any cluster without this cluster's record on it is refused, and so is a host with another's record.
    That is never ignored.
author: [The maintainers]
options:
  master: {description: Whether the host will run the control plane., type: bool, required: true}
  node: {description: "The host's name in the inventory, in small letters.", type: str, required: true}
  architecture: {description: "What the inventory says it is, C(amd64) or C(arm64).", type: str, required: true}
  node_ip: {description: The address under which the cluster will know the host., type: str, required: true}
  firewall_sources:
    description: Networks that an active firewall will be opened to. Unset where it is not opened.
    type: list
    elements: str
  registry_ports: {description: "Where a registry will listen here.", type: list, elements: int, default: []}
  cidrs: {description: "The cluster's ranges of addresses, by their name in the inventory.", type: dict, required: true}
  reserved_cidrs: {description: "Ranges that the hosts' surroundings use, by their meaning.", type: dict, default: {}}
  control_time: {description: Seconds since 1970 on the control machine., type: float, required: true}
  max_skew: {description: Seconds by which the host's clock may differ., type: int, default: 30}
  memory_mb: {description: Memory that the host needs at least., type: int, required: true}
  cpus: {description: Processors that the host needs at least., type: int, required: true}
  disk_mb: {description: Free space that the host needs at least, by folder., type: dict, required: true}
  systems: {description: "Oldest supported version by C(ID) of /etc/os-release.", type: dict, required: true}
  families:
    description: "Families of systems, as Ansible calls them, for which names of packages are known."
    type: list
    elements: str
    required: true
  turn_swap_off: {description: Whether swap will be turned off anyway., type: bool, default: true}
  kubelet_config: {description: Fields laid over the kubelet's configuration., type: dict, default: {}}
  kubeadm_ignores: {description: Checks of kubeadm that are ignored., type: list, elements: str, default: []}
  ignores: {description: Checks of this module that are ignored., type: list, elements: str, default: []}
  cluster: {description: The cluster's name., type: str, required: true}
  cluster_id: {description: "The cluster's id, empty before there is one.", type: str, required: true}
  endpoint: {description: "The cluster's endpoint, host:port.", type: str, required: true}
  joins:
    description: Whether it is to join a cluster that runs, so that the API must answer it at the endpoint.
    type: bool
    default: false
  programs:
    description: "Programs that the host needs, each with the key of the inventory that needs it."
    type: dict
    default: {}
  timezone: {description: "A time zone that the host needs to know, such as C(Europe/Berlin).", type: str, default: ""}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full, details: [Changes nothing in any mode.]}
"""
EXAMPLES = r"""
- name: Check a host before it becomes a master
  host_preflight:
    master: true
    node: master1
    architecture: amd64
    node_ip: 10.77.0.11
    cidrs: {cluster_pod_cidr: 10.244.0.0/16, cluster_service_cidr: 10.96.0.0/12}
    control_time: "{{ now().timestamp() }}"
    memory_mb: 1700
    cpus: 2
    disk_mb: {/: 1024, /var/lib: 4096}
    systems: {debian: "12", ubuntu: "22.04"}
    families: [Debian, RedHat]
    cluster: prod
    cluster_id: 0123456789abcdef
    endpoint: 10.77.0.11:6443
  register: preflight
"""
RETURN = r"""
faults:
  description: What is wrong, in the form that docs/events.md describes.
  returned: always
  type: list
  elements: dict
hostname: {description: The host's own name., returned: always, type: str}
machine_id: {description: What stands in /etc/machine-id., returned: always, type: str}
product_uuid: {description: The machine's id in the firmware, empty if there is none., returned: always, type: str}
member: {description: Whether the host has joined a cluster., returned: always, type: bool}
recorded:
  description: Whether M(host_record) has kept what the host was.
  returned: always
  type: bool
firewall: {description: The active firewall, C(ufw) or C(firewalld), or empty., returned: always, type: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host.firewall import active_firewall
from ansible.module_utils.yunkube.host.network import read_text
from ansible.module_utils.yunkube.host.requirements import NEEDS_SPEC, find_faults, read_host
from ansible.module_utils.yunkube.kube.join_paths import CHECK, endpoint_faults
from ansible.module_utils.yunkube.kube.x509 import node_of
from ansible.module_utils.yunkube.result import Report

CERTIFICATE = "/var/lib/kubelet/pki/kubelet-client-current.pem"


def main() -> None:
    """Read, judge, tell."""
    module = AnsibleModule(argument_spec={**NEEDS_SPEC, **host_lock.RUN_SPEC}, supports_check_mode=True)
    node = node_of(read_text(CERTIFICATE))
    host = read_host(module.params, node=node, firewall=active_firewall(module))
    faults = find_faults(host, module.params)
    if module.params["joins"] and not host.member and CHECK not in module.params["ignores"]:
        faults += endpoint_faults(module.params["endpoint"])
    if not faults and (busy := host_lock.fault(module)):
        faults = [busy]
    module.exit_json(
        changed=False,
        **Report(tuple(faults)).as_result(),
        hostname=host.hostname,
        machine_id=host.machine_id,
        product_uuid=host.product_uuid,
        member=host.member,
        recorded=host.record is not None,
        firewall=host.firewall,
    )


if __name__ == "__main__":
    main()
