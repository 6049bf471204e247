#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Mint short-lived tokens with which hosts can join, and revoke them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_token
short_description: Create short-lived tokens with which hosts can join
description:
  - Runs on a master, once for all hosts that join. Makes the Secrets that C(kubeadm token create) makes, one for each
    host, and waits until the cluster has signed its public description for them; a join that came earlier would wait
    five seconds before it looked again.
  - In a playbook it does not fail, as that would end the play for all hosts. There are no tokens then, and C(msg)
    says why.
  - Creates new tokens every time, so call it only for hosts that have not joined. A token that an earlier run left for
    one of them is revoked.
  - With O(addresses), the hosts whose ports the control plane cannot reach get no token, and C(blocked) says why. A
    host where nobody listens yet is reached, as it answers. UDP, which flannel uses, cannot be tried in this way.
  - With O(certificate_key) it also leaves the control plane's certificates in the cluster for two hours, encrypted
    with a new key, for a further master.
author: [Yunkube]
options:
  hosts: {description: Who joins with them, type: list, elements: str, required: true}
  addresses: {description: "Where the control plane reaches hosts that join, by name", type: dict, default: {}}
  masters: {description: Which of them join as masters, type: list, elements: str, default: []}
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  state: {description: Create tokens or revoke them, type: str, choices: [present, absent], default: present}
  token_ids: {description: The tokens to revoke, type: list, elements: str, default: []}
  ttl: {description: Seconds for which they are valid, type: int, default: 900}
  certificate_key: {description: Whether a master joins, type: bool, default: false}
  kubernetes_version: {description: "The cluster's version, needed with O(certificate_key)", type: str, default: ""}
attributes:
  check_mode: {support: full, details: [Creates nothing; the values come back empty.]}
"""
EXAMPLES = r"""
- name: Create a token for each host that joins
  kubeadm_token:
    hosts: [node1, node2]
    ttl: 900
    cluster: prod
    cluster_id: 0123456789abcdef
  delegate_to: master1
  run_once: true
  no_log: true
  register: tokens

- name: Create a token for another master, with the certificates of the control plane
  kubeadm_token:
    hosts: [master2]
    certificate_key: true
    kubernetes_version: 1.37.2
  delegate_to: master1
  run_once: true
  no_log: true
  register: tokens

- name: Revoke a token
  kubeadm_token:
    hosts: [node1]
    token_ids: [abcdef]
    state: absent
  delegate_to: master1
  run_once: true
"""
RETURN = r"""
changes: {description: "What was (or would be) done, in words", returned: always, type: list, elements: str}
tokens:
  description: For each host a dictionary of C(token) and C(token_id), its public half
  returned: when state is present
  type: dict
blocked: {description: Why hosts got no token, by name, returned: when state is present, type: dict}
masters:
  description: The addresses of the masters that are ready and run etcd, by name, where a further one joins.
  returned: when state is present
  type: dict
ca_cert_hash: {description: Pin of the cluster's CA, returned: when state is present, type: str}
certificate_key: {description: Key of the certificates, returned: when state is present, type: str}
msg: {description: Why there are no tokens, returned: "when there are none, by the action plugin", type: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.host import run_lock as host_lock
from ansible.module_utils.yunkube.host.patience import scaled
from ansible.module_utils.yunkube.kube import bootstrap_tokens, join_paths, kubeadm
from ansible.module_utils.yunkube.kube.api import KubeApi, KubeError


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(argument_spec={**bootstrap_tokens.TOKEN_SPEC, **identity.OPTIONS}, supports_check_mode=True)
    identity.refuse_another(module)
    host_lock.take(module)
    hosts, absent = module.params["hosts"], module.params["state"] == "absent"
    minting = [f"create a token for {host}" for host in hosts]
    if absent and not any(module.params["token_ids"]):  # a check created none
        module.exit_json(changed=False, changes=[])
    if module.check_mode and not absent:
        empty = {host: {"token": "", "token_id": ""} for host in hosts}
        module.exit_json(
            changed=True, changes=minting, tokens=empty, ca_cert_hash="", certificate_key="", blocked={}, masters={}
        )
    try:
        with KubeApi.from_file() as api:
            if absent:
                changes = bootstrap_tokens.revoke(module, api)
                module.exit_json(changed=bool(changes), changes=changes)
            joining = module.params["masters"]
            blocked = join_paths.blocked_hosts(module.params["addresses"], joining)
            hosts = [host for host in hosts if host not in blocked]
            masters = join_paths.etcd_addresses(api) if set(joining) & set(hosts) else {}
            with bootstrap_tokens.minted(api, hosts, module.params["ttl"]) as tokens:
                key = bootstrap_tokens.upload_certificates(module) if hosts and module.params["certificate_key"] else ""
                bootstrap_tokens.wait_for_signatures(
                    api, [one["token_id"] for one in tokens.values()], scaled(15 + len(hosts))
                )
        module.exit_json(
            changed=bool(tokens),
            changes=[f"create a token for {host}" for host in hosts],
            tokens=tokens,
            blocked=blocked,
            masters=masters,
            ca_cert_hash=bootstrap_tokens.ca_pin(),
            certificate_key=key,
        )
    except (KubeError, kubeadm.BusyError, OSError, ValueError) as error:
        module.fail_json(msg=kubeadm.without_secrets(str(error)))


if __name__ == "__main__":
    main()
