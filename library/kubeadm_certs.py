#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Renew the certificates of one master."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_certs
short_description: Renew the certificates of a master with kubeadm
description:
  - Renews what expires within O(days), with the algorithm and the validity of the cluster's configuration, and waits
    until the new certificates are in use - servers show them, the API accepts them, the control plane is healthy.
  - The API server and etcd read new files by themselves. The controller manager and the scheduler are restarted, one
    after the other; a server that does not show its new certificate in time is restarted, too.
  - Refuses before the first write if the control plane of this master is not healthy, if a certificate is missing, or
    if the key of an authority that has to sign is not on this host.
  - Every file is saved before it is changed, under C(/var/lib/yunkube/doctor), readable only by root.
  - The kubelet's certificate is reported only. The kubelet renews it itself.
  - With C(throttle) of 1 hosts after one that failed are not tried (plugins/action/kubeadm_certs.py).
author: [The maintainers]
options:
  state:
    description: With C(checked) nothing is renewed; the module fails with every reason why that is not possible.
    type: str
    choices: [checked, renewed]
    default: renewed
  node: {description: Name of the node, type: str, required: true}
  masters:
    description:
      - The inventory's masters, by the names of their nodes. Another one in the cluster is refused. Empty for any.
    type: list
    elements: str
    default: []
  days: {description: A certificate that expires within so many days is renewed, type: int, default: 90}
  all: {description: Renew every certificate, type: bool, default: false}
  kubeconfig_server:
    description: The API server's address in the kubeconfig that RV(kubeconfig_digest) is of.
    type: str
    default: ""
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  run: {description: "The run, as C(cluster_run) has it, on the host that holds its claim", type: dict, default: {}}
attributes:
  check_mode: {support: full, details: [Says what it would renew.]}
  diff_mode: {support: full, details: [Shows when certificates expire.]}
"""
EXAMPLES = r"""
- name: Check whether certificates can be renewed
  kubeadm_certs:
    state: checked
    node: master1
    masters: [master1, master2, master3]
    cluster: prod
    cluster_id: 0123456789abcdef

- name: Renew the certificates that expire within 90 days
  kubeadm_certs:
    node: master1
    cluster: prod
    cluster_id: 0123456789abcdef
  throttle: 1
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
due: {description: The files of the certificates to renew, returned: success, type: list, elements: str}
table:
  description: >-
    A row for each certificate - check (its file), target (the node), before and after (days), ok (whether it is valid
    for a month), detail. Empty with O(state=checked).
  returned: success
  type: list
  elements: dict
lines: {description: The same as text, returned: when renewed, type: list, elements: str}
kubeconfig_digest:
  description: sha256 of admin.conf with O(kubeconfig_server) in it
  returned: when renewed
  type: str
backup: {description: Where the former files are, returned: when there are any, type: str}
faults:
  description: Why nothing is renewed, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.doctor.renewal import OPTIONS, Renewal
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={**OPTIONS, **identity.OPTIONS, **host_lock.RUN_SPEC}, supports_check_mode=True
    )
    identity.refuse_another(module)
    host_lock.take(module)
    Renewal(module).run()


if __name__ == "__main__":
    main()
