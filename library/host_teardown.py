#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: take the cluster off a host that stays."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_teardown
short_description: Remove Kubernetes from a host, and nothing else
description:
  - Stops pods, stops and disables the services, removes the named files, folders and network links, and undoes what the
    record of M(host_record) and the notes beside it record - packages, kernel settings, firewall rules, swap.
  - What the record names stays - files and folders, chains of the packet filter, network links, namespaces. So do
    other file systems below the folders. Files of the host that the cluster replaced are restored.
  - Of the packet filter only the chains with the given prefixes go, the rules that jump to them, and tables that were
    not there before and are empty.
  - C(/var/lib/etcd) is removed only on hosts that run a control plane.
  - A host is refused if its containerd has data of other programs, or if it has images of the registry without
    O(force).
  - Ends with an audit. The host is compared with its record; every difference fails the module, and the record stays
    until there is none.
  - Does not touch the cluster's other hosts; members of etcd are not removed one by one, as all hosts are.
options:
  cluster: {description: "Name of the cluster; a host of another one is refused", type: str, required: true}
  cluster_id: {description: "Id of the cluster; a host of another one is refused", type: str, required: true}
  adopt:
    description:
      - Remove a cluster that Yunkube did not create, or another one than O(cluster), from a host with a kubelet.conf or
        an admin.conf. A record of another cluster is used, and kept under another name.
    type: bool
    default: false
  force: {description: "Delete the images of the cluster's registry, too", type: bool, default: false}
  services: {description: Units to stop and disable, type: list, elements: str, required: true}
  paths: {description: Files and folders to remove, type: list, elements: path, required: true}
  links: {description: Network links to delete, type: list, elements: str, default: []}
  chain_prefixes: {description: Prefixes of the chains to remove, type: list, elements: str, default: []}
  nft_tables: {description: Tables of nftables to remove, type: list, elements: str, default: []}
  shared_sysctls:
    description: Patterns of settings that the host shares with others
    type: list
    elements: str
    default: []
  accept: {description: Patterns of differences that are accepted, type: list, elements: str, default: []}
  run: {description: The run that this belongs to; it holds its claim here., type: dict, default: {}}
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: [Yunkube]
"""
EXAMPLES = r"""
- name: Remove Kubernetes from the host
  host_teardown:
    cluster: prod
    cluster_id: 0123456789abcdef
    services: [kubelet.service, containerd.service]
    paths: [/etc/cni/net.d, /etc/containerd, /etc/kubernetes, /var/lib/etcd, /var/lib/kubelet]
    links: [cni0, flannel.1]
    chain_prefixes: [KUBE-, FLANNEL-]

- name: See what would be removed, and why the host would be refused
  host_teardown:
    cluster: prod
    cluster_id: 0123456789abcdef
    services: [kubelet.service, containerd.service]
    paths: [/etc/kubernetes, /var/lib/kubelet]
  check_mode: true
  register: teardown
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
faults:
  description: Why the host is refused, or how it differs from its record, in the form that docs/events.md describes.
  returned: in check mode, and on failure
  type: list
  elements: dict
audit: {description: "C(passed), or C(none) without a record", returned: success, type: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.result import PREFLIGHT, Fault, Report
from ansible.module_utils.yunkube.teardown.host import Host, TeardownError


def main() -> None:
    """Run the module."""
    strings: dict[str, object] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "cluster_id": {"type": "str", "required": True},
            "adopt": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "services": {"type": "list", "elements": "str", "required": True},
            "paths": {"type": "list", "elements": "path", "required": True},
            **dict.fromkeys(("links", "chain_prefixes", "nft_tables", "shared_sysctls", "accept"), strings),
            **host_lock.RUN_SPEC,
        },
        supports_check_mode=True,
    )
    host = Host(module)
    faults, found = host.faults(), host.found()
    # Nothing is written on a host of another cluster, nor on one where the cluster was removed already.
    if found and not faults:
        busy = host_lock.fault(module)
        host = Host(module)  # a module of an earlier run may have ended only now
        faults, found = [busy] if busy else host.faults(), host.found()
    audit = "none" if host.record is None else "passed"
    if module.check_mode:
        diff = {"before": "".join(f"{line}\n" for line in found), "after": ""}
        module.exit_json(
            changed=bool(found), changes=found, audit=audit, diff=diff, **Report(tuple(faults)).as_result()
        )
    if faults:
        module.fail_json(**Report(tuple(faults), PREFLIGHT).as_failure())
    if not found:
        module.exit_json(changed=False, changes=[], audit=audit)
    try:
        differences = host.tear_down()
    except (TeardownError, OSError) as error:
        module.fail_json(msg=f"{error}; fix that and run the same command again", changes=found)
    if differences:
        remedy = "undo it, or accept it by a pattern in teardown_accept; then run the same command again"
        report = Report(tuple(Fault("audit", line, remedy) for line in differences), PREFLIGHT)
        msg = f"{len(differences)} differences from what the host was: {'; '.join(differences)}; {remedy}"
        module.fail_json(**report.as_failure(msg), changes=found)
    module.exit_json(changed=True, changes=found, audit=audit)


if __name__ == "__main__":
    main()
