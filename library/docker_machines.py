#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the hosts of one cluster, as containers of the Docker engine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_machines
short_description: Create the hosts of a cluster in Docker, each answering over SSH
description:
  - Keeps one internal network and one container for each host, all of them labelled with the cluster's name and id;
    whatever does not carry both labels is never touched, and hosts of another cluster of that name are refused. Hosts
    that were made before there were ids are the cluster's when they let in the key in O(ssh_dir).
  - A stopped host is started, one whose network was made again is connected, limits of a running one are changed as it
    runs. A host that could not become what is asked for is refused with what differs, and replaced by a new, empty one
    only where O(replace) allows it.
  - Returns when the SSH server of every host answers.
options:
  cluster: {description: The cluster's name, type: str, required: true}
  cluster_id: {description: "The cluster's id, empty before there is one", type: str, required: true}
  state: {description: C(absent) removes hosts and network, type: str, choices: [present, absent], default: present}
  remove_images:
    description: With C(absent) - remove a host, too, that holds images of the cluster's registry.
    type: bool
    default: false
  only: {description: With C(absent) - only these hosts, not the network, type: list, elements: str}
  subnet: {description: The network, type: str}
  hosts: {description: Address of each host by its name, type: dict}
  image: {description: The image of new hosts, type: str}
  entry: {description: The program in the image that starts a host, type: str}
  cgroup_v1_arguments: {description: Arguments of init on cgroup v1, type: list, elements: str, default: []}
  ssh_dir: {description: The folder that docker_host_keys made, type: path, required: true}
  replace: {description: "Hosts that may be replaced, C(true) for all or a list of names", type: raw, default: false}
  memory_mb: {description: The most memory of each host, type: int, default: 0}
  cpus: {description: The most processors of each host, type: float, default: 0}
  restart_policy: {description: When Docker starts a host again, type: str, default: unless-stopped}
  boot_timeout_seconds: {description: How long a host may take to answer, type: int, default: 60}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: [Yunkube]
notes:
  - A new image of the same distribution leaves hosts that are there as they are, as a vendor's new image would.
"""
EXAMPLES = r"""
- name: Create the hosts
  docker_machines:
    cluster: prod
    cluster_id: 0123456789abcdef
    subnet: 10.77.0.0/24
    hosts: {master1: 10.77.0.11, node1: 10.77.0.12}
    image: yunkube-host:debian12-0123456789ab
    entry: /usr/local/sbin/docker-host-entry
    ssh_dir: ~/.local/state/yunkube/prod/ssh
    memory_mb: 2048

- name: Remove one host
  docker_machines:
    cluster: prod
    cluster_id: 0123456789abcdef
    ssh_dir: ~/.local/state/yunkube/prod/ssh
    only: [node1]
    state: absent
"""
RETURN = r"""
changes: {description: "What was (or would be) done to which host and why", returned: always, type: list, elements: str}
pending:
  description: Hosts that cannot answer before the changes are made; in check mode only.
  returned: success
  type: list
  elements: str
faults:
  description: Why hosts are refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.docker.engine import DockerError
from ansible.module_utils.yunkube.docker.lab import bring_hosts
from ansible.module_utils.yunkube.result import RefusedError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "cluster_id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "remove_images": {"type": "bool", "default": False},
            "only": {"type": "list", "elements": "str"},
            "subnet": {"type": "str"},
            "hosts": {"type": "dict"},
            "image": {"type": "str"},
            "entry": {"type": "str"},
            "cgroup_v1_arguments": {"type": "list", "elements": "str", "default": []},
            "ssh_dir": {"type": "path", "required": True},
            "replace": {"type": "raw", "default": False},
            "memory_mb": {"type": "int", "default": 0},
            "cpus": {"type": "float", "default": 0},
            "restart_policy": {"type": "str", "default": "unless-stopped"},
            "boot_timeout_seconds": {"type": "int", "default": 60},
        },
        required_if=[("state", "present", ("subnet", "hosts", "image", "entry"))],
        supports_check_mode=True,
    )
    try:
        changes, pending = bring_hosts(module)
    except RefusedError as refused:
        module.fail_json(**refused.report.as_failure())
    except DockerError as error:
        module.fail_json(msg=f"Docker: {error}", kind="preflight")
    diff = {"before": "", "after": "".join(f"{change}\n" for change in changes)}
    module.exit_json(changed=bool(changes), changes=changes, pending=list(pending), diff=diff)


if __name__ == "__main__":
    main()
