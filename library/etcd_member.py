#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Look at this host's etcd."""

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_member
short_description: Look at this host's etcd
description:
  - Name and peer URL of the member that runs here as a static pod, and whether it is healthy. It only reads, and a host
    without etcd is no failure.
author: [The maintainers]
options:
  cluster: {description: The cluster's name, type: str, default: ""}
  cluster_id: {description: "The cluster's id; with it a host of another cluster is refused", type: str}
  holds: {description: Whether it also looks at what etcd holds, type: bool, default: false}
attributes:
  check_mode: {support: full, details: [It only reads.]}
"""
EXAMPLES = r"""
- name: Look at etcd
  etcd_member:
    cluster: prod
    cluster_id: 0123456789abcdef
  register: member
"""
RETURN = r"""
healthy: {description: Whether the member answers a proposal., returned: success, type: bool}
detail: {description: "Why it is not healthy, empty where it is.", returned: success, type: str}
name: {description: "Its name, empty on a host without etcd.", returned: success, type: str}
state:
  description: >-
    With O(holds), C(ours) where etcd holds this cluster, C(another), C(empty), C(leaderless) without a quorum,
    C(absent) without a container, or C(unclear). Else empty.
  returned: success
  type: str
told: {description: What it said of its state., returned: success, type: str}
revision: {description: "Its latest revision with O(holds), where it says so; else 0.", returned: success, type: int}
peer: {description: The URL at which other members reach it., returned: success, type: str}
faults:
  description: Why the host is refused, in the form that docs/events.md describes.
  returned: failure
  type: list
  elements: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.yunkube.host import identity
from ansible.module_utils.yunkube.kube import etcd_backup, etcd_rehearsal, etcd_snapshot
from ansible.module_utils.yunkube.kube.etcd import Etcd, EtcdError


def main() -> None:
    """Run as Ansible's module."""
    module = AnsibleModule(
        argument_spec={**identity.OPTIONS, "holds": {"type": "bool", "default": False}}, supports_check_mode=True
    )
    identity.refuse_another(module)
    live = etcd_rehearsal.Live("absent" if module.params["holds"] else "")
    try:
        static = etcd_snapshot.read_manifest()
    except EtcdError as error:
        said = {"state": live.state, "told": str(error), "revision": 0}
        module.exit_json(changed=False, healthy=False, detail=str(error), name="", peer="", **said)
    crictl = module.get_bin_path("crictl", required=True, opt_dirs=["/usr/local/bin"])
    own = Etcd(module.run_command, crictl)
    detail = etcd_backup.healthy(own, static.name)
    if module.params["holds"]:
        live = etcd_rehearsal.look_live(own, module.params["cluster_id"] or "")
    said = {"state": live.state, "told": live.detail, "revision": live.revision}
    module.exit_json(changed=False, healthy=not detail, detail=detail, name=static.name, peer=static.peer, **said)


if __name__ == "__main__":
    main()
