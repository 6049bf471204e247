#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Say in which ways a host is not as it is declared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_drift
short_description: Report how a host differs from what is declared
description:
  - Compares everything that M(bundle_install), M(host_settings), M(host_firewall) and M(host_service) keep on a host,
    in one call, with their code and their arguments. Only reads.
  - On a host that has joined, also reads what the running cluster was created with (M(cluster_values)).
author: [The maintainers]
options:
  files:
    description:
      - Entries of the manifest. The action plugin of this name picks them by O(manifest), O(purposes) and
        O(distribution), so a task does not have this option.
    type: list
    elements: dict
  manifest:
    description: The bundle's manifest. Taken by the action plugin, on the control machine.
    type: path
    required: true
  purposes:
    description: What the host is for, C(master), C(node), C(dashboard), C(registry). Taken by the action plugin.
    type: list
    elements: str
    required: true
  distribution:
    description: Whose packages, such as C(debian12). Taken by the action plugin.
    type: str
    required: true
  declared:
    description:
      - What the inventory declares of the cluster (C(cluster), C(overlay), C(proxy), C(cgroup_driver), C(kubelet),
        C(identity)) and of this host (C(patches), C(node), C(marks)), and the names of all C(nodes) on the master that
        lists them. Taken by the action plugin, which compares the running cluster with it.
    type: dict
    required: true
  packages:
    description: Packages of the distribution, for a host whose packages are not in the bundle.
    type: list
    elements: str
    default: []
  settings:
    description: The arguments of M(host_settings).
    type: dict
    required: true
    suboptions:
      modules: {description: Kernel modules., type: list, elements: str, default: []}
      modules_file: {description: Where they are listed for the boot., type: path, required: true}
      sysctls: {description: Values of sysctl by name., type: dict, default: {}}
      sysctls_file: {description: Where they are listed for the boot., type: path, required: true}
      swap: {description: Whether swap is off or left., type: str, choices: ["off", leave], default: leave}
  firewall:
    description: The arguments of M(host_firewall), for whichever is active.
    type: dict
    required: true
    suboptions:
      state: {description: "Open, off or left.", type: str, choices: [open, "off", leave], default: open}
      master: {description: Whether the host runs the control plane., type: bool, required: true}
      sources: {description: Networks of the cluster's hosts., type: list, elements: str, required: true}
      api_sources:
        description: "Further networks for the API and for pushes to the registry. Empty: everyone."
        type: list
        elements: str
        default: []
      node_ports: {description: "Ports of Services, first and last.", type: str, default: 30000-32767}
      node_port_sources: {description: "The same for NodePorts.", type: list, elements: str, default: []}
      registry_port: {description: Where a registry takes images on this host. 0 for none., type: int, default: 0}
      registry_pull_port: {description: Where nodes pull from it. 0 for none., type: int, default: 0}
      pod_cidr: {description: Addresses of pods., type: str, required: true}
  services:
    description: The arguments of M(host_service), for each service in the order in which they are started.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The unit., type: str, required: true}
      files:
        description: Its files.
        type: list
        elements: dict
        default: []
        suboptions:
          path: {description: Path of the file., type: path, required: true}
          content: {description: The whole text., type: str, required: true}
          mode: {description: Permissions as an octal string., type: str, default: "0644"}
          restart: {description: Whether the service reads it only when it starts., type: bool, default: true}
          secret: {description: Whether its text shows nowhere., type: bool, default: false}
      programs: {description: Other programs that the process consists of., type: list, elements: path, default: []}
      start_condition: {description: The service is started only where this path exists., type: path}
      state: {description: Whether there is such a service., type: str, choices: [present, absent], default: present}
  node:
    description: The node's name, to read its labels and taints. The action plugin gives it.
    type: str
    default: ""
  nodes:
    description: Whether to list the cluster's nodes, which a master can. The action plugin gives it.
    type: bool
    default: false
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: Compare a node with what is declared
  host_drift:
    manifest: ~/.cache/yunkube/locks/0123456789abcdef/manifest.json
    purposes: [node]
    distribution: debian12
    settings:
      modules: [overlay, br_netfilter]
      modules_file: /etc/modules-load.d/kubernetes.conf
      sysctls: {net.ipv4.ip_forward: 1}
      sysctls_file: /etc/sysctl.d/99-kubernetes.conf
    firewall:
      master: false
      sources: [10.77.0.0/24]
      pod_cidr: 10.244.0.0/16
    services:
      - name: containerd.service
        programs: [/usr/local/bin/containerd]
    declared:
      cluster: {clusterName: prod, networking: {podSubnet: 10.244.0.0/16}}
      overlay: {}
      proxy: {}
      cgroup_driver: systemd
      kubelet: {maxPods: 200}
      identity: {name: prod, id: 0123456789abcdef}
      patches: []
      node: node1
      marks: {labels: {disk: ssd}, taints: []}
      nodes: []
  register: host_drift
"""
RETURN = r"""
drift: {description: "What would bring the host to its declaration", returned: always, type: list, elements: str}
host: {description: The part of RV(drift) that is of the host itself, returned: success, type: list, elements: str}
notices: {description: Nodes that are not in the inventory, returned: when the API answers, type: list, elements: str}
running:
  description: >-
    What the running cluster was created with; of it the action plugin of this name leaves C(state) and what differs
    from O(declared) - C(first_run), C(kubelet) (this host's) and C(kubelet_cluster) (the ConfigMap's)
  returned: always
  type: dict
marks:
  description: "The labels and taints that O(declared) has, where the node lacks some of them, from the action plugin"
  returned: when it lacks some
  type: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host.bundle_files import InstallError
from ansible.module_utils.yunkube.host.drift import look
from ansible.module_utils.yunkube.host.files import secret_contents
from ansible.module_utils.yunkube.host.firewall import FIREWALL_SPEC
from ansible.module_utils.yunkube.host.service import SERVICE_SPEC
from ansible.module_utils.yunkube.host.settings import SETTINGS_SPEC
from ansible.module_utils.yunkube.kube import cluster_values


def main() -> None:
    """Run the module."""
    spec: dict[str, dict[str, t.Any]] = {
        "files": {"type": "list", "elements": "dict", "required": True},
        "packages": {"type": "list", "elements": "str", "default": []},
        "settings": {"type": "dict", "required": True, "options": SETTINGS_SPEC},
        "firewall": {"type": "dict", "required": True, "options": FIREWALL_SPEC},
        "node": {"type": "str", "default": ""},
        "nodes": {"type": "bool", "default": False},
        # As a whole: Ansible finds a hidden value in its line of the journal only where no letter of it is escaped.
        "services": {"type": "list", "elements": "dict", "required": True, "options": SERVICE_SPEC, "no_log": True},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    # The journal has its line; in the result, paths and the texts of other files are no secrets.
    module.no_log_values = {text for service in module.params["services"] for text in secret_contents(service["files"])}
    module.check_mode = True  # whatever it calls only looks
    try:
        drift = look(module)
    except InstallError as error:
        module.fail_json(msg=str(error), remedy=error.remedy, commands=error.commands)
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    running = cluster_values.values_of(node=module.params["node"], nodes=module.params["nodes"])
    module.exit_json(changed=False, drift=drift, running=running)


if __name__ == "__main__":
    main()
